"""Run directories: where they lie, what their results depend on, and whether they are complete.
Knows no torch.

A run directory counts only with a complete run.json: everything is written beside it and renamed
into place.
"""

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from lib.store import fingerprints
from lib.study.grid import Run
from lib.system import paths


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
    held = lock(run)
    try:
        held.acquire(timeout=0)
    except Timeout:
        return None
    return held


def record(path: Path) -> dict | None:
    """The run.json of a run directory; None where there is no complete run."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return json.loads((path / "run.json").read_text())
    return None


def state(run: Run) -> tuple[str, str]:
    """("complete" | "stale" | "missing", why)."""
    known = record(folder(run))
    if known is None:
        return "missing", "not trained here"
    return fingerprints.against(known, fingerprints.inputs(run))


def write_scores(scores: pd.DataFrame, folder: Path) -> None:
    """scores.parquet of a run directory, as small as it gets: names as dictionaries, logits byte by
    byte."""
    names = [c for c in scores if c != "logit"]
    scores.to_parquet(
        folder / "scores.parquet",
        compression="zstd",
        index=False,
        use_dictionary=names,
        use_byte_stream_split=["logit"],
    )
