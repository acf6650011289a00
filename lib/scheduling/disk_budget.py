"""Which runs share the disk: all at once where their cached pixels fit, else in several turns: the
runs with the smallest caches train first, and their caches make room for the next. Runs that read
the same part of the tables at the same side share two caches. Does not import torch."""

import json
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.data import cache, pixels, sources
from lib.store import run_directory
from lib.study.grid import Run
from lib.system import paths
from lib.system.errors import DataError

Tables = dict[tuple[str, str], pd.DataFrame]  # (`same_rows`, split) -> the rows that are read
Caches = dict[Path, int]  # file of pixels -> its bytes when whole


@dataclass(frozen=True)
class Turn:
    """Runs that train while their pixels are on the disk."""

    runs: list[Run]
    caches: Caches  # what they read
    spare: Caches  # of the same command, and read by no run of this or a later turn

    @property
    def lacks(self) -> int:
        """Bytes that the disk lacks for this turn when the spare caches are gone."""
        room = paths.free(paths.DATA) + _there(self.spare)
        return int(max(0, left(self.caches) - cache.DISK_LIMIT * room))

    def no_room(self) -> str:
        """The sentence of a disk that cannot hold the pixels of this turn."""
        side, size = self.runs[0].data["cache"], sum(self.caches.values())
        return (
            f"{paths.WORKSPACE} lacks {self.lacks / 1e9:.1f} GB for the pixels of {len(self.runs)} "
            f"run(s) at {side} px, {size / 1e9:.1f} GB at once: free some, set WORKSPACE to a "
            "larger disk, or name artefacts that read less, e.g. `make table1 fig2`."
        )

    def make_room(self) -> None:
        """Remove the spare caches if this turn's pixels need their room. Raises DataError where the
        disk is too small without them, too, and where a run in training may read one of them."""
        missing = left(self.caches)
        if missing <= cache.DISK_LIMIT * paths.free(paths.DATA):
            return
        if self.lacks:
            raise DataError(self.no_room())
        if busy := run_directory.in_training():
            raise DataError(
                f"the disk has no room for the next {missing / 1e9:.1f} GB of pixels, and those "
                f"that could go may be in use: {busy[0]} is in training ({len(busy)} such runs). "
                "Wait for its end; the same command continues."
            )
        for path, size in self.spare.items():
            if freed := _there({path: size}):
                cache.remove(path)
                print(f"removed {path} ({freed / 1e9:.1f} GB): its runs are done.", flush=True)


def plan(todo: Sequence[Run], every: Sequence[Run], tables: Tables) -> list[Turn]:
    """`todo` in as few turns as the disk allows; `every` are the runs of the command, whose other
    caches may go. A turn that is too large for the disk is planned, too: see `Turn.lacks`."""
    groups: dict[str, list[Run]] = {}  # by the data that they read
    for run in todo:
        groups.setdefault(str(run.data), []).append(run)
    parts = [(runs, caches(runs[0].data, tables)) for runs in groups.values()]
    wanted = dict(ChainMap(*(files for _, files in parts)))
    if left(wanted) <= cache.DISK_LIMIT * paths.free(paths.DATA):
        return [Turn(list(todo), wanted, {})]
    others = [run for run in every if run.profile in {one.profile for one in todo}]
    tables, known = tables_of(others) | tables, wanted
    for run in {str(run.data): run for run in others}.values():
        known = known | caches(run.data, tables)
    room = cache.DISK_LIMIT * (paths.free(paths.DATA) + _there(known))
    shared: list[tuple[list[Run], Caches]] = [([], {})]
    for own, read in sorted(parts, key=lambda part: (left(part[1]), sum(part[1].values()))):
        runs, files = shared[-1]
        if not runs or sum((files | read).values()) <= room:
            shared[-1] = runs + own, files | read
        else:
            shared.append((own, read))
    later = [set().union(*(files for _, files in shared[i:])) for i in range(len(shared))]
    return [
        Turn(runs, files, {path: size for path, size in known.items() if path not in needed})
        for (runs, files), needed in zip(shared, later, strict=True)
    ]


def caches(data: dict, tables: Tables) -> Caches:
    """The two caches that runs on these data read."""
    rows = {split: tables[same_rows(data), split] for split in sources.TABLES}
    image = data["cache"] ** 2 * 3
    return {pixels.cached(data, split, part): len(part) * image for split, part in rows.items()}


def same_rows(data: dict) -> str:
    """What decides the rows of a table: all but the side of the cached pixels."""
    return json.dumps({k: v for k, v in data.items() if k != "cache"}, sort_keys=True)


def tables_of(runs: Sequence[Run]) -> Tables:
    """Each table that these runs read, once, by its rows and split."""
    wanted = {same_rows(run.data): run.data for run in runs}.items()
    parts = [(rows, split, data) for rows, data in wanted for split in sources.TABLES]
    return {(rows, split): sources.tables(data, split)[0] for rows, split, data in parts}


def left(files: Caches) -> int:
    """Bytes of these caches that are still to be written."""
    return sum(cache.left(path, size) for path, size in files.items())


def _there(files: Caches) -> int:
    """Bytes of these caches that are on the disk."""
    return sum(files.values()) - left(files)
