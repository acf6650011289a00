"""Which defects are lost first when they are rare: every class by method and train share. Knows no
torch.

scores = classes.Scores(study.runs("classes", "mini"), "clean")
measured = classes.measure(scores)
lost = classes.lost(scores)
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.analysis import results
from lib.analysis.board import Draws
from lib.data.labels import class_labels
from lib.measures import bootstrap, correlation, seeds
from lib.store.stored import Stored, load
from lib.study import profiles, protocols
from lib.study.grid import Run
from lib.study.names import APART, CLASSES, nearest, share

ANY, NORMAL = "any defect", "normal"  # rows beside the classes: all defects, and false alarms
METRICS = {"recall": "Recall", "auroc": "AUROC against normals"}
Key = tuple[str, str]  # metric, class


def detections(logit, defect, classes, groups, counted, draws: int = 1000) -> dict[Key, Draws]:
    """(metric, class) -> (1 + draws,): the estimate, then its bootstrap draws over groups.

    logit (n,), a defect where above 0; defect (n,) and counted (n,) hold 0 or 1, classes (n, 17)
    too, or is None where they are unknown; groups (n,) as in lib.measures.bootstrap.resampled,
    which draws the same resamples for equal groups. `recall` of a class is the share of its images
    that are called a defect, `auroc` ranks them against the normals; `ANY` is every defect, and
    `recall` of `NORMAL` the false-alarm rate. nan for a class without images, in all of the data or
    in a resample: what is absent is not missed.
    """
    defect, counted = np.asarray(defect), np.asarray(counted, float)
    names = [ANY] if classes is None else [*CLASSES, ANY]
    having = defect[:, None] if classes is None else np.column_stack([classes, defect])
    # a "validation share" that keeps the normals and one class: its AUROC is nan where either is
    # not there
    weights = counted * np.where(defect == 1, having.T, 1)
    found = bootstrap.resampled(logit, defect, None, groups, weights, draws=draws)
    absent = np.isnan(found["auroc"])
    recall = np.where(absent, np.nan, found["recall"])
    out = {("recall", name): row for name, row in zip(names, recall, strict=True)}
    out |= {("auroc", name): row for name, row in zip(names, found["auroc"], strict=True)}
    swapped = bootstrap.resampled(
        logit, 1 - defect, None, groups, counted[None], draws=draws, ranked=False
    )
    return out | {("recall", NORMAL): swapped["recall"][0]}


@dataclass(frozen=True)
class Part:
    """One run: its class-wise draws and verdict."""

    stored: Stored
    found: dict[Key, Draws]
    health: str


class Scores:
    """Class-wise draws of every run of `wanted` as `protocol` reads Table 1: its probe, its images,
    logit above 0."""

    def __init__(self, wanted: list[Run | Stored], protocol: str, resamples: int | None = None):
        rule = protocols.PROTOCOLS[nearest(protocol, protocols.PROTOCOLS, "protocol")]
        self.parts = []
        for stored in map(load, wanted):
            logit, labels, _ = results.aligned(stored, rule.table, rule.probe)
            draws = profiles.load(stored.run.profile)["draws"] if resamples is None else resamples
            defect, video, sampled = (
                labels[name].to_numpy() for name in ("Defect", "Video", "Sampled")
            )
            found = detections(logit, defect, class_labels(labels), video, sampled, draws)
            self.parts.append(Part(stored, found, results.health(stored)))
        self.shares = sorted({part.stored.run.share for part in self.parts})
        methods = dict.fromkeys(part.stored.run.method for part in self.parts)
        self.averaged = [m for m in methods if m not in APART]  # the paper's methods
        table = results.validation(self.parts[0].stored)[0]
        self.validation = images(table[table["Sampled"]])

    def curves(self, metric: str, name: str) -> Draws:
        """(1 + B, shares): mean over the paper's methods and seeds, which get equal weight. Raises
        KeyError."""
        own = [part for part in self.parts if part.stored.run.method in self.averaged]
        by_share = [[p for p in own if p.stored.run.share == s] for s in self.shares]
        means = [
            seeds.mean([p.stored.run.seed for p in ps], [p.found[metric, name] for p in ps])
            for ps in by_share
        ]
        return np.stack(means, axis=-1)

    def excess(self, metric: str, name: str) -> Draws:
        """`curves` above chance: recall minus the false-alarm rate of the same detectors, AUROC
        minus 0.5."""
        return self.curves(metric, name) - (
            self.curves("recall", NORMAL) if metric == "recall" else 0.5
        )


def images(table: pd.DataFrame) -> dict[str, int]:
    """Class -> its images in `table`, with `ANY` and `NORMAL`; these two alone where the labels
    name no classes."""
    labels = class_labels(table)
    found = {} if labels is None else dict(zip(CLASSES, labels.sum(axis=0).tolist(), strict=True))
    defects = int(table["Defect"].sum())
    return found | {ANY: defects, NORMAL: len(table) - defects}


def measure(scores: Scores) -> pd.DataFrame:
    """A row per run, metric and class: value with its 95 % interval, and the class's images in
    validation.

    Columns run, method, backbone, train_share, seed, health, origin, metric, class, value, low,
    high, draws (the (1 + B,) behind them), validation.
    """
    rows = []
    for part in scores.parts:
        run = part.stored.run
        common = {
            "run": run.id,
            "method": run.method,
            "backbone": run.backbone,
            "train_share": run.share,
            "seed": run.seed,
            "health": part.health,
            "origin": part.stored.origin,
        }
        for (metric, name), found in part.found.items():
            low, high = bootstrap.interval(found)
            rows.append(
                common
                | {
                    "metric": metric,
                    "class": name,
                    "value": found[0],
                    "low": low,
                    "high": high,
                    "draws": found,
                    "validation": scores.validation[name],
                }
            )
    return pd.DataFrame(rows)


def halved(curves, shares) -> np.ndarray:
    """The share (...,) at which `curves` (..., k) fall below half of their value at the last of
    `shares` (k,).

    Shares ascend. Going down from the last, the first crossing counts, interpolated in the
    logarithm of the share; 0 where there is none. nan where the last value is not above 0, where a
    value is nan, or for a single share.
    """
    curves, logs = np.asarray(curves, float), np.log(shares)
    half = curves[..., -1:] / 2
    defined = (half[..., 0] > 0) & ~np.isnan(curves).any(axis=-1) & (len(logs) > 1)
    below = curves < half
    last = len(logs) - 1 - np.argmax(below[..., ::-1], axis=-1)
    i = np.minimum(last, len(logs) - 2)  # a crossing lies between i and i + 1
    ends = [np.take_along_axis(curves, j[..., None], axis=-1)[..., 0] for j in (i, i + 1)]
    rise = np.where(below.any(axis=-1) & defined, ends[1] - ends[0], 1)
    crossing = np.exp(logs[i] + (half[..., 0] - ends[0]) / rise * (logs[i + 1] - logs[i]))
    return np.where(defined, np.where(below.any(axis=-1), crossing, 0.0), np.nan)


def halvings(scores: Scores, metric: str) -> dict[str, Draws]:
    """Class -> draws (1 + B,) of the train share at which half of its `excess` at the largest share
    is lost.

    Empty where none of the paper's methods is there.
    """
    names = [name for name in scores.validation if name != NORMAL and scores.averaged]
    return {name: halved(scores.excess(metric, name), scores.shares) for name in names}


def lost(scores: Scores) -> pd.DataFrame:
    """`halvings` by both metrics, a row a class: columns metric, class, value, low, high,
    validation."""
    rows = []
    for metric in METRICS:
        for name, found in halvings(scores, metric).items():
            low, high = bootstrap.interval(found)
            rows.append(
                {
                    "metric": f"{metric}_halved_at",
                    "class": name,
                    "value": found[0],
                    "low": low,
                    "high": high,
                    "validation": scores.validation[name],
                }
            )
    return pd.DataFrame(rows, columns=["metric", "class", "value", "low", "high", "validation"])


def at(value: float, low: float, high: float, smallest: float) -> str:
    """`16 [12, 20]`, a train share and its interval in per cent; what lies below the smallest share
    there is, `<1`."""
    if np.isnan(value):
        return "–"
    point, *ends = (
        f"<{100 * smallest:g}" if v < smallest else f"{100 * v:.2g}" for v in (value, low, high)
    )
    return point if np.isnan(low) else f"{point} [{', '.join(ends)}]"


def told(scores: Scores, training: dict[str, int]) -> dict[str, str]:
    """A sentence a metric on what is lost first and last, and whether rarity explains it; and one
    on false alarms.

    `training` is `images` of the whole training table.
    """
    if not scores.averaged or len(scores.shares) < 2:
        return {
            "none": "What is lost first is not judged: it takes a method of the paper at two train shares."
        }
    return {metric: _order(scores, metric, training) for metric in METRICS} | {
        "alarms": _false_alarms(scores)
    }


def _order(scores: Scores, metric: str, training: dict[str, int], n: int = 3) -> str:
    what = {"recall": "recall above the false-alarm rate", "auroc": "AUROC above 0.5"}[metric]
    halves = halvings(scores, metric)
    said = {
        name: at(found[0], *bootstrap.interval(found), scores.shares[0])
        for name, found in halves.items()
    }
    total = (
        f"From {share(scores.shares[-1])} downwards, {what} (mean over the paper's methods) has halved for all defects "
        f"together at {said.pop(ANY)} % of defects in training"
    )
    known = sorted((c for c in said if not np.isnan(halves[c][0])), key=lambda c: -halves[c][0])
    if len(known) < 2 * n:
        return f"{total}; too few classes are known to order them."
    named = [f"{c} {said[c]}" for c in known]
    _, low, high, _ = bootstrap.paired_difference(halves[known[0]], halves[known[-1]])
    apart = f"the first and the last are {'' if low > 0 or high < 0 else 'not '}told apart"
    rho, low, high = correlation.spearman(
        [training[c] for c in known], [halves[c][0] for c in known]
    )
    return (
        f"{total}; first for {', '.join(named[:n])}, last for {', '.join(named[-n:])} ({apart}). Rank correlation with "
        f"the class's training images: {rho:+.2f} [{low:+.2f}, {high:+.2f}] over {len(known)} classes."
    )


def _false_alarms(scores: Scores) -> str:
    alarms, found = (scores.curves("recall", name)[0] for name in (NORMAL, ANY))
    return (
        f"From {share(scores.shares[-1])} to {share(scores.shares[0])}, recall of all defects moves from "
        f"{found[-1]:.2f} to {found[0]:.2f} and false alarms from {alarms[-1]:.2f} to {alarms[0]:.2f}; always "
        "answering “defect” would have both at 1."
    )
