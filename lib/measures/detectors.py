"""Anomaly detectors that need no defect labels: how unlike the training images' features an image's
are.

Each fits a bank (n, d) of training features and returns a `Fitted`, whose `score` gives features
(m, d) a score (m,), larger for what is less like the bank. The networks saw the bank's images, so
even an image that a detector was not fitted on lies nearer to the others than a new one does; only
the detectors themselves can be kept from it (`held_out`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 2  # Bergman, Cohen and Hoshen (2020), DN2: the mean distance to the two nearest
VARIANCE = 0.95  # share of the variance that the principal subspace holds; the rest is what is unlike the bank
FALSE_ALARMS = 0.05  # share of the training images that a threshold calls defects
FOLDS = 5  # of training images, each scored by a detector fitted on the other four fifths


class Fitted(NamedTuple):
    """A detector after fitting: its score, and the numbers that fitting chose."""

    score: Callable[[np.ndarray], np.ndarray]
    facts: dict[str, float]


def standardiser(bank: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Features with the bank's mean removed and deviation divided out, as the converged probe sees
    them."""
    mean, std = bank.mean(0, dtype=np.float64), bank.std(0, dtype=np.float64)
    std = np.where(std > 1e-8, std, 1.0)  # a dead feature stays zero
    return lambda features: (features - mean) / std


def unit(features: np.ndarray) -> np.ndarray:
    """Features divided by their length, which Sun et al. (2022) find decisive for distances to
    neighbours."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def neighbours(bank: np.ndarray) -> Fitted:
    """Mean distance to the `NEIGHBOURS` nearest of the bank, all vectors of length 1."""
    k = min(NEIGHBOURS, len(bank))
    index = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(unit(bank))
    return Fitted(
        lambda features: index.kneighbors(unit(features))[0].mean(axis=1), {"neighbours": k}
    )


def mahalanobis(bank: np.ndarray) -> Fitted:
    """Mahalanobis distance to the bank's mean (Rippel, Mertens and Merhof 2021).

    The covariance is shrunk towards a multiple of the identity (Ledoit and Wolf 2004), which has a
    meaning only where features have one scale: they are standardised first.
    """
    z = standardiser(bank)
    model = LedoitWolf().fit(z(bank))
    return Fitted(
        lambda features: np.sqrt(model.mahalanobis(z(features))),
        {"shrinkage": float(model.shrinkage_)},
    )


def residual(bank: np.ndarray) -> Fitted:
    """Length of what the principal subspace leaves of standardised features (Jackson and Mudholkar
    1979).

    The subspace is the smallest one that holds `VARIANCE` of the bank's variance.
    """
    z = standardiser(bank)
    values, vectors = np.linalg.eigh(
        np.cov(z(bank), rowvar=False, bias=True).reshape(bank.shape[1], -1)
    )
    held = np.cumsum(values[::-1]) / max(values.sum(), 1e-12)
    kept = min(int(np.searchsorted(held, VARIANCE)) + 1, len(values) - 1)
    rest = vectors[:, : len(values) - kept]  # eigenvalues come smallest first
    return Fitted(lambda features: np.linalg.norm(z(features) @ rest, axis=1), {"components": kept})


def forest(bank: np.ndarray) -> Fitted:
    """Isolation forest (Liu, Ting and Zhou 2008): 100 trees of at most 256 images, blind to the
    features' scales."""
    model = IsolationForest(n_estimators=100, max_samples=min(256, len(bank)), random_state=0).fit(
        bank
    )
    return Fitted(
        lambda features: -model.score_samples(features), {"trees": len(model.estimators_)}
    )


DETECTORS = {"knn": neighbours, "mahalanobis": mahalanobis, "pca": residual, "forest": forest}


def held_out(
    fit: Callable[[np.ndarray], Fitted], bank: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """(n,) scores of the bank's own images, each by a detector fitted without its fold.

    Whole `groups` (n,), the videos, share a fold: an image is its own nearest neighbour, and frames
    of one video are nearly so, while a validation image meets neither. With a single group, images
    are held out one by one.
    """
    known = len(np.unique(groups))
    groups = groups if known > 1 else np.arange(len(bank))
    scores = np.empty(len(bank))
    for rest, fold in GroupKFold(min(FOLDS, len(np.unique(groups)))).split(bank, groups=groups):
        scores[fold] = fit(bank[rest]).score(bank[fold])
    return scores


def threshold(scores: np.ndarray) -> float:
    """The score that `FALSE_ALARMS` of these training images exceed."""
    return float(np.quantile(scores, 1 - FALSE_ALARMS))
