"""Which images of a table are there, where, and whether each can be decoded."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from lib.data import cache, decoding, files, pixels
from lib.data.decoding import ImageError, Place
from lib.data.files import Images
from lib.system import parallel
from lib.system.errors import DataError

FORGIVEN = re.compile("(Corrupt JPEG data|Premature end|Inconsistent progression).*")
SHOWN = "shown"
ZEROS = 32  # bytes in a row
NAMED = 3  # names that a sentence shows


def some(names: Collection[str]) -> str:
    """The first of these names."""
    return ", ".join(sorted(names)[:NAMED]) + " ..." * (len(names) > NAMED)


class Presence:
    """Compares the names in a table with those in the folders and zips; opens no image."""

    def __init__(self, stored: Images, names: Sequence[str]):
        self.stored = stored
        self.keys = {files.key(name): name for name in names}
        self.stored_keys: set[str] = set()  # of all image files, in the table or not
        self.count_by_place: Counter = Counter()  # folder or zip -> images of the table read there
        self._duplicates: list[str] = []
        for place, key in self._entries():
            if key in self.keys and key in self.stored_keys:
                self._duplicates.append(self.keys[key])
            elif key in self.keys:
                self.count_by_place[place] += 1
            self.stored_keys.add(key)

    def _entries(self) -> Iterator[tuple[str, str]]:
        """(folder or zip, key) of every image file, in the names' folders, then in the zips."""
        parents = sorted({key.rpartition("/")[0] for key in self.keys})
        endings = tuple({suffix for key in self.keys if (suffix := PurePosixPath(key).suffix)})
        for folder in self.stored.existing_folders:
            for parent in parents:
                for entry in os.scandir(folder / parent) if os.path.isdir(folder / parent) else ():
                    key = files.key(f"{parent}/{entry.name}" if parent else entry.name)
                    if (key in self.keys or key.endswith(endings)) and entry.is_file():
                        yield f"{folder}{os.sep}", key
        for key, places in self.stored.zips.members.items():
            for place in places:
                yield place.path.name, key

    @cached_property
    def absent(self) -> list[str]:
        """Names of the table without an image."""
        return sorted(name for key, name in self.keys.items() if key not in self.stored_keys)

    def zips(self) -> str:
        """Which zips of the archive are there, "" where there are none."""
        series, missing = self.stored.zips.series, self.stored.zips.missing
        if not self.stored.zips.paths:
            return ""
        count, absent = "All", ""
        if missing:
            count = f"{len(series) - len(missing)} of the"
            absent = f"; absent: {files.in_ranges(missing, series)}"
        return f"{count} {len(series)} zips {series[0]} to {series[-1]} are there{absent}."

    def wrong(self) -> list[str]:
        """A sentence on each damaged or locked zip, on names of two images, on absent images."""
        zips, again = self.stored.zips, "download it again"
        damaged = zips.damaged.items()
        sentences = [f"{path} is not a complete zip ({why}): {again}." for path, why in damaged]
        for path in sorted(zips.locked):
            inside = [key for key, places in zips.members.items() if places[0].path == path]
            names = [self.keys[key] for key in inside if key in self.keys]
            if locked := [name for name in names if not self.stored.files(name)]:
                count = f"{len(locked):,} images are in a locked zip"
                sentences.append(f"{count}: {self._why(locked[0])}")
        reasons = map(self._why, self._duplicates)
        if different := [why for why in reasons if "other content" in why]:
            count = f"{len(different):,} names stand for two different images"
            sentences.append(f"{count}: {different[0]}")
        if self.absent:
            count = f"{len(self.absent):,} of {len(self.keys):,} images are absent"
            sentences.append(f"{count} ({some(self.absent)}): {self._why(self.absent[0])}")
        return sentences

    def _why(self, name: str) -> str:
        """What `find` says against the image."""
        place = cache.place_or_error(self.stored.find, name)
        return str(place) if isinstance(place, DataError) else ""


def examine(rows: Sequence[Any], places: Sequence[Any]) -> list[parallel.Bad]:
    """The images at these places that cannot be used, and a hash of what each of the others shows,
    as the message of kind `SHOWN`; in any process."""
    contents: list[parallel.Bad] = []
    bad = parallel.each(rows, places, lambda r, p: contents.append((r, SHOWN, _content(p))))
    return bad + contents


def _content(place: Place) -> str:
    """A hash of what the image shows. Raises ImageError where it cannot be decoded, and for a JPEG
    with damaged bytes, which decoders forgive: they fill in the pixels that are lost."""
    image = decoding.decode(place)
    data = decoding.read_bytes(place)
    if data.startswith(b"\xff\xd8"):
        complaint = FORGIVEN.search(_heard(data))
        if complaint or _zeroed(data, image):
            why = complaint.group() if complaint else "a run of zeros"
            remedy = "replace it by an intact copy, or remove the row"
            raise ImageError("damaged", f"{place} is a JPEG with damaged bytes ({why}): {remedy}.")
    return pixels.shown(image)


def _zeroed(data: bytes, image: np.ndarray) -> bool:
    """Whether zeros were written over a JPEG's picture: a run of zeros stands for a flat part at
    most, and the image has none."""
    at = 2  # a progressive picture holds such runs wherever a scan adds nothing
    while at + 4 < len(data) and data[at + 1] != 0xDA:  # tables and metadata before the picture
        if data[at + 1] == 0xC2:
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    height, width = (side // 8 for side in image.shape[:2])
    blocks = image[: 8 * height, : 8 * width].reshape(height, 8, width, 8, 3)
    flat = (np.ptp(blocks, axis=(1, 3)) == 0).all(axis=-1)
    return bytes(ZEROS) in data[at : data.find(b"\xff\xd9", at)] and not flat.any()


def _heard(data: bytes) -> str:
    """What libjpeg writes on standard error about a JPEG. OpenCV lets it, Pillow does not."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        heard.seek(0)
        return heard.read().decode(errors="replace")


def scan(
    tables: Sequence[tuple[Images, Sequence[str]]], jobs: int, listing: Path
) -> tuple[list[str], dict[str, str]]:
    """Decode every image of these tables in `jobs` processes, past bad ones; returns what is wrong
    in one text or none, and name -> hash of what the image shows. Writes every bad image to the
    file `listing`."""
    pairs = [(stored, name) for stored, names in tables for name in names]
    count = len(pairs)
    jobs, todo = jobs if count > cache.ALONE else 1, cache.blocks(count)
    print(f"\nEvery image: {count:,} to decode in {jobs} process(es).", flush=True)
    results = cache.in_blocks("every image", todo, lambda r: Images.find(*pairs[r]), examine, jobs)
    bad = [result for result in results if result[1] != SHOWN]
    contents = {pairs[row][1]: content for row, kind, content in results if kind == SHOWN}
    listing.unlink(missing_ok=True)
    if not bad:
        print(f"  All {count:,} images can be used.", flush=True)
        return [], contents
    listing.parent.mkdir(parents=True, exist_ok=True)
    return [cache.summary(bad, count, listing)], contents
