"""Metrics of stored runs: scores become metrics, and metrics become tables."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data import sources, splits
from lib.data.labels import class_labels
from lib.measures import bootstrap, metrics
from lib.measures.health import VERDICTS
from lib.store import committed
from lib.store.stored import MissingRuns, Stored, load
from lib.study import grid, names, profiles
from lib.study.grid import Run
from lib.system import paths

KEYS = ("method", "backbone", "train_share", "validation_share", "metric")  # of one grid value

# Scores to metrics


@lru_cache(maxsize=4)
def _validation(data: str, folder: Path) -> tuple[pd.DataFrame, bool]:
    copy = folder / "validation.parquet"
    if not copy.exists():
        return sources.tables(json.loads(data), "val")
    with committed.reading(copy):
        table = pd.read_parquet(copy)
    return table, bool((table["Video"] != table["Filename"]).any())


def validation(stored: Stored) -> tuple[pd.DataFrame, bool]:
    """The validation table (classes, Defect, Video, Sampled) behind a stored run, and whether its
    videos are known.

    A run of the reference has a copy of the table beside it; other tables come from the data.
    """
    folder = paths.REFERENCE / stored.run.profile if stored.origin == "reference" else Path("")
    return _validation(json.dumps(stored.run.data, sort_keys=True), folder)


def aligned(
    stored: Stored, evaluation: str, probe: str
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Logits (n,) of the validation images, their n rows of `validation(stored)`, and the numbers
    (n,) of these rows in it.

    There is one entry an image and view. Raises MissingRuns where the run has no such scores, or
    scored images that the table lacks.
    """
    table, _ = validation(stored)
    scores = stored.scores
    which = (scores["evaluation"] == evaluation) & (scores["probe"] == probe)
    rows = scores[which & (scores["split"] == "val")]
    if rows.empty:
        raise MissingRuns(f"{stored.run.id} holds no {evaluation} scores of the {probe} probe.")
    order = pd.Index(table["Filename"]).get_indexer(rows["Filename"])
    if (order < 0).any():
        lacking = f"{(order < 0).sum()} images that the validation table lacks"
        raise MissingRuns(f"{stored.run.id} scored {lacking}: FORCE=1.")
    return rows["logit"].to_numpy(), table.iloc[order], order


def _weights(table: pd.DataFrame, share: float | None, sampling: str, seed: int) -> np.ndarray:
    """(n,) weights of the validation images at a share; None is the natural share."""
    if share is None:
        return table["Sampled"].to_numpy(float)
    if sampling == "weights":
        return metrics.share_weights(table["Defect"].to_numpy(), share)
    return table.index.isin(splits.resample(table, share, seed).index).astype(float)


def draws(
    stored: Stored,
    *,
    evaluation: str,
    probe: str,
    shares: Iterable[float | None],
    sampling: str,
    resamples: int,
    ranked: bool = True,
) -> dict[str, np.ndarray]:
    """Metric -> (shares, 1 + resamples): the estimate, then its bootstrap draws over videos
    (images where videos are unknown).

    Without `ranked`, AUROC and AP are left nan, which is ten times faster.
    Two runs scored on the same images get the same draws, so their difference is paired.
    """
    logit, labels, order = aligned(stored, evaluation, probe)
    table, seed = validation(stored)[0], stored.run.data["seed"]
    weights = np.stack([_weights(table, share, sampling, seed) for share in shares])
    return bootstrap.resampled(
        logit,
        labels["Defect"].to_numpy(),
        class_labels(labels),
        labels["Video"].to_numpy(),
        weights[:, order],
        draws=resamples,
        ranked=ranked,
    )


def natural(stored: Stored, protocol: str, resamples: int | None = None) -> dict[str, np.ndarray]:
    """Metric -> (1 + resamples,), as `protocol` reads Table 1: at the natural validation share.

    `resamples` None is the number that the run's profile asks for.
    """
    rule = names.protocol(protocol)
    if resamples is None:
        resamples = profiles.load(stored.run.profile)["draws"]
    reading = {"evaluation": rule.table, "probe": rule.probe, "sampling": rule.sampling}
    by_share = draws(stored, **reading, shares=[None], resamples=resamples)
    return {metric: values[0] for metric, values in by_share.items()}


def difference(
    ours: list[Run | Stored],
    theirs: list[Run | Stored],
    metric: str = "f1",
    protocol: str = "clean",
) -> dict[str, float]:
    """Paired difference of two systems at the natural share, each the mean over its runs (seeds).

    Keys estimate, low, high, p: 95 % bootstrap interval over the same resamples of seeds and videos
    for both.
    """
    first = load(ours[0])
    resamples = profiles.load(first.run.profile)["draws"]
    means = []
    for side in (ours, theirs):
        runs = [load(run) for run in side]
        values = [natural(stored, protocol, resamples)[metric] for stored in runs]
        means.append(bootstrap.mean_over_seeds([stored.run.seed for stored in runs], values))
    paired = map(float, bootstrap.paired_difference(*means))
    return dict(zip(("estimate", "low", "high", "p"), paired, strict=True))


def f2ciw_maximum(run: Run) -> float:
    """F2CIW of "always defect" on the run's validation images, the most that it can reach there."""
    table, _ = validation(load(run))
    return metrics.f2ciw_bounds(class_labels(table), table["Sampled"])[1]


