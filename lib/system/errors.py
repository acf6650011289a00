"""Errors that a user can mend: one sentence that names the file, what was found and expected, and
the next command."""

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: a full disk, a used up quota


class DataError(ValueError):
    """The images or tables are not what they should be."""


def no_room(folder: Path, need: str = "") -> str:
    """The sentence of a full disk: where it lies, what is free and needed, and the remedy."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = f"{shutil.disk_usage(place).free / 1e6:,.0f} MB are free"
    return (
        f"the disk of {folder} is full ({free}{need and ', '}{need}): free some, or set WORKSPACE "
        "to a larger one; what is finished is kept, and the same command goes on."
    )
