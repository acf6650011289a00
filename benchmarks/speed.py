"""How fast the suite is, beside what one would use instead and beside the least that its work can take.

    python -m benchmarks.speed [input] [steps] [grid] [evaluation] [redraw]     (default: all of them)
    python -m benchmarks.speed steps-224                                        steps at the paper's size

Each part writes benchmarks/results/<part>.csv; speed.png beside them is drawn from those that are there. Parts are
measured on one thread, "per core", competitors in turn. Knows no torch before the threads are set.
"""

import importlib
import os
import sys

from lib import study

PARTS = {  # part -> module, arguments of its main
    "input": ("inputs", ()),
    "steps": ("steps", ("mini",)),
    "steps-224": ("steps", ("paper",)),
    "grid": ("grid", ()),
    "evaluation": ("evaluation", ()),
    "redraw": ("redraw", ()),
}
EVERY = ("input", "steps", "grid", "evaluation", "redraw")


def main(asked: list[str]) -> int:
    try:
        parts = [study.nearest(part, PARTS, "part of the benchmark") for part in asked] or EVERY
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # before torch
        for part in parts:
            module, arguments = PARTS[part]
            importlib.import_module(f"benchmarks.{module}").main(*arguments)
        importlib.import_module("benchmarks.chart").draw()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
