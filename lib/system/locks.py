"""Whether a file system locks files, on which every command relies that another may run beside."""

import fcntl
import tempfile
from pathlib import Path

from lib.system.errors import DataError


def check(folder: Path) -> None:
    """Raise DataError where the file system of `folder`, which is made, does not lock files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{folder} lies on a file system that does not lock files ({error.strerror}), so "
                "two trainings could write one run: set WORKSPACE to one that does (NFS 4, Lustre "
                "mounted with flock, a local disk)."
            ) from None
