"""What is measured on frozen runs without training any, beside each: scores of detectors, and
label-free measures.

    python -m lib.store.measured [ARTEFACT ...]     compute what is missing or stale for these artefacts (default: all)

`frozen.json` and `frozen.parquet` lie in the run's folder, which does not need them to be complete
and takes them along when it is trained again. PROFILE, METHODS, SEEDS, JOBS and DEVICE come from
the environment. The parent process never imports torch.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from lib.store import fingerprints
from lib.store import stored as stored_runs
from lib.store.stored import MissingRuns, Stored, load
from lib.study import protocols
from lib.study.grid import Run
from lib.system import paths

FILES = (
    "frozen.parquet",
    "frozen.json",
)  # in the order of writing: with the last one, both are there
SOURCES = (
    "training/measure",
    "measures/detectors",
    "measures/representation",
)  # modules of lib that decide what they hold
SETTINGS = ("normals", "unlabelled")


@dataclass(frozen=True)
class Detected(Stored):
    """A stored run whose scores are a detector's: lib.analysis.results and lib.measures.metrics
    read them as they read a probe's."""

    detector: str  # "knn", "mahalanobis", "pca", "forest", "reconstruction"
    setting: str  # "normals" or "unlabelled"

    @property
    def trained(self) -> Stored:
        return Stored(self.run, self.path, self.origin)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """A row per validation image, for each reading that a protocol asks for: a detector sees
        the plain image."""
        table = pd.read_parquet(
            self.path / "frozen.parquet", columns=["Filename", f"{self.detector}, {self.setting}"]
        )
        found = table.set_axis(["Filename", "logit"], axis=1).assign(split="val")
        rules = protocols.PROTOCOLS.values()
        readings = {(e, rule.probe) for rule in rules for e in (rule.table, rule.imbalance)}
        return pd.concat(found.assign(evaluation=e, probe=p) for e, p in sorted(readings))


def inputs(stored: Stored) -> dict[str, str]:
    """What the frozen results depend on: the run, and the sources that pass its images and score
    them."""
    modules = {
        f"lib/{name}.py": fingerprints.syntax(paths.ROOT / "lib" / f"{name}.py") for name in SOURCES
    }
    return {"run": stored.record["fingerprint"], **modules}


def held(stored: Stored) -> dict | None:
    """frozen.json as it lies beside the run, None where there is none."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads((stored.path / "frozen.json").read_text())
    return None


def state(stored: Stored) -> tuple[str, str]:
    """("complete" | "stale" | "missing", why)."""
    known = held(stored)
    if known is None:
        return "missing", "not computed"
    return fingerprints.against(known, inputs(stored))


def record(run: Run | Stored) -> dict:
    """The frozen results' record: measures, fitted numbers, heat maps. Raises MissingRuns where it
    is not current."""
    stored = load(run)
    found, why = state(stored)
    if found != "complete":
        profile = stored.run.profile
        raise MissingRuns(
            f"the frozen results of {stored.run.id} are {found} ({why}): `make detectors PROFILE={profile}` makes them."
        )
    return held(stored)


def measures(run: Run | Stored) -> dict[str, float]:
    """The label-free measures (lib.measures.representation) of the run's features of fixed
    validation images."""
    return record(run)["measures"]


def detected(run: Run | Stored) -> list[Detected]:
    """A view of the run for every detector and setting that it has."""
    stored, names = load(run), record(run)["fits"]
    return [Detected(stored.run, stored.path, stored.origin, *name.split(", ")) for name in names]


def require(wanted: list[Run], command: str) -> None:
    """Raise MissingRuns, naming `command`, unless every run and its frozen results can be read."""
    stored_runs.require(wanted, command)
    absent = [run.id for run in wanted if state(load(run))[0] != "complete"]
    if absent:
        raise MissingRuns(
            f"{len(absent)} of {len(wanted)} runs lack frozen results that are current ({absent[0]} ...): "
            f"`{command}` makes them."
        )


def fingerprint(run: Run | Stored) -> str:
    """Hash over `inputs`: equal ones promise equal results."""
    return fingerprints.digest(inputs(load(run)))


def write(scores: pd.DataFrame, found: dict, stored: Stored) -> None:
    """Both files beside the run, each written aside and renamed, the record last."""
    names = [c for c in scores if c != "Filename"]
    beside = {name: stored.path / f".{name}.{os.getpid()}" for name in FILES}
    (stored.path / "frozen.json").unlink(
        missing_ok=True
    )  # it speaks of the scores about to be replaced
    scores.to_parquet(
        beside["frozen.parquet"],
        compression="zstd",
        index=False,
        use_dictionary=False,
        use_byte_stream_split=names,
    )
    known = inputs(stored)
    beside["frozen.json"].write_text(json.dumps({"inputs": known, **found}) + "\n")
    for name, path in beside.items():
        path.replace(stored.path / name)
