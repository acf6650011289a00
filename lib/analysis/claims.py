"""The paper's twelve claims: what decides each, why that tests it, what would change it.

lib.analysis.judgement judges them. A score is F1, then AUROC, at the natural validation share. "SSL
methods" are the joint embeddings and MAE. Methods, backbones and train shares are those at hand.
"""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np

from lib.analysis import association, wording
from lib.analysis.board import Draws, NotRun, System
from lib.analysis.claim_parts import JOINT, Part, Reading, called
from lib.analysis.judgement import CURVES, UNITS, Claim
from lib.study.names import BACKBONES, label, share

# Conventions. A rank correlation below LITTLE is called none: it explains less than a tenth of the
# variance. A score no more than MARGIN below another is not worse in practice.
LITTLE = 0.3
MARGIN = 0.05

CLAIMS: list[Claim] = []


def claim(text: str, statistic: str, why: str, turns: str, **options):
    """Decorator that adds the paper's next claim; the function returns parts, or parts by line."""

    def add(parts: Callable[[Reading], list[Part] | dict[str, list[Part]]]):
        def lines(reading: Reading) -> dict[str, list[Part]]:
            found = parts(reading)
            return found if isinstance(found, dict) else {"": found}

        CLAIMS.append(Claim(len(CLAIMS) + 1, text, statistic, why, turns, lines, **options))
        return parts

    return add


@claim(
    "Joint embeddings beat MAE under imbalance",
    "each joint embedding − MAE, ViT-Tiny, mean of train shares up to 15 %",
    "MAE exists on ViT-Tiny alone, and 45 % is no imbalance. Each method is a part: a mean over "
    "four would hide opposites.",
    "One joint embedding below MAE contradicts it.",
)
def joint_over_mae(reading: Reading) -> list[Part]:
    (mae,), shares = reading.systems([reading.mae], "vit_tiny"), reading.shares(0, 0.15)
    joint = reading.systems(JOINT, "vit_tiny")
    return [reading.lead(label(one[0]), one, mae, shares) for one in joint]


@claim(
    "The SSL method matters more than the backbone",
    "mean |difference| of joint embeddings − mean |difference| of backbones",
    "The factor that matters more changes the score more. Pairs that differ only in the method are "
    "compared with pairs that differ only in the backbone, at every train share. Both differences "
    "contain the noise of runs.",
    "Methods with similar scores, or backbones that differ more, contradict it.",
)
def method_over_backbone(reading: Reading) -> list[Part]:
    shares, systems = reading.shares(), reading.systems(JOINT)
    among = reading.learned(systems, shares)
    for some in (among, systems):
        pairs = list(combinations(some, 2))
        kinds = [
            [(a, b) for a, b in pairs if a[k] == b[k] and a[1 - k] != b[1 - k]] for k in (1, 0)
        ]
        if all(kinds):
            break
    else:
        raise NotRun("it takes two joint embeddings and both backbones")
    methods, backbones = (
        np.mean(
            [
                np.abs(reading.score([a], [s]) - reading.score([b], [s]))
                for s in shares
                for a, b in kind
            ],
            axis=0,
        )
        for kind in kinds
    )
    return [reading.part("", methods - backbones, some, shares)]


def _excluded(reading: Reading, printed: Part) -> str:
    low, high = printed.ends()
    least = f"an interval of this width around 0 excludes |ρ| > {(high - low) / 2:.2f} alone"
    return f"this interval excludes |ρ| > {max(-low, high):.2f}; {least}"


@claim(
    "RankMe does not correlate with F1",
    f"Spearman’s ρ of RankMe and score, SSL systems of each backbone; none: |ρ| < {LITTLE}",
    "Finding no correlation does not show that there is none. So the whole interval, with points "
    f"resampled, must lie within ±{LITTLE} on each backbone; a mean of both could hide opposite "
    "signs. Systems that did not learn are included, because RankMe should detect them.",
    "More systems or seeds narrow the interval. The notes say which ρ it excludes.",
    limits=(-LITTLE, LITTLE),
    unit=UNITS[1],
    note=_excluded,
)
def rankme_says_little(reading: Reading) -> list[Part]:
    parts = []
    for backbone, rho in association.rankme(reading).items():
        parts.append(Part(f"{label(backbone)}, ρ < {LITTLE}", rho, (), LITTLE, False, 1.0))
        parts.append(Part(f"{label(backbone)}, ρ > −{LITTLE}", rho, (), -LITTLE, most=1.0))
    return parts


