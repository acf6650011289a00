"""Metrics of stored runs as tables, their differences, and verdicts on their health."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pandas as pd

from lib.analysis import scoring
from lib.data.labels import class_labels
from lib.measures import bootstrap, metrics, seeds
from lib.measures.health import VERDICTS
from lib.store.stored import Stored, find, load
from lib.study import grid, names, profiles
from lib.study.grid import Run

KEYS = ("method", "backbone", "train_share", "validation_share", "metric")  # of one grid value

# Differences


def difference(
    ours: list[Run | Stored],
    theirs: list[Run | Stored],
    metric: str = "f1",
    protocol: str = "clean",
) -> dict[str, float]:
    """Paired difference of two systems at the natural share, each the mean over its runs (seeds).

    Keys estimate, low, high, p of lib.measures.seeds.difference, and seeds, how many there are.
    """
    sides = [
        natural_by_seed([load(run) for run in side], metric, protocol) for side in (ours, theirs)
    ]
    values = map(float, seeds.difference(*sides))
    keys = ("estimate", "low", "high", "p")
    return dict(zip(keys, values, strict=True)) | {"seeds": len(sides[0])}


def natural_by_seed(
    runs: list[Stored], metric: str, protocol: str, resamples: int | None = None
) -> np.ndarray:
    """`by_seed` of a metric of these runs at the natural share; `resamples` as in
    lib.analysis.scoring.natural."""
    ranked = [metric] if metric in bootstrap.RANKED else []
    rows = [scoring.natural(stored, protocol, resamples, ranked)[metric] for stored in runs]
    return by_seed([stored.run.seed for stored in runs], rows)


def by_seed(seed: Iterable[int], rows: Iterable[np.ndarray]) -> np.ndarray:
    """(S, 1 + B): the mean for each seed of draws (1 + B,), in the order of the seeds."""
    seed, rows = np.asarray(list(seed)), np.stack(list(rows))
    distinct, first = np.unique(seed, return_index=True)
    if len(distinct) == len(seed):
        return rows[first]
    return np.stack([rows[seed == one].mean(axis=0) for one in distinct])


def f2ciw_maximum(run: Run) -> float:
    """F2CIW of "always defect" on the run's validation images, the most that it can reach there."""
    table, _ = scoring.validation(load(run))
    return metrics.f2ciw_maximum(class_labels(table), table["Sampled"])


# Health


def learned(
    ours: list[list[Stored]], floors: list[list[Stored]], resamples: int | None = None
) -> bool:
    """Whether AUROC (converged probe, plain images), the mean over the cells `ours`, lies above
    that of the cells `floors`, the backbones as initialised, at 95 % over seeds and videos. A cell
    holds a run for each seed. True where images are too few for an interval."""
    gaps = [
        np.subtract(*(natural_by_seed(cell, "auroc", "clean", resamples) for cell in pair))
        for pair in zip(ours, floors, strict=True)
    ]
    low, _ = seeds.interval(np.mean(gaps, axis=0))
    return bool(low > 0 or np.isnan(low))


def health(runs: Iterable[Stored], probe: str = "converged") -> dict[str, str]:
    """Run id -> verdict on each of these runs as `probe` reads it: "collapsed", "diverged", "no
    better than random" or "healthy". An online probe may diverge beside a network that learns.

    Collapsed and diverged is a run by itself. No better than random are the runs of one system and
    share together: the mean over their seeds did not learn (`learned`), compared with the backbone
    as initialised with the same seeds. The verdict of the training stands for ablations, which have
    no such backbone, and where that backbone was not trained. A detector's verdict is that of the
    run whose features it reads.
    """
    verdicts: dict[str, str] = {}
    cells: dict[Run, dict[str, Stored]] = {}
    for one in (stored.trained for stored in runs):
        diverged = probe == "online" and one.record["online_probe"] == "diverged"
        verdicts[one.run.id] = "diverged" if diverged else one.record["health"]
        if one.run.study == "grid" and one.run.method != "random":
            cells.setdefault(one.run.cell, {})[one.run.id] = one
    for run, cell in cells.items():
        of_seeds = (one.run.seed for one in cell.values())
        twins = (grid.run(run.profile, "random", run.backbone, run.share, s) for s in of_seeds)
        floor = [found for twin in twins if (found := find(twin))]
        if len(floor) == len(cell) and not learned([[*cell.values()]], [floor]):
            weak = (name for name in cell if verdicts[name] == "healthy")
            verdicts |= dict.fromkeys(weak, "no better than random")
    return verdicts


