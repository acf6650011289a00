"""What three habits of the released code do to the results, measured on stored scores
(docs/study.md, Three quirks).

A reading is an (evaluation, probe) of the same trained backbones, so an effect is a paired
difference over the same images, and over the same resamples of videos. Everything is at the natural
validation share. Knows no torch.

scores = effects.Scores(study.runs("protocol", "mini"))
measured = effects.measure(scores)
"""

from collections.abc import Iterable
from contextlib import suppress
from itertools import combinations

import numpy as np
import pandas as pd

from lib.analysis import board, results
from lib.analysis.board import Draws
from lib.analysis.claims import VARIANTS
from lib.measures import bootstrap, correlation
from lib.study import protocols
from lib.study.grid import Run
from lib.study.names import APART, BACKBONES, label

METRICS = ("f1", "auroc")
Reading = tuple[str, str]  # evaluation, probe
PROTOCOL: dict[str, Reading] = {
    name: (rule.table, rule.probe) for name, rule in sorted(protocols.PROTOCOLS.items())
}
# effect -> what is held fixed -> the two readings whose difference it is. The sum of the second and
# the third is the last: augmented online - clean online + clean online - clean converged.
EFFECTS: dict[str, dict[str, tuple[Reading, Reading]]] = {
    "evaluation": {
        f"{probe} probe": (("augmented", probe), ("clean", probe))
        for probe in ("converged", "online")
    },
    "probe": {"clean images": (("clean", "online"), ("clean", "converged"))},
    "protocol": {"nothing": (PROTOCOL["paper"], PROTOCOL["clean"])},
}
KEYS = ("effect", "held", "method", "backbone", "metric")
DONE = {
    "evaluation": "Scoring augmented instead of plain images",
    "probe": "Reading the online instead of the converged probe",
    "protocol": "Both together, reading protocol paper instead of clean,",
}


class Scores:
    """F1 and AUROC of every system under any reading, averaged over train shares and seeds.

    `systems` are the (method, backbone) of `wanted`, in its order. Seeds are resampled as
    lib.analysis.board.Board does.
    """

    def __init__(self, wanted: list[Run], resamples: int | None = None):
        self.board = board.Board(wanted, "clean", resamples)  # for its runs and its draws of seeds
        self.systems = list(
            dict.fromkeys((s.run.method, s.run.backbone) for s in self.board.stored)
        )
        self.shares = sorted({s.run.share for s in self.board.stored})
        self._read: dict[tuple, dict[str, Draws]] = {}

    def draws(self, system: tuple[str, str], reading: Reading) -> dict[str, Draws]:
        """metric -> (1 + B,): the estimate, then its bootstrap draws."""
        if (system, reading) not in self._read:
            stored = [s for share in self.shares for s in self.board.system(*system, share)]
            evaluation, probe = reading
            found = [
                results.draws(
                    s,
                    evaluation=evaluation,
                    probe=probe,
                    shares=[None],
                    sampling="weights",
                    resamples=self.board.resamples,
                )
                for s in stored
            ]
            weights = [self.board.seed_weight[s.run.seed] / len(self.shares) for s in stored]
            self._read[system, reading] = {
                name: sum(w * f[name][0] for w, f in zip(weights, found, strict=True))
                for name in METRICS
            }
        return self._read[system, reading]


def papers(systems: Iterable[tuple[str, str]], mae: str = "mae") -> list[tuple[str, str]]:
    """Those of `systems` that the paper has; MAE is the row `mae`, as described or as released."""
    left_out = {*APART, "mae"} - {mae}
    return [s for s in systems if s[0] not in left_out]


def measure(scores: Scores) -> pd.DataFrame:
    """A row per effect, what is held fixed, system and metric: value, and its 95 % interval low,
    high.

    Effects: those of `EFFECTS`, with a row `mean` over the paper's systems; `mae`, MAE as described
    minus as released under each protocol; `level`, the score itself under each protocol; `order`,
    see `order`. What was not trained has no row.
    """
    rows = []
    for effect, readings in EFFECTS.items():
        for held, (a, b) in readings.items():
            ours, theirs = ({s: scores.draws(s, r) for s in scores.systems} for r in (a, b))
            rows += [
                _row(effect, held, *s, name, ours[s][name], theirs[s][name])
                for s in scores.systems
                for name in METRICS
            ]
            if among := papers(scores.systems):
                means = [
                    {m: np.mean([d[s][m] for s in among], axis=0) for m in METRICS}
                    for d in (ours, theirs)
                ]
                rows += [
                    _row(effect, held, "mean", "all", name, means[0][name], means[1][name])
                    for name in METRICS
                ]
    for protocol, reading in PROTOCOL.items():
        pair = [(row, "vit_tiny") for row in VARIANTS.values()]
        if set(pair) <= set(scores.systems):
            described, released = (scores.draws(s, reading) for s in pair)
            rows += [
                _row("mae", protocol, *pair[0], name, described[name], released[name])
                for name in METRICS
            ]
        for system in scores.systems:
            found = scores.draws(system, reading)
            rows += [
                _row("level", protocol, *system, m, found[m], np.zeros_like(found[m]))
                for m in METRICS
            ]
    return pd.DataFrame([*rows, *order(scores)])


def _row(
    effect: str, held: str, method: str, backbone: str, metric: str, a: Draws, b: Draws
) -> dict:
    value, low, high, _ = (float(v) for v in bootstrap.paired_difference(a, b))
    return dict(zip(KEYS, (effect, held, method, backbone, metric), strict=True)) | {
        "value": value,
        "low": low,
        "high": high,
    }


