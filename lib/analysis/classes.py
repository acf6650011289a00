"""Every class: how many images a profile trains and tests on (Table 5), and which defects are lost
first when they are rare, by method and train share.

counted = classes.count(classes.subsets(data, shares))
scores = classes.Scores(grid.runs("classes", "mini"), "clean")
measured = classes.measure(scores)
lost = classes.lost(scores)
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from lib.analysis import results, scoring, wording
from lib.analysis.board import Board, Draws
from lib.data import sources, splits
from lib.data.labels import class_flags
from lib.measures import bootstrap, correlation, seeds
from lib.store.stored import Stored
from lib.study.grid import Run
from lib.study.names import CLASSES, NOT_IN_PAPER, share

ANY, NORMAL = "any defect", "normal"  # beside the classes: all defects together, and no defect
TOTALS = ("Normal", "Defect", "All")
GROUPS = "Groups"  # a total, too, where the user's own table has them
METRICS = {
    "recall_at_5": "Recall at 5 % false alarms",
    "recall": "Recall",
    "auroc": "AUROC against normals",
}
Key = tuple[str, str]  # metric, class


def images(table: pd.DataFrame) -> dict[str, int]:
    """Class -> its defect images in `table`, then `ANY` and `NORMAL`; these two alone where the
    labels name no classes. An image of several classes counts in each."""
    defects = class_flags(table[table["Defect"] == 1])
    return defects.sum().to_dict() | {ANY: len(defects), NORMAL: len(table) - len(defects)}


def scored(validation: pd.DataFrame) -> list[str]:
    """The classes whose recall is shown: Sewer-ML's, or the user's own that a validation image with
    a defect has."""
    counts = class_flags(validation[validation["Defect"] == 1]).sum()
    return [name for name, n in counts.items() if n or name in CLASSES]


def subsets(data: dict[str, Any], shares: list[float]) -> dict[str, pd.DataFrame]:
    """Name -> rows in use: training, its subset at each train share, validation, and where it is
    smaller, Table 1's part of it.

    `data` is a profile's table. Raises DataError for a share that the images cannot reach.
    """
    training, validation = (sources.tables(data, split)[0] for split in sources.TABLES)
    tables = {"Training": training}
    for value in shares:
        tables[f"at {share(value)}"] = splits.resample(training, value, data["seed"])
    tables["Validation"] = validation
    if not validation["Sampled"].all():
        tables["for Table 1"] = validation[validation["Sampled"]]
    return tables


def count(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per subset and class, after the subset's `TOTALS` and its `GROUPS`: columns subset,
    class, images.

    Without class columns there are the totals alone.
    """
    rows = []
    for name, table in tables.items():
        defects = int(table["Defect"].sum())
        counts = dict(zip(TOTALS, (len(table) - defects, defects, len(table)), strict=True))
        counts |= {GROUPS: table["Group"].nunique()} if "Group" in table else {}
        counts |= class_flags(table).sum().to_dict()
        rows += [{"subset": name, "class": key, "images": n} for key, n in counts.items()]
    return pd.DataFrame(rows)


def detections(
    logit, defect, classes, groups, counted, draws: int = 1000, names: Sequence[str] = CLASSES
) -> dict[Key, Draws]:
    """(metric, class) -> (1 + draws,): the estimate, then its bootstrap draws over groups.

    logit (n,), a defect where above 0; defect (n,) and counted (n,) hold 0 or 1, classes (n, k)
    too, a column for each of the k `names`, or is None where they are unknown; groups (n,) as in
    lib.measures.bootstrap.resampled, which draws the same resamples for equal groups. `recall` of a
    class is the share of its defect images that are called a defect, `recall_at_5` that share where
    the threshold calls 5 % of the normals a defect, and `auroc` ranks these images against the
    normals; `ANY` is every defect, and `recall` of `NORMAL` the false-alarm rate. nan for a class
    without such images, in all of the data or in a resample.
    """
    defect, counted = np.asarray(defect), np.asarray(counted, float)
    names = [ANY] if classes is None else [*names, ANY]
    members = defect[:, None] if classes is None else np.column_stack([classes, defect])
    # A row of weights is a validation set: the normals, and of the defects those of one class.
    # Its AUROC is nan where either is absent.
    by_class = bootstrap.resampled(
        logit,
        defect,
        None,
        groups,
        counted * np.where(defect == 1, members.T, 1),
        draws=draws,
        ranked=("auroc", "recall_at_5"),
    )
    by_class["recall"] = np.where(np.isnan(by_class["auroc"]), np.nan, by_class["recall"])
    # With the labels exchanged, recall is the share of the normals that are called a defect.
    exchanged = bootstrap.resampled(
        logit, 1 - defect, None, groups, counted[None], draws=draws, ranked=()
    )
    places = product(METRICS, range(len(names)))
    values = {(metric, names[i]): by_class[metric][i] for metric, i in places}
    return values | {("recall", NORMAL): exchanged["recall"][0]}


