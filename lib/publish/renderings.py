"""Stamps of rendered artefacts: one is current if its files are there, made from the same inputs,
which are hashed by content, because git resets the times of files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.store import fingerprints
from lib.study import choices
from lib.system import atomic, paths

LONGEST = 120  # letters of a folder's name; files' names may have 255


def inputs(artefact: str, given: dict[str, Any]) -> dict[str, Any]:
    """Everything that the rendering of `artefact` with the parameters `given` depends on, part by
    part, as hashes. Raises MissingRuns, naming the command that makes them, if runs are missing,
    and ValueError for a wrong line in the file of the paper's numbers or tables that are not there.
    """
    from lib.analysis import paper
    from lib.data import sources
    from lib.store import measured, stored
    from lib.study import artefacts, profiles
    from lib.study.grid import runs

    notebook = paths.NOTEBOOKS / f"{artefacts.ARTEFACTS[artefact].notebook}.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    grid = runs(artefact, given["profile"], **{name: given.get(name) for name in choices.RUNS})
    reads = artefacts.ARTEFACTS[artefact].reads_measured
    require = measured.require if reads else stored.require
    grid = require(grid, artefacts.command(artefact, given), given.get("seeds") or ())
    profile, modules = profiles.load(given["profile"]), sorted(fingerprints.modules(source))
    read = list(map(stored.load, grid))
    trained = [f"{run.origin}:{run.record['fingerprint']}" for run in read]
    measurements = [fingerprints.digest(measured.inputs(run)) for run in read if reads]
    return {
        "notebook": fingerprints.digest(source),
        "parameters": given,
        "library": {str(p.relative_to(paths.ROOT)): fingerprints.syntax(p) for p in modules},
        "profile": fingerprints.digest(profile),
        "runs": fingerprints.digest(trained + measurements),
        "images": "" if grid else sources.identity(profile["data"]),  # runs name theirs
        "paper": fingerprints.digest(paper.values(artefact).to_csv()),
    }


def folder(given: dict[str, Any]) -> str:
    """Where renderings with the parameters `given` lie, below figures/ and build/: the profile's
    folder, and within it one that names the protocol and the runs that were chosen."""
    words = [f"protocol-{given['protocol']}"] if given.get("protocol") else []
    for name in choices.RUNS:
        if values := given.get(name):
            words.append(f"{name.replace('_', '-')}-{','.join(map(str, values))}")
    name = "_".join(words)
    if len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{fingerprints.digest(name)}"
    return f"{given['profile']}/{name}".rstrip("/")


@contextmanager
def alone(profile: str) -> Iterator[None]:
    """A block in which this process alone renders or reports `profile`. Others wait at its start;
    they find then what this one has made."""
    path = paths.BUILD / profile / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another make renders profile {profile}: this one waits for it.", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def outdated(stamp: Path, now: dict[str, Any]) -> str:
    """Why an artefact has to be rendered again, or "" if it is current."""
    then = atomic.read_json(stamp)
    if then is None:
        return f"{stamp.name} is damaged" if stamp.exists() else "not rendered yet"
    if not isinstance(then["files"], dict):
        return "rendered by an earlier version"
    for name, was in then["files"].items():
        if (is_now := atomic.checksum(paths.WORKSPACE / name)) != was:
            return f"{name} is {'damaged or edited' if is_now else 'gone'}"
    changed = fingerprints.changes(then["inputs"], now)
    return f"changed: {', '.join(changed)}" if changed else ""


def write(stamp: Path, now: dict[str, Any], files: list[str]) -> None:
    """Say that `files` (relative to the workspace), and the executed notebook, were made from the
    inputs `now`."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    copy = stamp.parent.parent / "notebooks" / f"{stamp.stem}.ipynb"
    if copy.exists():
        files = [*files, copy.relative_to(paths.WORKSPACE).as_posix()]
    sums = {name: atomic.checksum(paths.WORKSPACE / name) for name in files}
    atomic.put_json(stamp, {"inputs": now, "files": sums})
