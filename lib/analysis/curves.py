"""What was watched during training, read back from stored runs: curves by epoch, points of a
scatter. Knows no torch.

curves = monitored.curves(study.runs("fig6", "mini"))
points = monitored.points(study.runs("fig10", "mini"), "clean", "val")
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.analysis import results
from lib.analysis.results import Run
from lib.measures import correlation, health, metrics
from lib.store.stored import Stored, load
from lib.study import names, protocols

CURVES = (
    "rankme_batch",
    "rankme",
    "feature_mean",
    "feature_std",
    "embedding_mean",
    "embedding_std",
)


def curves(wanted: list[Run | Stored]) -> pd.DataFrame:
    """A row per run, epoch and metric of `CURVES` that the run's history holds.

    Columns run, method, backbone, train_share, seed, health, epoch, metric, value; `epoch` counts
    those completed. `rankme_batch` is the mean over training batches, `rankme` that of the fixed
    validation images, known only at epochs with validation.
    """
    parts = []
    for run in wanted:
        stored = load(run)
        history = stored.history.assign(epoch=stored.history["epoch"] + 1)
        long = history.melt("epoch", [c for c in CURVES if c in history], "metric").dropna(
            subset="value"
        )
        parts.append(pd.DataFrame([_who(stored)] * len(long), index=long.index).join(long))
    return pd.concat(parts, ignore_index=True)


def points(wanted: list[Run | Stored], protocol: str, split: str) -> pd.DataFrame:
    """A row per run: its F1 on `split` ("train" or "val"), its RankMe, and RankMe over its bound,
    `rescaled`.

    Validation F1 is that of Table 1. Train F1 is at the run's train share: under the protocol
    `paper` the last epoch's, over augmented batches as the probe learned, under `clean` the
    converged probe's on the plain training images.
    """
    rule = protocols.PROTOCOLS[names.nearest(protocol, protocols.PROTOCOLS, "protocol")]
    rows = []
    for run in wanted:
        stored = load(run)
        if split == "val":
            f1 = (
                results.measure([stored], protocol, reading="table", resamples=0)
                .set_index("metric")
                .at["f1", "value"]
            )
        elif rule.probe == "online":
            f1 = stored.history["train_f1"].iloc[-1]
        else:
            f1 = _train_f1(stored, rule.probe)
        rank, most = stored.record["rankme"], bound(stored)
        rows.append(
            _who(stored) | {"f1": f1, "rankme": rank, "bound": most, "rescaled": rank / most}
        )
    return pd.DataFrame(rows)


def over_seeds(points: pd.DataFrame) -> pd.DataFrame:
    """A row per system and train share: means of `points` over its `seeds`; health, the worst of
    the runs'.

    Runs that differ in the seed alone are no independent points for a correlation.
    """
    return (
        points.assign(health=pd.Categorical(points["health"], health.VERDICTS, ordered=True))
        .groupby(["method", "backbone", "train_share"], sort=False, observed=True)
        .agg(
            seeds=("seed", "nunique"),
            f1=("f1", "mean"),
            rankme=("rankme", "mean"),
            bound=("bound", "first"),
            rescaled=("rescaled", "mean"),
            health=("health", "min"),
        )
        .reset_index()
        .astype({"health": str})
    )


def width(run: Run) -> int:
    """d, how many numbers the backbone makes of an image (docs/study.md, Training)."""
    return round({"resnet18": 512, "vit_tiny": 192}[run.backbone] * run.settings.width)


def bound(stored: Stored) -> int:
    """min(n, d), the most that the stored RankMe of n fixed images can be."""
    return min(stored.record["rankme_images"], width(stored.run))


def within(points: pd.DataFrame, by: str) -> pd.Series:
    """Spearman's rho of `rescaled` and `f1` in each group of the column `by`; nan where it is
    undefined."""
    return points.groupby(by, sort=False).apply(
        lambda group: (
            correlation.spearman(group["rescaled"], group["f1"], draws=0)[0]
            if len(group) > 1
            else np.nan
        ),
        include_groups=False,
    )


def trend(found: pd.DataFrame, by: Sequence[str] = ("backbone", "metric")) -> pd.Series:
    """Mean over runs of Spearman's rho between epoch and value, in each group of the columns `by`.

    1: every curve rises at every step; -1: it falls. nan where the curves hold one epoch or never
    change.
    """
    steps = found.groupby([*by, "run"], sort=False).apply(
        lambda curve: (
            correlation.spearman(curve["epoch"], curve["value"], draws=0)[0]
            if len(curve) > 1
            else np.nan
        ),
        include_groups=False,
    )
    return steps.groupby(list(by), sort=False).mean()


def _train_f1(stored: Stored, probe: str) -> float:
    scores = stored.scores
    rows = scores[
        (scores["split"] == "train")
        & (scores["evaluation"] == "clean")
        & (scores["probe"] == probe)
    ]
    return metrics.scores(rows["Defect"], rows["logit"] > 0, None)["f1"]


def _who(stored: Stored) -> dict:
    run = stored.run
    return {
        "run": run.id,
        "method": run.method,
        "backbone": run.backbone,
        "train_share": run.share,
        "seed": run.seed,
        "health": results.health(stored),
    }
