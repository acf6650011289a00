"""Files that appear whole: written beside their place and renamed into it."""

import os
from collections.abc import Callable
from pathlib import Path


def put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside, then rename into place: no reader sees half a file."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path