class Scores:
    """Class-wise draws of every run of `wanted` as `protocol` reads Table 1: its probe, its images,
    logit above 0."""

    def __init__(self, wanted: list[Run | Stored], protocol: str, resamples: int | None = None):
        board = Board(wanted, protocol, resamples)
        table, _ = scoring.validation(board.stored[0])
        counts = images(table[table["Sampled"]])
        self.classes = scored(table[table["Sampled"]])
        self.validation = {name: counts[name] for name in (*self.classes, ANY, NORMAL)}
        self.runs: list[tuple[Stored, dict[Key, Draws]]] = []
        for stored in board.stored:
            logit, labels = scoring.aligned(stored, board.rule.table, board.rule.probe)
            columns = ("Defect", "Video", "Sampled")
            defect, video, sampled = (labels[name].to_numpy() for name in columns)
            classes = class_flags(labels)[self.classes]
            drawn = detections(
                logit, defect, classes, video, sampled, board.resamples, self.classes
            )
            self.runs.append((stored, drawn))
        self.shares = sorted({share for _, _, share in board.cells})
        methods = dict.fromkeys(method for method, _, _ in board.cells)
        self.averaged = [m for m in methods if m not in NOT_IN_PAPER]  # the paper's methods

    def curves(self, metric: str, name: str) -> Draws:
        """(S, 1 + B, shares): by seed the mean over the paper's methods. Raises KeyError."""
        means = []
        for train_share in self.shares:
            runs = [
                (stored.run.seed, draws[metric, name])
                for stored, draws in self.runs
                if stored.run.share == train_share and stored.run.method in self.averaged
            ]
            means.append(results.by_seed(*zip(*runs, strict=True)))
        return np.stack(means, axis=-1)

    def excess(self, metric: str, name: str) -> Draws:
        """`curves` above chance: recall minus the false alarms of the same detectors, AUROC minus
        0.5."""
        fixed = {"recall_at_5": 0.05, "auroc": 0.5}
        chance = fixed[metric] if metric in fixed else self.curves("recall", NORMAL)
        return self.curves(metric, name) - chance


def measure(scores: Scores) -> pd.DataFrame:
    """A row per run, metric and class: value, its 95 % interval, the class's images in validation.

    Columns run, method, backbone, train_share, seed, health, origin, metric, class, value, low,
    high, draws (the (1 + B,) behind them), validation.
    """
    verdicts, rows = results.health(stored for stored, _ in scores.runs), []
    for stored, draws in scores.runs:
        which = results.identity(stored.run)
        which |= {"health": verdicts[stored.run.id], "origin": stored.origin}
        drawn = results.intervals(np.stack(list(draws.values())))
        for (metric, name), columns in zip(draws, drawn, strict=True):
            place = {"metric": metric, "class": name}
            counted = {"validation": scores.validation[name]}
            rows.append(which | place | columns | counted)
    return pd.DataFrame(rows)


# The train share at which half is lost


