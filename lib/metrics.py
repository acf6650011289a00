"""Metrics of a binary defect detector, and their bootstrap.

Every metric is a function of weighted counts, so a validation share is a row of weights and a resample a row of
group counts: neither copies or redraws an image.
"""

from collections.abc import Iterator

import numpy as np

from lib.study import CLASSES

# Class-importance weights: the economic severity of each class (Haurum and Moeslund 2021, Sewer-ML).
CIW = dict(zip(CLASSES, (1.0000, 0.5518, 0.2896, 0.1622, 0.6419, 0.1847, 0.3559, 0.3131, 0.0811, 0.2275, 0.2477,
                         0.0901, 0.4167, 0.4167, 0.9009, 0.3829, 0.4396), strict=True))  # fmt: skip
IMPORTANCE = np.array(list(CIW.values()))

METRICS = ("f1", "f2ciw", "f1_normal", "precision", "recall", "auroc", "ap", "recall_at_5")
CHUNK = 2**18  # resampled rows held at once: 2 MB an array stays in cache, ten of them in any laptop


def scores(defect, predicted, classes) -> dict[str, float]:
    """Metrics of one set of decisions.

    defect (n,) and predicted (n,) hold 0 or 1; classes (n, 17) holds 0 or 1 in the order of `CLASSES`, or is None for
    data without class columns, where `f2ciw` is nan. Returns `f1`, `precision` and `recall` of the defect class,
    `f1_normal`, the F1 of the normal class, and `f2ciw` (Haurum and Moeslund 2021, for a binary detector): a predicted
    defect counts as predicting exactly the image's classes, a predicted normal as none; F2 per class, averaged with
    the weights `CIW`. All in [0, 1]; 0 / 0 is 0, so a class without images scores 0.
    Raises ValueError for shapes that differ or values other than 0 and 1.
    """
    defect = _binary("defect", defect)
    predicted = _binary("predicted", predicted, (defect.size,))
    cells = np.array([column.sum() for column in _cells(defect, predicted, _classes(classes, defect.size))], float)
    return {name: float(value) for name, value in _from_cells(cells).items()}


def share_weights(defect, share: float | None) -> np.ndarray:
    """Weights (n,) that give the images in defect (n,) a share of defects, the `clean` protocol's way.

    Every normal weighs 1 and every defect n0 share / ((1 - share) n1): exact at any share, above 1 where a share
    larger than the natural one asks for it. `share` None, the natural share, weighs every image 1.
    Raises ValueError for a share outside (0, 1), or without both normals and defects.
    """
    defect = _binary("defect", defect)
    if share is None:
        return np.ones(defect.size)
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, expected a fraction between 0 and 1, or None for the natural share")
    defects = int(defect.sum())
    normals = defect.size - defects
    if not defects or not normals:
        raise ValueError(f"a share of {share} needs normal and defect images, found {normals} and {defects}")
    return np.where(defect, normals * share / ((1 - share) * defects), 1.0)


def always_defect_f1(share: float) -> float:
    """F1 of calling every image a defect, at a share of defects: precision is the share and recall 1."""
    return 2 * share / (1 + share)


def f2ciw_bounds(classes, weights) -> tuple[float, float]:
    """F2CIW of always saying "normal", 0, and of always saying "defect", the most any detector can reach.

    classes (n, 17), or None: nan; weights (n,), or None: equal. The upper bound is the importance of the classes
    that occur with a positive weight over that of all 17: F2CIW sees no false alarm, and an absent class scores 0.
    """
    if classes is None:
        return 0.0, float("nan")
    classes = _classes(classes, len(classes))
    present = classes[np.asarray(weights) > 0] if weights is not None else classes
    return 0.0, float(IMPORTANCE @ present.any(axis=0) / IMPORTANCE.sum())


