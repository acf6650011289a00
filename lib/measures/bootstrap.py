"""Clustered, weighted, paired bootstrap of detection metrics."""

from collections.abc import Iterator

import numpy as np

from lib.measures import metrics

CHUNK = (
    2**18
)  # resampled rows held at once: 2 MB an array stays in cache, ten of them in any laptop


def resampled(
    logit, defect, classes, groups, weights, draws: int = 1000, seed: int = 0, ranked: bool = True
) -> dict[str, np.ndarray]:
    """The metrics in `METRICS` and their bootstrap distribution, at every validation share.

    logit (n,), a defect where above 0; defect (n,); classes (n, 17) or None (`f2ciw` is nan);
    groups (n,), the video of each row, integers or strings, or None for rows that are independent
    (two views of an image are not: pass the image); weights (s, n), a row per validation share,
    from `share_weights` or 0 / 1 for a subsample.

    Returns arrays (s, 1 + draws): column 0 is the estimate on all rows, the others are resamples of
    whole groups with replacement (Field and Welsh 2007). Equal `groups`, `seed` and `draws` draw
    the same resamples whatever the logits: two systems scored on the same rows are paired column by
    column, see `paired_difference`. Weights are those of the full data, never recomputed in a
    resample, whose share of defects therefore varies as a new sample's would. AUROC counts a tie as
    half; AP is the step-wise sum of scikit-learn's `average_precision_score`, ties at once;
    `recall_at_5` is the most that a threshold finds at 5 % false alarms. A resample without defects
    or normals has it and AUROC nan; without defects, AP 0. Without `ranked` these three, nine
    tenths of the time, are left nan. Raises ValueError for shapes that differ, logits that are nan,
    weights that are negative or not finite.
    """
    logit, weights = np.asarray(logit, float), np.asarray(weights, float)
    if logit.ndim != 1 or not logit.size or np.isnan(logit).any():
        raise ValueError(
            f"logit has shape {logit.shape} and {np.isnan(logit).sum()} nan, expected (n,) and none"
        )
    n = logit.size
    defect, classes = (
        metrics.checked_binary("defect", defect, (n,)),
        metrics.checked_classes(classes, n),
    )
    if (
        weights.ndim != 2
        or weights.shape[1] != n
        or not np.isfinite(weights).all()
        or (weights < 0).any()
    ):
        raise ValueError(
            f"weights has shape {weights.shape}, expected (shares, {n}), finite and not negative"
        )
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups has shape {np.shape(groups)}, expected ({n},)")
    group = (
        np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    size = int(group.max()) + 1

    # A share weighs the defects and the normals. A factor on all of either only rescales their
    # counts, so weights are compared up to that factor, and each distinct side is ranked and
    # resampled once for all shares.
    sides: dict[bytes, _Side] = {}

    def weighed(chosen, weight) -> tuple[float, bytes]:
        rows = np.flatnonzero(chosen & (weight > 0))
        factor = weight[rows].max(initial=0)
        weight = weight[rows] / factor
        key = rows.tobytes() + weight.tobytes()
        if key not in sides:
            columns = metrics.counted(
                defect[rows], logit[rows] > 0, None if classes is None else classes[rows]
            )
            sides[key] = _Side(logit[rows], weight, columns, group[rows], size)
        return factor, key

    shares = [(*weighed(defect, row), *weighed(~defect, row)) for row in weights]
    pairs = {(d, q): _places(sides[d], sides[q]) for _, d, _, q in shares}

    out = {name: np.full((len(weights), 1 + draws), np.nan) for name in metrics.METRICS}
    for columns, counts in _resamples(size, draws, seed, max(1, CHUNK // n)):
        cells = {key: counts.astype(np.float32) @ side.table for key, side in sides.items()}
        if ranked:
            above = {key: side.cumulative(counts) for key, side in sides.items()}
            curves = {
                (d, q): _Curve(above[d], above[q], *places) for (d, q), places in pairs.items()
            }
        for share, (of_defects, d, of_normals, q) in enumerate(shares):
            for name, values in metrics.from_counts(
                of_defects * cells[d] + of_normals * cells[q]
            ).items():
                out[name][share, columns] = values
            if ranked:
                out["auroc"][share, columns] = curves[d, q].auroc()
                out["recall_at_5"][share, columns] = curves[d, q].recall(false_alarms=0.05)
                out["ap"][share, columns] = curves[d, q].average_precision(
                    of_normals / of_defects if of_defects else 0
                )
    return out


def interval(draws, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high), each (...), of draws (..., 1 + B) as `bootstrap` returns
    them.

    Column 0, the estimate, is left out, and so are undefined resamples; nan where all are, or where
    there are none.
    """
    resamples = np.asarray(draws, float)[..., 1:]
    if not resamples.shape[-1]:
        return np.full(resamples.shape[:-1], np.nan), np.full(resamples.shape[:-1], np.nan)
    defined = ~np.isnan(resamples).all(axis=-1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.nanquantile(np.where(defined[..., None], resamples, 0), tails, axis=-1)
    low, high = np.where(defined, ends, np.nan)
    return low, high


def paired_difference(
    a, b, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, low, high and p, each (...), of a - b; a and b (..., 1 + B) from the same rows,
    seed and draws.

    p is two-sided: twice the smaller share of resamples at or beyond 0, each counted with one extra
    (Davison and Hinkley 1997, section 4.4), so never 0 and at most 1.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise ValueError(
            f"shapes {a.shape} and {b.shape} differ: pairs need the same shares, rows, seed and draws"
        )
    difference = a - b
    low, high = interval(difference, level)
    resamples = difference[..., 1:]
    tail = np.minimum((resamples <= 0).sum(-1), (resamples >= 0).sum(-1))
    p = np.minimum(1.0, 2 * (tail + 1) / ((~np.isnan(resamples)).sum(-1) + 1))
    return difference[..., 0], low, high, np.where(np.isnan(low), np.nan, p)


class _Side:
    """The defects or the normals of a share, best ranked first."""

    def __init__(self, logit, weight, columns, group, size):
        self.table = np.stack(
            [np.bincount(group, weight * column, size) for column in columns], axis=1
        )
        self.table = self.table.astype(
            np.float32
        )  # counts below 2^24 are exact, others off by less than 1e-6
        order = np.argsort(-logit, kind="stable")
        self.descending, self.group = -logit[order], group[order]
        # unweighted counts stay integers: exact, and summed 7 times faster than floats
        self.weight = None if (weight == 1).all() else weight[order]

    def cumulative(self, counts: np.ndarray) -> np.ndarray:
        """Weight of the first 0, 1, ... rows, (draws, rows + 1), under group counts (draws,
        groups)."""
        steps = counts[:, self.group]
        if self.weight is not None:
            steps = steps * self.weight
        total = np.zeros((len(counts), self.group.size + 1), steps.dtype)
        np.cumsum(steps, axis=1, out=total[:, 1:])
        return total


def _places(defects: _Side, normals: _Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per distinct logit of a defect: how many defects reach it, and how many normals reach and
    exceed it."""
    levels, first = np.unique(defects.descending, return_index=True)
    reach, exceed = (
        np.searchsorted(normals.descending, levels, side) for side in ("right", "left")
    )
    return np.append(first[1:], defects.group.size)[: levels.size], reach, exceed


class _Curve:
    """Defects and normals called at every distinct logit of a defect, (draws, levels), in every
    resample."""

    def __init__(self, defects, normals, hits, reach, exceed):
        self.positives, self.negatives = defects[:, -1].astype(float), normals[:, -1].astype(float)
        # float32: counts below 2^24 are exact in it, and a metric is off by less than 1e-6
        self.tp, self.fp = defects[:, hits].astype(np.float32), normals[:, reach].astype(np.float32)
        self.exceed = normals[:, exceed].astype(np.float32)
        self.gain = np.diff(self.tp, axis=1, prepend=np.float32(0))
        self.tp_gain = self.tp * self.gain

    def auroc(self) -> np.ndarray:
        """Chance that a defect outranks a normal (Mann and Whitney 1947), a tie counting half;
        (draws,)."""
        losses = (self.gain * (self.fp + self.exceed)).sum(axis=1) / 2
        pairs = self.positives * self.negatives
        return np.divide(pairs - losses, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)

    def recall(self, false_alarms: float) -> np.ndarray:
        """Largest recall at a level that this share of the normals reach, or fewer; (draws,)."""
        most = false_alarms * (1 + 1e-6) * self.negatives[:, None]  # float32 sums
        hits = np.where(self.fp <= most, self.tp, 0).max(axis=1, initial=0)
        return np.where(
            self.negatives > 0, hits / np.where(self.positives > 0, self.positives, np.nan), np.nan
        )

    def average_precision(self, normal_weight: float) -> np.ndarray:
        """Sum of precision times gain in recall, a normal weighing `normal_weight` defects;
        (draws,)."""
        called = self.fp * np.float32(normal_weight)
        called += self.tp
        np.maximum(called, np.finfo(np.float32).tiny, out=called)  # none called yet: 0 / tiny
        np.divide(self.tp_gain, called, out=called)
        return metrics.ratio(called.sum(axis=1), self.positives)


def _resamples(
    groups: int, draws: int, seed: int, chunk: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each group was drawn, (rows, groups), a chunk of columns at a time; the first row
    is all ones."""
    rng = np.random.default_rng(seed)
    yield slice(0, 1), np.ones((1, groups), int)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        yield slice(1 + start, 1 + start + rows), counts
