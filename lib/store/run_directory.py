"""Run directories: where they lie, who works on them, and whether they are complete. Knows no
torch. A run directory counts only with a complete run.json: everything is written beside it and
renamed into place. run.json holds the checksums of the files beside it, so that a damaged run is
missing."""

import fcntl
import re
import tempfile
from contextlib import suppress
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from lib.store import fingerprints
from lib.study.grid import Run
from lib.system import atomic, paths
from lib.system.errors import DataError

# Files that a stopped run resumes from; a kill may leave them in a complete one.
RESUME_FILES = ("checkpoint.ckpt", "begun.json")


def folder(run: Run) -> Path:
    """Where the complete run lies."""
    return paths.RUNS / run.profile / run.id


def lock(run: Run) -> FileLock:
    """One lock per run, so that two processes share the work."""
    path = paths.RUNS / run.profile / ".locks" / f"{run.id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def try_lock(run: Run) -> FileLock | None:
    """The run's lock if nobody holds it, else None."""
    with suppress(Timeout):
        return lock(run).acquire(timeout=0).lock
    return None


def check_locks() -> None:
    """Raise DataError where the file system of the runs does not lock files."""
    paths.RUNS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=paths.RUNS) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{paths.RUNS} lies on a file system that does not lock files ({error.strerror}), "
                "so two trainings could write one run: set WORKSPACE to one that does (NFS 4, "
                "Lustre mounted with flock, a local disk)."
            ) from None


def in_training() -> list[str]:
    """The ids of the runs, of every profile, whose locks are held."""
    held = []
    for path in sorted(paths.RUNS.glob("*/.locks/*.lock")):
        try:
            FileLock(path).acquire(timeout=0).lock.release()
        except Timeout:
            held.append(path.stem)
    return held


def record(path: Path) -> dict | None:
    """The run.json of a run directory; None where there is no complete run."""
    return atomic.read_json(path / "run.json")


def seeds(profile: str) -> list[int]:
    """The seeds of the profile's runs that have a folder here, in order."""
    names = (re.search(r"-s(\d+)$", path.name) for path in (paths.RUNS / profile).glob("*-s*"))
    return sorted({int(name[1]) for name in names if name})


def tidy() -> None:
    """Remove `RESUME_FILES` from complete runs whose training was killed before it did."""
    for path in paths.RUNS.glob("*/*/run.json"):
        for name in RESUME_FILES if path.parent.suffix != ".partial" else ():
            (path.parent / name).unlink(missing_ok=True)


def damaged(path: Path, record: dict | None) -> str:
    """The first file in the folder `path` that is not as its `record` says; "" where all are."""
    files = (record or {}).get("files", {})
    return next((name for name, was in files.items() if atomic.checksum(path / name) != was), "")


def state(run: Run) -> tuple[str, str]:
    """("complete" | "stale" | "missing", why)."""
    path = folder(run)
    facts = record(path)
    if name := damaged(path, facts):
        return "missing", f"{name} is damaged or gone"
    absent = "run.json is damaged" if (path / "run.json").exists() else "not trained here"
    if path.with_name(f"{path.name}.partial").exists():
        absent = "begun, not finished"
    return fingerprints.state(facts, fingerprints.inputs(run), absent)


def write_scores(scores: pd.DataFrame, path: Path) -> None:
    """scores.parquet of the run directory `path`, as small as it gets: names as dictionaries,
    logits byte by byte."""
    names = [column for column in scores if column != "logit"]
    how = {"compression": "zstd", "use_dictionary": names, "use_byte_stream_split": ["logit"]}
    scores.to_parquet(path / "scores.parquet", index=False, **how)