def halved(curves, shares) -> np.ndarray:
    """The share (...,) at which `curves` (..., k) fall below half their value at the last `shares`.

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
    """Class -> draws (S, 1 + B) of the train share at which half of its `excess` at the largest
    share is lost.

    Empty where none of the paper's methods is there.
    """
    names = [name for name in scores.validation if name != NORMAL and scores.averaged]
    return {name: halved(scores.excess(metric, name), scores.shares) for name in names}


def lost(scores: Scores) -> pd.DataFrame:
    """`halvings` by every metric, a row per class: columns metric, class, value, low, high,
    validation."""
    columns = ["metric", "class", "value", "low", "high", "validation"]
    rows = [
        (f"{metric}_halved_at", name, *_printed(draws), scores.validation[name])
        for metric in METRICS
        for name, draws in halvings(scores, metric).items()
    ]
    return pd.DataFrame(rows, columns=columns)


def _printed(draws: Draws) -> tuple[float, float, float]:
    """Mean over seeds of draws (S, 1 + B), and both ends of its interval."""
    low, high = map(float, seeds.interval(draws))
    return float(draws[:, 0].mean()), low, high


# Sentences


def at(value: float, low: float, high: float, smallest: float) -> str:
    """`16 [12, 20]`, a train share and its interval in per cent; what lies below the smallest share
    there is, `<1`."""

    def form(share: float) -> str:
        return f"<{100 * smallest:g}" if share < smallest else f"{100 * share:.2g}"

    return wording.estimate(value, low, high, form)


def sentences(scores: Scores, training: dict[str, int]) -> dict[str, str]:
    """A sentence for each metric: which classes lose half first and last, and how that correlates
    with their number of training images; and a sentence on false alarms.

    `training` is `images` of the whole training table.
    """
    if not scores.averaged or len(scores.shares) < 2:
        reason = "it takes a method of the paper at two train shares"
        return {"none": f"What is lost first is not judged: {reason}."}
    orders = {metric: _order_sentence(scores, metric, training) for metric in METRICS}
    return orders | {"alarms": _false_alarm_sentence(scores)}


def _order_sentence(scores: Scores, metric: str, training: dict[str, int], n: int = 3) -> str:
    what = {
        "recall_at_5": "recall at 5 % false alarms, above these 5 %,",
        "recall": "recall above the false-alarm rate",
        "auroc": "AUROC above 0.5",
    }[metric]
    halves = halvings(scores, metric)
    smallest = scores.shares[0]
    means = {c: _printed(v)[0] for c, v in halves.items()}
    printed = {c: at(*_printed(v), smallest) for c, v in halves.items()}
    total = (
        f"From {share(scores.shares[-1])} downwards, {what} (mean over the paper’s methods) has "
        f"halved for all defects together at {printed.pop(ANY)} % of defects in training"
    )
    order = sorted((c for c in printed if not np.isnan(means[c])), key=lambda c: -means[c])
    if len(order) < 2 * n:
        return f"{total}; too few classes are known to order them."
    named = [f"{c} {printed[c]}" for c in order]
    low, high = seeds.interval(halves[order[0]] - halves[order[-1]])
    apart = wording.verdict(low, high, *["clearly different"] * 2, "not clearly different")
    apart += wording.here(len(halves[order[0]])) * bool(low > 0 or high < 0)
    rho = correlation.spearman([training[c] for c in order], [means[c] for c in order])
    return (
        f"{total}; first for {', '.join(named[:n])}, last for {', '.join(named[-n:])} (the first "
        f"and the last are {apart}). Rank correlation with the class’s training images: "
        f"{wording.estimate(*rho)} over {len(order)} classes."
    )


def _false_alarm_sentence(scores: Scores) -> str:
    alarms, recall = (scores.curves("recall", name)[:, 0].mean(0) for name in (NORMAL, ANY))
    return (
        f"From {share(scores.shares[-1])} to {share(scores.shares[0])}, recall of all defects "
        f"moves from {recall[-1]:.2f} to {recall[0]:.2f} and false alarms from {alarms[-1]:.2f} to "
        f"{alarms[0]:.2f}; always answering “defect” would have both at 1."
    )
