"""Stamps of rendered artefacts: a rendering is up to date if its files are there and were made from
the same inputs.

Inputs are hashed by content, because git resets the times of files.
"""

import json
from pathlib import Path
from typing import Any

from lib.system import paths


def inputs(artefact: str, given: dict[str, Any]) -> dict[str, Any]:
    """Everything that the rendering of `artefact` with the parameters `given` depends on, hashed
    part by part.

    Raises lib.store.stored.MissingRuns, naming the command that makes them, if runs are missing,
    and ValueError for a wrong line in the file of the paper's numbers or tables that are not there.
    """
    from lib.analysis import paper
    from lib.data import sources
    from lib.store import fingerprints, measured, stored
    from lib.study import artefacts, profiles
    from lib.study.grid import runs

    notebook = paths.NOTEBOOKS / f"{artefacts.ARTEFACTS[artefact].notebook}.ipynb"
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    source = "\n".join("".join(c["source"]) for c in cells)
    grid = runs(
        artefact, given["profile"], methods=given["methods"] or None, seeds=given["seeds"] or None
    )
    reads = artefacts.ARTEFACTS[artefact].frozen
    (measured.require if reads else stored.require)(grid, artefacts.command(artefact, given))
    profile = profiles.load(given["profile"])
    return {
        "notebook": fingerprints.hashed(source),
        "parameters": given,
        "library": {
            p.relative_to(paths.ROOT).as_posix(): fingerprints.syntax(p)
            for p in sorted(fingerprints.modules(source))
        },
        "profile": fingerprints.hashed(profile),
        "runs": fingerprints.hashed(
            stored.fingerprints(grid) + [measured.fingerprint(run) for run in grid if reads]
        ),
        "images": "" if grid else sources.identity(profile["data"]),  # runs name theirs
        "paper": fingerprints.hashed(paper.values(artefact).to_csv()),
    }


def outdated(stamp: Path, now: dict[str, Any]) -> str:
    """Why an artefact has to be rendered again, or "" if its files are there and made from the same
    inputs."""
    try:
        then = json.loads(stamp.read_text())
    except (FileNotFoundError, ValueError):
        return "not rendered yet"
    gone = [name for name in then["files"] if not (paths.WORKSPACE / name).exists()]
    if gone:
        return f"{gone[0]} is gone"
    changed = [part for part in now if then["inputs"].get(part) != now[part]]
    return f"changed: {', '.join(changed)}" if changed else ""


def write(stamp: Path, now: dict[str, Any], files: list[str]) -> None:
    """Say that `files` (relative to the workspace) were made from the inputs `now`."""
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps({"inputs": now, "files": files}, indent=1))