def worst(verdicts: Iterable[str]) -> str:
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
    ranked: Collection[str] = bootstrap.RANKED,
) -> pd.DataFrame:
    """A row per run x validation share x metric, with a 95 % bootstrap interval; of AUROC, AP and
    the recall at 5 % false alarms, which take most of the time, for those that `ranked` names.

    `reading` "table": the natural share, as Table 1; "imbalance": the profile's validation shares.
    Columns run, method, backbone, train_share, seed, validation_share (NaN: natural), health,
    origin; px, crop, jitter of ablations; metric, value, low, high; draws, the (1 + B,) that the
    interval was read from, which `over_seeds` takes means of.
    """
    rule = names.protocol(protocol)
    chosen = [name for name in bootstrap.RANKED if name in ranked]
    others = [name for name in bootstrap.RANKED if name not in ranked]
    every, rows = [load(run) for run in wanted], []
    verdicts = health(every, rule.probe)
    for stored in every:
        run, profile = stored.run, profiles.load(stored.run.profile)
        shares = [None] if reading == "table" else profile["validation_shares"]
        evaluation = rule.table if reading == "table" else rule.imbalance
        options = {"evaluation": evaluation, "probe": rule.probe, "sampling": rule.sampling}
        options |= {"shares": shares}
        drawn = profile["draws"] if resamples is None else resamples
        now = chosen if drawn else bootstrap.RANKED  # estimates alone are cheap
        by_metric = scoring.draws(stored, resamples=drawn, ranked=now, **options)
        if others and drawn:
            values = scoring.draws(stored, resamples=0, ranked=others, **options)
            by_metric = by_metric | {name: values[name] for name in others}
        which = identity(run) | {"validation_share": np.nan}
        which |= {"health": verdicts[run.id], "origin": stored.origin}
        if run.study != "grid":
            which |= {"px": run.px, "crop": run.crop, "jitter": run.jitter}
        for metric, values in by_metric.items():
            for share, drawn in zip(shares, intervals(values), strict=True):
                place = {} if share is None else {"validation_share": share}
                rows.append(which | place | {"metric": metric} | drawn)
    return pd.DataFrame(rows)


def intervals(draws: np.ndarray) -> list[dict]:
    """Draws (rows, 1 + B) of one run as columns of so many rows: value, its 95 % interval low and
    high over videos, and draws."""
    ends = np.stack(bootstrap.interval(draws), axis=-1).tolist()
    return [
        {"value": row[0], "low": low, "high": high, "draws": row}
        for row, (low, high) in zip(draws, ends, strict=True)
    ]


def over_seeds(measured: pd.DataFrame, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """A row per combination of `keys`: mean over seeds, 95 % interval of lib.measures.seeds.

    With one seed the interval is its own. Of several, the column `draws` of `measure` makes it;
    there is none without that column. A score lies between 0 and 1, and so does its interval.
    `health`: the worst of the runs.
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
        reduced[["low", "high"]] = np.nan
    if measured["seed"].nunique() > 1 and "draws" in measured:
        reduced[["low", "high"]] = np.clip(_ends(measured, groups.ngroup().to_numpy()), 0, 1)
    return reduced


def _ends(measured: pd.DataFrame, number: np.ndarray) -> np.ndarray:
    """(groups, 2): the interval of each group's mean over seeds; `number` is that of a row's group.
    Groups with as many seeds are taken at once."""
    seed, draws = measured["seed"].to_numpy(), measured["draws"].to_numpy()
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    groups = [by_seed(seed[own], draws[own]) for own in rows]
    shapes = [group.shape for group in groups]
    ends = np.empty((len(groups), 2))
    for shape in set(shapes):
        alike = [i for i, own in enumerate(shapes) if own == shape]
        ends[alike] = np.stack(seeds.interval(np.stack([groups[i] for i in alike])), axis=-1)
    return ends


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
    """One metric as a wide table, `rows` by `column`, in order of appearance."""
    one = reduced[reduced["metric"] == metric]
    wide = one.set_index([*rows, column])[what].unstack(column, sort=False)
    return wide.rename_axis(columns=None)
