"""Which runs share the disk: all at once where their cached pixels fit, else in several turns.

Runs that read the same part of the tables at the same side share two caches. Where the disk cannot
hold those of all runs, the runs with the smallest caches train first, and their caches make room
for the next. Knows no torch.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
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
    def left(self) -> int:
        """Bytes of pixels that are still to be written."""
        return _left(self.caches)

    @property
    def lacks(self) -> int:
        """Bytes that the disk lacks for this turn when the spare caches are gone."""
        return int(max(0, self.left - cache.FULL * (_free() + _there(self.spare))))

    def make_room(self) -> None:
        """Remove the spare caches if this turn's pixels need their room.

        Raises DataError where the disk is too small without them, too, and where a run is in
        training, which may read one of them.
        """
        if self.left <= cache.FULL * _free():
            return
        if self.lacks:
            raise DataError(no_room(self))
        if busy := run_directory.in_training():
            raise DataError(
                f"the disk has no room for the next {self.left / 1e9:.1f} GB of pixels, and those "
                f"that could go may be in use: {busy[0]} is in training ({len(busy)} such runs). "
                "Wait for its end; the same command goes on."
            )
        for path, size in self.spare.items():
            if freed := _there({path: size}):
                cache.remove(path)
                print(f"removed {path} ({freed / 1e9:.1f} GB): its runs are done.", flush=True)


def no_room(turn: Turn) -> str:
    """The sentence of a disk that cannot hold the pixels of one turn."""
    side = turn.runs[0].data["cache"]
    return (
        f"{paths.WORKSPACE} lacks {turn.lacks / 1e9:.1f} GB for the pixels of {len(turn.runs)} "
        f"run(s) at {side} px, {sum(turn.caches.values()) / 1e9:.1f} GB at once: free some, set "
        "WORKSPACE to a larger disk, or name artefacts that read less, e.g. `make table1 fig2`."
    )


def plan(todo: Sequence[Run], every: Sequence[Run], tables: Tables) -> list[Turn]:
    """`todo` in as few turns as the disk allows; `every` are the runs of the command, whose other
    caches may go. A turn that is too large for the disk is planned, too: see `Turn.lacks`."""
    groups = {str(data): [run for run in todo if run.data == data] for data in _distinct(todo)}
    read = {name: caches(runs[0].data, tables) for name, runs in groups.items()}
    wanted = _joined(read.values())
    if _left(wanted) <= cache.FULL * _free():
        return [Turn(list(todo), wanted, {})]
    profiles = {run.profile for run in todo}
    others = [run for run in every if run.profile in profiles]
    tables = tables_of(others) | tables
    known = wanted | _joined(caches(data, tables) for data in _distinct(others))
    room = cache.FULL * (_free() + _there(known))
    shared: list[tuple[list[Run], Caches]] = []
    for name in sorted(groups, key=lambda name: (_left(read[name]), sum(read[name].values()))):
        runs, files = shared[-1] if shared else ([], {})
        if shared and sum((files | read[name]).values()) <= room:
            shared[-1] = runs + groups[name], files | read[name]
        else:
            shared.append((groups[name], read[name]))
    turns = []
    for number, (runs, files) in enumerate(shared):
        later = _joined(others for _, others in shared[number:])
        turns.append(Turn(runs, files, {p: size for p, size in known.items() if p not in later}))
    return turns


def caches(data: dict, tables: Tables) -> Caches:
    """The two caches that runs on these data read."""
    files = {}
    for split in sources.TABLES:
        rows = tables[same_rows(data), split]
        files[pixels.cached(data, split, rows)] = len(rows) * data["cache"] ** 2 * 3
    return files


def same_rows(data: dict) -> str:
    """What decides the rows of a table: all but the side of the cached pixels."""
    return json.dumps({k: v for k, v in data.items() if k != "cache"}, sort_keys=True)


def tables_of(runs: Sequence[Run]) -> Tables:
    """Each table that these runs read, once, by its rows and split."""
    wanted = {same_rows(run.data): run.data for run in runs}
    pairs = product(wanted.items(), sources.TABLES)
    return {(rows, split): sources.tables(data, split)[0] for (rows, data), split in pairs}


def _distinct(runs: Sequence[Run]) -> list[dict]:
    """The data of these runs, each once."""
    return list({str(run.data): run.data for run in runs}.values())


def _joined(several: Iterable[Caches]) -> Caches:
    return {path: size for files in several for path, size in files.items()}


def _left(files: Caches) -> int:
    return sum(cache.left(path, size) for path, size in files.items())


def _there(files: Caches) -> int:
    """Bytes of these caches that are on the disk."""
    return sum(files.values()) - _left(files)


def _free() -> int:
    return shutil.disk_usage(cache.disk(paths.DATA)).free
