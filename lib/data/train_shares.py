"""Shares of defects that the user's own training images cannot reach. They are left out of the grid
where the data are known: when runs are trained and when they are read."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from lib.data import sources, splits
from lib.system.errors import DataError


def unreachable(data: dict[str, Any], shares: Iterable[float | None]) -> dict[float, str]:
    """Of `shares` those that the user's own training images cannot reach, each with the reason;
    none for other data, whose profiles fit them. Raises DataError where none can be reached."""
    if data["source"] != "own":
        return {}
    shares, written = tuple(dict.fromkeys(shares)), sources.labels_csv(data)
    state = written.stat().st_mtime_ns if written.is_file() else 0
    reasons = _reasons(json.dumps(data | {"cache": 0}), shares, f"{written} {state}")
    if reasons and len(reasons) == len(shares):
        why = next(iter(reasons.values()))
        raise DataError(f"{why} Choose other shares, for example TRAIN_SHARES=0.15,0.45.")
    return reasons


@lru_cache(maxsize=32)
def _reasons(data: str, shares: tuple[float | None, ...], _table: str) -> dict[float, str]:
    """`_table` says which table, of which time, is read."""
    values, reasons = json.loads(data), {}
    table, _ = sources.tables(values, "train")
    for share in shares:
        try:
            splits.resample(table, share, values["seed"])
        except DataError as error:
            reasons[share] = str(error)
    return reasons
