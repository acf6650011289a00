"""The cache of decoded pixels: one array on disk, filled block by block by several processes,
resumable.

    X.npy           (n, side, side, 3) uint8; appears, by renaming, when every image is in it
    X.npy.partial   the same while it is filled, with holes where images are missing
    X.npy.blocks    what is being filled, then a line for every finished block, with its rows that could not be read
    X.npy.bad.txt   the images that could not be read, a line each

Images are written one at a time and flushed block by block, so that memory does not grow with their
number.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lib.system.errors import DataError
from lib.system import progress
from lib.system.parallel import Bad, each, together

BLOCK = 512  # images between two notes: a kill loses seconds of work
ALONE = 2000  # images that one process has read before others have started
LOUD_IMAGES, LOUD_BYTES = 5000, 1e9  # from here on it takes a while, and is announced
NAMED = 5  # bad images that the summary names
FULL = 0.95  # share of the free disk that may be taken


@dataclass(frozen=True)
class Task:
    """What every process of a fill knows: the file, where its rows begin, and how a place becomes
    pixels."""

    partial: Path
    side: int
    start: int  # bytes of the .npy header
    read: Callable[[Any], np.ndarray]

    @property
    def row(self) -> int:
        """Bytes of an image."""
        return self.side * self.side * 3

    def write(self, rows: Sequence[int], places: Sequence[Any]) -> list[Bad]:
        """Read and write these images; returns those that could not be read. What it has written is
        on disk."""
        try:
            with open(self.partial, "r+b") as file:
                bad = each(rows, places, partial(self._write, file))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(
                f"{self.partial} cannot be written ({error.strerror}): free some disk, or set WORKSPACE "
                "to a larger one; the same command goes on where it was."
            ) from None
        return bad

    def _write(self, file: BinaryIO, row: int, place: Any) -> None:
        pixels = self.read(place)
        if pixels.shape != (self.side, self.side, 3) or pixels.dtype != np.uint8:
            raise TypeError(f"expected uint8 ({self.side}, {self.side}, 3), read {pixels.dtype} {pixels.shape}")
        file.seek(self.start + row * self.row)
        file.write(pixels.tobytes())


def beside(path: Path, what: str) -> Path:
    """The cache's companion files: "partial", "blocks", "bad.txt"."""
    return path.with_name(f"{path.name}.{what}")


def left(path: Path, size: int) -> int:
    """Bytes of a cache of `size` that are not on the disk yet: a partial file has holes where
    images are missing."""
    if path.exists():
        return 0
    with suppress(FileNotFoundError):
        return max(0, size - 512 * beside(path, "partial").stat().st_blocks)  # POSIX counts blocks of 512
    return size


def disk(folder: Path) -> Path:
    """Where `folder` lies or will lie: itself, or its nearest parent that exists."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def fill(path: Path, names: Sequence[str], side: int, find: Callable[[str], Any], read: Callable[[Any], np.ndarray],
         workers: int = 1) -> None:
    """Write the images' pixels to `path`, (n, side, side, 3) uint8, with `workers` processes.

    `find(name)` gives, in this process, a place that can be pickled; `read(place)` its pixels, in
    any process. After a stop, the same call goes on where it was. Raises DataError where the disk
    is too full, and, after all were tried, for images that `find` or `read` refused (DataError):
    the others stay, so that only these are read again.
    """
    filling = _filling(names, side)
    todo = _remaining(path, filling)
    count = sum(map(len, todo.values()))
    need, workers = count * side * side * 3, workers if count > ALONE else 1
    long = count > LOUD_IMAGES or need > LOUD_BYTES
    _check_disk(path, need)
    if long:
        _announce(path, count, need, side, workers)
    task = Task(beside(path, "partial"), side, _begin(path, filling), read)
    bar, bad = progress.Images("pixel cache", count, long), []
    work = ((block, rows, [found(find, names[row]) for row in rows]) for block, rows in todo.items())
    with open(beside(path, "blocks"), "a") as notes, closing(together(task.write, work, workers)) as finished:
        for block, refused in finished:
            notes.write(json.dumps({"block": block, "bad": [row for row, _, _ in refused]}) + "\n")
            notes.flush()
            os.fsync(notes.fileno())
            bad += refused
            bar.advance(len(todo[block]))
    bar.close()
    if bad:
        raise DataError(summary(sorted(bad), len(names), beside(path, "bad.txt")))
    task.partial.replace(path)
    for what in ("blocks", "bad.txt"):
        beside(path, what).unlink(missing_ok=True)


def found(find: Callable[[str], Any], name: str) -> Any:
    """The place, or the DataError that refuses the image."""
    try:
        return find(name)
    except DataError as error:
        return error


def _filling(names: Sequence[str], side: int) -> dict[str, Any]:
    """What a partial file must have been made of to be gone on with: as many, the same names in
    order, side, blocks."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return {"n": len(names), "side": side, "block": BLOCK, "names": digest}


