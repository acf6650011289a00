"""Confidence intervals of means over seeds, from draws (..., S, 1 + B): a row per seed, the
estimate, then its bootstrap draws over validation videos, the same resamples for every seed.

Two errors meet: runs differ from seed to seed, and all were scored on the same videos. With S seeds
of spread s the mean has the variance s^2 / S + c. The first term holds what differs between runs,
their own sampling error included; c, the mean covariance of two seeds' draws, is the part of the
sampling error that they share, which no number of seeds averages out. (So do studies of several
readers on the same cases: Obuchowski and Rockette 1995; Hillis 2007.)

Student's t has (S - 1) / r degrees of freedom, r the part of s^2 / S in the variance: S - 1 where
only seeds vary, infinitely many where only videos do. Satterthwaite's (S - 1) / r^2 are too many
for three seeds: at 95 % their coverage falls to .92, that of these lies between .94 and .97
whatever r (tests/measures/test_seeds.py, and lib.analysis.calibration by simulation).
"""

import numpy as np
from scipy.special import stdtr, stdtrit

from lib.measures import bootstrap

ENOUGH = 3  # seeds that show their spread; one shows none, and two no more than a direction


def interval(draws, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """(low, high), each (...), of the mean over seeds of draws (..., S, 1 + B).

    From `ENOUGH` seeds on it holds the spread over seeds and over videos. With fewer it is the
    percentile interval over videos of the mean of these very runs, without their spread. nan where
    the draws are undefined.
    """
    draws = np.asarray(draws, float)
    if draws.shape[-2] < ENOUGH:
        return bootstrap.interval(draws.mean(axis=-2), level)
    mean, error, freedom = _moments(draws)
    half = stdtrit(freedom, (1 + level) / 2) * error
    return mean - half, mean + half


def difference(ours, theirs, level: float = 0.95) -> tuple[np.ndarray, ...]:
    """Estimate, low, high and p, each (...), of ours - theirs, both (..., S, 1 + B), paired by seed
    and draw.

    p is two-sided. With fewer seeds than `ENOUGH` it is twice the smaller share of resamples at or
    beyond 0, each counted with one extra (Davison and Hinkley 1997, section 4.4), so never 0 and at
    most 1. Raises ValueError for shapes that differ.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    if ours.shape != theirs.shape:
        needed = "pairs need the same seeds, shares, rows and draws"
        raise ValueError(f"shapes {ours.shape} and {theirs.shape} differ: {needed}")
    gap = ours - theirs
    low, high = interval(gap, level)
    mean = gap[..., 0].mean(axis=-1)
    if gap.shape[-2] < ENOUGH:
        resamples = gap.mean(axis=-2)[..., 1:]
        tail = np.minimum((resamples <= 0).sum(-1), (resamples >= 0).sum(-1))
        p = np.minimum(1.0, 2 * (tail + 1) / ((~np.isnan(resamples)).sum(-1) + 1))
    else:
        _, error, freedom = _moments(gap)
        size = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0, np.inf), where=error > 0)
        p = 2 * stdtr(freedom, -size)
    return mean, low, high, np.where(np.isnan(low), np.nan, p)


def _moments(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds, its standard error and degrees of freedom, each (...); the error is nan
    where no resample is defined."""
    estimates, resamples, seeds = draws[..., 0], draws[..., 1:], draws.shape[-2]
    unknown = np.isnan(resamples).all(axis=-1).any(axis=-1)  # also without any resample
    resamples = np.where(unknown[..., None, None], 0, resamples)
    of_mean, own = 0.0, 0.0
    if resamples.shape[-1]:
        of_mean = np.nanvar(resamples.mean(axis=-2), axis=-1)
        own = np.nanvar(resamples, axis=-1).mean(axis=-1)
    shared = np.maximum((seeds * of_mean - own) / (seeds - 1), 0)
    of_seeds = estimates.var(axis=-1, ddof=1) / seeds
    total = of_seeds + shared
    part = np.divide(of_seeds, total, out=np.zeros_like(total), where=total > 0)
    error = np.where(unknown, np.nan, np.sqrt(total))
    return estimates.mean(axis=-1), error, (seeds - 1) / np.maximum(part, 1e-9)
