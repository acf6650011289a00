"""The named folders, the same from any working directory. WORKSPACE moves what the suite writes."""

import shutil
from pathlib import Path

from lib.system import environment

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = (environment.workspace() or ROOT).resolve()

PROFILES = ROOT / "lib" / "study" / "profiles"
NOTEBOOKS = ROOT / "notebooks"
REFERENCE = ROOT / "results" / "reference"
REFERENCE_FIGURES = ROOT / "figures"

DATA = WORKSPACE / "data"
RUNS = WORKSPACE / "runs"
BUILD = WORKSPACE / "build"
FIGURES = WORKSPACE / "figures"


def free(folder: Path) -> int:
    """Free bytes where `folder` lies or will lie."""
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def written() -> list[Path]:
    """The folders in which files are written beside, then renamed into place."""
    below = [(DATA, ""), (DATA, "*"), (RUNS, "*"), (RUNS, "*/*"), (RUNS, ".slurm/*")]
    below += [(BUILD, "*"), (BUILD, "*/*"), (BUILD, "*/*/stamps"), (FIGURES, "*"), (FIGURES, "*/*")]
    return [path for top, part in below for path in (top.glob(part) if part else [top])]
