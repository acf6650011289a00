"""How well measures that read no label rank representations: rank correlations with detection.
Knows no torch.

A point is a cell of the grid: a method, a backbone, a train share. Its measures and its F1, AP and
AUROC (validation, natural share) are averaged over seeds. Two intervals by hierarchical bootstrap,
from the same draws for every measure:

- of these runs: seeds are drawn first, the same for every point, then validation videos (images
  where unknown);
- of runs like these: points are drawn, too, within each group. Verdicts rest on it, for one study
  is a sample of runs.

Both are simultaneous over the k measures tried, at the level 1 - .05 / k (Bonferroni). A resample
of runs repeats some, which adds ties, alike for two measures that are compared.

points = association.Points(wanted, {run.id: frozen.measures(runs.load(run)) for run in wanted}, "clean")
measured = association.correlate(points)
"""

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np
import pandas as pd

from lib.analysis import results
from lib.analysis.board import Board, Draws, NotRun
from lib.measures import bootstrap, representation
from lib.measures.correlation import midranks, rank_correlation
from lib.measures.representation import MEASURES
from lib.store.stored import Stored
from lib.study import names
from lib.study.grid import Run

METRICS = ("f1", "ap", "auroc")
SCOPES = {
    "backbone": "Within backbones",  # as claim 3: widths are equal, and ranks comparable; the mean over backbones
    "all": "Over all runs",
    "method": "Within methods",  # the mean over methods: only here are losses comparable
    "system": "Between systems",  # their means over train shares
}
JUDGED = "backbone"  # the scope of the verdicts, chosen beforehand
BASE = "rankme"  # what the others are held against
FEWEST = 3  # points of a group: of two, a rank correlation is 1 or -1
REPEATS = 4  # draws of the runs to one of seeds and videos: corrected intervals read far tails, and these cost little
VERDICTS = ("better", "worse", "inconclusive")


