"""Stamps of rendered artefacts: one is current if its files are there, made from the same inputs.

Inputs are hashed by content, because git resets the times of files.
"""

import json
from pathlib import Path
from typing import Any

from lib.store import fingerprints
from lib.store.run_directory import read_json
from lib.system import atomic, paths


def inputs(artefact: str, given: dict[str, Any]) -> dict[str, Any]:
    """Everything that the rendering of `artefact` with the parameters `given` depends on, part by
    part, as hashes.

    Raises lib.store.stored.MissingRuns, naming the command that makes them, if runs are missing,
    and ValueError for a wrong line in the file of the paper's numbers or tables that are not there.
    """
    from lib.analysis import paper
    from lib.data import sources
    from lib.store import measured, stored
    from lib.study import artefacts, profiles
    from lib.study.grid import runs

    notebook = paths.NOTEBOOKS / f"{artefacts.ARTEFACTS[artefact].notebook}.ipynb"
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    source = "\n".join("".join(c["source"]) for c in cells)
    chosen = {name: given[name] or None for name in ("methods", "seeds")}
    grid = runs(artefact, given["profile"], **chosen)
    reads = artefacts.ARTEFACTS[artefact].reads_measured
    (measured.require if reads else stored.require)(grid, artefacts.command(artefact, given))
    profile = profiles.load(given["profile"])
    return {
        "notebook": fingerprints.digest(source),
        "parameters": given,
        "library": {
            path.relative_to(paths.ROOT).as_posix(): fingerprints.syntax(path)
            for path in sorted(fingerprints.modules(source))
        },
        "profile": fingerprints.digest(profile),
        "runs": fingerprints.digest(
            [f"{run.origin}:{run.record['fingerprint']}" for run in map(stored.load, grid)]
            + [measured.fingerprint(run) for run in grid if reads]
        ),
        "images": "" if grid else sources.identity(profile["data"]),  # runs name theirs
        "paper": fingerprints.digest(paper.values(artefact).to_csv()),
    }


def outdated(stamp: Path, now: dict[str, Any]) -> str:
    """Why an artefact has to be rendered again, or "" if it is current."""
    then = read_json(stamp)
    if then is None:
        return "not rendered yet"
    gone = [name for name in then["files"] if not (paths.WORKSPACE / name).exists()]
    if gone:
        return f"{gone[0]} is gone"
    changed = fingerprints.changes(then["inputs"], now)
    return f"changed: {', '.join(changed)}" if changed else ""


def write(stamp: Path, now: dict[str, Any], files: list[str]) -> None:
    """Say that `files` (relative to the workspace) were made from the inputs `now`."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    atomic.put_text(stamp, json.dumps({"inputs": now, "files": files}, indent=1))
