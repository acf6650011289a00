"""What was watched during training, read from stored runs: curves by epoch, points of a scatter.

by_epoch = curves.curves(grid.runs("fig6", "mini"))
points = curves.points(grid.runs("fig10", "mini"), "clean", "val")
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from lib.analysis import results, scoring
from lib.measures import correlation, metrics
from lib.store.stored import Stored, load
from lib.study import names
from lib.study.grid import Run

CURVES = ("rankme_batch", "rankme", "feature_mean", "feature_std")
CURVES += ("embedding_mean", "embedding_std")


def _identified(wanted: list[Run | Stored]) -> Iterator[tuple[Stored, dict]]:
    """Each run, and the columns that say which it is and how healthy."""
    runs = [load(run) for run in wanted]
    verdicts = results.health(runs)
    for stored in runs:
        yield stored, results.identity(stored.run) | {"health": verdicts[stored.run.id]}


def curves(wanted: list[Run | Stored]) -> pd.DataFrame:
    """A row per run, epoch and metric of `CURVES` that the run's history holds.

    Columns run, method, backbone, train_share, seed, health, epoch, metric, value; `epoch` counts
    those completed. `rankme_batch` is the mean over training batches, `rankme` that of the fixed
    validation images, known only at epochs with validation.
    """
    parts = []
    for stored, which in _identified(wanted):
        history = stored.history.assign(epoch=stored.history["epoch"] + 1)
        columns = [name for name in CURVES if name in history]
        long = history.melt("epoch", columns, "metric").dropna(subset="value")
        parts.append(pd.DataFrame([which] * len(long), index=long.index).join(long))
    return pd.concat(parts, ignore_index=True)


def points(wanted: list[Run | Stored], protocol: str, split: str) -> pd.DataFrame:
    """A row per run: its F1 on `split` ("train" or "val"), its RankMe, and RankMe over its bound,
    `rescaled`.

    Validation F1 is that of Table 1. Train F1 is at the run's train share: under the protocol
    `paper` the last epoch's, over augmented batches as the probe learned, under `clean` the
    converged probe's on the plain training images.
    """
    rule = names.protocol(protocol)
    rows = []
    for stored, which in _identified(wanted):
        if split == "val":
            f1 = scoring.natural(stored, protocol, resamples=0, ranked=())["f1"][0]
        elif rule.probe == "online":
            f1 = stored.history["train_f1"].iloc[-1]
        else:
            f1 = _train_f1(stored)
        rank = stored.record["rankme"]
        most = min(stored.record["rankme_images"], width(stored.run))  # of n images
        measures = {"f1": f1, "rankme": rank, "bound": most, "rescaled": rank / most}
        rows.append(which | measures)
    return pd.DataFrame(rows)


def _train_f1(stored: Stored) -> float:
    scores = stored.scores
    scores = scores.query("split == 'train' and evaluation == 'clean' and probe == 'converged'")
    return metrics.scores(scores["Defect"], scores["logit"] > 0, None)["f1"]


def over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """A row per system and train share: means of `points` over its `seeds`, the worst health.

    Runs that differ in the seed alone are no independent points for a correlation.
    """
    cells = points.groupby(["method", "backbone", "train_share"], sort=False, observed=True)
    return cells.agg(
        seeds=("seed", "nunique"),
        f1=("f1", "mean"),
        rankme=("rankme", "mean"),
        bound=("bound", "first"),
        rescaled=("rescaled", "mean"),
        health=("health", results.worst),
    ).reset_index()


def width(run: Run) -> int:
    """d, how many numbers the backbone makes of an image (docs/study.md, Training)."""
    return round({"resnet18": 512, "vit_tiny": 192}[run.backbone] * run.settings.width)


def _rho(frame: pd.DataFrame, x: str, y: str) -> float:
    """Spearman's rho of two columns; nan for a single row."""
    return correlation.spearman(frame[x], frame[y], draws=0)[0] if len(frame) > 1 else np.nan


def within(points: pd.DataFrame, by: str) -> pd.Series:
    """Spearman's rho of `rescaled` and `f1` in each group of the column `by`, or nan."""
    groups = points.groupby(by, sort=False)
    return groups.apply(_rho, "rescaled", "f1", include_groups=False)


def trend(by_epoch: pd.DataFrame) -> pd.Series:
    """Mean over runs of Spearman's rho between epoch and value, by backbone and metric.

    1: every curve rises at every step; -1: it falls. nan where the curves hold one epoch or never
    change.
    """
    by = ["backbone", "metric"]
    runs = by_epoch.groupby([*by, "run"], sort=False)
    rhos = runs.apply(_rho, "epoch", "value", include_groups=False)
    return rhos.groupby(by, sort=False).mean()
