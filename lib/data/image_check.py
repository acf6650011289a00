"""Which images of a table are there, where, and whether each can be decoded."""

import os
import posixpath
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
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
SHOWN = "shown"  # kind of a result that holds the hash of a good image
ZEROS = 32  # bytes in a row
NAMED = 3  # names that a sentence shows


def some(names: Collection[str]) -> str:
    """The first of these names."""
    return ", ".join(sorted(names)[:NAMED]) + " ..." * (len(names) > NAMED)


class Presence:
    """Compares the names in a table with those in the folders and zips; opens no image."""

    def __init__(self, stored: Images, names: Sequence[str]):
        self.stored, self.names = stored, names
        self.absent: list[str] = []  # names of the table without an image
        self.used: set[str] = set()  # files of the table, as they are called in a folder or zip
        self.count_by_place: Counter = Counter()  # folder or zip -> images of the table read there
        self._duplicates: list[str] = []
        for name in sorted(names):
            key = files.key(name)
            found = [(f"{folder}{os.sep}", file) for folder, file in stored.found(name)]
            found += [(place.path.name, key) for place in stored.zips.members.get(key, ())]
            if not found:
                self.absent.append(name)
                continue
            self.count_by_place[found[0][0]] += 1
            self.used |= {file for _, file in found}
            if len(found) > 1:
                self._duplicates.append(name)

    @cached_property
    def all_files(self) -> set[str]:
        """Every file of the kinds in the table, in the names' folders and in the zips."""
        keys = set(map(files.key, self.names))
        endings = tuple({suffix for key in keys if (suffix := PurePosixPath(key).suffix)})
        parents = sorted({key.rpartition("/")[0] for key in keys})
        places = [(f, parent) for f in self.stored.existing_folders for parent in parents]
        files_in = ((parent, self.stored.listing(f, parent).files) for f, parent in places)
        every = (posixpath.join(parent, name) for parent, names in files_in for name in names)
        in_folders = {file for file in every if file.lower().endswith(endings)}
        return in_folders | set(self.stored.zips.members)

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
            of_names = ((name, zips.members.get(files.key(name))) for name in self.names)
            names = [name for name, places in of_names if places and places[0].path == path]
            if locked := [name for name in names if not self.stored.found(name)]:
                count = f"{len(locked):,} images are in a locked zip"
                sentences.append(f"{count}: {self._why(locked[0])}")
        reasons = map(self._why, self._duplicates)
        if different := [why for why in reasons if "other content" in why]:
            count = f"{len(different):,} names stand for two different images"
            sentences.append(f"{count}: {different[0]}")
        if self.absent:
            count = f"{len(self.absent):,} of {len(self.names):,} images are absent"
            sentences.append(f"{count} ({some(self.absent)}): {self._why(self.absent[0])}")
        return sentences

    def _why(self, name: str) -> str:
        """Why `find` refuses the image, "" if it does not."""
        place = cache.place_or_error(self.stored.find, name)
        return str(place) if isinstance(place, DataError) else ""


def examine(rows: Sequence[Any], places: Sequence[Any]) -> list[parallel.BadImage]:
    """The images at these places that cannot be used, and a hash of what each of the others shows,
    as the message of kind `SHOWN`; in any process."""
    contents: list[parallel.BadImage] = []
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
            remedy = "replace it by an intact copy, or leave it out"
            raise ImageError("damaged", f"{place} is a JPEG with damaged bytes ({why}): {remedy}.")
    return pixels.shown(image)


def _zeroed(data: bytes, image: np.ndarray) -> bool:
    """Whether zeros were written over a JPEG's picture. An intact picture has a long run of zeros
    only where it is flat, so such a run in an image without any flat block shows damage."""
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
