"""How well measures that read no label rank representations: rank correlations with detection.

A point is a cell of the grid: a method, a backbone, a train share. Its measures and its F1, AP and
AUROC (validation, natural share) are correlated seed by seed, and rho is the mean over seeds. Two
intervals, from the same draws for every measure (lib.measures.seeds):

- of these cells: validation videos are drawn (images where unknown), and seeds count by their
  spread, where there are enough;
- of cells like these: points are drawn, too, within each group. Verdicts rest on it, for one study
  is a sample of methods and shares.

Both are simultaneous over the k measures tried, at the level 1 - .05 / k (Bonferroni). A resample
of points repeats some, which adds ties, alike for two measures that are compared.

    points = correlation.Points(wanted, {run.id: measured.measures(run) for run in wanted}, "clean")
    correlations = correlation.correlate(points)
"""

from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd

from lib.analysis import wording
from lib.analysis.board import Board, NotRun
from lib.analysis.claim_parts import PLACES
from lib.measures import representation, seeds
from lib.measures.correlation import midranks, rank_correlation
from lib.measures.representation import MEASURES
from lib.store.stored import Stored
from lib.study.grid import Run
from lib.study.names import METRIC_NAMES

METRICS = ("f1", "ap", "auroc")
SCOPES = {
    # the mean over backbones, as in claim 3: widths are equal, and ranks comparable
    "backbone": "Within backbones",
    "all": "Over all runs",
    "method": "Within methods",  # the mean over methods: only here are losses comparable
    "system": "Between systems",  # their means over train shares
}
JUDGED = "backbone"  # the scope of the verdicts, chosen beforehand
BASE = "rankme"  # what the others are compared with
FEWEST = 3  # points of a group: of two, a rank correlation is 1 or -1
# Resamples of points per resample of videos: corrected intervals need far tails.
REPEATS = 4
DRAWN = 300  # resamples of videos that enter a correlation, so 1,200 of the points
VERDICTS = ("better", "worse", "inconclusive")  # of a gain above zero, below it, or across it


