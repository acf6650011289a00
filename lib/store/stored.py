"""Stored runs read back, from runs made here or from the committed reference. Knows no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.store import run_directory
from lib.store.fingerprints import inputs
from lib.study.grid import Run
from lib.system import paths


class MissingRuns(RuntimeError):
    """An artefact lacks runs; the message names the command that makes them."""


@dataclass(frozen=True)
class Stored:
    """A complete run as read back; `origin` is "fresh" (trained here) or "reference"
    (committed)."""

    run: Run
    path: Path
    origin: str

    @property
    def trained(self) -> "Stored":
        """The run itself, with its probes' scores; a view of a run gives the run that it shows."""
        return self

    @cached_property
    def record(self) -> dict:
        return run_directory.record(self.path)

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row per epoch."""
        return pd.read_csv(self.path / "history.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row per image, evaluation, view and probe."""
        return pd.read_parquet(self.path / "scores.parquet")


def reference(run: Run) -> Path | None:
    """The committed run, if it was made from the same Run, data and code; None else."""
    path = paths.REFERENCE / run.profile / run.id
    known = run_directory.record(path)
    return path if known is not None and known["inputs"] == inputs(run) else None


def load(run: Run | Stored) -> Stored:
    """The run made here, or the identical one of the reference; a Stored is returned as it is.
    Raises MissingRuns."""
    if isinstance(run, Stored):
        return run
    found, _ = run_directory.state(run)
    if found == "complete" or (run.profile == "paper" and found == "stale"):
        return Stored(run, run_directory.folder(run), "fresh")
    path = reference(run)
    if path is None:
        raise MissingRuns(
            f"{run.id} is {found} in profile {run.profile}: make run ID={run.id} makes it."
        )
    return Stored(run, path, "reference")


def require(wanted: list[Run], command: str) -> None:
    """Raise MissingRuns, naming `command`, unless every run can be read."""
    absent = []
    for run in wanted:
        try:
            load(run)
        except MissingRuns:
            absent.append(run.id)
    if absent:
        raise MissingRuns(
            f"{len(absent)} of {len(wanted)} runs are missing ({absent[0]} ...): `{command}` makes them."
        )


def fingerprints(wanted: list[Run]) -> list[str]:
    """What would be read for each run: origin and fingerprint; "missing" where nothing would."""
    found = []
    for run in wanted:
        try:
            stored = load(run)
        except MissingRuns:
            found.append("missing")
            continue
        found.append(f"{stored.origin}:{stored.record['fingerprint']}")
    return found
