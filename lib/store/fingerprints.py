"""Fingerprints: what a result depends on, part by part, and which parts have changed since. The
inputs of a result are a dictionary, name of a part -> its value or hash. They are stored with the
result; `changes` compares them with those of today."""

import ast
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.data import sources
from lib.study.grid import Run
from lib.system import paths

# The modules of lib that decide what a run directory holds. Whoever adds a module that training or
# scoring calls adds it here; a method's own file is added by its name. Settings, grid and files are
# not listed: `settings` and `data` hold what they lead to.
SHARED = ("methods/base", "methods/backbones", "methods/optimisers")
SHARED += ("training/train", "training/batches", "training/probes", "system/ranks")
SHARED += ("data/sources", "data/splits", "data/pixels", "data/views", "data/fused_views")
SHARED += ("measures/representation", "measures/health")


def digest(value: Any) -> str:
    """16 hexadecimal digits: the hash of a text, of bytes, or of a value as JSON."""
    if not isinstance(value, str | bytes):
        value = json.dumps(value, sort_keys=True)
    content = value.encode() if isinstance(value, str) else value
    return hashlib.sha256(content).hexdigest()[:16]


def changes(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The parts of the inputs `now` that were different or absent `then`."""
    return [part for part in now if part not in then or then[part] != now[part]]


def state(record: dict | None, now: dict[str, Any], absent: str) -> tuple[str, str]:
    """("complete" | "stale" | "missing", why) of a record that holds its `inputs`; `absent` is the
    reason where there is none."""
    if record is None:
        return "missing", absent
    changed = changes(record.get("inputs", {}), now)
    return ("stale", f"changed since: {', '.join(changed)}") if changed else ("complete", "")


@lru_cache
def _tree(path: Path) -> ast.Module:
    """A module's syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


@lru_cache
def syntax(path: Path) -> str:
    """Hash of a module's syntax tree without docstrings: comments and layout do not count."""
    return digest(ast.dump(_tree(path)))


@lru_cache
def _source(module: str) -> Path:
    path = paths.ROOT / "lib" / module
    return path / "__init__.py" if path.is_dir() else path.with_name(f"{path.name}.py")


def code(*modules: str) -> dict[str, str]:
    """File -> hash of its syntax, for modules of lib such as "training/train"."""
    return {f"lib/{name}.py": syntax(_source(name)) for name in modules}


@lru_cache
def _identity(data: str) -> str:
    return sources.identity(json.loads(data))


@lru_cache(maxsize=1024)
def _settings(run: Run) -> tuple[str, str]:
    return digest(run.resolved()), json.dumps(run.data, sort_keys=True)


def inputs(run: Run) -> dict[str, str]:
    """What the run's results depend on: its settings, its data, and each source file."""
    settings, data = _settings(run)
    method = run.settings.code.split(":")[0].removeprefix("lib.").replace(".", "/")
    return {"settings": settings, "data": _identity(data), **code(*SHARED, method)}


def fingerprint(run: Run) -> str:
    """Hash over `inputs`: equal fingerprints promise equal results."""
    return digest(inputs(run))


def modules(source: str) -> frozenset[Path]:
    """The files of `lib` that Python code imports, directly or through one another."""
    files: set[Path] = set()
    waiting = _imports(ast.parse(source))
    while waiting:
        path = waiting.pop()
        files.add(path)
        waiting |= _imported(path) - files
    return frozenset(files)


@lru_cache
def _imported(path: Path) -> frozenset[Path]:
    return frozenset(_imports(_tree(path)))


def _imports(tree: ast.Module) -> set[Path]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = {name.removeprefix("lib.").replace(".", "/") for name in names if name[:4] == "lib."}
    return {file for file in map(_source, parts) if file.exists()}