class Points:
    """Measures and metrics of every cell of the grid, each name -> (n, S, 1 + B): by seed the
    estimate, then bootstrap draws, at most `DRAWN`. A measure has no draws, (n, S, 1).

    `cells` are the rows' method, backbone and train_share. `measured` gives the measures of
    lib.measures.representation by run id, for every run of `wanted`; the training loss is read from
    the runs. A measure that no run has is left out. Raises lib.analysis.board.NotRun for no runs,
    or a cell that lacks a seed that others have.
    """

    def __init__(
        self,
        wanted: list[Run | Stored],
        measured: dict[str, dict[str, float]],
        protocol: str,
        resamples: int | None = None,
        targets: Collection[str] = METRICS,
    ):
        board = Board(wanted, protocol, resamples)
        if resamples is None:
            board.resamples = min(board.resamples, DRAWN)  # the first ones of more are the same
        self.cells = pd.DataFrame(board.cells, columns=["method", "backbone", "train_share"])
        ranked = ("auroc", "ap") if "ap" in targets else ("auroc",)
        metrics = [board.draws(cell, ranked=ranked)[0] for cell in board.cells]
        self.metrics = {
            name: np.stack([draws[name][:, : 1 + DRAWN] for draws in metrics]) for name in targets
        }
        runs = [board.system(*cell) for cell in board.cells]
        every = {
            name: np.array([[[_measure(s, name, measured)] for s in own] for own in runs])
            for name in MEASURES
        }
        self.measures = {n: values for n, values in every.items() if not np.isnan(values).all()}
        self._groups: dict[tuple, list[list[np.ndarray]]] = {}
        self._ranked: dict[tuple, list[tuple[np.ndarray, np.ndarray]]] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(S, 1 + B)."""
        return next(iter(self.metrics.values())).shape[1:]

    def known(self, measure: str) -> np.ndarray:
        """(n,) whether every seed of a cell has the measure."""
        return ~np.isnan(self.measures[measure]).any(axis=(1, 2))

    def groups(self, scope: str, measure: str) -> list[list[np.ndarray]]:
        """The groups of a scope where a measure is known. A group is a list of points, and a point
        the numbers of the rows whose mean it is."""
        known = self.known(measure)
        key = (scope, known.tobytes())
        if key not in self._groups:
            self._groups[key] = list(self._grouped(scope, self.cells[known]))
        return self._groups[key]

    def _grouped(self, scope: str, known: pd.DataFrame) -> Iterator[list[np.ndarray]]:
        for _, group in known.groupby(scope, sort=False) if scope in known else [(scope, known)]:
            of_point = ["method", "backbone"] if scope == "system" else group.index
            points = [rows.index.to_numpy() for _, rows in group.groupby(of_point, sort=False)]
            if len(points) >= FEWEST:
                yield points

    def ranked(self, scope: str, among: str, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """`midranks` of a measure or metric in each group of `groups(scope, among)`, (S (1 + B) or
        S, n, 1 + R), and the counts that they are under.

        Counts are (1 + B, n, 1 + R): column 0 holds every point once, the others R resamples of the
        points, the same ones for every seed and every measure that is known on the same points.
        """
        key = (scope, self.known(among).tobytes(), name)
        if key not in self._ranked:
            values, (_, columns) = (self.measures | self.metrics)[name], self.shape
            self._ranked[key] = []
            for i, points in enumerate(self.groups(scope, among)):
                counts = _counts(len(points), columns, seed=i)
                own = np.stack([values[rows].mean(axis=0) for rows in points])  # (n, S, 1 or 1 + B)
                ranks = np.stack([midranks(own[:, s], counts) for s in range(own.shape[1])])
                self._ranked[key].append((ranks, counts))
        return self._ranked[key]


def _measure(stored, name: str, measured: dict[str, dict[str, float]]) -> float:
    if name == "loss":
        return representation.training_loss(stored.run.method, stored.history)
    return measured[stored.run.id][name]


@lru_cache(maxsize=64)
def _counts(n: int, size: int, seed: int) -> np.ndarray:
    """(size, n, 1 + R): how often each of n points is there, once, then in R resamples of them."""
    drawn = np.random.default_rng(seed).multinomial(n, [1 / n] * n, size=(size, REPEATS))
    return np.concatenate([np.ones((size, 1, n)), drawn], axis=1).swapaxes(1, 2).astype(np.float32)


def rho(points: Points, scope: str, measure: str, metric: str, among: str = "") -> np.ndarray:
    """Spearman's rho (S, 1 + B, 1 + R) of a measure and a metric, the mean over the groups of a
    scope where it is defined.

    Row 0 of a seed is of the estimates, the others of the draws of videos; column 0 is of the
    points as they are, the R others of points drawn within each group. Only points where the
    measure `among` (by default this one) is known count, so that two measures are compared on the
    same points.
    """
    ours, theirs = (points.ranked(scope, among or measure, name) for name in (measure, metric))
    rhos = [
        [rank_correlation(x, y, counts) for x, y in zip(xs, ys, strict=True)]
        for (xs, counts), (ys, _) in zip(ours, theirs, strict=True)
    ]
    if not rhos:
        return np.full((*points.shape, 1 + REPEATS), np.nan)
    defined = (~np.isnan(rhos)).sum(axis=0)
    undefined = np.full(defined.shape, np.nan)
    return np.divide(np.nansum(rhos, axis=0), defined, out=undefined, where=defined > 0)


def correlate(points: Points, scopes: Iterable[str] = tuple(SCOPES)) -> pd.DataFrame:
    """A row per scope, metric of the points and measure: rho and what it has over RankMe's.

    Columns scope, metric, measure, sign (the one expected), seeds (how many), n (points), rho, low,
    high (of these cells), low_runs, high_runs (of cells like these); gain, sign times rho minus
    that of RankMe on the same points, with the same four bounds, prefixed gain_; verdict, of
    `VERDICTS` by gain_low_runs and gain_high_runs, "" for RankMe itself. Raises
    lib.analysis.board.NotRun where no run has a RankMe.
    """
    if BASE not in points.measures:
        raise NotRun("no run has a RankMe to compare others with: every one diverged.")
    rows = []
    for scope, metric, measure in product(scopes, points.metrics, points.measures):
        sign, tried = MEASURES[measure].sign, len(points.measures)
        row = {"scope": scope, "metric": metric, "measure": measure, "sign": sign}
        row["seeds"] = points.shape[0]
        row["n"] = sum(map(len, points.groups(scope, measure)))
        own = rho(points, scope, measure, metric)
        row |= {"rho": own[:, 0, 0].mean()} | _bounds("", own, tried, 1)
        if measure == BASE:
            gain = np.full_like(own, np.nan)
        else:
            gain = sign * own - MEASURES[BASE].sign * rho(points, scope, BASE, metric, measure)
        row |= {"gain": gain[:, 0, 0].mean()} | _bounds("gain_", gain, tried - 1, 2)
        word = wording.verdict(row["gain_low_runs"], row["gain_high_runs"], *VERDICTS)
        rows.append(row | {"verdict": "" if measure == BASE else word})
    return pd.DataFrame(rows)


def _bounds(prefix: str, draws: np.ndarray, tried: int, most: float) -> dict[str, float]:
    """Both intervals of draws (S, 1 + B, 1 + R), simultaneous over the `tried` measures and clipped
    to ±`most`. That of cells like these is widened to contain that of these cells, which can be the
    wider of the two with few seeds, because it has fewer degrees of freedom."""
    drawn = draws[:, 1:, 1:].reshape(len(draws), -1)
    of_cells_like_these = np.concatenate([draws[:, :1, 0], drawn], axis=1)
    level = 1 - 0.05 / max(tried, 1)
    (low, high), (lowest, highest) = (
        np.clip(seeds.interval(some, level), -most, most)
        for some in (draws[..., 0], of_cells_like_these)
    )
    if np.isfinite(lowest):
        lowest, highest = np.fmin(low, lowest), np.fmax(high, highest)
    ends = {"low": low, "high": high, "low_runs": lowest, "high_runs": highest}
    return {f"{prefix}{name}": float(end) for name, end in ends.items()}


# Verdicts


def judged(correlations: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of `correlate` that the verdicts on one metric rest on, indexed by measure."""
    rows = correlations[(correlations["scope"] == JUDGED) & (correlations["metric"] == metric)]
    return rows.set_index("measure")


