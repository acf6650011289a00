"""Which rows of a table are used: the stratified fraction, the share of defects, the held-out
part."""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from lib.data.labels import class_labels
from lib.system.errors import DataError

HELD_OUT = 0.2  # share of one's own images kept for validation where the CSV has no column Split


def patterns(table: pd.DataFrame) -> np.ndarray:
    """(n,) integer of each row's joint label pattern over the 17 classes, else of `Defect` alone; 0
    is normal."""
    labels = class_labels(table)
    labels = table[["Defect"]].to_numpy() if labels is None else labels
    return labels.astype(np.int64) @ (1 << np.arange(labels.shape[1], dtype=np.int64))


def stratified_fraction(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """The rows of a stratified sample on the joint label pattern, as the released code draws it.

    Patterns seen once are dropped first. `fraction` 1 returns the table untouched. Original order
    and index are kept.
    """
    if fraction == 1:
        return table
    from sklearn.model_selection import (
        train_test_split,
    )  # slow to import, and only a real table's fraction needs it

    labels = class_labels(table)
    labels = table[["Defect"]].to_numpy() if labels is None else labels
    # scikit-learn draws pattern by pattern, in the order of the labels read from left to right, as
    # they come here
    _, pattern, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    often = counts[pattern] > 1
    kept, _ = train_test_split(
        table[often], train_size=fraction, stratify=pattern[often], random_state=seed
    )
    return kept.sort_index()


def resample(table: pd.DataFrame, share: float | None, seed: int) -> pd.DataFrame:
    """The subset of `table` in which `share` of the images are defects; None returns the table as
    it is.

    All n0 normals stay and d = min(n1, floor(n0 p / (1 - p))) defects are drawn, allotted to label
    patterns by largest remainder; only when defects run out are normals reduced (docs/study.md,
    Data). Order and index are the table's.

    Raises DataError where the share cannot be reached: no normals, or not one defect.
    """
    if share is None:
        return table
    if not 0 < share < 1:
        raise DataError(f"a share of defects lies between 0 and 1, found {share}.")
    rng = np.random.default_rng([seed, round(share * 1e6)])
    defect = table["Defect"].to_numpy() == 1
    normals, defects = np.flatnonzero(~defect), np.flatnonzero(defect)
    wanted = int(np.floor(len(normals) * share / (1 - share) + 1e-9))
    if wanted < 1 or not len(defects):
        need = int(np.ceil((1 - share) / share))
        raise DataError(
            f"a share of {share:.0%} defects cannot be reached with {len(normals)} normal and {len(defects)} defect "
            f"images: it takes at least 1 defect and {need} normals."
        )
    if wanted > len(defects):
        keep = max(1, int(np.floor(len(defects) * (1 - share) / share + 1e-9)))
        normals = rng.choice(normals, keep, replace=False)
        wanted = len(defects)
    pattern = patterns(table)[defects]
    values, counts = np.unique(pattern, return_counts=True)
    allotted = _largest_remainder(counts, wanted, rng)
    chosen = [
        rng.choice(defects[pattern == v], n, replace=False)
        for v, n in zip(values, allotted, strict=True)
        if n
    ]
    return table.iloc[np.sort(np.concatenate([normals, *chosen]))]


def _largest_remainder(counts: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Integers proportional to `counts` that sum to `total`; equal remainders are ordered at
    random."""
    quota = counts * total / counts.sum()
    allotted = np.floor(quota + 1e-9).astype(int)
    order = np.lexsort((rng.random(len(counts)), -(quota - allotted)))
    allotted[order[: total - allotted.sum()]] += 1
    return allotted


def held_out(table: pd.DataFrame, seed: int) -> np.ndarray:
    """(n,) True for the stratified fifth of one's own rows, whole groups, that is kept for
    validation."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    defect, grouped = table["Defect"].to_numpy(), "Group" in table
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    parts = kind(round(1 / HELD_OUT), shuffle=True, random_state=seed)
    held = np.zeros(len(table), bool)
    held[next(iter(parts.split(defect, defect, table["Video"] if grouped else None)))[1]] = True
    return held