def _remaining(path: Path, filling: dict[str, Any]) -> dict[int, list[int]]:
    """The rows of every block that are still to be read."""
    done, n = _finished(path, filling), filling["n"]
    blocks = {i // BLOCK: list(range(i, min(i + BLOCK, n))) for i in range(0, n, BLOCK)}
    todo = {block: done.get(block, rows) for block, rows in blocks.items()}
    return {block: rows for block, rows in todo.items() if rows}


def _begin(path: Path, filling: dict[str, Any]) -> int:
    """Make the partial file unless one can be gone on with; returns the bytes of its header."""
    partial, notes = beside(path, "partial"), beside(path, "blocks")
    done = _finished(path, filling)
    if not done:
        notes.unlink(missing_ok=True)
        shape = filling["n"], filling["side"], filling["side"], 3
        np.lib.format.open_memmap(partial, "w+", np.uint8, shape).flush()
    lines = [filling, *({"block": block, "bad": bad} for block, bad in done.items())]
    whole = beside(path, "blocks.new")  # without a line that a kill cut short
    whole.write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole.replace(notes)
    return np.load(partial, mmap_mode="r").offset


def _finished(path: Path, filling: dict[str, Any]) -> dict[int, list[int]]:
    """Block -> its rows that could not be read, for every block noted as finished; nothing for
    another filling."""
    notes = beside(path, "blocks")
    lines = notes.read_text().splitlines() if notes.exists() and beside(path, "partial").exists() else []
    if not lines or lines[0] != json.dumps(filling):
        return {}
    done = {}
    for line in lines[1:]:
        with suppress(json.JSONDecodeError):  # cut short by a kill
            note = json.loads(line)
            done[note["block"]] = note["bad"]  # the last note of a block holds
    return done


def _check_disk(path: Path, need: float) -> None:
    """Raise DataError where the disk is too full for what is still to be written, in bytes."""
    free = shutil.disk_usage(path.parent).free
    if need > FULL * free:
        raise DataError(
            f"the pixel cache {path.name} needs {need / 1e9:.1f} GB more and {path.parent} has {free / 1e9:.1f} GB "
            "free: free some, or set WORKSPACE to a larger disk."
        )


def _announce(path: Path, count: int, need: float, side: int, workers: int) -> None:
    """What a long fill takes, before it starts."""
    free = shutil.disk_usage(path.parent).free
    told = f"{need / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free in {path.parent}"
    how = f"by {workers} processes" if workers > 1 else "by one process"
    print(f"pixel cache {path.name}: {count:,} images to decode to {side} x {side} px {how}, {told}.", flush=True)
    print("Stopped half-way, the same command goes on where it was.", flush=True)


def summary(bad: Sequence[Bad], n: int, listing: Path) -> str:
    """What is wrong with the bad images, by kind, the first ones named; all of them go into the
    file `listing`."""
    listing.write_text("".join(f"{kind}: {message}\n" for _, kind, message in bad))
    kinds = Counter(kind for _, kind, _ in bad)
    told = ", ".join(f"{many:,} {kind}" for kind, many in kinds.most_common())
    first = {kind: message for _, kind, message in reversed(bad)}  # the first of each kind, then others
    named = list(dict.fromkeys([*(first[kind] for kind in kinds), *(message for _, _, message in bad[:NAMED])]))
    shown = named[:NAMED]
    return "\n  ".join([
        f"{len(bad):,} of {n:,} images cannot be used ({told}); all are listed in {listing}; once they are mended, "
        "run the same command again. The first:", *shown,
    ])
