"""Which images of a table are there, where, and whether each can be decoded."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.data import cache, files
from lib.data.files import Images
from lib.system import parallel, progress
from lib.system.errors import DataError

NAMED = 3  # names that stand for many


def some(names: Collection[str]) -> str:
    """The first of these names."""
    return ", ".join(sorted(names)[:NAMED]) + " ..." * (len(names) > NAMED)


class Presence:
    """The images that a table names, and what lies in the folders and zips: names are compared,
    nothing is opened."""

    def __init__(self, stored: Images, names: Sequence[str]):
        self.stored = stored
        self.keys = {files.key(name): name for name in names}
        self.found: set[str] = set()  # keys of all image files, in the table or not
        self.where: Counter = Counter()  # folder or zip -> how many images of the table are read from there
        self._twice: list[str] = []
        for place, key in self._entries():
            if key not in self.keys:
                pass
            elif key in self.found:
                self._twice.append(key)
            else:
                self.where[place] += 1
            self.found.add(key)

    def _entries(self) -> Iterator[tuple[str, str]]:
        """(folder or zip, key) of every image file in the folders that the names point to, then in
        the zips."""
        parents = sorted({key.rpartition("/")[0] for key in self.keys})
        endings = tuple({"." + key.rpartition(".")[2] for key in self.keys})
        for folder in self.stored.there:
            for parent in parents:
                if not (folder / parent).is_dir():
                    continue
                with os.scandir(folder / parent) as inside:
                    for entry in inside:
                        key = files.key(f"{parent}/{entry.name}" if parent else entry.name)
                        if key.endswith(endings) and entry.is_file():
                            yield f"{folder}{os.sep}", key
        for key, places in self.stored.members.items():
            for place in places:
                yield place.path.name, key

    @cached_property
    def absent(self) -> list[str]:
        """Names of the table without an image."""
        return sorted(name for key, name in self.keys.items() if key not in self.found)

    def zips(self) -> str:
        """Which zips of the archive are there, if any."""
        series, missing = files.SERIES.get(self.stored.archives, ()), self.stored.missing_zips
        if not self.stored.zips:
            return ""
        if not missing:
            return f"All {len(series)} zips {series[0]} to {series[-1]} are there."
        there = f"{len(series) - len(missing)} of the {len(series)} zips {series[0]} to {series[-1]} are there"
        return f"{there}; absent: {files.in_ranges(missing, series)}."

    def wrong(self) -> list[str]:
        """What is wrong, a sentence each: damaged or locked zips, names that stand for two images,
        absent images."""
        wrong = [f"{p} is not a complete zip ({why}): download it again." for p, why in self.stored.damaged.items()]
        for path in sorted(self.stored.locked):
            inside = [k for k, places in self.stored.members.items() if k in self.keys and places[0].path == path]
            locked = [self.keys[key] for key in inside if not self.stored.files(self.keys[key])]
            wrong += [f"{len(locked):,} images are in a locked zip: {self._why(locked[0])}"] if locked else []
        two = [told for key in self._twice if "other content" in (told := self._why(self.keys[key]))]
        wrong += [f"{len(two):,} names stand for two different images: {two[0]}"] if two else []
        if self.absent:
            told = f"{len(self.absent):,} of {len(self.keys):,} images are absent ({some(self.absent)})"
            wrong.append(f"{told}: {self._why(self.absent[0])}")
        return wrong

    def _why(self, name: str) -> str:
        """What `find` says against the image."""
        place = cache.found(self.stored.find, name)
        return str(place) if isinstance(place, DataError) else ""


def unusable(rows: Sequence[Any], places: Sequence[Any]) -> list[parallel.Bad]:
    """The images at these places that cannot be decoded; in any process."""
    return parallel.each(rows, places, lambda _, place: files.decode(place))


def scan(asked: Sequence[tuple[Images, Sequence[str]]], jobs: int, listing: Path) -> list[str]:
    """Decode every image of these tables in `jobs` processes, past bad ones; returns what is wrong,
    summed up."""
    count = sum(len(names) for _, names in asked)
    pairs = [(stored, name) for stored, names in asked for name in names]
    jobs = jobs if count > cache.ALONE else 1
    print(f"\nEvery image: {count:,} to decode in {jobs} process(es).", flush=True)
    starts = range(0, count, cache.BLOCK)
    blocks = {start: range(start, min(start + cache.BLOCK, count)) for start in starts}
    work = ((i, list(rows), [cache.found(pairs[r][0].find, pairs[r][1]) for r in rows]) for i, rows in blocks.items())
    bar, bad = progress.Images("every image", count, loud=True), []
    with closing(parallel.together(unusable, work, jobs)) as finished:
        for start, found in finished:
            bad += found
            bar.advance(len(blocks[start]))
    bar.close()
    listing.unlink(missing_ok=True)
    if not bad:
        print(f"  All {count:,} images can be used.", flush=True)
        return []
    listing.parent.mkdir(parents=True, exist_ok=True)
    return [cache.summary(sorted(bad), count, listing)]