def better_than_rankme(correlations: pd.DataFrame, metric: str = "f1") -> dict:
    """The claim "a label-free measure predicts F1 better than RankMe": measure, value, low, high,
    limit, claimed, verdict; with too few seeds the place of the gain in these runs instead.

    Supported if any measure's verdict is "better", for its interval is corrected for all that were
    tried; contradicted if all are "worse". The rest is the gain of the measure that decides: where
    supported, the one whose interval begins highest, else the one of the largest gain.
    """
    rows = judged(correlations, metric).drop(index=BASE)
    if rows["gain"].isna().all():
        nothing = dict.fromkeys(("value", "low", "high", "limit"), np.nan)
        return {"measure": "", **nothing, "claimed": "", "verdict": "not run"}
    supported = (rows["verdict"] == "better").any()
    otherwise = "contradicted" if (rows["verdict"] == "worse").all() else "inconclusive"
    best = rows.loc[rows["gain_low_runs" if supported else "gain"].idxmax()]
    ends = {"low": best["gain_low_runs"], "high": best["gain_high_runs"], "limit": 0.0}
    ends["claimed"] = PLACES[0]
    word = "supported" if supported else otherwise
    if best["seeds"] < seeds.ENOUGH:
        word = wording.verdict(ends["low"], ends["high"], *PLACES)
    return {"measure": best.name, "value": best["gain"], **ends, "verdict": word}


def sentences(correlations: pd.DataFrame, metric: str) -> list[str]:
    """A sentence a measure, RankMe's first, with the intervals of cells like these."""
    return [
        f"{MEASURES[row.Index].name}: {_sentence(row, METRIC_NAMES[metric])}."
        for row in judged(correlations, metric).itertuples()
    ]


def summaries(correlations: pd.DataFrame, metric: str) -> dict[str, str]:
    """Scope -> a plain sentence: which measures rank as their papers say, and which opposite.

    It rests on the intervals of cells like these. Scopes without any rho are left out.
    """
    rows = correlations[(correlations["metric"] == metric) & correlations["rho"].notna()]
    scopes = rows.groupby("scope", sort=False)
    return {scope: _summary(own) for scope, own in scopes}


def _summary(rows: pd.DataFrame) -> str:
    ways: dict[str, list[str]] = {"as expected": [], "opposite to expected": [], "not decided": []}
    for row in rows.itertuples():
        ends = sorted((row.sign * row.low_runs, row.sign * row.high_runs))
        ways[wording.verdict(*ends, *ways)].append(MEASURES[row.measure].name)
    *decided, open_ = ways.items()
    found = [f"{', '.join(names)} {way}" for way, names in decided if names]
    if not found:
        return f"none of {len(rows)} measures is decided"
    return f"{'; '.join(found)}; {len(open_[1])} of {len(rows)} not decided"


def _sentence(row, metric: str) -> str:
    if np.isnan(row.rho):
        return f"undefined, for it does not vary, or on fewer than {FEWEST} points of a group"
    rho = f"ρ {wording.estimate(row.rho, row.low_runs, row.high_runs)}, n = {row.n}"
    if row.Index == BASE:
        return f"{rho} with {metric}"
    better = "inconclusive"
    if row.verdict != better:
        better = f"predicts {metric} {row.verdict} than RankMe"
        better += wording.here(row.seeds)
    gain = wording.estimate(row.gain, row.gain_low_runs, row.gain_high_runs)
    here = wording.verdict(row.gain_low, row.gain_high, *VERDICTS)
    only = f"; among these systems alone, {here}" * (here != row.verdict)
    sign = "positive" if row.sign > 0 else "negative"
    return f"{better}, {gain}{only} ({rho}; expected {sign})"
