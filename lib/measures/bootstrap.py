"""Clustered, weighted, paired bootstrap of detection metrics."""

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lib.measures import metrics

# Independent units (videos, or images) with a defect, and without, that an interval needs. The
# widest interval that k units can give, from the smallest to the largest, holds their median with
# probability 1 - 2^(1 - k): .94 for five, .97 for six, and 95 % are asked for.
FEWEST = 6
CHUNK = 2**18  # resampled rows at once: 2 MB an array stays in cache, ten of them in any laptop
RANKED = ("auroc", "ap", "recall_at_5")  # metrics without a threshold
FEW = 16  # AUROC takes the quick path where groups^2 is at most so many times the rows


def resampled(
    logit,
    defect,
    classes,
    groups,
    weights,
    draws: int = 1000,
    seed: int = 0,
    ranked: Collection[str] = RANKED,
) -> dict[str, np.ndarray]:
    """The metrics in `METRICS` and their bootstrap distribution, at every validation share.

    logit (n,), a defect where above 0; defect (n,); classes (n, 17) or None (`f2ciw` is nan);
    groups (n,), the video of each row, integers or strings, or None for rows that are independent
    (two views of an image are not: pass the image); weights (s, n), a row per validation share,
    from `share_weights` or 0 / 1 for a subsample.

    Returns arrays (s, 1 + draws): column 0 is the estimate on all rows, the others are resamples of
    whole groups with replacement (Field and Welsh 2007). Equal `groups`, `seed` and `draws` draw
    the same resamples whatever the logits: two systems scored on the same rows are paired column by
    column (lib.measures.seeds.difference). Weights are those of the full data, never recomputed in
    a resample, whose share of defects therefore varies as a new sample's would. Resamples of a
    share with fewer than `FEWEST` groups of either kind are nan: they would repeat the same few
    images, and of a single defect always give an AUROC of exactly the estimate. AUROC counts a tie
    as half; AP is the step-wise sum of scikit-learn's `average_precision_score`, ties at once;
    `recall_at_5` is the largest recall at 5 % false alarms. In a resample without defects or
    without normals, it and AUROC are nan; without defects, AP is 0. These three take nine tenths of
    the time, so those that `ranked` does not name are not computed and nan; AUROC alone is cheap
    where groups are few. Raises
    ValueError for shapes that differ, logits that are nan, weights that are negative or not finite.
    """
    logit, defect, classes, weights = _checked(logit, defect, classes, weights)
    group, size = _numbered(groups, logit.size)
    shares = _shares(logit, defect, classes, group, size, weights)
    pairs = dict.fromkeys((share.defects, share.normals) for share in shares)
    sides = dict.fromkeys(side for pair in pairs for side in pair)
    quick = set(ranked) <= {"auroc"} and size**2 <= FEW * logit.size
    wins = {pair: _Wins(*pair) for pair in pairs} if ranked and quick else {}
    places = {pair: _places(*pair) for pair in pairs} if ranked and not quick else {}

    out = {name: np.full((len(weights), 1 + draws), np.nan) for name in metrics.METRICS}
    chunk = max(1, CHUNK // (size if quick or not ranked else logit.size))
    for columns, counts in _resamples(size, draws, seed, chunk):
        single = counts.astype(np.float32)
        cells = {side: single @ side.table for side in sides}
        above = {side: side.cumulative(counts) for side in sides} if places else {}
        curves = {(d, q): _Curve(above[d], above[q], *places[d, q]) for d, q in places}
        areas = {pair: {"auroc": own.auroc(single)} for pair, own in wins.items()}
        for i, (d, of_defects, q, of_normals) in enumerate(shares):
            values = metrics.from_counts(of_defects * cells[d] + of_normals * cells[q])
            if places:
                values |= curves[d, q].metrics(of_normals / of_defects if of_defects else 0, ranked)
            for name, value in (values | areas.get((d, q), {})).items():
                out[name][i, columns] = value
    few = [min(s.defects.units, s.normals.units) < FEWEST for s in shares]
    for values in out.values():
        values[few, 1:] = np.nan
    return out


def _checked(logit, defect, classes, weights):
    logit, weights = np.asarray(logit, float), np.asarray(weights, float)
    if logit.ndim != 1 or not logit.size or np.isnan(logit).any():
        nans = np.isnan(logit).sum()
        raise ValueError(f"logit has shape {logit.shape} and {nans} nan, expected (n,) and none")
    n = logit.size
    defect = metrics.checked_binary("defect", defect, (n,))
    classes = metrics.checked_classes(classes, n)
    shaped = weights.ndim == 2 and weights.shape[1] == n
    if not shaped or not np.isfinite(weights).all() or (weights < 0).any():
        expected = f"(shares, {n}), finite and not negative"
        raise ValueError(f"weights has shape {weights.shape}, expected {expected}")
    return logit, defect, classes, weights


def _numbered(groups, n: int) -> tuple[np.ndarray, int]:
    """The number (n,) of each row's group, and how many groups there are."""
    if groups is None:
        return np.arange(n), n
    if np.shape(groups) != (n,):
        raise ValueError(f"groups has shape {np.shape(groups)}, expected ({n},)")
    distinct, number = np.unique(np.asarray(groups), return_inverse=True)
    return number, len(distinct)


def interval(draws, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high), each (...), of draws (..., 1 + B) as of `resampled`.

    Column 0, the estimate, and undefined resamples are left out; nan where none is left.
    """
    resamples = np.asarray(draws, float)[..., 1:]
    if not resamples.shape[-1]:
        return np.full(resamples.shape[:-1], np.nan), np.full(resamples.shape[:-1], np.nan)
    defined = ~np.isnan(resamples).all(axis=-1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    filled = np.where(defined[..., None], resamples, 0)
    quantile = np.nanquantile if np.isnan(filled).any() else np.quantile  # row by row, or at once
    ends = quantile(filled, tails, axis=-1)
    low, high = np.where(defined, ends, np.nan)
    return low, high


class _Side:
    """The defects or the normals of a share, best ranked first."""

    def __init__(self, logit, weight, columns, group, size):
        sums = [np.bincount(group, weight * column, size) for column in columns]
        # float32: counts below 2^24 are exact, others off by less than 1e-6
        self.table = np.stack(sums, axis=1).astype(np.float32)
        self.units, self.size = len(np.unique(group)), size
        order = np.argsort(-logit, kind="stable")
        self.descending, self.group = -logit[order], group[order]
        # unweighted counts stay integers: exact, and summed 7 times faster than floats
        self.weight = None if (weight == 1).all() else weight[order]

    def cumulative(self, counts: np.ndarray) -> np.ndarray:
        """Weight of the first 0, 1, ... rows, (draws, rows + 1), by counts (draws, groups)."""
        steps = counts[:, self.group]
        if self.weight is not None:
            steps = steps * self.weight
        total = np.zeros((len(counts), self.group.size + 1), steps.dtype)
        np.cumsum(steps, axis=1, out=total[:, 1:])
        return total


class _Share(NamedTuple):
    """A row of weights: of defects and of normals, a `_Side` and the factor on its weights."""

    defects: _Side
    of_defects: float
    normals: _Side
    of_normals: float


def _shares(logit, defect, classes, group, size, weights) -> list[_Share]:
    """A validation share weighs the defects and the normals. A factor on all of either only
    rescales their counts, so weights are compared up to that factor, and shares have each distinct
    side in common: it is ranked and resampled once."""
    columns = metrics.counted(defect, logit > 0, classes)
    sides: dict[bytes, _Side] = {}

    def side(chosen, weight) -> tuple[_Side, float]:
        rows = np.flatnonzero(chosen & (weight > 0))
        factor = weight[rows].max(initial=0)
        weight = weight[rows] / factor
        key = rows.tobytes() + weight.tobytes()
        if key not in sides:
            own = [column[rows] for column in columns]
            sides[key] = _Side(logit[rows], weight, own, group[rows], size)
        return sides[key], factor

    return [_Share(*side(defect, row), *side(~defect, row)) for row in weights]


def _places(defects: _Side, normals: _Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By distinct logit of a defect: defects that reach it, normals that do, and that exceed it."""
    levels, first = np.unique(defects.descending, return_index=True)
    hits = np.append(first[1:], defects.group.size)[: levels.size]
    reach = np.searchsorted(normals.descending, levels, "right")
    return hits, reach, np.searchsorted(normals.descending, levels, "left")


class _Wins:
    """By group of a defect and group of a normal, the weight of pairs in which the defect ranks
    first, a tie half. AUROC of any resample of groups follows from it without the rows."""

    def __init__(self, defects: _Side, normals: _Side):
        weight, own = (
            np.ones(side.group.size) if side.weight is None else side.weight
            for side in (defects, normals)
        )
        # of the best 0, 1, ... normals; float32: see `_Curve`
        by_group = np.zeros((normals.group.size + 1, normals.size), np.float32)
        by_group[np.arange(normals.group.size) + 1, normals.group] = own
        np.cumsum(by_group, axis=0, out=by_group)
        exceed, reach = (
            np.searchsorted(normals.descending, defects.descending, side)
            for side in ("left", "right")
        )
        lost = (by_group[exceed] + by_group[reach]) / 2  # (defects, groups)
        of_group = np.zeros((defects.size, defects.group.size), np.float32)
        of_group[defects.group, np.arange(defects.group.size)] = weight
        self.defects, self.normals = of_group.sum(axis=1), by_group[-1]
        self.pairs = np.outer(self.defects, self.normals) - of_group @ lost

    def auroc(self, counts: np.ndarray) -> np.ndarray:
        """(draws,) of resamples, given how often each holds each group: (draws, groups) float32."""
        won = np.einsum("dg,dg->d", counts @ self.pairs, counts, dtype=float)
        pairs = (counts @ self.defects).astype(float) * (counts @ self.normals)
        return np.divide(won, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)


class _Curve:
    """Defects and normals called at every distinct logit of a defect, (draws, levels)."""

    def __init__(self, defects, normals, hits, reach, exceed):
        self.positives, self.negatives = defects[:, -1].astype(float), normals[:, -1].astype(float)
        # float32: counts below 2^24 are exact in it, and a metric is off by less than 1e-6
        self.tp, self.fp = defects[:, hits].astype(np.float32), normals[:, reach].astype(np.float32)
        self.exceed = normals[:, exceed].astype(np.float32)
        self.gain = np.diff(self.tp, axis=1, prepend=np.float32(0))
        self.tp_gain = self.tp * self.gain

    def metrics(self, normal_weight: float, names: Collection[str]) -> dict[str, np.ndarray]:
        """Those of the metrics without a threshold, (draws,); a normal weighs `normal_weight`
        defects."""
        of = {
            "auroc": self.auroc,
            "ap": lambda: self.average_precision(normal_weight),
            "recall_at_5": lambda: self.recall(false_alarms=0.05),
        }
        return {name: of[name]() for name in names}

    def auroc(self) -> np.ndarray:
        """Chance that a defect outranks a normal, a tie half (Mann, Whitney 1947); (draws,)."""
        losses = (self.gain * (self.fp + self.exceed)).sum(axis=1) / 2
        pairs = self.positives * self.negatives
        return np.divide(pairs - losses, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)

    def recall(self, false_alarms: float) -> np.ndarray:
        """Largest recall at a level that this share of the normals reach, or fewer; (draws,)."""
        most = false_alarms * (1 + 1e-6) * self.negatives[:, None]  # float32 sums
        hits = np.where(self.fp <= most, self.tp, 0).max(axis=1, initial=0)
        defined = (self.negatives > 0) & (self.positives > 0)
        return np.divide(hits, self.positives, out=np.full(hits.shape, np.nan), where=defined)

    def average_precision(self, normal_weight: float) -> np.ndarray:
        """Sum of precision times gain in recall, (draws,); `normal_weight` as in `metrics`."""
        called = self.fp * np.float32(normal_weight)
        called += self.tp
        np.maximum(called, np.finfo(np.float32).tiny, out=called)  # none called yet: 0 / tiny
        np.divide(self.tp_gain, called, out=called)
        return metrics.ratio(called.sum(axis=1), self.positives)


def multiplicities(drawn: np.ndarray, n: int) -> np.ndarray:
    """How often each of n things was drawn, (rows, n), from their numbers (rows, k)."""
    rows = len(drawn)
    cells = drawn + n * np.arange(rows)[:, None]
    return np.bincount(cells.ravel(), minlength=rows * n).reshape(rows, n)


def _resamples(groups: int, draws: int, seed: int, chunk: int) -> Iterator[tuple]:
    """Slices of columns, and how often each group was drawn, (rows, groups): once in column 0."""
    yield slice(0, 1), np.ones((1, groups), int)
    if groups * draws <= 2**20:  # drawn once for all runs, 8 MB
        every = _drawn(groups, draws, seed)
        for start in range(0, draws, chunk):
            yield slice(1 + start, min(1 + start + chunk, 1 + draws)), every[start : start + chunk]
        return
    rng = np.random.default_rng(seed)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = rng.integers(groups, size=(rows, groups))
        yield slice(1 + start, 1 + start + rows), multiplicities(drawn, groups)


@lru_cache(maxsize=4)
def _drawn(groups: int, draws: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(groups, size=(draws, groups))
    return multiplicities(drawn, groups)
