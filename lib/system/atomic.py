"""Files and folders that appear whole: written beside their place and renamed into it."""

import os
import shutil
from collections.abc import Callable
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