def order(scores: Scores) -> list[dict]:
    """How the two protocols rank the paper's systems of a backbone by mean F1, MAE as described and
    as released.

    Metrics `rank_clean` and `rank_paper` a system (1 is best), and of all systems `rho`, Spearman's
    correlation of the two rankings, `pairs`, `swapped`, the pairs that change places, and
    `told_apart`, those of them whose difference has a 95 % interval on opposite sides of zero: the
    others are near ties. Nothing where fewer than two are ranked.
    """
    rows = []
    for variant, mae in VARIANTS.items():
        for backbone in BACKBONES:
            systems = papers([s for s in scores.systems if s[1] == backbone], mae)
            if len(systems) < 2 or (variant == "released" and (mae, backbone) not in systems):
                continue
            f1 = {
                p: {s: scores.draws(s, reading)["f1"] for s in systems}
                for p, reading in PROTOCOL.items()
            }
            point = {p: np.array([found[s][0] for s in systems]) for p, found in f1.items()}
            found = {"rho": correlation.spearman(point["clean"], point["paper"], draws=0)[0]}
            found |= dict(zip(("pairs", "swapped", "told_apart"), _swaps(systems, f1), strict=True))
            rows += [("all", backbone, name, value, variant) for name, value in found.items()]
            for p, values in point.items():
                ranks = (values[:, None] < values).sum(axis=1) + 1
                rows += [
                    (*s, f"rank_{p}", rank, variant) for s, rank in zip(systems, ranks, strict=True)
                ]
    return [
        dict(zip(KEYS, ("order", variant, method, backbone, name), strict=True))
        | {"value": float(value)}
        for method, backbone, name, value, variant in rows
    ]


def _swaps(systems: list, f1: dict[str, dict]) -> tuple[int, int, int]:
    """Pairs, those that change places between the protocols, and those told apart under both."""
    swapped = apart = 0
    pairs = list(combinations(systems, 2))
    for a, b in pairs:
        value, low, high = np.array(
            [bootstrap.paired_difference(f1[p][a], f1[p][b])[:3] for p in PROTOCOL]
        ).T
        swapped += value.prod() < 0
        apart += bool((low[0] > 0 and high[1] < 0) or (high[0] < 0 and low[1] > 0))
    return len(pairs), int(swapped), apart


def one(
    measured: pd.DataFrame, effect: str, held: str, method: str, backbone: str, metric: str
) -> pd.Series:
    """The row of one effect. Raises KeyError where it was not measured."""
    asked = dict(zip(KEYS, (effect, held, method, backbone, metric), strict=True))
    found = measured[
        np.logical_and.reduce([measured[name] == value for name, value in asked.items()])
    ]
    if len(found) != 1:
        raise KeyError(f"{len(found)} rows of {asked}, expected one")
    return found.iloc[0]


def told(row: pd.Series) -> str:
    """`-0.05 [-0.06, -0.04]`; the estimate alone where there is no interval."""
    interval = "" if np.isnan(row["low"]) else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    return f"{row['value']:+.2f}{interval}"


def _says(row: pd.Series, name: str) -> str:
    """What the interval of a difference says, e.g. "raises F1, +0.05 [+0.04, +0.06]"."""
    said = (
        f"raises {name}"
        if row["low"] > 0
        else f"lowers {name}"
        if row["high"] < 0
        else f"leaves {name} open"
    )
    return f"{said}, {told(row)}"


def verdicts(measured: pd.DataFrame) -> list[str]:
    """A sentence an effect, of the mean over the paper's systems, then of each backbone's order,
    then of MAE."""
    sentences = []
    for effect, readings in EFFECTS.items():
        for held in readings:
            with suppress(KeyError):
                f1, auroc = (one(measured, effect, held, "mean", "all", name) for name in METRICS)
                threshold = ": the threshold moves, the ranking of images does not improve"
                systems = measured[(measured["effect"] == effect) & (measured["held"] == held)]
                systems = systems[
                    (systems["metric"] == "f1") & ~systems["method"].isin([*APART, "mean"])
                ]
                sentences.append(
                    f"{DONE[effect]}{f' ({held})' * (held != 'nothing')} {_says(f1, 'F1')}, and {_says(auroc, 'AUROC')}"
                    + threshold * bool(f1["low"] > 0 and auroc["high"] < 0)
                    + f" (F1 higher in {(systems['low'] > 0).sum()}, lower in {(systems['high'] < 0).sum()} of "
                    f"{len(systems)} system{'s' * (len(systems) > 1)})."
                )
    sentences = sentences or ["None of the paper’s systems is here: there is no mean."]
    return sentences + _order_told(measured) + [_mae_told(measured)]


def _order_told(measured: pd.DataFrame) -> list[str]:
    sentences = []
    for backbone in BACKBONES:
        with suppress(KeyError):
            rho, pairs, swapped, apart = (
                one(measured, "order", "described", "all", backbone, name)["value"]
                for name in ("rho", "pairs", "swapped", "told_apart")
            )
            sentences.append(
                f"On {label(backbone)}, {swapped:.0f} of {pairs:.0f} pairs of systems change places in F1 between the "
                f"protocols, {apart:.0f} told apart under both (Spearman’s rho of the rankings {rho:.2f})."
            )
    return sentences


def _mae_told(measured: pd.DataFrame) -> str:
    try:
        parts = [
            f"{told(f1)} in F1 and {told(auroc)} in AUROC under {protocol}"
            for protocol in PROTOCOL
            for f1, auroc in [
                [one(measured, "mae", protocol, "mae", "vit_tiny", name) for name in METRICS]
            ]
        ]
    except KeyError:
        return "MAE as described is not held against MAE as released: both rows have to be trained."
    return f"MAE as described minus MAE as released: {'; '.join(parts)}."
