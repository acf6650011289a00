"""How features spread on the unit sphere, as Otero et al. monitor them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def sphere_statistics(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of l2-normalised vectors (n, d), two scalars on their device.

    The mean is over all n d coordinates: about 0 for centred vectors, at most 1 / sqrt(d), which
    identical coordinates reach. The deviation is over the batch (n - 1 in the denominator),
    averaged over the dimensions, in units of 1 / sqrt(d): 1 is an even spread on the sphere and 0 a
    collapse to one point (Chen and He 2021, section 4.1). Both are in float32, under autocast, too,
    and stay tensors so that a training step need not wait for them. Raises ValueError for fewer
    than two vectors.
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        shape = tuple(vectors.shape)
        raise ValueError(f"vectors has shape {shape}, expected (n, d) with n of 2 or more")
    unit = F.normalize(vectors.detach().float(), dim=1)
    return unit.mean(), unit.std(dim=0).mean() * math.sqrt(unit.shape[1])
