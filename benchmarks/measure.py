"""Alternating measurements, what they amount to, and the tables they are written to."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from lib.system import atomic, hardware, paths, torch_device

RESULTS = paths.ROOT / "benchmarks" / "results"


def synchronise() -> None:
    """Wait for the kernels of a GPU, so that a clock read next includes them."""
    if torch_device.device() == "cuda":
        torch.cuda.synchronize()


def paced(call: Callable[[], object], times: int, warm: int = 1) -> float:
    """Seconds a call, the mean over `times` calls after `warm` that are not counted."""
    for _ in range(warm):
        call()
    synchronise()
    began = time.perf_counter()
    for _ in range(times):
        call()
    synchronise()
    return (time.perf_counter() - began) / times


def often_enough(seconds: float, turn: float, least: int = 2, most: int = 50) -> int:
    """Calls of `seconds` each that fill a turn of `turn` seconds."""
    return int(np.clip(round(turn / max(seconds, 1e-6)), least, most))


def alternate(competitors: dict[str, Callable[[], float]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds a unit of work by competitor and round, (rounds,) each.

    All take one turn a round, so that a slow minute of the machine meets every one of them; every
    other round runs backwards, so that none always follows the same.
    """
    names, seconds = list(competitors), {name: [] for name in competitors}
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            seconds[name].append(competitors[name]())
    return {name: np.array(values) for name, values in seconds.items()}


def compare(
    seconds: dict[str, np.ndarray], ours: str, unit: str, value: Callable[[np.ndarray], np.ndarray]
):
    """A row per competitor: quartiles of `value(seconds)` in `unit`, and how many times as fast
    `ours` was, by round.

    `speed` below 1: the competitor is faster than ours.
    """

    def quartiles(names: tuple[str, str, str], values: np.ndarray) -> dict[str, float]:
        return dict(zip(names, np.quantile(values, (0.25, 0.5, 0.75)), strict=True))

    return pd.DataFrame(
        {"measured": name, "unit": unit}
        | quartiles(("q1", "median", "q3"), value(rounds))
        | quartiles(("speed_q1", "speed", "speed_q3"), rounds / seconds[ours])
        | {"rounds": len(rounds)}
        for name, rounds in seconds.items()
    )


def machine() -> dict[str, object]:
    """What the numbers were measured on; of a processor with its vectors, as "AVX2"."""
    gpus = hardware.gpus()
    vectors = "" if gpus else f", {torch.backends.cpu.get_cpu_capability()}"
    return {
        "machine": hardware.machine(gpus) + vectors,
        "cores": hardware.cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch_device.device(),
    }


def part(name: str) -> str:
    """The name of a part's rows on this device: what a GPU measures is <name>-cuda."""
    return f"{name}{'-cuda' * (torch_device.device() == 'cuda')}"


def write(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Write the table, the machine in every row, to benchmarks/results/measured.csv in the place of
    the part's earlier rows, print it and return it."""
    table = table.assign(**machine())
    rows = _texts(io.StringIO(table.to_csv(index=False, float_format="%.5g")))
    rows.insert(0, "part", part(name))
    file = RESULTS / "measured.csv"
    if file.exists():
        others = _texts(file).query("part != @rows.part[0]")
        rows = pd.concat([others, rows]).fillna("").sort_values("part", kind="stable")
    file.parent.mkdir(exist_ok=True)
    atomic.put(file, lambda beside: rows.to_csv(beside, index=False))
    shown = table.drop(columns=[c for c in ("machine", "torch", "threads", "cores") if c in table])
    print(
        f"\n{part(name)}\n{shown.to_string(index=False, float_format='{:.3g}'.format)}", flush=True
    )
    return table


def _texts(file: Path | io.StringIO) -> pd.DataFrame:
    """A CSV as it is written: no number is rounded by reading it and writing it again."""
    return pd.read_csv(file, dtype=str, keep_default_na=False)


class Arithmetic:
    """A precision by Lightning's name, without Lightning: the context of a forward pass, and a
    descent."""

    def __init__(self, precision: str):
        kind = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
        self.device, self.kind = torch_device.device(), kind
        self.scaler = torch.amp.GradScaler(self.device, enabled=kind is torch.float16)

    def context(self):
        return torch.autocast(self.device, self.kind, enabled=self.kind is not None)

    def descend(
        self, loss: torch.Tensor, optimiser: torch.optim.Optimizer, before: Callable | None = None
    ) -> None:
        """Backward pass and update; `before(optimiser)` sees the gradients as they are,
        unscaled."""
        optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        if before is not None:
            self.scaler.unscale_(optimiser)
            before(optimiser)
        self.scaler.step(optimiser)
        self.scaler.update()


def parameters(module: nn.Module) -> list[nn.Parameter]:
    """Those that are trained."""
    return [p for p in module.parameters() if p.requires_grad]