def _left_out(reading: Reading, printed: Part) -> str:
    return reading.averaged()[1]


@claim(
    "A lower train share lowers performance",
    "largest − smallest train share, mean over systems",
    "The largest and the smallest train share are scored on the same images. A system counts if "
    "it learned at the largest share; at least half of them must.",
    "Scores that do not rise with the share contradict it. It is a mean: one system may differ.",
    note=_left_out,
)
def train_share_matters(reading: Reading) -> list[Part]:
    low, high = reading.shares()[0], reading.shares()[-1]
    if low == high:
        raise NotRun("it takes two train shares")
    among, _ = reading.averaged()
    gap = reading.score(among, [high]) - reading.score(among, [low])
    return [reading.part(f"{share(high)} − {share(low)}", gap, among, [high])]


def by_validation(reading: Reading) -> tuple[dict[str, Draws], list[System]]:
    """F1, precision and recall at the largest validation share minus at the smallest, each a mean
    over systems and train shares; and these systems."""
    board, (among, _) = reading.board, reading.averaged()
    ends = min(board.validation_shares), max(board.validation_shares)
    options = {"evaluation": board.rule.imbalance, "shares": ends, "ranked": ()}
    each = [board.draws((*s, at), **options) for s, at in product(among, reading.shares())]
    metrics = ("f1", "precision", "recall")
    return {m: np.mean([high[m] - low[m] for low, high in each], axis=0) for m in metrics}, among


def _recall(reading: Reading, printed: Part) -> str:
    notes = [_left_out(reading, printed)]
    if reading.board.rule.sampling == "weights":
        notes.append("recall’s change is 0 by construction: the same images are weighted")
    else:
        moved = by_validation(reading)[0]["recall"][:, 0].mean()
        notes.append(f"recall changes by {wording.SIGNED(moved)}, as defects are subsampled")
    return ". ".join(filter(None, notes))


@claim(
    "A lower validation share lowers F1, through precision",
    "F1, largest − smallest validation share; precision’s change − |recall’s|",
    "F1 must fall, and precision move more than recall. With fixed rates of hits and false alarms "
    "this is arithmetic; AUROC does not depend on the share.",
    "Only noise of the subsampled defects could change the verdict.",
    metrics=("f1",),
    note=_recall,
)
def validation_share_matters(reading: Reading) -> list[Part]:
    change, among = by_validation(reading)
    through = change["precision"] - np.abs(change["recall"])
    parts, shares = {"F1": change["f1"], "precision − |recall|": through}, reading.shares()[-1:]
    return [reading.part(name, draws, among, shares) for name, draws in parts.items()]


@claim(
    "BYOL is best at 1 %",
    "BYOL − each other SSL method at 1 %, mean over shared backbones",
    "Best means ahead of every rival, so each is a part.",
    "One rival ahead of BYOL contradicts it.",
)
def byol_best_at_one(reading: Reading) -> list[Part]:
    shares, parts = reading.shares(0.01, 0.01), []
    trained = set(reading.board.systems(reading.ssl))
    for rival in [method for method in reading.ssl if method != "byol"]:
        if both := [b for b in BACKBONES if {("byol", b), (rival, b)} <= trained]:
            ours, theirs = ([(method, b) for b in both] for method in ("byol", rival))
            gap = reading.score(ours, shares) - reading.score(theirs, shares)
            parts.append(reading.part(label(rival), gap, [*ours, *theirs], shares))
    if not parts:
        raise NotRun("BYOL has no rival at hand")
    return parts


@claim(
    "SimCLR with ResNet-18 is good from 5 % up",
    "it − untrained backbone, and it − mean of other SSL systems; each share from 5 %",
    "Good means better than no training and better than the mean of the others. “From 5 % up” "
    "must hold at every share, so each is a part.",
    "One share at which it is behind contradicts it.",
)
def simclr_resnet_good(reading: Reading) -> list[Part]:
    (simclr,), floor, parts = reading.systems(["simclr"], "resnet18"), ("random", "resnet18"), []
    for at in reading.shares(0.05):
        if floor in reading.board.systems(["random"]):
            gap = reading.score([simclr], [at]) - reading.score([floor], [at])
            parts.append(Part(f"{share(at)}, untrained", gap))
        lead, rests_on = reading.over_mean(simclr, reading.systems(reading.ssl), [at])
        parts.append(reading.part(f"{share(at)}, others", lead, rests_on, [at]))
    return parts


