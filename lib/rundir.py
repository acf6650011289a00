"""Run directories: where they lie, what their results depend on, and whether they are complete. Knows no torch.

A run directory counts only with a complete run.json: everything is written beside it and renamed into place.
"""

import ast
import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from lib import datasets, methods, paths
from lib.study import Run

# Modules that decide what a run holds; a change of their syntax trees (docstrings aside) makes runs stale.
SHARED = ("methods/base", "trainers", "devices", "datasets", "views", "backbones", "optimisers", "monitors", "probes")


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


@lru_cache
def syntax(path: Path) -> str:
    """Hash of a module's syntax tree without docstrings: comments and layout do not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@lru_cache
def _identity(data: str) -> str:
    return datasets.identity(json.loads(data))


def inputs(run: Run) -> dict[str, str]:
    """What the run's results depend on, name -> hash or value: its settings, its data, each source file."""
    settings = json.dumps(run.resolved(), sort_keys=True)
    found = {"settings": hashlib.sha256(settings.encode()).hexdigest()[:12]}
    found["data"] = _identity(json.dumps(run.data, sort_keys=True))
    for module in (*SHARED, f"methods/{methods.CLASSES[run.method][0]}"):
        found[f"lib/{module}.py"] = syntax(paths.ROOT / "lib" / f"{module}.py")
    return found


def fingerprint(run: Run) -> str:
    """Hash over `inputs`: equal fingerprints promise equal results."""
    return digest(inputs(run))


def digest(found: dict[str, str]) -> str:
    """Hash over `inputs`, a run's or those of what is kept beside it."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


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
    return against(known, inputs(run))


def against(known: dict, now: dict[str, str]) -> tuple[str, str]:
    """("complete" | "stale", why) of a record with the `inputs` of its time, held against those of now."""
    changed = [name for name in now if known["inputs"].get(name) != now[name]]
    return ("stale", f"changed since: {', '.join(changed)}") if changed else ("complete", "")


def write_scores(scores: pd.DataFrame, folder: Path) -> None:
    """scores.parquet of a run directory, as small as it gets: names as dictionaries, logits byte by byte."""
    names = [c for c in scores if c != "logit"]
    scores.to_parquet(
        folder / "scores.parquet", compression="zstd", index=False, use_dictionary=names,
        use_byte_stream_split=["logit"],
    )  # fmt: skip
