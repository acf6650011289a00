"""The paper's twelve claims, each decided by differences that must be above zero. Knows no torch.

A claim consists of parts, arrays (1 + B,): an estimate, then its bootstrap draws over videos (and
seeds). It is supported if the 95 % interval of every part lies above 0; contradicted if that of any
part lies below 0, at the level 1 - .05 / k of Bonferroni's correction for k parts; inconclusive
otherwise; not run where a system was not trained. Requiring every part (an intersection-union test,
Berger 1982) needs no correction.

board = claims.Board(study.runs("claims", "mini"), "clean")
scorecard = claims.score({"clean": board})
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd

from lib.analysis.board import Board, Draws, NotRun
from lib.measures import bootstrap
from lib.measures.correlation import midranks, rank_correlation
from lib.study import names
from lib.study.names import BACKBONES

JOINT = ("byol", "barlow", "simclr", "dino")
MONITORED = ("simclr", "byol", "dino")
CURVES = ("rankme_batch", "feature_mean", "feature_std", "embedding_mean", "embedding_std")
SHARES = (0.01, 0.02, 0.05, 0.15, 0.45)
VARIANTS = {"described": "mae", "released": "mae-released"}
LITTLE = 0.3  # a rank correlation below this is called none: a convention, less than a tenth of the variance
ALIKE = 0.5  # curves of the two backbones that correlate less than this are called different: a convention


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the first axis; 0 where either does not vary."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), norm, out=np.zeros_like(norm), where=norm > 0)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and what decides it: `parts(board, mae)` gives the arrays that must be
    above zero.

    `mae` is the row that stands for MAE, "mae" or "mae-released". `shown(board, mae)`, where given,
    is the quantity that is printed instead of the weakest part.
    """

    number: int
    text: str
    statistic: str
    parts: Callable[[Board, str], list[Draws]]
    shown: Callable[[Board, str], Draws] | None = None


# The parts of each claim. F1 is that of the defect class at the natural validation share unless
# said otherwise.


def joint_over_mae(board: Board, mae: str) -> list[Draws]:
    return [board.f1(JOINT, "vit_tiny", SHARES[:-1]) - board.f1(mae, "vit_tiny", SHARES[:-1])]


def method_over_backbone(board: Board, mae: str) -> list[Draws]:
    def distance(a: tuple[str, str], b: tuple[str, str], share: float) -> Draws:
        return np.abs(board.cell(*a, share)["f1"] - board.cell(*b, share)["f1"])

    methods = [
        distance((m, b), (n, b), s)
        for m, n in combinations(JOINT, 2)
        for b in BACKBONES
        for s in SHARES
    ]
    backbones = [distance((m, BACKBONES[0]), (m, BACKBONES[1]), s) for m in JOINT for s in SHARES]
    return [np.mean(methods, axis=0) - np.mean(backbones, axis=0)]


def rankme_correlation(board: Board, mae: str) -> Draws:
    """Spearman's rho of RankMe and F1, averaged over backbones; draws also resample the points of
    each backbone."""
    found, rng = [], np.random.default_rng(0)
    for backbone in BACKBONES:
        points = [
            (m, backbone, s) for m in (*JOINT, mae) for s in SHARES if names.exists(m, backbone)
        ]
        f1 = np.stack([board.cell(*p)["f1"] for p in points])
        rank = np.array([np.mean([s.record["rankme"] for s in board.system(*p)]) for p in points])
        chosen = rng.integers(len(points), size=(len(points), f1.shape[1]))
        chosen[:, 0] = np.arange(len(points))
        counts = bootstrap.multiplicities(chosen.T, len(points))[:, :, None]
        rho = rank_correlation(midranks(rank[:, None], counts), midranks(f1, counts), counts)
        found.append(np.nan_to_num(rho[:, 0]))  # no correlation where either does not vary
    return np.mean(found, axis=0)


def rankme_says_little(board: Board, mae: str) -> list[Draws]:
    rho = rankme_correlation(board, mae)
    return [LITTLE - rho, LITTLE + rho]


