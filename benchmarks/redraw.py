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


def made(targets: list[str], shared: list[Path]) -> float:
    """Seconds of `make` with these targets in an empty workspace, which has nothing rendered, and
    links to `shared`.

    Raises ValueError with the last line of what failed.
    """
    with TemporaryDirectory() as folder:
        for path in shared:
            (Path(folder) / path.name).symlink_to(path)
        command = [
            "make",
            *targets,
            f"PYTHON={sys.executable}",
            f"PROFILE={PROFILE}",
            f"WORKSPACE={folder}",
        ]
        kept = {
            k: v
            for k, v in os.environ.items()
            if k not in ("MAKEFLAGS", "MAKELEVEL", "PROTOCOL", "WORKSPACE")
        }
        began = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
            env=kept | {"WORKSPACE": folder},
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode or not list(
            (Path(folder) / "figures" / PROFILE).glob(f"{ARTEFACT}.png")
        ):
            said = [
                line for line in (done.stderr + done.stdout).splitlines() if "error:" in line
            ] or ["no figure"]
            raise ValueError(f"make {' '.join(targets)}: {said[0].removeprefix('error: ')}")
        return seconds


def ways() -> dict[str, tuple[list[str], list[Path]]]:
    """Command -> its targets and the folders it reads; those whose runs are not there are left out,
    and said."""
    found = {f"make redraw ARTEFACT={ARTEFACT}": (["redraw", f"ARTEFACT={ARTEFACT}"], [])}
    wanted = grid.runs(ARTEFACT, PROFILE)
    if any(reference(run) is None for run in wanted):
        found.clear()
        print(
            "redraw: the committed reference is of other code (make reference renews it), its figure is left out"
        )
    if all(run_directory.state(run)[0] == "complete" for run in wanted):
        found[f"make {ARTEFACT}"] = ([ARTEFACT], [paths.DATA, paths.RUNS])
    else:
        print(
            f"redraw: runs of {ARTEFACT} are not complete here (make explain says which), make {ARTEFACT} is left out"
        )
    return found


def main() -> pd.DataFrame | None:
    """Measure, and write benchmarks/results/redraw.csv."""
    found = ways()
    if not found:
        return None
    taken = measure.alternate({name: partial(made, *way) for name, way in found.items()}, ROUNDS)
    rows = measure.compare(taken, next(iter(taken)), "s", np.asarray)
    rows["bar"] = BAR
    return measure.write("redraw", rows.drop(columns=["speed_q1", "speed", "speed_q3"]))
