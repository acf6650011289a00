"""Seeds as the upper level of a bootstrap: each draw takes seeds first, then validation videos."""

from collections.abc import Iterable

import numpy as np


def weights(seeds: Iterable[int], resamples: int) -> dict[int, np.ndarray]:
    """Seed -> its weight (1 + B,) in the mean over S seeds: 1 / S, then its weight in each draw.

    A draw takes S - 1 of the seeds with replacement: the mean of S of them would vary too little,
    by the factor (S - 1) / S, which is a half for two seeds (Rao and Wu 1988). A single seed always
    weighs 1, because its spread is unknown. Equal `seeds` draw the same.
    """
    seeds = sorted(set(seeds))
    drawn = max(1, len(seeds) - 1)
    counts = np.random.default_rng(0).multinomial(drawn, [1 / len(seeds)] * len(seeds), resamples)
    rows = np.vstack([np.full(len(seeds), 1 / len(seeds)), counts / drawn])
    return dict(zip(seeds, rows.T, strict=True))


def mean(seeds: Iterable[int], draws: Iterable[np.ndarray]) -> np.ndarray:
    """The mean over seeds (..., 1 + B) of `draws`, (..., 1 + B) for each of `seeds`; rows of a seed
    share its weight. Two means over the same seeds are paired, column by column."""
    seeds, stacked = list(seeds), np.stack(list(draws))
    weight = weights(seeds, stacked.shape[-1] - 1)
    rows = np.stack([weight[seed] for seed in seeds])
    rows = rows.reshape(len(seeds), *[1] * (stacked.ndim - 2), -1)
    # A seed that was not drawn may have an undefined metric.
    kept = np.where(rows > 0, stacked, 0)
    return (rows * kept).sum(axis=0) / rows.sum(axis=0)
