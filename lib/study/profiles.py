"""Profiles: every setting of every scale, read from profiles/*.toml and checked. Knows no torch."""

import tomllib
from functools import lru_cache
from typing import Any

from lib.study.names import nearest
from lib.system import paths


def _merge(base: dict, change: dict, where: str) -> dict:
    """`base` with `change` over it; a key or a type that `base` lacks is an error."""
    merged = dict(base)
    for key, value in change.items():
        nearest(key, base, f"key in {where}")
        if isinstance(base[key], dict):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: '{key}' is a table, found {value!r}.")
            merged[key] = _merge(base[key], value, f"{where} [{key}]")
            continue
        number = (int, float)
        same = isinstance(value, type(base[key])) or (
            isinstance(value, number) and isinstance(base[key], number)
        )
        if not same or isinstance(value, bool) != isinstance(base[key], bool):
            expected = type(base[key]).__name__
            raise ValueError(
                f"{where}: '{key}' should be of type {expected} as in paper.toml, found {value!r}."
            )
        merged[key] = value
    return merged


def available() -> list[str]:
    """Names of the profiles, sorted."""
    return sorted(p.stem for p in paths.PROFILES.glob("*.toml"))


@lru_cache
def load(name: str) -> dict[str, Any]:
    """The profile as nested dicts: its `base` (default: paper.toml) with the profile's own
    differences over it.

    Raises ValueError for an unknown profile or key (naming the nearest valid one) and for a wrong
    type.
    """
    nearest(name, available(), "profile")
    own = tomllib.loads((paths.PROFILES / f"{name}.toml").read_text())
    if name == "paper":
        return own
    return _merge(load(own.pop("base", "paper")), own, f"lib/study/profiles/{name}.toml")
