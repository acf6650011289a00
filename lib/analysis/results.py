"""Stored runs read back: scores as metrics, from runs made here or from the committed reference.
Knows no torch."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.data import sources, splits
from lib.data.labels import class_labels
from lib.measures import bootstrap, metrics, seeds
from lib.measures.health import VERDICTS
from lib.store.stored import MissingRuns, Stored, load
from lib.study import grid, names, profiles, protocols
from lib.study.grid import Run
from lib.system import paths

# Scores to metrics


@lru_cache(maxsize=4)
def _validation(data: str, path: str) -> tuple[pd.DataFrame, bool]:
    """Labels of the validation images: from the data, or where there are none here, from the
    reference's copy."""
    if (Path(path) / "validation.parquet").exists():
        table = pd.read_parquet(Path(path) / "validation.parquet")
        return table, bool((table["Video"] != table["Filename"]).any())
    return sources.tables(json.loads(data), "val")


def validation(stored: Stored) -> tuple[pd.DataFrame, bool]:
    """The validation table (classes, Defect, Video, Sampled) behind a stored run, and whether
    videos are known."""
    kept = paths.REFERENCE / stored.run.profile if stored.origin == "reference" else Path("")
    return _validation(json.dumps(stored.run.data, sort_keys=True), str(kept))


def _weights(table: pd.DataFrame, shares, sampling: str, seed: int) -> np.ndarray:
    """(shares, n) weights of the validation images at each share; None is the natural share."""
    rows = []
    for share in shares:
        if share is None:
            rows.append(table["Sampled"].to_numpy(float))
        elif sampling == "weights":
            rows.append(metrics.share_weights(table["Defect"].to_numpy(), share))
        else:
            rows.append(table.index.isin(splits.resample(table, share, seed).index).astype(float))
    return np.stack(rows)


