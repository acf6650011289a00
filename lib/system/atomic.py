"""Files that appear whole: written beside their place and renamed into it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder beside to write into; it is renamed to `folder`, which may be there if it is empty,
    at the end of the block, or removed where the block raises."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield beside
        beside.chmod(0o755)  # mkdtemp makes it private
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
