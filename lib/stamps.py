"""Stamps of rendered artefacts: a rendering is up to date if its files are there and were made from the same inputs.

Inputs are hashed by content, because git resets the times of files.
"""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib import paths, study


@lru_cache
def modules(source: str) -> frozenset[Path]:
    """The files of `lib` that Python code imports, directly or through one another."""
    found: set[Path] = set()
    waiting = [source]
    while waiting:
        for path in _imports(waiting.pop()) - found:
            found.add(path)
            waiting.append(path.read_text())
    return frozenset(found)


def _imports(source: str) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = (paths.ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("lib."))
    return {f for f in files if f.exists()}


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def command(target: str, given: dict[str, Any]) -> str:
    """The make command for `target` with the choices in `given`: profile, protocol, methods, seeds."""
    profile = study.profile(given["profile"])
    chosen = {
        "PROFILE": given["profile"], "PROTOCOL": given.get("protocol", ""),
        "METHODS": ",".join(given.get("methods", ())), "SEEDS": ",".join(map(str, given.get("seeds", ()))),
        "LABELS": "your.csv" if profile["data"]["source"] == "own" else "",
    }  # fmt: skip
    return " ".join([f"make {target}", *(f"{name}={value}" for name, value in chosen.items() if value)])


def inputs(artefact: str, given: dict[str, Any]) -> dict[str, Any]:
    """Everything that the rendering of `artefact` with the parameters `given` depends on, hashed part by part.

    Raises lib.runs.MissingRuns, naming the command that makes them, if runs are missing, and ValueError for a wrong
    line in the file of the paper's numbers or tables that are not there.
    """
    from lib import datasets, frozen, paper, rundir, runs

    notebook = paths.NOTEBOOKS / f"{study.ARTEFACTS[artefact].notebook}.ipynb"
    cells = [c for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code"]
    source = "\n".join("".join(c["source"]) for c in cells)
    grid = study.runs(artefact, given["profile"], methods=given["methods"] or None,
                      seeds=given["seeds"] or None)  # fmt: skip
    reads = study.ARTEFACTS[artefact].frozen
    (frozen.require if reads else runs.require)(grid, command(artefact, given))
    profile = study.profile(given["profile"])
    return {
        "notebook": _hash(source),
        "parameters": given,
        "library": {p.relative_to(paths.ROOT).as_posix(): rundir.syntax(p) for p in sorted(modules(source))},
        "profile": _hash(profile),
        "runs": _hash(runs.fingerprints(grid) + [frozen.fingerprint(run) for run in grid if reads]),
        "images": "" if grid else datasets.identity(profile["data"]),  # runs name theirs
        "paper": _hash(paper.values(artefact).to_csv()),
    }


def outdated(stamp: Path, now: dict[str, Any]) -> str:
    """Why an artefact has to be rendered again, or "" if its files are there and made from the same inputs."""
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
