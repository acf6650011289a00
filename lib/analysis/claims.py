"""The paper's twelve claims, each decided by differences that must be above zero.

A claim consists of parts, arrays (1 + B,): an estimate, then its bootstrap draws over videos (and
seeds). It is supported if the 95 % interval of every part lies above 0; contradicted if that of any
part lies below 0, at the level 1 - .05 / k of Bonferroni's correction for k parts; inconclusive
otherwise; not run where a system was not trained. Requiring every part (an intersection-union test,
Berger 1982) needs no correction.

    scored = claims.score({"clean": Board(runs, "clean")}, claims.CLAIMS)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from lib.analysis.board import Board, Cell, Draws, NotRun
from lib.measures import bootstrap
from lib.measures.correlation import midranks, rank_correlation
from lib.study import names
from lib.study.names import BACKBONES

JOINT = ("byol", "barlow", "simclr", "dino")
MONITORED = ("simclr", "byol", "dino")
CURVES = ("rankme_batch", "feature_mean", "feature_std", "embedding_mean", "embedding_std")
SHARES = (0.01, 0.02, 0.05, 0.15, 0.45)
VARIANTS = {"described": "mae", "released": "mae-released"}  # the rows that may stand for MAE
# Conventions. A rank correlation below LITTLE is called none: it explains less than a tenth of the
# variance. Curves of the two backbones that correlate less than ALIKE are called different.
LITTLE = 0.3
ALIKE = 0.5


@dataclass(frozen=True)
class Claim:
    """A claim and what decides it: `judge(board, mae)` gives value, low, high, verdict and note.

    `limits` are the values of the statistic on whose sides the verdict differs.
    """

    number: int
    text: str
    statistic: str
    judge: Callable[[Board, str], dict]
    limits: tuple[float, ...] = (0.0,)


CLAIMS: list[Claim] = []


def claim(
    text: str,
    statistic: str,
    shown: Callable[[Board, str], Draws] | None = None,
    limits: tuple[float, ...] = (0.0,),
):
    """A decorator of the parts of the paper's next claim.

    The weakest part is printed, or `shown(board, mae)`, where it is given.
    """

    def add(parts: Callable[[Board, str], list[Draws]]):
        def judge(board: Board, mae: str) -> dict:
            arrays = parts(board, mae)
            printed = shown(board, mae) if shown else min(arrays, key=lambda part: part[0])
            low, high = map(float, bootstrap.interval(printed))
            return verdict_row(printed[0], low, high, verdict(arrays))

        CLAIMS.append(Claim(len(CLAIMS) + 1, text, statistic, judge, limits))
        return parts

    return add


def verdict(parts: list[Draws]) -> str:
    """ "supported", "contradicted" or "inconclusive", by the rule above."""
    lows = [bootstrap.interval(part)[0] for part in parts]
    highs = [bootstrap.interval(part, 1 - 0.05 / len(parts))[1] for part in parts]
    if all(low > 0 for low in lows):
        return "supported"
    return "contradicted" if any(high < 0 for high in highs) else "inconclusive"


def verdict_row(value: float, low: float, high: float, verdict: str, note: str = "") -> dict:
    """What a judge says of a claim, as columns of a row."""
    return {"value": value, "low": low, "high": high, "verdict": verdict, "note": note}


def judge(claim: Claim, board: Board, mae: str) -> dict:
    """`claim.judge`, with MAE as the row `mae`; "not run" and nan where it lacks a system."""
    try:
        return claim.judge(board, mae)
    except NotRun as reason:
        return verdict_row(np.nan, np.nan, np.nan, "not run", str(reason))


def score(boards: dict[str, Board], claims: Iterable[Claim]) -> pd.DataFrame:
    """A row per claim, protocol and variant of MAE: the claim, and what `judge` says."""
    rows, cases = [], product(claims, boards.items(), VARIANTS.items())
    for claim, (protocol, board), (variant, mae) in cases:
        row = {"claim": claim.number, "text": claim.text, "protocol": protocol}
        row |= {"mae": variant, "statistic": claim.statistic}
        row |= {"limits": " ".join(map("{:g}".format, claim.limits))}
        rows.append(row | judge(claim, board, mae))
    return pd.DataFrame(rows)


def disagreements(scored: pd.DataFrame, by: str) -> list[int]:
    """Claims whose verdict depends on `by`, "protocol" or "mae", all else equal."""
    other = "mae" if by == "protocol" else "protocol"
    ran = scored[scored["verdict"] != "not run"]
    counts = ran.groupby(["claim", other])["verdict"].nunique()
    return sorted(counts[counts > 1].index.get_level_values("claim").unique())


# The claims. F1 is that of the defect class at the natural validation share unless said otherwise.


def _systems(methods: Iterable[str]) -> list[tuple[str, str]]:
    """Every (method, backbone) of these methods that the study has."""
    return [(m, b) for m, b in product(methods, BACKBONES) if names.exists(m, b)]


def _cells(methods: Iterable[str]) -> list[Cell]:
    return [(*system, share) for system, share in product(_systems(methods), SHARES)]


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the first axis; 0 where either does not vary."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), norm, out=np.zeros_like(norm), where=norm > 0)


@claim(
    "Joint embeddings beat MAE under imbalance",
    "F1(joint) − F1(MAE), ViT-Tiny, mean over 4 methods, train shares 1–15 %",
)
def joint_over_mae(board: Board, mae: str) -> list[Draws]:
    return [board.f1(JOINT, "vit_tiny", SHARES[:-1]) - board.f1(mae, "vit_tiny", SHARES[:-1])]


@claim(
    "The SSL method matters more than the backbone",
    "mean |F1 difference| between methods − between backbones",
)
def method_over_backbone(board: Board, mae: str) -> list[Draws]:
    f1 = {cell: board.cell(*cell)["f1"] for cell in _cells(JOINT)}
    between_methods = [
        np.abs(f1[one, backbone, share] - f1[other, backbone, share])
        for (one, other), backbone, share in product(combinations(JOINT, 2), BACKBONES, SHARES)
    ]
    between_backbones = [
        np.abs(f1[method, BACKBONES[0], share] - f1[method, BACKBONES[1], share])
        for method, share in product(JOINT, SHARES)
    ]
    return [np.mean(between_methods, axis=0) - np.mean(between_backbones, axis=0)]


def rankme_correlation(board: Board, mae: str) -> Draws:
    """Spearman's rho of RankMe and F1, averaged over backbones; draws also resample the points."""
    by_backbone, rng = [], np.random.default_rng(0)
    for backbone in BACKBONES:
        points = [cell for cell in _cells((*JOINT, mae)) if cell[1] == backbone]
        f1 = np.stack([board.cell(*p)["f1"] for p in points])
        rank = np.array([np.mean([s.record["rankme"] for s in board.system(*p)]) for p in points])
        chosen = rng.integers(len(points), size=(len(points), f1.shape[1]))
        chosen[:, 0] = np.arange(len(points))
        counts = bootstrap.multiplicities(chosen.T, len(points))[:, :, None]
        rho = rank_correlation(midranks(rank[:, None], counts), midranks(f1, counts), counts)
        by_backbone.append(np.nan_to_num(rho[:, 0]))  # none where either does not vary
    return np.mean(by_backbone, axis=0)