@claim(
    "Barlow Twins is robust at both extremes",
    f"it − mean of the other SSL methods, smallest and largest share; robust: > −{MARGIN}",
    "Robust does not mean best: at both shares, Barlow Twins may lie at most "
    f"{MARGIN} (a non-inferiority margin) below the mean of the others on its backbone.",
    "Being behind by more than the margin at one end contradicts it. Another margin could change "
    "the verdict.",
    limits=(-MARGIN,),
)
def barlow_robust(reading: Reading) -> list[Part]:
    parts, ssl = [], reading.systems(reading.ssl)
    for at in dict.fromkeys((reading.shares()[0], reading.shares()[-1])):
        leads, rests_on = [], []
        for barlow in reading.systems(["barlow"]):
            lead, own = reading.over_mean(barlow, [s for s in ssl if s[1] == barlow[1]], [at])
            leads, rests_on = [*leads, lead], [*rests_on, *own]
        parts.append(reading.part(share(at), np.mean(leads, axis=0), rests_on, [at], limit=-MARGIN))
    return parts


@claim(
    "DINO with ResNet-18 is poor at 1–2 %, with ViT-Tiny not",
    f"it − mean of other joint embeddings, 1–2 %; poor: < −{MARGIN}",
    f"“Poor” and “not poor” are the two sides of one margin, {MARGIN} below the others’ mean on "
    "the same backbone. ResNet-18 must lie below it, ViT-Tiny above it; each has its own verdict.",
    "DINO near the others on ResNet-18, or behind them on ViT-Tiny, contradicts it.",
    limits=(-MARGIN,),
)
def dino_needs_vit(reading: Reading) -> dict[str, list[Part]]:
    shares, lines = reading.shares(0.01, 0.02), {}
    for dino in reading.systems(["dino"]):
        lead, rests_on = reading.over_mean(dino, reading.systems(JOINT, dino[1]), shares)
        side = {"limit": -MARGIN, "above": dino[1] != "resnet18"}
        lines[label(dino[1])] = [reading.part(label(dino[1]), lead, rests_on, shares, **side)]
    return lines


@claim(
    "MAE is lowest overall",
    "each joint-embedding system − MAE, mean over train shares",
    "Lowest means below every joint-embedding system, so each is a part.",
    "One joint embedding below MAE contradicts it.",
)
def mae_lowest(reading: Reading) -> list[Part]:
    (mae,), shares = reading.systems([reading.mae], "vit_tiny"), reading.shares()
    return [reading.lead(called([s]), s, mae, shares) for s in reading.systems(JOINT)]


@claim(
    "Supervised training is still ahead",
    "supervised − each SSL method on the backbone, mean over train shares",
    "Ahead means ahead of every SSL method. Each backbone has its own verdict; otherwise one "
    "backbone could decide for both.",
    "One SSL method ahead of it contradicts it on that backbone.",
)
def supervised_ahead(reading: Reading) -> dict[str, list[Part]]:
    lines = {
        label(own[1]): [reading.lead(label(s[0]), own, s, reading.shares()) for s in rivals]
        for own in reading.systems(["supervised"])
        if (rivals := [s for s in reading.board.systems(reading.ssl) if s[1] == own[1]])
    }
    if not lines:
        raise NotRun("supervised training has no rival at hand")
    return lines


@claim(
    "Monitoring metrics differ between the two backbones",
    "correlation of curves between train shares − between train shares and backbones",
    "Curves differ between train shares even on one backbone; this is the baseline. Each metric "
    "is a part. The interval is over methods (Student’s t), because curves have no images to "
    "resample.",
    "Curves that are as similar between backbones as within one leave the claim undecided.",
    unit=UNITS[1],
    metrics=(CURVES,),
)
def backbones_behave_differently(reading: Reading) -> list[Part]:
    likeness = association.likeness(reading.board)
    return [Part(association.CURVES[name], draws, most=2.0) for name, draws in likeness.items()]
