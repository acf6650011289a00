"""How fast the suite is, beside what one would use instead and beside the least that its work can
take.

    python -m benchmarks.speed [input] [views] [steps] [grid] [evaluation] [redraw] [cache]
                                                 default: all
    python -m benchmarks.speed steps-224         steps at the paper's size, a minute a system

Each part writes its rows of benchmarks/results/measured.csv; speed.png beside it is drawn from the
parts that are there. Parts are measured on one thread, "per core", competitors in turn; where a GPU
is, on the processor and then on it, with the paper's size. Knows no torch before the threads are
set.
"""

import importlib
import os
import sys

from lib.study import names
from lib.system import hardware

PARTS = {  # part -> module, arguments of its main
    "input": ("inputs", ()),
    "views": ("views", ()),
    "steps": ("steps", ("mini",)),
    "steps-224": ("steps", ("paper",)),
    "grid": ("grid", ()),
    "evaluation": ("evaluation", ()),
    "redraw": ("redraw", ()),
    "cache": ("cache", ()),
}
ONCE = ("views", "evaluation", "redraw", "cache")  # on the first device alone


def devices() -> list[str]:
    """The processor always, a GPU where one is; only what DEVICE names where it is set."""
    forced = os.environ.get("DEVICE")
    return [forced] if forced else ["cpu", *(["cuda"] if hardware.gpus() else [])]


def main(parts: list[str]) -> int:
    try:
        named = [names.nearest(part, PARTS, "part of the benchmark") for part in parts]
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch
        for i, device in enumerate(devices()):
            os.environ["DEVICE"] = device
            for part in named or [p for p in PARTS if p != "steps-224" or device == "cuda"]:
                if part in ONCE and i:
                    continue
                module, arguments = PARTS[part]
                importlib.import_module(f"benchmarks.{module}").main(*arguments)
        importlib.import_module("benchmarks.chart").draw()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