@claim(
    "RankMe does not correlate with F1",
    f"Spearman’s rho of RankMe and F1, mean of backbones; none: |rho| < {LITTLE}",
    rankme_correlation,
    (-LITTLE, LITTLE),
)
def rankme_says_little(board: Board, mae: str) -> list[Draws]:
    rho = rankme_correlation(board, mae)
    return [LITTLE - rho, LITTLE + rho]


@claim(
    "A lower train share lowers performance",
    "F1 at 45 % − at 1 % of defects in training, mean over systems",
)
def train_share_matters(board: Board, mae: str) -> list[Draws]:
    systems = [("supervised", *JOINT, mae), BACKBONES]
    return [board.f1(*systems, SHARES[-1:]) - board.f1(*systems, SHARES[:1])]


def by_validation(board: Board, mae: str, metric: str) -> Draws:
    """Mean over systems and train shares of the metric at the largest validation share minus that
    at the smallest."""
    ends = [board.ends(*cell) for cell in _cells(("supervised", *JOINT, mae))]
    low, high = (np.mean([end[i][metric] for end in ends], axis=0) for i in (0, 1))
    return high - low


@claim(
    "A lower validation share lowers F1, through precision",
    "F1 at 45 % − at 1 % in validation, and precision’s change − |recall’s|",
    lambda board, mae: by_validation(board, mae, "f1"),
)
def validation_share_matters(board: Board, mae: str) -> list[Draws]:
    metrics = ("f1", "precision", "recall")
    f1, precision, recall = (by_validation(board, mae, metric) for metric in metrics)
    return [f1, precision - np.abs(recall)]


