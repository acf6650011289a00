"""The named folders, the same from any working directory.

`WORKSPACE` (environment) moves what the suite writes, data, runs and renderings, to another disk;
sources and the committed reference stay in the repository.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKSPACE = Path(os.environ.get("WORKSPACE", ROOT)).expanduser().resolve()

PROFILES = ROOT / "lib" / "study" / "profiles"
NOTEBOOKS = ROOT / "notebooks"
REFERENCE = ROOT / "results" / "reference"
REFERENCE_FIGURES = ROOT / "figures"

DATA = WORKSPACE / "data"
RUNS = WORKSPACE / "runs"
BUILD = WORKSPACE / "build"
FIGURES = WORKSPACE / "figures"
