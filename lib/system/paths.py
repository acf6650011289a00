"""The named folders, the same from any working directory.

`WORKSPACE` (environment) moves what the suite writes, data, runs and renderings, to another disk;
sources and the committed reference stay in the repository.
"""

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