def bootstrap(logit, defect, classes, groups, weights, draws: int = 1000, seed: int = 0,
              ranked: bool = True) -> dict[str, np.ndarray]:  # fmt: skip
    """The metrics in `METRICS` and their bootstrap distribution, at every validation share.

    logit (n,), a defect where above 0; defect (n,); classes (n, 17) or None (`f2ciw` is nan); groups (n,), the video
    of each row, integers or strings, or None for rows that are independent (two views of an image are not: pass the
    image); weights (s, n), a row per validation share, from `share_weights` or 0 / 1 for a subsample.

    Returns arrays (s, 1 + draws): column 0 is the estimate on all rows, the others are resamples of whole groups with
    replacement (Field and Welsh 2007). Equal `groups`, `seed` and `draws` draw the same resamples whatever the logits:
    two systems scored on the same rows are paired column by column, see `paired_difference`. Weights are those of
    the full data, never recomputed in a resample, whose share of defects therefore varies as a new sample's would.
    AUROC counts a tie as half; AP is the step-wise sum of scikit-learn's `average_precision_score`, ties at once;
    `recall_at_5` is the most that a threshold finds at 5 % false alarms. A resample without defects or normals has it
    and AUROC nan; without defects, AP 0. Without `ranked` these three, nine tenths of the time, are left nan.
    Raises ValueError for shapes that differ, logits that are nan, weights that are negative or not finite.
    """
    logit, weights = np.asarray(logit, float), np.asarray(weights, float)
    if logit.ndim != 1 or not logit.size or np.isnan(logit).any():
        raise ValueError(f"logit has shape {logit.shape} and {np.isnan(logit).sum()} nan, expected (n,) and none")
    n = logit.size
    defect, classes = _binary("defect", defect, (n,)), _classes(classes, n)
    if weights.ndim != 2 or weights.shape[1] != n or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights has shape {weights.shape}, expected (shares, {n}), finite and not negative")
    if groups is not None and np.shape(groups) != (n,):
        raise ValueError(f"groups has shape {np.shape(groups)}, expected ({n},)")
    group = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    size = int(group.max()) + 1

    # A share weighs the defects and the normals. A factor on all of either only rescales their counts, so weights are
    # compared up to that factor, and each distinct side is ranked and resampled once for all shares.
    sides: dict[bytes, _Side] = {}

    def weighed(chosen, weight) -> tuple[float, bytes]:
        rows = np.flatnonzero(chosen & (weight > 0))
        factor = weight[rows].max(initial=0)
        weight = weight[rows] / factor
        key = rows.tobytes() + weight.tobytes()
        if key not in sides:
            columns = _cells(defect[rows], logit[rows] > 0, None if classes is None else classes[rows])
            sides[key] = _Side(logit[rows], weight, columns, group[rows], size)
        return factor, key

    shares = [(*weighed(defect, row), *weighed(~defect, row)) for row in weights]
    pairs = {(d, q): _places(sides[d], sides[q]) for _, d, _, q in shares}

    out = {name: np.full((len(weights), 1 + draws), np.nan) for name in METRICS}
    for columns, counts in _resamples(size, draws, seed, max(1, CHUNK // n)):
        cells = {key: counts.astype(np.float32) @ side.table for key, side in sides.items()}
        if ranked:
            above = {key: side.cumulative(counts) for key, side in sides.items()}
            curves = {(d, q): _Curve(above[d], above[q], *places) for (d, q), places in pairs.items()}
        for share, (of_defects, d, of_normals, q) in enumerate(shares):
            for name, values in _from_cells(of_defects * cells[d] + of_normals * cells[q]).items():
                out[name][share, columns] = values
            if ranked:
                out["auroc"][share, columns] = curves[d, q].auroc()
                out["recall_at_5"][share, columns] = curves[d, q].recall(false_alarms=0.05)
                out["ap"][share, columns] = curves[d, q].average_precision(of_normals / of_defects if of_defects else 0)
    return out


def interval(draws, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high), each (...), of draws (..., 1 + B) as `bootstrap` returns them.

    Column 0, the estimate, is left out, and so are undefined resamples; nan where all are, or where there are none.
    """
    resamples = np.asarray(draws, float)[..., 1:]
    if not resamples.shape[-1]:
        return np.full(resamples.shape[:-1], np.nan), np.full(resamples.shape[:-1], np.nan)
    defined = ~np.isnan(resamples).all(axis=-1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.nanquantile(np.where(defined[..., None], resamples, 0), tails, axis=-1)
    low, high = np.where(defined, ends, np.nan)
    return low, high


def paired_difference(a, b, level: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, low, high and p, each (...), of a - b; a and b (..., 1 + B) from the same rows, seed and draws.

    p is two-sided: twice the smaller share of resamples at or beyond 0, each counted with one extra (Davison and
    Hinkley 1997, section 4.4), so never 0 and at most 1.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ: pairs need the same shares, rows, seed and draws")
    difference = a - b
    low, high = interval(difference, level)
    resamples = difference[..., 1:]
    tail = np.minimum((resamples <= 0).sum(-1), (resamples >= 0).sum(-1))
    p = np.minimum(1.0, 2 * (tail + 1) / ((~np.isnan(resamples)).sum(-1) + 1))
    return difference[..., 0], low, high, np.where(np.isnan(low), np.nan, p)


def spearman(x, y, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation rho of x (n,) and y (n,), and its 95 % percentile interval over resampled pairs: rho, low, high.

    Ties share the mean of their ranks (Spearman 1904). rho is nan where x or y is constant, as are such resamples; the
    interval leaves them out. Raises ValueError for shapes that differ, fewer than two pairs, or nan.
    """
    from scipy.stats import rankdata  # slow to import

    pairs = np.array([x, y], float) if np.shape(x) == np.shape(y) else np.empty(0)
    if pairs.ndim != 2 or pairs.shape[1] < 2 or np.isnan(pairs).any():
        shapes = f"{np.shape(x)} and {np.shape(y)}"
        raise ValueError(f"x and y have shapes {shapes}, expected twice the same (n,) of 2 or more, and no nan")
    n = pairs.shape[1]
    drawn = np.vstack([np.arange(n), np.random.default_rng(seed).integers(n, size=(draws, n))])
    ranks = rankdata(pairs[:, drawn], axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=-1).prod(axis=0))
    rho = np.divide(ranks.prod(axis=0).sum(axis=-1), spread, out=np.full(len(drawn), np.nan), where=spread > 0)
    low, high = interval(rho)
    return float(rho[0]), float(low), float(high)


class _Side:
    """The defects or the normals of a share, best ranked first."""

    def __init__(self, logit, weight, columns, group, size):
        self.table = np.stack([np.bincount(group, weight * column, size) for column in columns], axis=1)
        self.table = self.table.astype(np.float32)  # counts below 2^24 are exact, others off by less than 1e-6
        order = np.argsort(-logit, kind="stable")
        self.descending, self.group = -logit[order], group[order]
        # unweighted counts stay integers: exact, and summed 7 times faster than floats
        self.weight = None if (weight == 1).all() else weight[order]

    def cumulative(self, counts: np.ndarray) -> np.ndarray:
        """Weight of the first 0, 1, ... rows, (draws, rows + 1), under group counts (draws, groups)."""
        steps = counts[:, self.group]
        if self.weight is not None:
            steps = steps * self.weight
        total = np.zeros((len(counts), self.group.size + 1), steps.dtype)
        np.cumsum(steps, axis=1, out=total[:, 1:])
        return total


def _places(defects: _Side, normals: _Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per distinct logit of a defect: how many defects reach it, and how many normals reach and exceed it."""
    levels, first = np.unique(defects.descending, return_index=True)
    reach, exceed = (np.searchsorted(normals.descending, levels, side) for side in ("right", "left"))
    return np.append(first[1:], defects.group.size)[: levels.size], reach, exceed


class _Curve:
    """Defects and normals called at every distinct logit of a defect, (draws, levels), in every resample."""

    def __init__(self, defects, normals, hits, reach, exceed):
        self.positives, self.negatives = defects[:, -1].astype(float), normals[:, -1].astype(float)
        # float32: counts below 2^24 are exact in it, and a metric is off by less than 1e-6
        self.tp, self.fp = defects[:, hits].astype(np.float32), normals[:, reach].astype(np.float32)
        self.exceed = normals[:, exceed].astype(np.float32)
        self.gain = np.diff(self.tp, axis=1, prepend=np.float32(0))
        self.tp_gain = self.tp * self.gain

    def auroc(self) -> np.ndarray:
        """Chance that a defect outranks a normal (Mann and Whitney 1947), a tie counting half; (draws,)."""
        losses = (self.gain * (self.fp + self.exceed)).sum(axis=1) / 2
        pairs = self.positives * self.negatives
        return np.divide(pairs - losses, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)

    def recall(self, false_alarms: float) -> np.ndarray:
        """Largest recall at a level that this share of the normals reach, or fewer; (draws,)."""
        most = false_alarms * (1 + 1e-6) * self.negatives[:, None]  # float32 sums
        hits = np.where(self.fp <= most, self.tp, 0).max(axis=1, initial=0)
        return np.where(self.negatives > 0, hits / np.where(self.positives > 0, self.positives, np.nan), np.nan)

    def average_precision(self, normal_weight: float) -> np.ndarray:
        """Sum of precision times gain in recall, a normal weighing `normal_weight` defects; (draws,)."""
        called = self.fp * np.float32(normal_weight)
        called += self.tp
        np.maximum(called, np.finfo(np.float32).tiny, out=called)  # none called yet: 0 / tiny
        np.divide(self.tp_gain, called, out=called)
        return _ratio(called.sum(axis=1), self.positives)


def _resamples(groups: int, draws: int, seed: int, chunk: int) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each group was drawn, (rows, groups), a chunk of columns at a time; the first row is all ones."""
    rng = np.random.default_rng(seed)
    yield slice(0, 1), np.ones((1, groups), int)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        yield slice(1 + start, 1 + start + rows), counts


def _cells(defect, predicted, classes) -> list[np.ndarray]:
    """Columns (n,) that sum to tp, fp, fn, tn, then images found per class, then images per class."""
    found = [] if classes is None else [*(classes & predicted[:, None]).T, *classes.T]
    return [defect & predicted, ~defect & predicted, defect & ~predicted, ~defect & ~predicted, *found]


def _from_cells(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Threshold metrics (...) of summed cells (..., 4 or 38)."""
    tp, fp, fn, tn = np.moveaxis(cells[..., :4], -1, 0)
    f2ciw = np.full(tp.shape, np.nan)
    if cells.shape[-1] > 4:
        found, images = np.split(cells[..., 4:], 2, axis=-1)
        # F-beta = (1 + beta^2) tp / ((1 + beta^2) tp + beta^2 fn + fp), where no class has a false positive
        f2ciw = _ratio(5 * found, found + 4 * images) @ IMPORTANCE / IMPORTANCE.sum()
    return {
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "f2ciw": f2ciw,
        "f1_normal": _ratio(2 * tn, 2 * tn + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
    }


def _ratio(a, b):
    return np.divide(a, b, out=np.zeros(np.shape(b)), where=b > 0)


def _binary(name: str, values, shape: tuple[int, ...] | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 if shape is None else values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape or '(n,)'}")
    other = values[(values != 0) & (values != 1)]
    if other.size:
        raise ValueError(f"{name} holds {other[0]}, expected 0 or 1 (a logit is a defect where above 0)")
    return values == 1


def _classes(classes, n: int) -> np.ndarray | None:
    return None if classes is None else _binary("classes", classes, (n, len(CLASSES)))