@claim("BYOL is best at 1 %", "F1(BYOL) − F1(strongest rival) at 1 %, mean over shared backbones")
def byol_best_at_one(board: Board, mae: str) -> list[Draws]:
    return [board.rival("byol", other, SHARES[:1]) for other in (*JOINT[1:], mae)]


@claim(
    "SimCLR with ResNet-18 is good from 5 % up",
    "F1 − mean of the other SSL systems, and − random backbone, 5–45 %",
)
def simclr_resnet_good(board: Board, mae: str) -> list[Draws]:
    simclr, shares = ("simclr", "resnet18"), SHARES[2:]
    others = [system for system in _systems((*JOINT, mae)) if system != simclr]
    ours, mean = board.f1(*simclr, shares), [board.f1(*other, shares) for other in others]
    return [ours - np.mean(mean, axis=0), ours - board.f1("random", "resnet18", shares)]


@claim(
    "Barlow Twins is robust at both extremes",
    "F1(Barlow Twins) − mean of the other SSL methods, at 1 % and at 45 %",
)
def barlow_robust(board: Board, mae: str) -> list[Draws]:
    others = ("byol", "simclr", "dino", mae)
    return [
        np.mean([board.rival("barlow", other, [share]) for other in others], axis=0)
        for share in (SHARES[0], SHARES[-1])
    ]


@claim(
    "DINO with ResNet-18 is poor at 1–2 %, with ViT-Tiny not",
    "lead over the other joint embeddings: ResNet-18’s below 0, ViT-Tiny’s above it",
)
def dino_needs_vit(board: Board, mae: str) -> list[Draws]:
    resnet, vit = (
        board.f1("dino", backbone, SHARES[:2]) - board.f1(JOINT[:3], backbone, SHARES[:2])
        for backbone in BACKBONES
    )
    return [-resnet, vit - resnet]


@claim(
    "MAE is lowest overall", "F1(lowest joint-embedding system) − F1(MAE), mean over train shares"
)
def mae_lowest(board: Board, mae: str) -> list[Draws]:
    lowest = board.f1(mae, "vit_tiny", SHARES)
    return [board.f1(*system, SHARES) - lowest for system in _systems(JOINT)]


@claim(
    "Supervised training is still ahead",
    "F1(supervised) − F1(strongest SSL method), mean over train shares",
)
def supervised_ahead(board: Board, mae: str) -> list[Draws]:
    return [board.rival("supervised", other, SHARES) for other in (*JOINT, mae)]


def curve_likeness(board: Board, mae: str) -> Draws:
    """Correlation over epochs of a monitoring metric on the two backbones, averaged over metrics,
    methods and shares.

    Draws resample the pairs (method, share): histories hold no images. Raises NotRun for fewer than
    three epochs.
    """
    pairs = []
    for method, share in product(MONITORED, SHARES):
        curves = [
            np.mean([s.history[list(CURVES)] for s in board.system(method, b, share)], axis=0)
            for b in BACKBONES
        ]
        if len(curves[0]) < 3:
            raise NotRun("a correlation over epochs takes three or more")
        pairs.append(_correlation(*curves).mean())
    chosen = np.random.default_rng(0).integers(len(pairs), size=(1 + board.resamples, len(pairs)))
    chosen[0] = np.arange(len(pairs))
    return np.array(pairs)[chosen].mean(axis=1)


@claim(
    "Monitoring metrics differ between the two backbones",
    f"correlation of the backbones’ curves over epochs; different: < {ALIKE}",
    curve_likeness,
    (ALIKE,),
)
def backbones_behave_differently(board: Board, mae: str) -> list[Draws]:
    return [ALIKE - curve_likeness(board, mae)]
