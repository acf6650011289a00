"""Atomic writes: files and folders get a temporary name, then are renamed into place; checksums
tell later whether they are intact."""

import json
import os
import platform
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

# Names of what is being written hold the machine and the process that write it: see `sweep`.
HOST = f"{zlib.crc32(platform.node().encode()):08x}"
UNFINISHED = re.compile(r"\..*\.new-(?P<host>[0-9a-f]{8})-(?P<process>\d+)\b")
DAY = 86400.0  # seconds after which what another machine has not finished is left over
BLOCKS = 64  # that a checksum reads of a large file


def _beside(path: Path) -> Path:
    """Where this process writes what becomes `path`; writers read the format from the suffix."""
    return path.with_name(f".{path.stem}.new-{HOST}-{os.getpid()}{path.suffix}")


def put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside, then rename it into place: no reader sees half of it."""
    beside = _beside(path)
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def claim(path: Path, ours: Callable[[Path], bool]) -> None:
    """Make the folder of the file that a user wants written to `path`. Raises ValueError where
    `path` cannot be a file, or has content for which `ours(path)` is false."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it with OUT.")
    if path.exists() and path.stat().st_size and not ours(path):
        raise ValueError(f"{path} exists and differs: name another file with OUT, or remove it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"{path.parent} is a file, no folder: name another with OUT.") from None


def put_text(path: Path, text: str) -> Path:
    """As `put`, of a text in UTF-8."""
    return put(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def put_json(path: Path, content: dict[str, Any]) -> Path:
    """As `put`, of a dictionary as JSON, with the checksum that `read_json` looks at."""
    content = json.loads(json.dumps(content))  # keys become texts
    content["checksum"] = _checksum_of(content)
    return put_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `put_json` wrote; None where it is absent, was cut short or is otherwise damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content.pop("checksum", None) in (None, _checksum_of(content))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return content if whole else None


def _checksum_of(content: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def checksum(path: Path, most: int = 2**20) -> str:
    """Size and CRC-32 of a file; "" where it cannot be read. Of a file above `most` bytes, evenly
    spaced blocks of that many bytes in all are read: they show a file that was cut short, and the
    zeros that a power cut leaves in place of pages. A process reads a file again if it changed."""
    try:
        state = path.stat()
        return _checksum(path, most, state.st_ino, state.st_size, state.st_mtime_ns)
    except OSError:
        return ""


@lru_cache(maxsize=4096)
def _checksum(path: Path, most: int, *_state: int) -> str:
    with open(path, "rb") as file:
        size, length, crc = file.seek(0, os.SEEK_END), most // BLOCKS, 0
        count = min(BLOCKS, -(-size // length))
        for i in range(count):  # blocks overlap where they cover the file
            file.seek((size - length) * i // max(1, count - 1))
            crc = zlib.crc32(file.read(length), crc)
    return f"{size}-{crc:08x}"


def put_folder(beside: Path, folder: Path) -> Path:
    """Rename `beside` to `folder`. An old `folder` is moved aside first and deleted last."""
    aside = _beside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    beside.rename(folder)
    shutil.rmtree(aside, ignore_errors=True)
    return folder


@contextmanager
def new_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """A temporary folder, renamed to `folder` (absent or empty, unless `replace`) at the end of the
    block; deleted where the block raises."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f"{_beside(folder).name}-", dir=folder.parent))
    try:
        yield beside
        beside.chmod(0o755)  # mkdtemp makes it private
        if replace:
            put_folder(beside, folder)
        else:
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sweep(folders: Iterable[Path], ends: bool = False) -> None:
    """Remove what processes that have died left unfinished in these folders; what this one has not
    finished, too, if it `ends`."""
    for path in (path for folder in folders for path in folder.glob(".*.new-*")):
        name = UNFINISHED.match(path.name)
        with suppress(OSError):
            old = time.time() - path.lstat().st_mtime > DAY
            process = int(name["process"]) if name else 0
            dead = (ends and process == os.getpid()) or not _lives(process)
            if name and (dead if name["host"] == HOST else old):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _lives(process: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.AccessDenied:  # another user's
        return True
    except psutil.NoSuchProcess:
        return False