def train_share_matters(board: Board, mae: str) -> list[Draws]:
    systems = [("supervised", *JOINT, mae), BACKBONES]
    return [board.f1(*systems, [SHARES[-1]]) - board.f1(*systems, [SHARES[0]])]


def by_validation(board: Board, mae: str, metric: str) -> Draws:
    """Mean over systems and train shares of the metric at the largest validation share minus that
    at the smallest."""
    cells = [
        c for c in product(("supervised", *JOINT, mae), BACKBONES, SHARES) if names.exists(*c[:2])
    ]
    low, high = (np.mean([board.ends(*c)[end][metric] for c in cells], axis=0) for end in (0, 1))
    return high - low


def validation_share_matters(board: Board, mae: str) -> list[Draws]:
    f1, precision, recall = (
        by_validation(board, mae, name) for name in ("f1", "precision", "recall")
    )
    return [f1, precision - np.abs(recall)]


def byol_best_at_one(board: Board, mae: str) -> list[Draws]:
    return [board.rival("byol", other, SHARES[:1]) for other in (*JOINT[1:], mae)]


def simclr_resnet_good(board: Board, mae: str) -> list[Draws]:
    shares, ours = SHARES[2:], board.f1("simclr", "resnet18", SHARES[2:])
    others = [
        (m, b)
        for m in (*JOINT, mae)
        for b in BACKBONES
        if names.exists(m, b) and (m, b) != ("simclr", "resnet18")
    ]
    mean = np.mean([board.f1(m, b, shares) for m, b in others], axis=0)
    return [ours - mean, ours - board.f1("random", "resnet18", shares)]


def barlow_robust(board: Board, mae: str) -> list[Draws]:
    def lead(share: float) -> Draws:
        return np.mean(
            [board.rival("barlow", other, [share]) for other in ("byol", "simclr", "dino", mae)],
            axis=0,
        )

    return [lead(SHARES[0]), lead(SHARES[-1])]


def dino_needs_vit(board: Board, mae: str) -> list[Draws]:
    lead = {
        b: board.f1("dino", b, SHARES[:2]) - board.f1(JOINT[:3], b, SHARES[:2]) for b in BACKBONES
    }
    return [-lead["resnet18"], lead["vit_tiny"] - lead["resnet18"]]


def mae_lowest(board: Board, mae: str) -> list[Draws]:
    lowest = board.f1(mae, "vit_tiny", SHARES)
    return [board.f1(m, b, SHARES) - lowest for m in JOINT for b in BACKBONES]


def supervised_ahead(board: Board, mae: str) -> list[Draws]:
    return [board.rival("supervised", other, SHARES) for other in (*JOINT, mae)]


def curve_likeness(board: Board, mae: str) -> Draws:
    """Correlation over epochs of a monitoring metric on the two backbones, averaged over metrics,
    methods and shares.

    Draws resample the pairs (method, share): histories hold no images. Raises NotRun for fewer than
    three epochs.
    """
    found = []
    for method, share in product(MONITORED, SHARES):
        curves = [
            np.mean([s.history[list(CURVES)] for s in board.system(method, b, share)], axis=0)
            for b in BACKBONES
        ]
        if len(curves[0]) < 3:
            raise NotRun("a correlation over epochs takes three or more")
        found.append(_correlation(*curves).mean())
    chosen = np.random.default_rng(0).integers(len(found), size=(1 + board.resamples, len(found)))
    chosen[0] = np.arange(len(found))
    return np.array(found)[chosen].mean(axis=1)


def backbones_behave_differently(board: Board, mae: str) -> list[Draws]:
    return [ALIKE - curve_likeness(board, mae)]


