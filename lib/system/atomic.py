"""Files and folders that appear whole: written beside their place and renamed into it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside, then rename it into place: no reader sees half of it."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def put_text(path: Path, text: str) -> Path:
    """As `put`, of a text in UTF-8."""
    return put(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def put_folder(beside: Path, folder: Path) -> Path:
    """Rename `beside` to `folder`. An old `folder` is moved aside first and deleted last."""
    aside = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    beside.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
    return folder


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
