"""Profiles: every setting of every scale, read from profiles/*.toml and checked."""

import tomllib
from dataclasses import fields
from functools import lru_cache
from typing import Any

from lib.study.names import METHODS, nearest
from lib.study.settings import Settings
from lib.system import paths


def available() -> list[str]:
    """Names of the profiles, sorted."""
    return sorted(p.stem for p in paths.PROFILES.glob("*.toml"))


@lru_cache
def load(name: str) -> dict[str, Any]:
    """The profile as nested dicts: its `base` (default: paper.toml) with its differences over it.
    Raises ValueError for a wrong type, or an unknown profile or key, naming the nearest one."""
    nearest(name, available(), "profile")
    own = tomllib.loads((paths.PROFILES / f"{name}.toml").read_text(encoding="utf-8"))
    if name != "paper":
        return _merge(load(own.pop("base", "paper")), own, f"lib/study/profiles/{name}.toml")
    for method in own["method"]:
        nearest(method, METHODS, "method in lib/study/profiles/paper.toml")
    return own


def _merge(base: dict, change: dict, where: str) -> dict:
    """`base` with `change` over it; a key or a type that `base` lacks is an error."""
    merged = dict(base)
    for key, value in change.items():
        nearest(key, base, f"key in {where}")
        if not isinstance(base[key], dict):
            _check_type(key, value, type(base[key]), where)
            merged[key] = value
        elif isinstance(value, dict):
            merged[key] = _merge(base[key], value, f"{where} [{key}]")
        else:
            raise ValueError(f"{where}: '{key}' is a table, found {value!r}.")
    return merged


def typed(kind: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """The settings `values` as an object of their class.
    Raises ValueError for a wrong type, a missing setting, or an unknown key, naming the nearest."""
    types = {field.name: field.type for field in fields(kind)}
    for key, value in values.items():
        nearest(key, types, f"setting in {where}")
        _check_type(key, value, types[key], where)
    if missing := [key for key in types if key not in values]:
        raise ValueError(f"{where} lacks {', '.join(missing)}: state it in paper.toml.")
    return kind(**values)


def _check_type(key: str, value: Any, kind: type, where: str) -> None:
    """A float may be written without a point; otherwise the type must be the very same."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        expected = f"should be of type {kind.__name__} as in paper.toml"
        raise ValueError(f"{where}: '{key}' {expected}, found {value!r}.")
