"""What was measured on trained networks, kept in their run directories. Does not import torch.
measured.parquet holds the scores of detectors, measured.json the label-free measures and what was
fitted. `lib.training.measure` makes them. A run is complete without them, and they have a
fingerprint of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from lib.store import fingerprints
from lib.store import stored as stored_runs
from lib.store.stored import MissingRuns, Stored, load
from lib.study.grid import Run
from lib.system import atomic

SOURCES = ("training/measure", "measures/detectors", "measures/representation")  # modules of lib


@dataclass(frozen=True)
class Detected(Stored):
    """A stored run whose scores are a detector's: lib.analysis.results and lib.measures.metrics
    read them as they read a probe's."""

    detector: str  # "knn", "mahalanobis", "pca", "forest", "reconstruction"
    setting: str  # "normals" or "unlabelled"

    @property
    def trained(self) -> Stored:
        return Stored(self.run, self.path, self.origin)

    @property
    def scores(self) -> pd.DataFrame:
        """A row per validation image: `Filename` and `logit`. Every evaluation and probe that a
        protocol reads has this one score, because a detector sees the plain image."""
        images = detector_scores(self.trained, self.written)["Filename"]
        return pd.DataFrame({"Filename": images, "logit": self.logit})

    @property
    def logit(self) -> np.ndarray:
        """(n,) the scores alone, in the same order."""
        table = detector_scores(self.trained, self.written)
        return table[f"{self.detector}, {self.setting}"].to_numpy()


@lru_cache(maxsize=1)  # the views of one run are read one after another
def detector_scores(stored: Stored, written: int) -> pd.DataFrame:
    """`stored.detector_scores()`; `written` is part of the cache's key."""
    return stored.detector_scores()


def inputs(stored: Stored) -> dict[str, str]:
    """What the measurements depend on: the run, and the sources that make them."""
    return {"run": stored.record["fingerprint"], **fingerprints.code(*SOURCES)}


def state(stored: Stored) -> tuple[str, str]:
    """("complete" | "stale" | "missing", why)."""
    return fingerprints.state(stored.measured, inputs(stored), "not measured")


def record(run: Run | Stored) -> dict:
    """measured.json: measures, fitted numbers, heat maps. Raises MissingRuns where it is not
    current."""
    stored = load(run)
    status, why = state(stored)
    if status != "complete":
        what = f"the measurements of {stored.run.id} are {status} ({why})"
        raise MissingRuns(f"{what}: `make detectors PROFILE={stored.run.profile}` makes them.")
    return stored.measured


def measures(run: Run | Stored) -> dict[str, float]:
    """The label-free measures of the run's features of fixed validation images."""
    return record(run)["measures"]


def detected(run: Run | Stored) -> list[Detected]:
    """A view of the run for every detector and setting that it has."""
    stored, fits = load(run), record(run)["fits"]
    return [Detected(stored.run, stored.path, stored.origin, *name.split(", ")) for name in fits]


def require(wanted: list[Run], command: str, seeds: Sequence[int] = ()) -> list[Run]:
    """What lib.store.stored.require gives, where the measurements can be read, too."""
    wanted = stored_runs.require(wanted, command, seeds)
    absent = [run.id for run in wanted if state(load(run))[0] != "complete"]
    if absent:
        what = f"{len(absent)} of {len(wanted)} runs lack measurements that are current"
        raise MissingRuns(f"{what} ({absent[0]} ...): `{command}` makes them.")
    return wanted


def write(scores: pd.DataFrame, facts: dict, stored: Stored) -> None:
    """Both files into the run directory, the record last: with it, both are there."""
    path, table = stored.path / "measured.json", stored.path / "measured.parquet"
    path.unlink(missing_ok=True)  # it speaks of the scores that are about to be replaced
    split = [column for column in scores if column != "Filename"]
    how = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": split}
    atomic.put(table, lambda beside: scores.to_parquet(beside, index=False, **how))
    files = {table.name: atomic.checksum(table)}
    atomic.put_json(path, {"inputs": inputs(stored), "files": files, **facts})
