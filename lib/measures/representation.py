"""Measures of a representation that read no label, each as its paper defines it.

Features are a backbone's, (n, d), an image a row; views (k, q, d) are those of q augmented views of
each of k images. All is computed in float64, except what a training monitors: `rankme` and
`sphere_statistics`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lib.study.names import UNTRAINED


@dataclass(frozen=True)
class Measure:
    """How a measure is named and read."""

    name: str
    sign: int  # of its correlation with detection, if its paper is right
    source: str


# The signs were fixed before any correlation was looked at. alpha-ReQ's paper holds an exponent
# near 1 for the best and a larger one for a step towards collapse. A lower loss is better.
MEASURES = {
    "rankme": Measure("RankMe", 1, "Garrido et al. 2023, eq. 1"),
    "alpha_req": Measure("α-ReQ", -1, "Agrawal et al. 2022"),
    "lidar": Measure("LiDAR", 1, "Thilak et al. 2023"),
    "nesum": Measure("NESum", 1, "He and Ozay 2022"),
    "stable_rank": Measure("Stable rank", 1, "Rudelson and Vershynin 2007; Tsitsulin et al. 2023"),
    "alignment": Measure("Alignment", -1, "Wang and Isola 2020"),
    "uniformity": Measure("Uniformity", -1, "Wang and Isola 2020"),
    "loss": Measure("Training loss", -1, "of the last epoch"),
}
# Ranks of the eigenvalues that alpha-ReQ is fitted to, the first and the last, whatever the width:
# the first ten leave the power law (Stringer et al. 2019 fit from 11 on), and of 96 directions the
# last are those that noise decides.
FITTED = (11, 50)
# The loss of a supervised network reads labels; where only a probe was trained there is none.
WITHOUT_LOSS = ("supervised", *UNTRAINED)


def measures(features, views) -> dict[str, float]:
    """Every measure of `MEASURES` but the loss, of features (n, d) and views (k, q, d).

    All are nan where a feature is not finite. Raises ValueError for other shapes, fewer than two
    images, or fewer than two views of each.
    """
    features, views = _features(features), _views(views)
    if not (np.isfinite(features).all() and np.isfinite(views).all()):
        return {name: math.nan for name in MEASURES if name != "loss"}
    return {
        "rankme": rankme(features),
        "alpha_req": alpha_req(features),
        "lidar": lidar(views),
        "nesum": nesum(features),
        "stable_rank": stable_rank(features),
        "alignment": alignment(views),
        "uniformity": uniformity(features),
    }


def training_loss(method: str, history: Mapping) -> float:
    """The loss of the last epoch, from columns by name; nan for the rows of `WITHOUT_LOSS`.
    Losses of different methods are different quantities and must not be compared."""
    return math.nan if method in WITHOUT_LOSS else float(np.asarray(history["loss"])[-1])


def spectrum(features) -> np.ndarray:
    """Eigenvalues (min(n, d),) of the covariance of features (n, d), largest first.

    Rounding errors are 0: singular values of the centred features below max(n, d) float32 units of
    the largest one before centring, because networks compute in float32.
    """
    features = _features(features)
    noise = max(features.shape) * np.finfo(np.float32).eps * np.linalg.norm(features, 2)
    s = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    return np.where(s > noise, s, 0) ** 2 / len(features)


def alpha_req(features, fitted: tuple[int, int] = FITTED) -> float:
    """alpha-ReQ, the exponent of features' spectrum lambda_j ~ j^-alpha (Agrawal et al. 2022).

    It is the slope, by least squares, of log lambda_j on log j over the ranks j in `fitted`, both
    ends included. Infinite where fewer than three of these eigenvalues are above 0, because the
    spectrum then falls faster than any power; nan where n or d is too small for three.
    """
    eigenvalues = spectrum(features)[: fitted[1]]
    if len(eigenvalues) < fitted[0] + 2:
        return math.nan
    ranks = np.arange(fitted[0], len(eigenvalues) + 1)
    kept = eigenvalues[fitted[0] - 1 :]
    if (kept > 0).sum() < 3:
        return math.inf
    return float(-np.polyfit(np.log(ranks[kept > 0]), np.log(kept[kept > 0]), 1)[0])


def nesum(features) -> float:
    """NESum, the sum of the covariance's eigenvalues over the largest (He and Ozay 2022). Between
    1, features (n, d) in one direction, and min(n, d), a whitened set; 0 for constant ones."""
    eigenvalues = spectrum(features)
    return float(eigenvalues.sum() / eigenvalues[0]) if eigenvalues[0] > 0 else 0.0


def stable_rank(features) -> float:
    """Squared Frobenius norm over squared spectral norm (Rudelson and Vershynin 2007).

    Not centred, as Tsitsulin et al. (2023) use it: a common mean counts as a direction. Between 1
    and min(n, d) for features (n, d); 0 for features that are zero.
    """
    s = np.linalg.svd(_features(features), compute_uv=False)
    return float((s**2).sum() / s[0] ** 2) if s[0] > 0 else 0.0


def lidar(views, delta: float = 1e-4, eps: float = 1e-7) -> float:
    """LiDAR, the effective rank of the discriminant matrix of classes (Thilak et al. 2023).

    Each of k images is a class, and its q views are the samples: views (k, q, d). LiDAR is the
    exponential of the entropy of p = lambda / sum(lambda) + eps over the eigenvalues of
    W^-1/2 B W^-1/2. B is the covariance of the classes' means, W the mean covariance within them
    plus delta I; both constants are the paper's. Between 1 and min(k - 1, d). Unlike the other
    ranks it depends on scale: features much smaller than sqrt(delta) are judged by B alone.
    """
    views = _views(views)
    k, q, d = views.shape
    means = views.mean(axis=1)
    between = means - means.mean(axis=0)
    within = (views - means[:, None]).reshape(-1, d)
    values, vectors = np.linalg.eigh(within.T @ within / (k * q))
    # Not rotated back, which would change no eigenvalue.
    whitened = between @ vectors / np.sqrt(values.clip(0) + delta)
    eigenvalues = np.linalg.svd(whitened, compute_uv=False) ** 2
    total = eigenvalues.sum()
    p = (eigenvalues / total if total > 0 else np.zeros_like(eigenvalues)) + eps
    return float(np.exp(-(p * np.log(p)).sum()))


def alignment(views) -> float:
    """Mean squared distance of an image's views on the unit sphere (Wang, Isola 2020, alpha 2).

    views (k, q, d); the mean is over all pairs of different views of an image, then over images.
    Between 0, invariant features, and 4.
    """
    unit = _unit(_views(views))
    # The mean of |x - y|^2 over pairs is twice the variance, with q - 1 in its denominator.
    squares = (unit - unit.mean(axis=1, keepdims=True)) ** 2
    return float(2 * squares.sum(axis=(1, 2)).mean() / (unit.shape[1] - 1))


def uniformity(features, t: float = 2.0) -> float:
    """Log of the mean Gaussian potential of two images on the unit sphere (Wang, Isola 2020, t 2).

    Over all pairs of different images. Between 0, all at one point, and -4 t, two opposite points.
    """
    unit = _unit(_features(features))
    first, second = np.triu_indices(len(unit), 1)
    squared = (2 - 2 * (unit @ unit.T)[first, second]).clip(0)
    return float(np.log(np.exp(-t * squared).mean()))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., d) over their lengths; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _features(features) -> np.ndarray:
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        expected = "expected (n, d) with n of 2 or more: pass more images."
        raise ValueError(f"features has shape {features.shape}, {expected}")
    return features


def _views(views) -> np.ndarray:
    views = np.asarray(views, np.float64)
    if views.ndim != 3 or min(views.shape[:2]) < 2 or not views.shape[2]:
        expected = "expected (k, q, d) with k and q of 2 or more: draw more."
        raise ValueError(f"views has shape {views.shape}, {expected}")
    return views


def rankme(features, eps: float = 1e-7) -> float:
    """RankMe, the effective rank of features (n, d) (Garrido et al. 2023, equation 1).

    The exponential of the entropy of p = s / sum(s) + eps over the singular values s; eps is the
    paper's, Otero et al. use 1e-6. Between 1, a single direction or constant zero, and min(n, d),
    an orthogonal set; eps lifts it by about 16 eps min(n, d). Computed in float32, or in float64
    if `features` is, under autocast, too. Raises ValueError for anything but a finite matrix.
    """
    import torch  # slow to import, and not needed to read measures that are stored

    features = torch.as_tensor(features).detach()
    if features.ndim != 2 or not features.numel():
        raise ValueError(f"features has shape {tuple(features.shape)}, expected (n, d)")
    if not torch.isfinite(features).all():
        raise ValueError("features holds nan or infinity: the run diverged, RankMe is undefined")
    if features.dtype != torch.float64:
        features = features.float()
    if features.device.type == "mps":
        features = features.cpu()  # Metal has no singular values
    s = torch.linalg.svdvals(features)
    p = s / s.sum().clamp_min(torch.finfo(s.dtype).tiny) + eps
    return torch.exp(-(p * p.log()).sum()).item()


def sphere_statistics(vectors) -> tuple:
    """Mean and standard deviation of l2-normalised vectors, a tensor (n, d): how they spread on the
    unit sphere, as Otero et al. monitor it. Two tensors without shape, on the same device.

    The mean is over all n d coordinates: about 0 for centred vectors, at most 1 / sqrt(d), which
    identical coordinates reach. The deviation is over the batch (n - 1 in the denominator),
    averaged over the dimensions, in units of 1 / sqrt(d): 1 is an even spread on the sphere and 0 a
    collapse to one point (Chen and He 2021, section 4.1). Both are in float32, under autocast, too,
    and stay tensors so that a training step need not wait for them. Raises ValueError for fewer
    than two vectors.
    """
    import torch  # as in `rankme`

    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(
            f"vectors has shape {tuple(vectors.shape)}, expected (n, d) with n of 2 or more"
        )
    unit = torch.nn.functional.normalize(vectors.detach().float(), dim=1)
    mean = unit.mean(dim=0)
    # Tensor.std(dim=0) is the same, at twice the time on a CPU.
    std = torch.linalg.vector_norm(unit - mean, dim=0) / math.sqrt(len(unit) - 1)
    return mean.mean(), std.mean() * math.sqrt(unit.shape[1])
