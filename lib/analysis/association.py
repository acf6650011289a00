"""Two associations that claims are about: RankMe with a score, and curves with one another."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from lib.analysis.board import Board, Draws, NotRun
from lib.analysis.claim_parts import Reading
from lib.measures import bootstrap
from lib.measures.correlation import midranks, rank_correlation
from lib.study.names import BACKBONES

MONITORED = ("simclr", "byol", "dino")
CURVES = {  # columns of a history -> names
    "rankme_batch": "RankMe of batches",
    "feature_mean": "mean of features",
    "feature_std": "deviation of features",
    "embedding_mean": "mean of embeddings",
    "embedding_std": "deviation of embeddings",
}
FEWEST = 3  # points of a rank correlation, epochs of a curve


def rankme(reading: Reading) -> dict[str, Draws]:
    """Backbone -> Spearman's rho of RankMe and score; draws also resample the points.

    Raises NotRun where no backbone has `FEWEST` pairs of method and train share.
    """
    by_backbone, rng = {}, np.random.default_rng(0)
    systems = set(reading.board.systems(reading.ssl))
    for backbone in BACKBONES:
        points = [c for c in reading.board.cells if c[:2] in systems and c[1] == backbone]
        if len(points) < FEWEST:
            continue
        scores = np.stack([reading.board.draws(p)[0][reading.metric] for p in points])
        ranks = [[s.record["rankme"] for s in reading.board.system(*p)] for p in points]
        chosen = rng.integers(len(points), size=(scores.shape[-1], len(points)))
        chosen[0] = np.arange(len(points))
        counts = bootstrap.multiplicities(chosen, len(points))[:, :, None]
        rhos = [
            rank_correlation(midranks(x[:, None], counts), midranks(y, counts), counts)[:, 0]
            for x, y in zip(np.array(ranks, float).T, scores.swapaxes(0, 1), strict=True)
        ]
        by_backbone[backbone] = np.nan_to_num(rhos)  # none where either does not vary
    if not by_backbone:
        raise NotRun(f"a rank correlation takes {FEWEST} pairs of method and train share")
    return by_backbone


def likeness(board: Board) -> dict[str, Draws]:
    """Curve -> (methods, 2): by how much curves over epochs correlate more between two train shares
    of one backbone than between the same two of both backbones, one row per method.

    Both kinds of pairs share the seed and differ in the train share; those of the second kind
    differ in the backbone, too. Histories hold no images to resample, so the methods are the
    sample, and the only draw of a row is its estimate. Raises NotRun without a method on both
    backbones, for a single train share, or for fewer epochs than `FEWEST`.
    """
    trained, shares = set(board.systems(MONITORED)), board.shares
    methods = [m for m in MONITORED if {(m, b) for b in BACKBONES} <= trained]
    if not methods or len(shares) < 2:
        raise NotRun("it takes a monitored method on both backbones, and two train shares")
    rows = [_likeness(board, method, shares) for method in methods]
    return {name: np.repeat(np.array(rows)[:, i, None], 2, axis=1) for i, name in enumerate(CURVES)}


def _likeness(board: Board, method: str, shares: Sequence[float]) -> np.ndarray:
    """(curves,) of one method, the mean over pairs of train shares and seeds."""
    one, other = [_histories(board, method, b, shares) for b in BACKBONES]
    within, between = [], []
    for i, j in combinations(range(len(shares)), 2):
        within += [_correlation(one[i], one[j]), _correlation(other[i], other[j])]
        between += [_correlation(one[i], other[j]), _correlation(one[j], other[i])]
    return np.mean(within, axis=(0, 1)) - np.mean(between, axis=(0, 1))


def _histories(board: Board, method: str, backbone: str, shares: Iterable[float]) -> list:
    """(seeds, epochs, curves) at each train share."""
    found = [
        np.stack(
            [s.history[list(CURVES)].to_numpy(float) for s in board.system(method, backbone, at)]
        )
        for at in shares
    ]
    if found[0].shape[1] < FEWEST:
        raise NotRun(f"a correlation over epochs takes {FEWEST} or more")
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the second axis; 0 where either does not vary."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.zeros_like(norm), where=norm > 0)