# Health


def health(stored: Stored) -> str:
    """Verdict on a run: "collapsed", "diverged", "no better than random" or "healthy".

    No better than random: AUROC of the converged probe on plain images is not above that of the
    backbone as initialised, with the same share and seed, at 95 % (paired over videos). The verdict
    of the training stands for ablations, which have no such backbone, where that backbone was not
    trained, and where images are too few for an interval. A detector's verdict is that of the run
    whose features it reads.
    """
    trained = stored.trained
    run, of_training = trained.run, trained.record["health"]
    if of_training != "healthy" or run.study != "grid" or run.method == "random":
        return of_training
    try:
        floor = load(grid.run(run.profile, "random", run.backbone, run.share, run.seed))
        pair = (_auroc(one, one.written) for one in (trained, floor))
        _, low, _, _ = bootstrap.paired_difference(*pair)
    except MissingRuns:
        return of_training
    return "no better than random" if low <= 0 else "healthy"


@lru_cache(maxsize=512)
def _auroc(stored: Stored, written: int) -> np.ndarray:
    """(1 + B,) AUROC of the converged probe on plain images. `written`, the time of the record, is
    part of the cache's key: a run that was trained again is read again."""
    return natural(stored, "clean")["auroc"]


def worst(verdicts: pd.Series) -> str:
    """The worst of several verdicts of health."""
    return min(verdicts, key=VERDICTS.index)


# Tables


def identity(run: Run) -> dict:
    """The columns that say which run a row of a table belongs to."""
    return {
        "run": run.id,
        "method": run.method,
        "backbone": run.backbone,
        "train_share": run.share,
        "seed": run.seed,
    }


def measure(
    wanted: list[Run | Stored],
    protocol: str = "clean",
    reading: str = "table",
    resamples: int | None = None,
) -> pd.DataFrame:
    """A row per run x validation share x metric, with a 95 % bootstrap interval.

    `reading` "table": the natural share, as Table 1; "imbalance": the five shares. Columns run,
    method, backbone, train_share, seed, validation_share (NaN: natural), health, origin; px, crop,
    jitter of ablations; metric, value, low, high; draws, the (1 + B,) that the interval was read
    from, which `over_seeds` takes means of.
    """
    rule = names.protocol(protocol)
    rows = []
    for stored in map(load, wanted):
        run, profile = stored.run, profiles.load(stored.run.profile)
        shares = [None] if reading == "table" else profile["validation_shares"]
        by_metric = draws(
            stored,
            evaluation=rule.table if reading == "table" else rule.imbalance,
            probe=rule.probe,
            shares=shares,
            sampling=rule.sampling,
            resamples=profile["draws"] if resamples is None else resamples,
        )
        which = identity(run) | {"validation_share": np.nan}
        which |= {"health": health(stored), "origin": stored.origin}
        if run.study != "grid":
            which |= {"px": run.px, "crop": run.crop, "jitter": run.jitter}
        for metric, values in by_metric.items():
            for share, drawn in zip(shares, values, strict=True):
                place = {} if share is None else {"validation_share": share}
                rows.append(which | place | {"metric": metric} | interval(drawn))
    return pd.DataFrame(rows)


def interval(drawn: np.ndarray) -> dict:
    """Draws (1 + B,) as columns of a row: value, the 95 % interval low and high, and draws."""
    low, high = bootstrap.interval(drawn)
    return {"value": drawn[0], "low": float(low), "high": float(high), "draws": drawn}


def over_seeds(measured: pd.DataFrame, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """A row per combination of `keys`: mean over seeds, 95 % interval by draws of seeds and videos.

    With one seed the interval is its own, and knows nothing of the spread over seeds. `health`: the
    worst of the runs. Raises KeyError for several seeds without the column `draws` of `measure`.
    """
    groups = measured.groupby(list(keys), sort=False, dropna=False, observed=True)
    reduced = groups.agg(
        value=("value", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        seeds=("seed", "nunique"),
        health=("health", worst),
    ).reset_index()
    if measured["seed"].nunique() > 1:
        ends = [
            bootstrap.interval(bootstrap.mean_over_seeds(rows["seed"], rows["draws"]))
            for _, rows in groups
        ]
        reduced["low"], reduced["high"] = np.array(ends).T
    return reduced


def measured_metrics(reduced: pd.DataFrame, metrics: list[str]) -> list[str]:
    """Those of `metrics` that have a value anywhere: without class columns F2CIW has none.

    Raises ValueError, naming the nearest one, for a metric that does not exist, and for one that
    stands twice.
    """
    for name in names.each_once(metrics, "metrics"):
        names.nearest(name, names.METRIC_NAMES, "metric")
    known = set(reduced.loc[reduced["value"].notna(), "metric"])
    return [name for name in metrics if name in known]


def rectangle(
    reduced: pd.DataFrame, metric: str, rows: list[str], column: str, what: str = "value"
) -> pd.DataFrame:
    """The rows of one metric as a rectangle, `rows` by `column`, in the order that they have."""
    one = reduced[reduced["metric"] == metric]
    wide = one.set_index([*rows, column])[what].unstack(column, sort=False)
    return wide.rename_axis(columns=None)
