"""Which rows of a table are used: the stratified fraction, the share of defects, the held-out part;
and the weight of a defect that follows.
A change of this module makes runs stale."""

import numpy as np
import pandas as pd

from lib.data.labels import class_labels
from lib.system.errors import DataError

INFINITE = 65_520  # defects: from here on float16 rounds their sum to infinity
HELD_OUT = 0.2  # share of the user's own images kept for validation where their CSV has no Split


def pos_weight(normal: int, defect: int, overflow: bool = False) -> float:
    """Weight of a defect in the loss: n_neg / n_pos of the training subset.

    With `overflow` as the released code computes it, which sums labels in float16. Above their
    range the sum is infinite, and becomes -2^31 as an integer on x86; n - n_pos wraps to n - 2^31.
    """
    if overflow and defect >= INFINITE:
        return 1 - (normal + defect) / 2**31
    return normal / max(defect, 1)


def _labels(table: pd.DataFrame) -> np.ndarray:
    """(n, 17) labels of Sewer-ML's classes; else (n, 2) of `Defect` and of the combination of one's
    own names, or (n, 1) of `Defect` where the table has no classes."""
    labels = class_labels(table)
    if labels is None and "Class" in table:
        return np.column_stack([table["Defect"], table["Class"].cat.codes])
    return table[["Defect"]].to_numpy() if labels is None else labels


def patterns(table: pd.DataFrame) -> np.ndarray:
    """(n,) a number for each row's combination of labels."""
    labels = _labels(table)
    return labels.astype(np.int64) @ (1 << np.arange(labels.shape[1], dtype=np.int64))


def stratified_fraction(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """A sample of the rows, stratified by combination of labels, as the released code draws it.
    Combinations that occur once are dropped first. `fraction` 1 returns the table itself. Order and
    index are the table's."""
    if fraction == 1:
        return table
    from sklearn.model_selection import train_test_split  # slow, and needed for real tables only

    # np.unique sorts the combinations as scikit-learn does in the released code: the draw is equal.
    _, pattern, counts = np.unique(_labels(table), axis=0, return_inverse=True, return_counts=True)
    often = counts[pattern] > 1
    kept, _ = train_test_split(
        table[often], train_size=fraction, stratify=pattern[often], random_state=seed
    )
    return kept.sort_index()


def resample(table: pd.DataFrame, share: float | None, seed: int) -> pd.DataFrame:
    """The subset of `table` in which `share` of the images are defects; None returns the table.

    All n0 normals stay, and min(n1, floor(n0 p / (1 - p))) of the n1 defects are drawn, allotted to
    combinations of labels by largest remainder. Where there are fewer defects than that, all stay
    and normals are drawn (docs/study.md, Data). Order and index are the table's.

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
            f"a share of {share:.0%} defects cannot be reached with {len(normals)} normal and "
            f"{len(defects)} defect images: it takes at least 1 defect and {need} normals."
        )
    if wanted > len(defects):
        keep = max(1, int(np.floor(len(defects) * (1 - share) / share + 1e-9)))
        normals = rng.choice(normals, keep, replace=False)
        wanted = len(defects)
    pattern = patterns(table)[defects]
    values, counts = np.unique(pattern, return_counts=True)
    allotted = _largest_remainder(counts, wanted, rng)
    rows = [normals]
    for value, n in zip(values, allotted, strict=True):
        if n:
            rows.append(rng.choice(defects[pattern == value], n, replace=False))
    return table.iloc[np.sort(np.concatenate(rows))]


def _largest_remainder(counts: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Integers proportional to `counts` that sum to `total`; lots decide equal remainders."""
    quota = counts * total / counts.sum()
    allotted = np.floor(quota + 1e-9).astype(int)
    order = np.lexsort((rng.random(len(counts)), -(quota - allotted)))
    allotted[order[: total - allotted.sum()]] += 1
    return allotted


def held_out(table: pd.DataFrame, seed: int, share: float = HELD_OUT) -> np.ndarray:
    """(n,) True for the rows kept for validation: a `share` of the user's own images, in whole
    groups where there are groups, stratified by combination of labels."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    parts, groups = round(1 / share), table["Video"] if "Group" in table else None
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    strata, defect = patterns(table), table["Defect"].to_numpy()
    for side in (0, 1):  # strata with fewer rows than parts join the label's commonest
        values, counts = np.unique(strata[defect == side], return_counts=True)
        rare = (defect == side) & np.isin(strata, values[counts < parts])
        strata[rare] = values[counts.argmax()]
    _, rows = next(iter(kind(parts, shuffle=True, random_state=seed).split(strata, strata, groups)))
    held = np.zeros(len(table), bool)
    held[rows] = True
    return held
