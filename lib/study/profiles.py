"""Profiles: every setting of every scale, read from profiles/*.toml and checked."""

import tomllib
from dataclasses import fields
from functools import lru_cache
from math import isfinite
from typing import Any

from lib.study.names import METHODS, PROTOCOLS, SOURCES, nearest
from lib.study.settings import Settings
from lib.system import paths


def available() -> list[str]:
    """Names of the profiles, sorted."""
    return sorted(p.stem for p in paths.PROFILES.glob("*.toml"))


# Numbers of a profile are above 0, except these, which may be 0.
MAY_BE_ZERO = {
    *("seed", "seeds", "reference_seeds", "train", "val", "frame", "jitter", "jitters", "flip"),
    *("warmup_epochs", "warmup_start", "final_lr", "weight_decay", "redundancy", "invariance"),
    *("variance", "covariance", "gaussian", "tau_start", "tau_end", "centre_momentum"),
    *("teacher_warmup_epochs", "frozen_epochs"),
}
# At most 1.
AT_MOST_ONE = {
    *("fraction", "crop", "crops", "jitter", "jitters", "flip", "mask", "tau_start", "tau_end"),
    "centre_momentum",
}
SHARES = ("train_shares", "validation_shares")  # whole per cents
SHARE = "a whole per cent, from 0.01 to 0.99"
MINIMUM = {"batch": 2, "px": 16, "cache": 16}  # batch norm takes two images
ELEMENT_TYPES = {
    **dict.fromkeys(("seeds", "reference_seeds", "px"), int),
    **dict.fromkeys((*SHARES, "crops", "jitters"), float),
    "methods": str,
}
ALLOWED = {
    "methods": METHODS,
    "optimiser": ("lars", "adamw"),
    "protocol": PROTOCOLS,
    "source": SOURCES,
}


@lru_cache
def load(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The profile as nested dicts: its `base` (default: paper.toml) with its differences over it.
    Raises ValueError for a wrong type or value, or an unknown profile or key, naming the nearest
    one. `above` are the profiles whose base it is."""
    nearest(name, available(), "profile")
    where = f"lib/study/profiles/{name}.toml"
    own = _toml(name)
    if name != "paper":
        base = own.pop("base", "paper")
        if base in (name, *above):
            first = f"lib/study/profiles/{(name, *above)[-1]}.toml"
            raise ValueError(f"{first}: 'base' leads back to the profile itself; name another one.")
        merged = _merge(load(base, (name, *above)), own, where)
    else:
        for method in own["method"]:
            nearest(method, METHODS, f"method in {where}")
        merged = _merge(own, own, where)
    sizes = {key: merged["data"][key] for key in ("train", "val", "frame")}
    if merged["data"]["source"] == "simulated" and not all(sizes.values()):
        raise ValueError(f"{where} [data]: to simulate takes train, val, frame, found {sizes}.")
    return merged


def _toml(name: str) -> dict[str, Any]:
    """The file of a profile. Raises ValueError where it is damaged."""
    path = paths.PROFILES / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"lib/study/profiles/{path.name} is not TOML in UTF-8: {error}.") from None


def _merge(base: dict, change: dict, where: str) -> dict:
    """`base` with `change` over it; a key or a type that `base` lacks is an error."""
    merged = dict(base)
    for key, value in change.items():
        nearest(key, base, f"key in {where}")
        if not isinstance(base[key], dict):
            _check(key, value, type(base[key]), where)
            merged[key] = value
        elif isinstance(value, dict):
            merged[key] = _merge(base[key], value, f"{where} [{key}]")
        else:
            raise ValueError(f"{where}: '{key}' is a table, found {value!r}.")
    return merged


def is_share(value: Any) -> bool:
    """Whether it is a whole per cent, from 0.01 to 0.99, as the names of runs write it."""
    per_cent = 100 * value if isinstance(value, float) else 0
    return 0 < per_cent < 100 and abs(per_cent - round(per_cent)) < 1e-7


def typed(kind: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """The settings `values` as an object of their class.
    Raises ValueError for a wrong type, a missing setting, or an unknown key, naming the nearest."""
    types = {field.name: field.type for field in fields(kind)}
    for key, value in values.items():
        nearest(key, types, f"setting in {where}")
        _check(key, value, types[key], where)
    if missing := [key for key in types if key not in values]:
        raise ValueError(f"{where} lacks {', '.join(missing)}: state it in paper.toml.")
    return kind(**values)


def _check(key: str, value: Any, kind: type, where: str) -> None:
    """A float may be written without a point; otherwise the type must be the very same, and the
    value one that the key may have."""
    expected = ""
    if type(value) is not kind and not (kind is float and type(value) is int):
        expected = f"of type {kind.__name__} as in paper.toml"
    elif kind is list:
        if not value or len(set(map(repr, value))) < len(value):
            expected = "a list of one or more, each named once"
        for one in value:
            _check(key, one, ELEMENT_TYPES[key], where)
    elif key in ALLOWED:
        nearest(value, ALLOWED[key], f"{key} in {where}")
    elif key in SHARES:
        if not is_share(value):
            expected = SHARE
    elif kind in (int, float):
        least = MINIMUM.get(key, 0)
        if not isfinite(value) or value < least or (value == 0 and key not in MAY_BE_ZERO):
            expected = f"a number of {least} or more" if key in MAY_BE_ZERO or least else "above 0"
        elif key in AT_MOST_ONE and value > 1:
            expected = "at most 1"
    if expected:
        raise ValueError(f"{where}: '{key}' should be {expected}, found {value!r}.")
