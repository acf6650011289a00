"""Verdict on a finished training from its curves."""

import math
from collections.abc import Sequence

# Of lib.analysis.results.health, worst first.
VERDICTS = ("diverged", "collapsed", "no better than random", "healthy")


def verdict(
    loss: Sequence[float], embedding_std: float | None, rankme: float, trivial: float | None = None
) -> str:
    """Verdict on a finished training: "healthy", "collapsed" or "diverged".

    `loss` has a value an epoch and is empty where nothing was trained. `embedding_std` is the last
    deviation of `sphere_statistics`, None for a method without projector. `rankme` is that of the
    features after the last epoch, nan where undefined. `trivial` is the loss that an output which
    ignores its input would have had in the last epoch, None where that is not a single number.
    """
    if not all(math.isfinite(value) for value in (*loss, rankme, embedding_std or 0.0)):
        return "diverged"
    # A first loss below 1 counts as 1. BYOL's loss, which cannot pass 4, never counts as exploded.
    if _exploded(loss):
        return "diverged"
    # The squared deviation is 1 minus the mean cosine between two images: below 0.1, that cosine is
    # above 0.99.
    if embedding_std is not None and embedding_std < 0.1:
        return "collapsed"
    # Within 1 % of the loss of a constant output, or above it: ln K for DINO, ln(2 n - 1) for
    # SimCLR.
    if trivial is not None and loss[-1] > 0.99 * trivial:
        return "collapsed"
    # One direction holds 99 % of the spectrum. The bound is not higher because supervised features
    # tend to one point a class (Papyan et al. 2020): their RankMe is near 2, less where the classes
    # are unequal, and that is no failure.
    return "collapsed" if rankme < 1.1 else "healthy"


def of_probe(loss: Sequence[float]) -> str:
    """Verdict on an online probe from its loss (one value an epoch): "healthy" or "diverged".

    The released code's betas, (0.9, 0), divide each step by the latest gradient alone, which lets a
    probe grow without bound while its network learns.
    """
    finite = all(math.isfinite(value) for value in loss)
    return "healthy" if finite and not _exploded(loss) else "diverged"


def _exploded(loss: Sequence[float]) -> bool:
    """Whether it ends above ten times where it began. A healthy loss may rise (BYOL's as it leaves
    an early near-collapse, DINO's as the teacher's temperature rises), but not so far."""
    return bool(loss) and loss[-1] > 10 * max(loss[0], 1.0)
