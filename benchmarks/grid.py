"""(c) The grid: wall time of the pool that trains it against the ideal, its model-only work divided
by cores.

python -m benchmarks.grid FILE      train the slice in WORKSPACE, and write its wall time and memory
to FILE
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from lib.data import pixels, sources, splits
from lib.scheduling import estimate, plan
from lib.scheduling.job import Job
from lib.study import grid
from lib.study.grid import Run
from lib.system import hardware, paths

PROFILE, SEED = "mini", 42
SHARE = 0.01  # of defects: the fewest images, where all else weighs most
TURN = 1.5  # seconds a rate is measured, before the slice and again after it
BAR, MEMORY = 1.25, 4.0  # times the ideal; GB a process


def processes() -> int:
    """Cores, or GPUs, that the ideal divides the work by."""
    return len(hardware.gpus()) or hardware.cores()


def _rate(run: Run) -> tuple[float, float]:
    """Seconds an image through the model alone: one of training, one scored."""
    from benchmarks import measure, steps  # torch: only in the processes that measure

    system = steps.System(run, pixels.load(run.data, "train"))
    many = measure.often_enough(system.alone(1), TURN)
    return system.alone(many) / run.settings.batch, system.forward(2)


def rates(todo: list[Run]) -> list[tuple[float, float]]:
    """`_rate` of each run, on every core at once as when training: the ideal meets the same busy
    memory and caches.

    On a GPU one after the other.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1 if hardware.gpus() else hardware.cores(), context) as pool:
        return list(pool.map(_rate, todo))


def ideal(todo: list[Run], rates: dict[tuple[str, str], tuple[float, float]]) -> float:
    """Seconds of the runs' model-only work, divided by cores: optimiser steps and images scored,
    nothing else."""
    training, _ = sources.tables(todo[0].data, "train")
    validation, _ = sources.tables(todo[0].data, "val")
    seconds = 0.0
    for run in todo:
        rows = len(splits.resample(training, run.share, run.data["seed"]))
        work = estimate.work(run, rows, len(validation))
        step, scored = rates[run.method, run.backbone]
        seconds += work.training * step + (work.clean + work.augmented) * scored
    return seconds / processes()


def trained(todo: list[Run]) -> dict[str, float]:
    """Train the slice in an empty workspace that shares this one's data: its `wall` time in
    seconds, and `peak`, the memory of the largest process in GB. Raises ValueError where a training
    fails."""
    pixels.prepare(todo[0].data, hardware.cores())
    with TemporaryDirectory() as folder:
        (Path(folder) / "data").symlink_to(paths.DATA)
        file = Path(folder) / "measured.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.grid", str(file), *(run.id for run in todo)],
            cwd=paths.ROOT,
            env=os.environ | {"WORKSPACE": folder, "PROFILE": todo[0].profile},
            check=False,
        )
        if done.returncode:
            raise ValueError(
                "the slice of the grid was not trained: mend what failed above, then run it again."
            )
        return json.loads(file.read_text(encoding="utf-8"))


def _train(file: Path, todo: list[Run]) -> int:
    began = time.perf_counter()
    status = plan.train([Job(run) for run in todo], plan.Request(todo[0].profile))
    wall = time.perf_counter() - began
    for process in multiprocessing.active_children():
        process.join()
    forkserver._forkserver._stop()  # what it started counts as ours once it has ended
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (
        1e9 if sys.platform == "darwin" else 1e6
    )
    file.write_text(json.dumps({"wall": wall, "peak": peak}), encoding="utf-8")
    return status


def row(measured: str, todo: list[Run], wall: float, least: float) -> dict:
    return {
        "measured": measured,
        "runs": len(todo),
        "processes": processes(),
        "wall_s": wall,
        "ideal_s": least,
        "ratio": wall / least,
        "bar": BAR,
    }


def main(
    profile: str = PROFILE, share: float = SHARE, methods: list[str] | None = None
) -> pd.DataFrame:
    """Measure every system of Table 1 at one share of defects, and write the part `grid` of
    benchmarks/results/measured.csv."""
    todo = [
        run
        for run in grid.runs("table1", profile, methods=methods, seeds=[SEED])
        if run.share == share
    ]
    print(f"grid: {len(todo)} trainings by {processes()} processes", flush=True)
    pixels.prepare(todo[0].data, hardware.cores())
    before = rates(todo)
    measured = trained(todo)
    means = [
        tuple((a + b) / 2 for a, b in zip(*both, strict=True))
        for both in zip(before, rates(todo), strict=True)
    ]
    rate_of = {(run.method, run.backbone): rate for run, rate in zip(todo, means, strict=True)}
    what = f"{len(todo)} runs at {share:.0%} of defects"
    rows = [row(what, todo, measured["wall"], ideal(todo, rate_of))]
    rows[0] |= {"peak_gb": measured["peak"], "peak_bar": MEMORY}

    from benchmarks import measure

    return measure.write("grid", pd.DataFrame(rows))


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    file, *names = sys.argv[1:]
    sys.exit(_train(Path(file), [grid.parse(os.environ["PROFILE"], name) for name in names]))
