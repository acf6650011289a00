"""Stored runs read back, made here or from the committed reference. Does not import torch."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lib.data import sources, splits
from lib.store import committed, run_directory
from lib.store.fingerprints import inputs
from lib.study import profiles
from lib.study.grid import Run
from lib.system import atomic, paths
from lib.system.errors import DataError


class MissingRuns(RuntimeError):
    """An artefact lacks runs; the message names the command that makes them."""


@dataclass(frozen=True)
class Stored:
    """A complete run as read back. `origin` is "fresh", trained here, and `path` its run directory;
    or "reference", and `path` the folder of the profile's committed tables."""

    run: Run
    path: Path
    origin: str

    @property
    def is_committed(self) -> bool:
        return self.origin == "reference"

    @property
    def trained(self) -> "Stored":
        """The run itself; of a `Detected`, the run whose features it read."""
        return self

    @cached_property
    def record(self) -> dict:
        """What run.json holds: settings, fingerprint, versions, seconds, counts, health."""
        if self.is_committed:
            return committed.record(self.path, self.run.id)
        return run_directory.record(self.path)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per epoch."""
        if self.is_committed:
            return committed.history(self.path, self.run.id)
        return pd.read_csv(self.path / "history.csv")

    def score_table(self) -> pa.Table:
        """A row per image, evaluation, view and probe; read again each time, for those of one run
        of `paper` take 90 MB of memory, and a figure reads 70 runs."""
        if self.is_committed:
            return committed.scores(self.path / "scores.parquet", self.run.id)
        return pq.read_table(self.path / "scores.parquet")

    @property
    def scores(self) -> pd.DataFrame:
        """`score_table` in pandas, which takes twice as long."""
        return self.score_table().to_pandas()

    @property
    def measured(self) -> dict | None:
        """The record of what was measured on the trained network; None where nothing was."""
        if self.is_committed:
            return committed.record(self.path, self.run.id, "measured")
        facts = atomic.read_json(self.path / "measured.json")
        return None if run_directory.damaged(self.path, facts) else facts

    def detector_scores(self) -> pd.DataFrame:
        """A row per validation image: Filename and the columns "detector, setting"."""
        columns = ["Filename", *self.measured["fits"]]
        if self.is_committed:
            table = committed.scores(self.path / "measured.parquet", self.run.id, columns)
            return table.to_pandas()
        return pd.read_parquet(self.path / "measured.parquet", columns=columns)

    @property
    def checkpoint(self) -> Path:
        """The weights, where they are kept: those of the grid, and of the walkthrough's runs in the
        reference."""
        return self.path / (f"{self.run.id}.pt" if self.is_committed else "checkpoint.pt")

    @property
    def written(self) -> int:
        """When the record was written, in nanoseconds: a run trained again has another number."""
        name = "runs.parquet" if self.is_committed else "run.json"
        return (self.path / name).stat().st_mtime_ns


def reference(run: Run) -> Stored | None:
    """The committed run, if it was made from the same Run, data and code; None else."""
    stored = Stored(run, paths.REFERENCE / run.profile, "reference")
    return stored if stored.record and stored.record["inputs"] == inputs(run) else None


def load(run: Run | Stored) -> Stored:
    """The run made here (of the profile `paper` even a stale one), or the identical one of the
    reference; a Stored is returned as it is. Raises MissingRuns."""
    if isinstance(run, Stored):
        return run
    state, _ = run_directory.state(run)
    if state == "complete" or (run.profile == "paper" and state == "stale"):
        return Stored(run, run_directory.folder(run), "fresh")
    if stored := reference(run):
        return stored
    what = f"{run.id} is {state} in profile {run.profile}"
    raise MissingRuns(f"{what}: `make run PROFILE={run.profile} ID={run.id}` trains it.")


def find(run: Run) -> Stored | None:
    """What `load` gives; None where the run is missing."""
    with suppress(MissingRuns):
        return load(run)
    return None


def unreachable(data: dict[str, Any], shares: Iterable[float | None]) -> dict[float, str]:
    """Of these shares of defects those that the user's own training images cannot reach, each with
    the reason; none for other data. Raises DataError where none can be reached."""
    if data["source"] != "own":
        return {}
    shares, written = tuple(dict.fromkeys(shares)), sources.labels_csv(data)
    state = written.stat().st_mtime_ns if written.is_file() else 0
    reasons = _reasons(json.dumps(data | {"cache": 0}), shares, f"{written} {state}")
    if reasons and len(reasons) == len(shares):
        why = next(iter(reasons.values()))
        raise DataError(f"{why} Choose other shares, for example TRAIN_SHARES=0.15,0.45.")
    return reasons


@lru_cache(maxsize=32)
def _reasons(data: str, shares: tuple[float | None, ...], _table: str) -> dict[float, str]:
    """`_table` says which table, of which time, is read."""
    values, reasons = json.loads(data), {}
    table, _ = sources.tables(values, "train")
    for share in shares:
        try:
            splits.resample(table, share, values["seed"])
        except DataError as error:
            reasons[share] = str(error)
    return reasons


def reachable(runs: list[Run]) -> list[Run]:
    """Those of `runs` whose train share the user's own images can reach."""
    left_out = unreachable(runs[0].data, [run.share for run in runs]) if runs else {}
    return [run for run in runs if run.share not in left_out]


def require(wanted: list[Run], command: str, seeds: Sequence[int] = ()) -> list[Run]:
    """The runs, without those whose train share the user's own images cannot reach, and with those
    of the reference's other seeds where no `seeds` were chosen (`with_reference_seeds`). Raises
    MissingRuns, naming `command`, unless every one can be read."""
    wanted = reachable(wanted)
    if absent := [run.id for run in wanted if not find(run)]:
        what = f"{len(absent)} of {len(wanted)} runs are missing ({absent[0]} ...)"
        raise MissingRuns(f"{what}: `{command}` makes them.")
    return wanted if seeds else with_reference_seeds(wanted)


def with_reference_seeds(runs: list[Run]) -> list[Run]:
    """The runs, and the same runs of each other reference seed of which all are there and of the
    same origin (trained here, or the reference). So runs trained here stand alone until all runs of
    another seed are trained here, too."""
    origins = {load(run).origin for run in runs}
    if len(origins) != 1:
        return runs
    seeds = {run.seed for run in runs}
    for seed in profiles.load(runs[0].profile)["reference_seeds"]:
        twins = (find(replace(run, seed=seed)) for run in runs)
        if all(twin and twin.origin in origins for twin in twins):
            seeds.add(seed)
    return list(dict.fromkeys(replace(r, seed=seed) for r in runs for seed in sorted(seeds)))
