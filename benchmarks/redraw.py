"""(e) Time from the command to the figure, runs present: the committed reference's, and those made
here."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks import measure
from lib.store import run_directory
from lib.store.stored import reference
from lib.study import grid
from lib.system import paths

ARTEFACT, PROFILE = "fig2", "mini"
ROUNDS = 3
BAR = 15.0  # seconds


def seconds_of(targets: list[str], shared: list[Path]) -> float:
    """Seconds of `make` with these targets in an empty workspace, which has nothing rendered, and
    links to `shared`.

    Raises ValueError with the first error of what failed.
    """
    with TemporaryDirectory() as folder:
        for path in shared:
            (Path(folder) / path.name).symlink_to(path)
        command = ["make", *targets, f"PYTHON={sys.executable}", f"PROFILE={PROFILE}"]
        outer = ("MAKEFLAGS", "MAKELEVEL", "PROTOCOL")  # of a make around this one
        environment = {name: value for name, value in os.environ.items() if name not in outer}
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            env=environment | {"WORKSPACE": folder},
            check=False,
        )
        seconds = time.perf_counter() - began
        figure = Path(folder) / "figures" / PROFILE / f"{ARTEFACT}.png"
        if done.returncode or not figure.exists():
            output = (done.stderr + done.stdout).splitlines()
            errors = [line for line in output if "error:" in line] or ["no figure"]
            raise ValueError(f"make {' '.join(targets)}: {errors[0].removeprefix('error: ')}")
        return seconds


def ways() -> dict[str, tuple[list[str], list[Path]]]:
    """Command -> its targets and the folders it reads. Prints which commands are left out, because
    their runs are not there."""
    commands = {f"make redraw ARTEFACT={ARTEFACT}": (["redraw", f"ARTEFACT={ARTEFACT}"], [])}
    runs = grid.runs(ARTEFACT, PROFILE)
    if any(reference(run) is None for run in runs):
        commands.clear()
        print("redraw: the committed reference is of other code (make reference renews it).")
        print("Its figure is left out.")
    if all(run_directory.state(run)[0] == "complete" for run in runs):
        commands[f"make {ARTEFACT}"] = ([ARTEFACT], [paths.DATA, paths.RUNS])
    else:
        print(f"redraw: runs of {ARTEFACT} are not complete here (make explain says which).")
        print(f"make {ARTEFACT} is left out.")
    return commands


def main() -> pd.DataFrame | None:
    """Measure, and write the part `redraw` of benchmarks/results/measured.csv."""
    commands = ways()
    if not commands:
        return None
    seconds = measure.alternate(
        {name: partial(seconds_of, *way) for name, way in commands.items()}, ROUNDS
    )
    rows = measure.compare(seconds, next(iter(seconds)), "s", np.asarray)
    rows["bar"] = BAR
    return measure.write("redraw", rows.drop(columns=["speed_q1", "speed", "speed_q3"]))