class Points:
    """Measures and metrics of every cell of the grid, each name -> (n, 1 + B): the estimate, then
    bootstrap draws.

    `cells` are the rows' method, backbone and train_share. `measured` gives the measures of
    lib.measures.representation by run id, for every run of `wanted`; the training loss is read from
    the runs. A measure that no run has is left out. Raises lib.analysis.board.NotRun for no runs,
    or a cell that lacks a seed that others have.
    """

    def __init__(
        self,
        wanted: list[Run],
        measured: dict[str, dict[str, float]],
        protocol: str,
        resamples: int | None = None,
    ):
        board = Board(wanted, protocol, resamples)
        found = list(
            dict.fromkeys((s.run.method, s.run.backbone, s.run.share) for s in board.stored)
        )
        self.cells = pd.DataFrame(found, columns=["method", "backbone", "train_share"])
        means: dict[str, list[Draws]] = {name: [] for name in (*MEASURES, *METRICS)}
        for cell in found:
            stored = board.system(*cell)
            weights = np.array([board.seed_weight[s.run.seed] for s in stored])
            each = [_metrics(s, board) | _measures(s, measured) for s in stored]
            for name, rows in means.items():
                values = np.stack([np.broadcast_to(e[name], weights.shape[1]) for e in each])
                # where a seed was not drawn, its infinite alpha-ReQ counts nothing
                rows.append(
                    np.multiply(
                        weights, values, out=np.zeros(weights.shape), where=weights > 0
                    ).sum(axis=0)
                )
        self.metrics = {name: np.stack(means[name]) for name in METRICS}
        every = {name: np.stack(means[name]) for name in MEASURES}
        self.measures = {
            name: values for name, values in every.items() if not np.isnan(values[:, 0]).all()
        }

        self._ranked: dict[tuple, list[tuple[np.ndarray, np.ndarray]]] = {}

    def groups(self, scope: str, measure: str) -> Iterator[list[np.ndarray]]:
        """The groups of a scope where a measure is known, each a list of points: the rows of which
        one is the mean."""
        known = self.cells[~np.isnan(self.measures[measure][:, 0])]
        for _, group in known.groupby(scope, sort=False) if scope in known else [(scope, known)]:
            parts = group.groupby(
                ["method", "backbone"] if scope == "system" else group.index, sort=False
            )
            rows = [part.index.to_numpy() for _, part in parts]
            if len(rows) >= FEWEST:
                yield rows

    def ranked(self, scope: str, among: str, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """`midranks` of a measure or metric in each group of `groups(scope, among)`, and the counts
        that they are under.

        Counts are (1 + B, n, 1 + R): column 0 holds every point once, the others R resamples of the
        points, the same ones for every measure that is known on the same points.
        """
        key = (scope, np.isnan(self.measures[among][:, 0]).tobytes(), name)
        if key not in self._ranked:
            self._ranked[key] = []
            every = (self.measures if name in self.measures else self.metrics)[name]
            for i, rows in enumerate(self.groups(scope, among)):
                n, size = len(rows), every.shape[1]
                drawn = np.random.default_rng(i).multinomial(n, [1 / n] * n, size=(size, REPEATS))
                counts = (
                    np.concatenate([np.ones((size, 1, n)), drawn], axis=1)
                    .swapaxes(1, 2)
                    .astype(np.float32)
                )
                self._ranked[key].append(
                    (midranks(np.stack([every[r].mean(axis=0) for r in rows]), counts), counts)
                )
        return self._ranked[key]


def _metrics(stored: Stored, board: Board) -> dict[str, Draws]:
    found = results.draws(
        stored,
        evaluation=board.rule.table,
        probe=board.rule.probe,
        shares=[None],
        sampling=board.rule.sampling,
        resamples=board.resamples,
    )
    return {name: found[name][0] for name in METRICS}


def _measures(stored: Stored, measured: dict[str, dict[str, float]]) -> dict[str, float]:
    return measured[stored.run.id] | {
        "loss": representation.training_loss(stored.run.method, stored.history)
    }


def rho(points: Points, scope: str, measure: str, metric: str, among: str = "") -> np.ndarray:
    """Spearman's rho (1 + B, 1 + R) of a measure and a metric, the mean over the groups of a scope
    where it is defined.

    Row 0 is of the estimates, the others of the draws of seeds and videos; column 0 is of the
    points as they are, the R others of points drawn within each group. Only points where the
    measure `among` (by default this one) is known count, so that two measures are compared on the
    same points.
    """
    pairs = zip(
        *(points.ranked(scope, among or measure, name) for name in (measure, metric)), strict=True
    )
    found = [rank_correlation(x, y, counts) for (x, counts), (y, _) in pairs]
    if not found:
        return np.full((points.metrics[metric].shape[1], 1 + REPEATS), np.nan)
    count = (~np.isnan(found)).sum(axis=0)
    return np.divide(
        np.nansum(found, axis=0), count, out=np.full(count.shape, np.nan), where=count > 0
    )


def correlate(
    points: Points, scopes: Iterable[str] = tuple(SCOPES), targets: Iterable[str] = METRICS
) -> pd.DataFrame:
    """A row per scope, metric and measure: rho and what it has over RankMe's.

    Columns scope, metric, measure, sign (the one expected), n (points), rho, low, high (of these
    runs), low_runs, high_runs (of runs like these); gain, sign times rho minus that of RankMe on
    the same points, with the same four bounds, prefixed gain_; verdict, of `VERDICTS` by
    gain_low_runs and gain_high_runs, "" for RankMe itself. Raises lib.analysis.board.NotRun where
    no run has a RankMe.
    """
    if BASE not in points.measures:
        raise NotRun("no run has a RankMe to hold others against: every one diverged.")
    rows = []
    for scope, metric, measure in product(scopes, targets, points.measures):
        sign = MEASURES[measure].sign
        row = {"scope": scope, "metric": metric, "measure": measure, "sign": sign}
        row["n"] = sum(map(len, points.groups(scope, measure)))
        own = rho(points, scope, measure, metric)
        gain = (
            sign * own - MEASURES[BASE].sign * rho(points, scope, BASE, metric, measure)
            if measure != BASE
            else None
        )
        row |= _told("rho", "", own, len(points.measures)) | _told(
            "gain", "gain_", gain, len(points.measures) - 1
        )
        told = verdict(row["gain_low_runs"], row["gain_high_runs"])
        rows.append(row | {"verdict": told if measure != BASE else ""})
    return pd.DataFrame(rows)


def _told(name: str, prefix: str, draws: np.ndarray | None, tried: int) -> dict[str, float]:
    """The estimate and both intervals, simultaneous over as many measures as were tried; nan for
    None."""
    draws = np.full((1, 1 + REPEATS), np.nan) if draws is None else draws
    row = {name: draws[0, 0]}
    for suffix, some in (("", draws[:, 0]), ("_runs", np.append(draws[0, 0], draws[1:, 1:]))):
        low, high = bootstrap.interval(some, 1 - 0.05 / max(tried, 1))
        row |= {f"{prefix}low{suffix}": float(low), f"{prefix}high{suffix}": float(high)}
    return row


def verdict(low: float, high: float) -> str:
    """What the interval of a gain says, one of `VERDICTS`; "inconclusive" for nan."""
    return "better" if low > 0 else "worse" if high < 0 else "inconclusive"


def judged(measured: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of `correlate` that the verdicts on one metric rest on, indexed by measure."""
    rows = measured[(measured["scope"] == JUDGED) & (measured["metric"] == metric)]
    return rows.set_index("measure")


def better_than_rankme(measured: pd.DataFrame, metric: str = "f1") -> dict:
    """The claim "a label-free measure predicts F1 better than RankMe": measure, value, low, high,
    verdict.

    Supported if any measure's verdict is "better", for its interval is corrected for all that were
    tried; contradicted if all are "worse". The rest is the gain of the measure that decides: where
    supported, the one whose interval begins highest, else the one of the largest gain.
    """
    rows = judged(measured, metric).drop(index=BASE)
    found = "supported" if (rows["verdict"] == "better").any() else "inconclusive"
    found = "contradicted" if len(rows) and (rows["verdict"] == "worse").all() else found
    if rows["gain"].isna().all():
        return {"measure": "", "value": np.nan, "low": np.nan, "high": np.nan, "verdict": "not run"}
    best = rows.loc[rows["gain_low_runs" if found == "supported" else "gain"].idxmax()]
    return {
        "measure": best.name,
        "value": best["gain"],
        "low": best["gain_low_runs"],
        "high": best["gain_high_runs"],
        "verdict": found,
    }


def sentences(measured: pd.DataFrame, metric: str) -> list[str]:
    """A verdict a measure, RankMe's first, with the intervals of runs like these."""
    told = []
    for measure, row in judged(measured, metric).iterrows():
        name, what = MEASURES[measure].name, names.METRIC_NAMES[metric]
        if np.isnan(row["rho"]):
            told.append(
                f"{name}: undefined, for it does not vary, or on fewer than {FEWEST} points of a group."
            )
            continue
        rho = (
            f"ρ {row['rho']:+.2f} [{row['low_runs']:+.2f}, {row['high_runs']:+.2f}], n = {row['n']}"
        )
        if measure == BASE:
            told.append(f"{name}: {rho} with {what}.")
            continue
        said = {"inconclusive": "inconclusive,"}.get(
            row["verdict"], f"predicts {what} {row['verdict']} than RankMe,"
        )
        here = verdict(row["gain_low"], row["gain_high"])
        only = f"; among these runs alone, {here}" * (here != row["verdict"])
        gain = f"{row['gain']:+.2f} [{row['gain_low_runs']:+.2f}, {row['gain_high_runs']:+.2f}]"
        sign = "positive" if row["sign"] > 0 else "negative"
        told.append(f"{name}: {said} {gain}{only} ({rho}; expected {sign}).")
    return told
