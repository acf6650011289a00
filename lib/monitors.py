"""What to watch during self-supervised training: effective rank, spread on the sphere, health of a run."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def rankme(features, eps: float = 1e-7) -> float:
    """RankMe, the effective rank of features (n, d) (Garrido et al. 2023, equation 1).

    The exponential of the entropy of p = s / sum(s) + eps over the singular values s; eps is the paper's, Otero et
    al. use 1e-6. Between 1, a single direction or constant zero, and min(n, d), an orthogonal set; eps lifts it by
    about 16 eps min(n, d). In float32, or float64 where given, autocast or not.
    Raises ValueError for anything but a finite matrix.
    """
    features = torch.as_tensor(features).detach()
    if features.ndim != 2 or not features.numel():
        raise ValueError(f"features has shape {tuple(features.shape)}, expected (n, d)")
    if not torch.isfinite(features).all():
        raise ValueError("features holds nan or infinity: the run diverged, its RankMe is undefined")
    if features.dtype != torch.float64:
        features = features.float()
    if features.device.type == "mps":
        features = features.cpu()  # Metal has no singular values
    s = torch.linalg.svdvals(features)
    p = s / s.sum().clamp_min(torch.finfo(s.dtype).tiny) + eps
    return torch.exp(-(p * p.log()).sum()).item()


@torch.no_grad()
def sphere_statistics(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of l2-normalised vectors (n, d), as Otero et al. log them; two scalars on its device.

    The mean is over all n d coordinates, in their own units: about 0 for centred vectors, at most 1 / sqrt(d), which
    identical coordinates reach. The deviation is over the batch (n - 1 in the denominator), averaged over the
    dimensions, in units of 1 / sqrt(d): 1 is an even spread on the sphere and 0 a collapse to one point (Chen and He
    2021, section 4.1). Float32, autocast or not; scalars stay tensors so that a training step need not wait for them.
    Raises ValueError unless there are two vectors or more.
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors has shape {tuple(vectors.shape)}, expected (n, d) with n of 2 or more")
    unit = F.normalize(vectors.detach().float(), dim=1)
    return unit.mean(), unit.std(dim=0).mean() * math.sqrt(unit.shape[1])


def health(loss: Sequence[float], embedding_std: float | None, rankme: float, trivial: float | None = None) -> str:
    """Verdict on a finished training: "healthy", "collapsed" or "diverged".

    loss, per epoch, empty where nothing was trained; embedding_std, the last deviation of `sphere_statistics`, None
    for a method without projector; rankme, of the features after the last epoch, nan where undefined; trivial, the
    loss that an output which ignores its input would have had in the last epoch, None where that is no one number.
    """
    if not all(math.isfinite(value) for value in (*loss, rankme, embedding_std or 0.0)):
        return "diverged"
    # Every loss of the suite starts between 0.5 and 10 and BYOL's cannot pass 4. A healthy loss may rise, BYOL's as it
    # leaves an early near-collapse, DINO's as the teacher's temperature rises, but not to ten times where it began.
    if loss and loss[-1] > 10 * max(loss[0], 1.0):
        return "diverged"
    # The squared deviation is 1 minus the mean cosine between two images: below 0.1, that cosine is above 0.99.
    if embedding_std is not None and embedding_std < 0.1:
        return "collapsed"
    # Within 1 % of the loss of a constant output, or above it: ln K for DINO, ln(2 n - 1) for SimCLR.
    if trivial is not None and loss[-1] > 0.99 * trivial:
        return "collapsed"
    # One direction holds 99 % of the spectrum. Not higher: supervised features tend to one point a class (Papyan et
    # al. 2020), a RankMe near 2, less where the classes are unequal, and are no failure.
    return "collapsed" if rankme < 1.1 else "healthy"