def aligned(
    stored: Stored, evaluation: str, probe: str
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """(n,) logits of the validation images, their n rows of `validation(stored)`, and (n,) the
    places of these.

    An image comes once a view. Raises MissingRuns without such scores, or where they are of images
    not in the table.
    """
    table, _ = validation(stored)
    scores = stored.scores
    rows = scores[
        (scores["split"] == "val")
        & (scores["evaluation"] == evaluation)
        & (scores["probe"] == probe)
    ]
    if rows.empty:
        raise MissingRuns(f"{stored.run.id} holds no {evaluation} scores of the {probe} probe.")
    order = pd.Index(table["Filename"]).get_indexer(rows["Filename"])
    if (order < 0).any():
        raise MissingRuns(
            f"{stored.run.id} scored {(order < 0).sum()} images that the validation table lacks: FORCE=1."
        )
    return rows["logit"].to_numpy(), table.iloc[order], order


def draws(
    stored: Stored,
    *,
    evaluation: str,
    probe: str,
    shares,
    sampling: str,
    resamples: int,
    ranked: bool = True,
) -> dict:
    """metric -> (shares, 1 + resamples): the estimate, then its bootstrap draws over videos (images
    where unknown).

    Without `ranked`, AUROC and AP are left nan, which is ten times faster.
    Two runs scored on the same images get the same draws, so their difference is paired.
    """
    logit, labels, order = aligned(stored, evaluation, probe)
    weights = _weights(validation(stored)[0], shares, sampling, stored.run.data["seed"])[:, order]
    return bootstrap.resampled(
        logit,
        labels["Defect"].to_numpy(),
        class_labels(labels),
        labels["Video"].to_numpy(),
        weights,
        draws=resamples,
        ranked=ranked,
    )


def difference(
    ours: list[Run | Stored],
    theirs: list[Run | Stored],
    metric: str = "f1",
    protocol: str = "clean",
) -> dict:
    """Paired difference of two systems at the natural share, each the mean over its runs (seeds).

    Keys estimate, low, high, p: 95 % bootstrap interval over the same resamples of seeds and videos
    for both.
    """
    rule = protocols.PROTOCOLS[names.nearest(protocol, protocols.PROTOCOLS, "protocol")]
    resamples = profiles.load(load(ours[0]).run.profile)["draws"]
    means = [
        seeds.mean(
            [stored.run.seed for stored in side],
            [
                draws(
                    stored,
                    evaluation=rule.table,
                    probe=rule.probe,
                    shares=[None],
                    sampling=rule.sampling,
                    resamples=resamples,
                )[metric][0]
                for stored in side
            ],
        )
        for side in (list(map(load, ours)), list(map(load, theirs)))
    ]
    values = (float(v) for v in bootstrap.paired_difference(*means))
    return dict(zip(("estimate", "low", "high", "p"), values, strict=True))


def health(stored: Stored) -> str:
    """Verdict on a run: its training's ("collapsed", "diverged"), "no better than random", or
    "healthy".

    No better than random: AUROC of the converged probe on plain images is not above that of the
    backbone as initialised, with the same share and seed, at 95 % (paired over videos). Ablations
    have no such backbone here, and where it was not trained, or its own verdict is asked for, that
    of the training stands.
    """
    stored = Stored(
        stored.run, stored.path, stored.origin
    )  # other scores of a run (lib.store.measured) share its verdict
    run, verdict = stored.run, stored.record["health"]
    if verdict != "healthy" or run.study != "grid" or run.method == "random":
        return verdict
    floor = grid.run(run.profile, "random", run.backbone, run.share, run.seed)
    try:
        pair = (stored, load(floor))
        low = bootstrap.paired_difference(*(_auroc(s, s.written) for s in pair))[1]
    except MissingRuns:
        return verdict
    return verdict if low > 0 else "no better than random"


@lru_cache(maxsize=512)
def _auroc(stored: Stored, written: int) -> np.ndarray:
    """(1 + B,) AUROC of the converged probe on plain images: the estimate, then its draws. A run
    trained again is read again."""
    reading = {"evaluation": "clean", "probe": "converged", "shares": [None], "sampling": "weights"}
    return draws(stored, **reading, resamples=profiles.load(stored.run.profile)["draws"])["auroc"][
        0
    ]


def measure(
    wanted: list[Run | Stored],
    protocol: str = "clean",
    reading: str = "table",
    resamples: int | None = None,
):
    """A row per run x validation share x metric, with a 95 % bootstrap interval.

    `reading` "table": the natural share, as Table 1; "imbalance": the five shares. Columns run,
    method, backbone, train_share, seed, validation_share (NaN: natural), metric, value, low, high,
    health; px, crop, jitter of ablations; draws, the (1 + B,) that the interval was read from,
    which lib.analysis.results.over_seeds takes means of.
    """
    rule = protocols.PROTOCOLS[names.nearest(protocol, protocols.PROTOCOLS, "protocol")]
    rows = []
    for run in wanted:
        stored = load(run)
        p = profiles.load(stored.run.profile)
        shares = [None] if reading == "table" else p["validation_shares"]
        found = draws(
            stored,
            evaluation=rule.table if reading == "table" else rule.imbalance,
            probe=rule.probe,
            shares=shares,
            sampling=rule.sampling,
            resamples=p["draws"] if resamples is None else resamples,
        )
        facts = _facts(stored)
        for metric, values in found.items():
            low, high = bootstrap.interval(values)
            rows += [
                facts
                | _share(share)
                | {
                    "metric": metric,
                    "value": values[i, 0],
                    "low": low[i],
                    "high": high[i],
                    "draws": values[i],
                }
                for i, share in enumerate(shares)
            ]
    return pd.DataFrame(rows)


def _facts(stored: Stored) -> dict:
    """Columns that all rows of a run share."""
    run = stored.run
    varied = {} if run.study == "grid" else {"px": run.px, "crop": run.crop, "jitter": run.jitter}
    return {
        "run": run.id,
        "method": run.method,
        "backbone": run.backbone,
        "train_share": run.share,
        "seed": run.seed,
        "validation_share": np.nan,
        "health": health(stored),
        "origin": stored.origin,
        **varied,
    }


def _share(share: float | None) -> dict:
    return {"validation_share": np.nan if share is None else share}


def collect(profile: str) -> pd.DataFrame:
    """A row per run x validation share (NaN: natural) x evaluation x probe, every metric a column.

    Shares are read as the evaluation's protocol does: by subsampling for the online probe, by
    weights for the converged one. Runs that cannot be read, and shares that a small table cannot
    reach, are left out.
    """
    rows = []
    shares = [None, *profiles.load(profile)["validation_shares"]]
    for run in grid.cells(profile):
        try:
            stored = load(run)
        except MissingRuns:
            continue
        facts = _facts(stored)
        for evaluation in stored.scores["evaluation"].unique():
            for rule, share in product(protocols.PROTOCOLS.values(), shares):
                with suppress(sources.DataError):  # too few images of one's own for that share
                    found = draws(
                        stored,
                        evaluation=evaluation,
                        probe=rule.probe,
                        shares=[share],
                        sampling=rule.sampling,
                        resamples=0,
                    )
                    row = facts | _share(share) | {"evaluation": evaluation, "probe": rule.probe}
                    rows.append(row | {metric: values[0, 0] for metric, values in found.items()})
    return pd.DataFrame(rows)


def f2ciw_maximum(run: Run, share: float | None = None) -> float:
    """F2CIW of "always defect" on the run's validation images, the most that it can reach there."""
    table, _ = validation(load(run))
    weights = _weights(table, [share], "weights", 0)[0]
    return metrics.f2ciw_bounds(class_labels(table), weights)[1]


if TYPE_CHECKING:
    pass
KEYS = (
    "method",
    "backbone",
    "train_share",
    "validation_share",
    "metric",
)  # what one value of the grid belongs to


def over_seeds(measured: pd.DataFrame, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """One row per combination of `keys`: the mean over seeds, and its 95 % interval by draws of
    seeds, then of videos.

    With one seed the interval is its own, and knows nothing of the spread over seeds. `health`: the
    worst of the runs. Raises KeyError for several seeds without the column `draws` of
    lib.analysis.results.measure.
    """
    reduced = (
        measured.assign(health=pd.Categorical(measured["health"], VERDICTS, ordered=True))
        .groupby(list(keys), sort=False, dropna=False, observed=True)
        .agg(
            value=("value", "mean"),
            low=("low", "mean"),
            high=("high", "mean"),
            seeds=("seed", "nunique"),
            health=("health", "min"),
        )
        .reset_index()
        .astype({"health": str})
    )
    if measured["seed"].nunique() > 1:
        groups = measured.groupby(list(keys), sort=False, dropna=False, observed=True)
        ends = [bootstrap.interval(seeds.mean(rows["seed"], rows["draws"])) for _, rows in groups]
        reduced["low"], reduced["high"] = np.array(ends).T
    return reduced


def measured_metrics(reduced: pd.DataFrame, metrics: list[str]) -> list[str]:
    """Those of `metrics` that have a value anywhere: without class columns F2CIW has none."""
    return [
        name for name in metrics if reduced.loc[reduced["metric"] == name, "value"].notna().any()
    ]


def rectangle(
    reduced: pd.DataFrame, metric: str, rows: list[str], column: str, what: str = "value"
) -> pd.DataFrame:
    """The rows of one metric as a rectangle, `rows` by `column`, in the order in which they
    come."""
    one = reduced[reduced["metric"] == metric]
    wide = one.set_index([*rows, column])[what].unstack(column, sort=False)
    return wide.rename_axis(columns=None)
