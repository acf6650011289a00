"""The cache of decoded pixels: one array on disk, filled block by block by several processes.

    X.npy           (n, side, side, 3) uint8; it appears, by renaming, when it holds every image
    X.npy.sum       its checksum, of up to 256 MB of its bytes
    X.npy.partial   the same file while it is filled; it has holes where images are missing
    X.npy.blocks    a line on what is filled, then one per finished block: its unreadable rows
    X.npy.bad.txt   the images that could not be read, a line each

Images are written one at a time, so that memory does not grow with their number. A fill that was
stopped goes on where it was.
"""

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.system import paths, progress
from lib.system.atomic import checksum, put_text
from lib.system.errors import DataError
from lib.system.parallel import BadImage, Worker, each, together

BLOCK = 512  # images between two notes: a kill loses seconds of work
ALONE = 2000  # images that one process reads in the time that others take to start
LOUD_IMAGES, LOUD_BYTES = 5000, 1e9  # a fill of more takes a while, and is announced
NAMED = 5  # bad images that the summary names
SUMMED = 2**28  # bytes that a checksum reads
DISK_LIMIT = 0.95  # share of the free disk that may be taken

Find = Callable[[Any], Any]  # an image's name, or its row -> its place
Read = Callable[[Any], np.ndarray]  # a place -> its pixels


def beside(path: Path, what: str) -> Path:
    """The cache's companion files: "sum", "partial", "blocks", "bad.txt"."""
    return path.with_name(f"{path.name}.{what}")


def is_whole(path: Path) -> bool:
    """Whether the cache is there and intact. A damaged one is removed, with a warning."""
    if not path.exists():
        return False
    with suppress(FileNotFoundError):
        note = beside(path, "sum").read_bytes()
        if note == checksum(path, SUMMED).encode():
            return True
    what = f"{path} is damaged, or has no checksum: its images are decoded again"
    print(f"warning: {what}.", file=sys.stderr, flush=True)
    path.unlink()
    return False


def left(path: Path, size: int) -> int:
    """Bytes of a cache of `size` that are not on the disk yet."""
    if path.exists():
        return 0
    with suppress(FileNotFoundError):  # the holes of a partial file take no blocks, of 512 bytes
        return max(0, size - 512 * beside(path, "partial").stat().st_blocks)
    return size


def remove(path: Path) -> None:
    """Remove the cache and its companion files, of a whole or of a half-filled one."""
    for file in (path, *(beside(path, what) for what in ("sum", "partial", "blocks", "bad.txt"))):
        file.unlink(missing_ok=True)


