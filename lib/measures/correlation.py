"""Spearman's rank correlation of resampled points.

A resample is how often each point was drawn: midranks of all are then one product of matrices.
"""

from functools import partial

import numpy as np

from lib.measures import bootstrap


def spearman(x, y, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation of x and y (n,), and both ends of its 95 % percentile interval over pairs.

    Ties share the mean of their ranks (Spearman 1904). rho is nan where x or y is constant. The
    interval leaves out resamples in which one of them is, and is nan for fewer than
    `bootstrap.FEWEST` pairs. Raises ValueError for shapes that differ, one pair or none, or nan.
    """
    pairs = np.array([x, y], float) if np.shape(x) == np.shape(y) else np.empty(0)
    if pairs.ndim != 2 or pairs.shape[1] < 2 or np.isnan(pairs).any():
        shapes = f"x and y have shapes {np.shape(x)} and {np.shape(y)}"
        raise ValueError(f"{shapes}, expected twice the same (n,) of 2 or more, and no nan")
    n = pairs.shape[1]
    drawn = np.vstack([np.arange(n), np.random.default_rng(seed).integers(n, size=(draws, n))])
    counts = bootstrap.multiplicities(drawn, n).T[None]
    values = rank_correlation(*(midranks(v[:, None], counts) for v in pairs), counts)[0]
    low, high = bootstrap.interval(values if n >= bootstrap.FEWEST else values[:1])
    return float(values[0]), float(low), float(high)


def midranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Midranks (m, n, r), less their mean, of values (n, m) or (n, 1), of which resample r holds
    point n counts (m, n, r) times.

    All are nan where a resample holds a nan. Float32 has multiples of a half exact below 2^23.
    """
    constant = (values == values[:, :1]).all()  # one product serves all m
    columns = (values[:, :1] if constant else values).T
    below = (columns[:, None, :] < columns[:, :, None]).astype(np.float32)
    below += np.float32(0.5) * (columns[:, None, :] == columns[:, :, None])
    counts = counts.astype(np.float32, copy=False)
    # This is a rank less a half; the mean of those is half the size of the resample.
    ranks = below @ counts - counts.sum(axis=1, keepdims=True) / 2
    if (missing := np.isnan(columns)[:, :, None]).any():
        ranks[np.broadcast_to(((counts > 0) & missing).any(1, keepdims=True), ranks.shape)] = np.nan
    return ranks


def rank_correlation(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Spearman's rho (m, r) of `midranks` x and y under counts (m, n, r); nan for a constant."""
    product = partial(np.einsum, "mnr,mnr,mnr->mr", counts, dtype=np.float64)
    xx, yy, xy = product(x, x), product(y, y), product(x, y)
    out = np.full(xx.shape, np.nan)
    return np.divide(xy, np.sqrt(xx * yy), out=out, where=np.minimum(xx, yy) > 0)
