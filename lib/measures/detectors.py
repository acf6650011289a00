"""Anomaly detectors that need no defect labels: they score how unlike the training images one is.

Each fits a bank (n, d) of training features and returns a `Fitted`, whose `score` gives features
(m, d) a score (m,), larger for what is less like the bank. The networks were trained on the bank's
images, so that these lie nearer to one another than to a new image; `held_out` can hide an image
from the detector, but not from the network.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 2  # Bergman, Cohen and Hoshen (2020), DN2: the mean distance to the two nearest
VARIANCE = 0.95  # share of the variance that the principal subspace holds
FALSE_ALARMS = 0.05  # share of the training images that a threshold calls defects
FOLDS = 5  # of training images, each scored by a detector fitted on the other four fifths


class Fitted(NamedTuple):
    """A detector after fitting: its score, and the numbers that fitting chose."""

    score: Callable[[np.ndarray], np.ndarray]
    facts: dict[str, float]


def standardiser(bank: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Removes the bank's mean and divides by its deviation, as for the converged probe."""
    mean, std = bank.mean(0, dtype=np.float64), bank.std(0, dtype=np.float64)
    std = np.where(std > 1e-8, std, 1.0)  # a dead feature stays zero
    return lambda features: (features - mean) / std


def unit(features: np.ndarray) -> np.ndarray:
    """Features over their lengths, decisive for distances to neighbours (Sun et al. 2022)."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def neighbours(bank: np.ndarray) -> Fitted:
    """Mean distance to the `NEIGHBOURS` nearest of the bank, all vectors of length 1."""
    k = min(NEIGHBOURS, len(bank))
    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit(bank))
    return Fitted(lambda x: index.kneighbors(unit(x))[0].mean(axis=1), {"neighbours": k})


def mahalanobis(bank: np.ndarray) -> Fitted:
    """Mahalanobis distance to the bank's mean (Rippel, Mertens and Merhof 2021).

    The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004). This makes
    sense only for features of one scale, so they are standardised first.
    """
    z = standardiser(bank)
    model = LedoitWolf().fit(z(bank))
    facts = {"shrinkage": float(model.shrinkage_)}
    return Fitted(lambda x: np.sqrt(model.mahalanobis(z(x))), facts)


def residual(bank: np.ndarray) -> Fitted:
    """Distance of standardised features to a subspace (Jackson and Mudholkar 1979), the smallest
    principal one that holds `VARIANCE` of the bank's variance."""
    z = standardiser(bank)
    covariance = np.cov(z(bank), rowvar=False, bias=True).reshape(bank.shape[1], -1)
    values, vectors = np.linalg.eigh(covariance)
    held = np.cumsum(values[::-1]) / max(values.sum(), 1e-12)
    kept = min(int(np.searchsorted(held, VARIANCE)) + 1, len(values) - 1)
    rest = vectors[:, : len(values) - kept]  # eigenvalues come smallest first
    return Fitted(lambda x: np.linalg.norm(z(x) @ rest, axis=1), {"components": kept})


def forest(bank: np.ndarray) -> Fitted:
    """Isolation forest (Liu, Ting and Zhou 2008), which does not depend on the features' scales."""
    images = min(256, len(bank))  # a tree
    model = IsolationForest(n_estimators=100, max_samples=images, random_state=0).fit(bank)
    return Fitted(lambda x: -model.score_samples(x), {"trees": len(model.estimators_)})


DETECTORS = {"knn": neighbours, "mahalanobis": mahalanobis, "pca": residual, "forest": forest}


def held_out(fit: Callable[[np.ndarray], Fitted], bank: np.ndarray, groups) -> np.ndarray:
    """(n,) scores of the bank's own images, each by a detector fitted without its fold.

    The images of one of the `groups` (n,), the videos, share a fold: an image is its own nearest
    neighbour, and frames of its video are nearly so, while a validation image meets neither. With a
    single group, images are held out one by one.
    """
    if len(np.unique(groups)) == 1:
        groups = np.arange(len(bank))
    folds, scores = GroupKFold(min(FOLDS, len(np.unique(groups)))), np.empty(len(bank))
    for rest, fold in folds.split(bank, groups=groups):
        scores[fold] = fit(bank[rest]).score(bank[fold])
    return scores


def threshold(scores: np.ndarray) -> float:
    """The score that `FALSE_ALARMS` of these training images exceed."""
    return float(np.quantile(scores, 1 - FALSE_ALARMS))