def fill(
    path: Path, names: Sequence[str], side: int, find: Find, read: Read, workers: int = 1
) -> None:
    """Write the images' pixels to `path`, (n, side, side, 3) uint8, with `workers` processes.
    `find(name)` gives, in this process, a place that can be pickled; `read(place)` gives, in any
    process, its pixels. Raises DataError where the disk is too full, and, after all were tried, for
    images that `find` or `read` refused with a DataError; only these are read again."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    content = {"n": len(names), "side": side, "block": BLOCK, "names": digest}
    finished, unfinished = _finished_blocks(path, content), beside(path, "partial")
    todo = {block: rows for block, rows in (blocks(len(names)) | finished).items() if rows}
    count = sum(map(len, todo.values()))
    need, workers = count * side * side * 3, workers if count > ALONE else 1
    free, long = paths.free(path.parent), count > LOUD_IMAGES or need > LOUD_BYTES
    if need > DISK_LIMIT * free:
        raise DataError(
            f"the pixel cache {path.name} needs {need / 1e9:.1f} GB more and {path.parent} has "
            f"{free / 1e9:.1f} GB free: free some, or set WORKSPACE to a larger disk."
        )
    if long:
        how = f"by {workers} processes" if workers > 1 else "by one process"
        sizes = f"{need / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free in {path.parent}"
        plan = f"{count:,} images to decode to {side} x {side} px {how}, {sizes}"
        print(f"pixel cache {path.name}: {plan}.", flush=True)
        print("Stopped half-way, the same command continues where it was.", flush=True)
    do = partial(_write, unfinished, side, _begin(path, content, finished), read)
    with open(beside(path, "blocks"), "a", encoding="utf-8") as notes:
        bad = in_blocks("pixel cache", todo, lambda r: find(names[r]), do, workers, long, notes)
    if bad:
        raise DataError(summary(bad, len(names), beside(path, "bad.txt")))
    put_text(beside(path, "sum"), checksum(unfinished, SUMMED))
    unfinished.replace(path)
    for what in ("blocks", "bad.txt"):
        beside(path, what).unlink(missing_ok=True)


def _write(
    path: Path, side: int, start: int, read: Read, rows: list, places: list
) -> list[BadImage]:
    """Read these images and write them to the file at `path`, whose rows begin at byte `start`;
    returns those that could not be read. In any process."""

    def write(row: int, place: Any) -> None:
        pixels, shape = read(place), (side, side, 3)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise TypeError(f"expected uint8 {shape}, read {pixels.dtype} {pixels.shape}")
        file.seek(start + row * pixels.nbytes)
        file.write(pixels.tobytes())

    try:
        with open(path, "r+b") as file:
            bad = each(rows, places, write)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}): free some disk, or set WORKSPACE to a "
            "larger one; the same command continues where it was."
        ) from None
    return bad


def blocks(n: int) -> dict[int, list[int]]:
    """Number of a block -> its rows, for n images."""
    starts = range(0, n, BLOCK)
    return {start // BLOCK: list(range(start, min(start + BLOCK, n))) for start in starts}


def in_blocks(
    what: str, todo, find: Find, do: Worker, workers: int, loud=True, notes=None
) -> list[BadImage]:
    """`do(rows, places)` for the blocks `todo` (number -> rows) in `workers` processes, below a
    bar; returns the images that it or `find` refused, in order. `find(row)` gives a place, in this
    process; `notes` is a file for a line on each finished block."""
    bar, bad = progress.Images(what, sum(map(len, todo.values())), loud), []
    work = ((block, rows, [place_or_error(find, r) for r in rows]) for block, rows in todo.items())
    with closing(together(do, work, workers)) as results:
        for block, refused in results:
            if notes is not None:
                notes.write(_note(block, [row for row, _, _ in refused]))
                notes.flush()
                os.fsync(notes.fileno())
            bad += refused
            bar.advance(len(todo[block]))
    bar.close()
    return sorted(bad)


def place_or_error(find: Find, image: Any) -> Any:
    """The image's place, or the DataError that refuses it."""
    try:
        return find(image)
    except DataError as error:
        return error


def _note(block: int, bad: list[int]) -> str:
    return json.dumps({"block": block, "bad": bad}) + "\n"


def _begin(path: Path, content: dict[str, Any], finished: dict[int, list[int]]) -> int:
    """Make the partial file unless one can be resumed; returns the size of its header."""
    whole = beside(path, "partial")
    if not finished:
        beside(path, "blocks").unlink(missing_ok=True)
        shape = content["n"], content["side"], content["side"], 3
        np.lib.format.open_memmap(whole, "w+", np.uint8, shape).flush()
    lines = [json.dumps(content) + "\n", *(_note(*item) for item in finished.items())]
    put_text(beside(path, "blocks"), "".join(lines))  # no torn line
    return np.load(whole, mmap_mode="r").offset


def _finished_blocks(path: Path, content: dict[str, Any]) -> dict[int, list[int]]:
    """Finished blocks -> their rows that could not be read; empty where the partial file is absent,
    is damaged, or was made for another `content`."""
    finished = {}
    try:
        np.load(beside(path, "partial"), mmap_mode="r")  # as long as its header says
        first, *lines = beside(path, "blocks").read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, EOFError, ValueError):
        return {}
    for line in lines if first == json.dumps(content) else []:
        with suppress(ValueError, KeyError, TypeError):  # a kill cut it short
            note = json.loads(line)
            finished[int(note["block"])] = [int(row) for row in note["bad"]]  # the last one holds
    return finished


def summary(bad: Sequence[BadImage], n: int, listing: Path) -> str:
    """What is wrong with the bad images, which are written to the file `listing`: a count by kind,
    and the first ones named, at least one of each kind where there is room."""
    put_text(listing, "".join(f"{kind}: {message}\n" for _, kind, message in bad))
    kinds = Counter(kind for _, kind, _ in bad)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    first = {kind: message for _, kind, message in reversed(bad)}
    messages = [*(first[kind] for kind in kinds), *(message for _, _, message in bad[:NAMED])]
    head = f"{len(bad):,} of {n:,} images cannot be used ({counts}); all are listed in {listing}; "
    head += "once they are fixed, run the same command again. The first:"
    return "\n  ".join([head, *list(dict.fromkeys(messages))[:NAMED]])
