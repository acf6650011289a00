"""What results depend on, as hashes: settings, data and the syntax trees of the code that makes
them."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.data import sources
from lib.study.grid import Run
from lib.system import paths

# Modules that decide what a run holds; a change of their syntax trees (docstrings aside) makes runs
# stale.
SHARED = (
    "methods/base",
    "methods/backbones",
    "methods/heads",
    "methods/optimisers",
    "training/train",
    "training/batches",
    "training/probes",
    "system/ranks",
    "data/sources",
    "data/splits",
    "data/pixels",
    "data/views",
    "measures/representation",
    "measures/sphere",
    "measures/health",
)


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
    return sources.identity(json.loads(data))


def inputs(run: Run) -> dict[str, str]:
    """What the run's results depend on, name -> hash or value: its settings, its data, each source
    file."""
    settings = json.dumps(run.resolved(), sort_keys=True)
    found = {"settings": hashlib.sha256(settings.encode()).hexdigest()[:12]}
    found["data"] = _identity(json.dumps(run.data, sort_keys=True))
    method = run.settings.code.split(":")[0].removeprefix("lib.").replace(".", "/")
    for module in (*SHARED, method):
        found[f"lib/{module}.py"] = syntax(paths.ROOT / "lib" / f"{module}.py")
    return found


def fingerprint(run: Run) -> str:
    """Hash over `inputs`: equal fingerprints promise equal results."""
    return digest(inputs(run))


def digest(found: dict[str, str]) -> str:
    """Hash over `inputs`, a run's or those of what is kept beside it."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def against(known: dict, now: dict[str, str]) -> tuple[str, str]:
    """("complete" | "stale", why) of a record with the `inputs` of its time, held against those of
    now."""
    changed = [name for name in now if known["inputs"].get(name) != now[name]]
    return ("stale", f"changed since: {', '.join(changed)}") if changed else ("complete", "")


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
    files = (
        paths.ROOT / f"{name.replace('.', '/')}.py" for name in names if name.startswith("lib.")
    )
    return {f for f in files if f.exists()}


def hashed(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
