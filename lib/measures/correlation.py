"""Rank correlations and their intervals."""

import numpy as np

from lib.measures import bootstrap


def spearman(x, y, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation rho of x (n,) and y (n,), and its 95 % percentile interval over resampled
    pairs: rho, low, high.

    Ties share the mean of their ranks (Spearman 1904). rho is nan where x or y is constant, as are
    such resamples; the interval leaves them out. Raises ValueError for shapes that differ, fewer
    than two pairs, or nan.
    """
    from scipy.stats import rankdata  # slow to import

    pairs = np.array([x, y], float) if np.shape(x) == np.shape(y) else np.empty(0)
    if pairs.ndim != 2 or pairs.shape[1] < 2 or np.isnan(pairs).any():
        shapes = f"{np.shape(x)} and {np.shape(y)}"
        raise ValueError(
            f"x and y have shapes {shapes}, expected twice the same (n,) of 2 or more, and no nan"
        )
    n = pairs.shape[1]
    drawn = np.vstack([np.arange(n), np.random.default_rng(seed).integers(n, size=(draws, n))])
    ranks = rankdata(pairs[:, drawn], axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=-1).prod(axis=0))
    rho = np.divide(
        ranks.prod(axis=0).sum(axis=-1), spread, out=np.full(len(drawn), np.nan), where=spread > 0
    )
    low, high = bootstrap.interval(rho)
    return float(rho[0]), float(low), float(high)
