"""Errors that a user can fix: one sentence that names the file, what was found and expected, and
the next command."""

import errno
from pathlib import Path

from lib.system import paths

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: a full disk, a used up quota


class DataError(ValueError):
    """The images or tables are not what they should be."""


def of_system(error: OSError, workspace: Path) -> str:
    """An OSError as one sentence that names its file; one raised by this suite already is one."""
    if error.errno is None:
        return str(error)
    where = Path(error.filename) if isinstance(error.filename, str) else workspace
    if error.errno in DISK_FULL:
        return no_room(where)
    why = (error.strerror or str(error)).lower()
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        remedy = "change its permissions, or name another place"
        return f"{where} cannot be read or written ({why}): {remedy}."
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"{where} or what it lies in is a file where a folder should be: name another place."
    return f"{where}: {why}." if error.filename else str(error)


def no_room(folder: Path, need: str = "") -> str:
    """The sentence of a full disk: where it lies, what is free and needed, and the remedy."""
    free = f"{paths.free(folder) / 1e6:,.0f} MB are free"
    return (
        f"the disk of {folder} is full ({free}{need and ', '}{need}): free some, or set WORKSPACE "
        "to a larger one; what is finished is kept, and the same command continues."
    )