CLAIMS = (
    Claim(
        1,
        "Joint embeddings beat MAE under imbalance",
        "F1(joint) − F1(MAE), ViT-Tiny, mean over 4 methods, train shares 1–15 %",
        joint_over_mae,
    ),
    Claim(
        2,
        "The SSL method matters more than the backbone",
        "mean |F1 difference| between methods − between backbones",
        method_over_backbone,
    ),
    Claim(
        3,
        "RankMe does not correlate with F1",
        f"Spearman’s rho of RankMe and F1, mean of backbones; none: |rho| < {LITTLE}",
        rankme_says_little,
        rankme_correlation,
    ),
    Claim(
        4,
        "A lower train share lowers performance",
        "F1 at 45 % − at 1 % of defects in training, mean over systems",
        train_share_matters,
    ),
    Claim(
        5,
        "A lower validation share lowers F1, through precision",
        "F1 at 45 % − at 1 % in validation, and precision’s change − |recall’s|",
        validation_share_matters,
        lambda board, mae: by_validation(board, mae, "f1"),
    ),
    Claim(
        6,
        "BYOL is best at 1 %",
        "F1(BYOL) − F1(strongest rival) at 1 %, mean over shared backbones",
        byol_best_at_one,
    ),
    Claim(
        7,
        "SimCLR with ResNet-18 is good from 5 % up",
        "F1 − mean of the other SSL systems, and − random backbone, 5–45 %",
        simclr_resnet_good,
    ),
    Claim(
        8,
        "Barlow Twins is robust at both extremes",
        "F1(Barlow Twins) − mean of the other SSL methods, at 1 % and at 45 %",
        barlow_robust,
    ),
    Claim(
        9,
        "DINO with ResNet-18 is poor at 1–2 %, with ViT-Tiny not",
        "lead over the other joint embeddings: ResNet-18’s below 0, ViT-Tiny’s above it",
        dino_needs_vit,
    ),
    Claim(
        10,
        "MAE is lowest overall",
        "F1(lowest joint-embedding system) − F1(MAE), mean over train shares",
        mae_lowest,
    ),
    Claim(
        11,
        "Supervised training is still ahead",
        "F1(supervised) − F1(strongest SSL method), mean over train shares",
        supervised_ahead,
    ),
    Claim(
        12,
        "Monitoring metrics differ between the two backbones",
        f"correlation of the backbones’ curves over epochs; different: < {ALIKE}",
        backbones_behave_differently,
        curve_likeness,
    ),
)


def verdict(parts: list[Draws]) -> str:
    """ "supported", "contradicted" or "inconclusive", by the rule above."""
    lows = [bootstrap.interval(part)[0] for part in parts]
    highs = [bootstrap.interval(part, 1 - 0.05 / len(parts))[1] for part in parts]
    if all(low > 0 for low in lows):
        return "supported"
    return "contradicted" if any(high < 0 for high in highs) else "inconclusive"


def not_run(reason: NotRun) -> dict:
    """What `judge` says of a claim whose systems are not there."""
    return {
        "value": np.nan,
        "low": np.nan,
        "high": np.nan,
        "verdict": "not run",
        "note": str(reason),
    }


def judge(claim: Claim, board: Board, mae: str) -> dict:
    """value, low, high (95 %) and verdict of one claim, with MAE as the row `mae`; nan where it was
    not run."""
    try:
        parts = claim.parts(board, mae)
        shown = claim.shown(board, mae) if claim.shown else min(parts, key=lambda part: part[0])
    except NotRun as reason:
        return not_run(reason)
    low, high = bootstrap.interval(shown)
    return {
        "value": shown[0],
        "low": float(low),
        "high": float(high),
        "verdict": verdict(parts),
        "note": "",
    }


def score(boards: dict[str, Board]) -> pd.DataFrame:
    """A row per claim, protocol and variant of MAE ("described", "released"): what was asked, and
    what `judge` says."""
    rows = [
        {
            "claim": claim.number,
            "text": claim.text,
            "protocol": protocol,
            "mae": variant,
            "statistic": claim.statistic,
        }
        | judge(claim, board, row)
        for claim in CLAIMS
        for protocol, board in boards.items()
        for variant, row in VARIANTS.items()
    ]
    return pd.DataFrame(rows)


def disagreements(scored: pd.DataFrame, by: str) -> list[int]:
    """Claims whose verdict depends on `by`, "protocol" or "mae", all else equal."""
    other = "mae" if by == "protocol" else "protocol"
    ran = scored[scored["verdict"] != "not run"]
    counts = ran.groupby(["claim", other])["verdict"].nunique()
    return sorted(counts[counts > 1].index.get_level_values("claim").unique())
