"""Seeds as the upper level of a bootstrap: each draw takes seeds first, then validation videos.
Knows no torch."""

from collections.abc import Iterable

import numpy as np


def weights(seeds: Iterable[int], resamples: int) -> dict[int, np.ndarray]:
    """Seed -> its weight (1 + B,) in the mean over seeds: 1 / S, then in each draw; equal `seeds`
    draw the same.

    A draw takes S - 1 of the S seeds with replacement: means of S of them would vary too little, by
    the factor (S - 1) / S, which for two seeds is a half (Rao and Wu 1988). One seed always weighs
    1: its spread is unknown.
    """
    seeds = sorted(set(seeds))
    drawn = max(1, len(seeds) - 1)
    counts = np.random.default_rng(0).multinomial(drawn, [1 / len(seeds)] * len(seeds), resamples)
    found = np.vstack([np.full(len(seeds), 1 / len(seeds)), counts / drawn])
    return dict(zip(seeds, found.T, strict=True))


def mean(seeds: Iterable[int], draws: Iterable[np.ndarray]) -> np.ndarray:
    """The mean over seeds (..., 1 + B) of `draws`, one (..., 1 + B) a seed, in draws of seeds and
    videos.

    Rows of one seed share its weight. Two means over the same seeds are paired, column by column.
    """
    seeds, stacked = list(seeds), np.stack(list(draws))
    weight = weights(seeds, stacked.shape[-1] - 1)
    rows = np.stack([weight[seed] for seed in seeds]).reshape(
        len(seeds), *[1] * (stacked.ndim - 2), -1
    )
    kept = np.where(
        rows > 0, stacked, 0
    )  # an undefined metric of a seed that is not drawn does no harm
    return (rows * kept).sum(axis=0) / rows.sum(axis=0)
