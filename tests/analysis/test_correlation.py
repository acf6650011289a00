"""Rank correlations of measures with detection, their two bootstraps, and verdicts that can come
out either way."""

import math
import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import rankdata, spearmanr

from lib.analysis import board, correlation, scoring, wording
from lib.analysis.correlation import BASE, JUDGED, METRICS, REPEATS, SCOPES, Points
from lib.measures import bootstrap
from lib.measures.correlation import midranks, rank_correlation
from lib.measures.representation import MEASURES
from lib.report import forest_plot

B = 60
SHARES = (0.01, 0.02, 0.05, 0.15, 0.45)
CELLS = [
    (m, b, s)
    for m in ("byol", "simclr", "dino", "mae")
    for b in ("resnet18", "vit_tiny")
    for s in SHARES
]
SEEDS = (1, 2, 3)
rng = np.random.default_rng


@pytest.fixture
def made(monkeypatch):
    """Points of made-up runs: f1(cell, seed) with noise over images; measures name -> f(cell,
    seed), others random."""

    def make(f1, measures, noise=0.01, seeds=(1,), cells=CELLS, resamples=B):
        everyone = rng(0).normal(size=resamples)  # images are shared, so a part of the noise is

        def draws(stored, *, resamples, **_):
            run = stored.run
            own = rng(zlib.crc32(run.id.encode())).normal(size=resamples)
            value = f1((run.method, run.backbone, run.share), run.seed)
            one = np.r_[value, value + noise * (everyone + own)][None]
            return {"f1": one, "ap": 1 - one, "auroc": one**3}

        class Board(board.Board):
            def __init__(self, wanted, protocol, resamples):
                self.stored = [
                    SimpleNamespace(run=run, history={"loss": [9.0, run.loss]}) for run in wanted
                ]
                self.rule = SimpleNamespace(table="clean", probe="converged", sampling="weights")
                self.resamples, self._draws, self.seeds = resamples, {}, list(seeds)
                self._runs = {}
                for stored in self.stored:
                    run = stored.run
                    cell = (run.method, run.backbone, run.share)
                    self._runs.setdefault(cell, []).append(stored)

        monkeypatch.setattr(scoring, "draws", draws)
        monkeypatch.setattr(correlation, "Board", Board)
        wanted, measured = [], {}
        for i, (cell, seed) in enumerate((cell, seed) for cell in cells for seed in seeds):
            known = {n: rng([i, j]).normal() for j, n in enumerate(MEASURES)}
            known |= {name: of(cell, seed) for name, of in measures.items()}
            method, backbone, share = cell
            name = f"{method}-{backbone}-{share}-{seed}"
            wanted.append(
                SimpleNamespace(
                    id=name,
                    method=method,
                    backbone=backbone,
                    share=share,
                    seed=seed,
                    loss=known.pop("loss"),
                )
            )
            measured[name] = known
        return Points(wanted, measured, "clean", resamples)

    return make


def quality(cell, seed=1):
    """A value of its own for every cell."""
    return 0.2 + 0.01 * CELLS.index(cell)


def rows(measured, **where):
    return measured[
        np.logical_and.reduce([measured[name] == value for name, value in where.items()])
    ]


def one(measured, **where):
    (row,) = rows(measured, **where).to_dict("records")
    return row


# Ranks under resampling


def test_rho_of_resamples_is_scipys_of_the_repeated_points():
    n, draws, r = 9, 4, 3
    x, y = (
        rng(1).integers(4, size=(n, draws)).astype(float),
        rng(2).normal(size=(n, draws)),
    )  # x has ties
    counts = rng(3).multinomial(n, [1 / n] * n, size=(draws, r)).swapaxes(1, 2).astype(np.float32)
    found = rank_correlation(midranks(x, counts), midranks(y, counts), counts)
    for b in range(draws):
        for j in range(r):
            chosen = np.repeat(np.arange(n), counts[b, :, j].astype(int))
            assert found[b, j] == pytest.approx(spearmanr(x[chosen, b], y[chosen, b])[0], abs=1e-9)
            ranks = midranks(x, counts)[b, :, j][chosen]
            expected = rankdata(x[chosen, b])
            assert ranks == pytest.approx(expected - expected.mean())


def test_infinite_values_rank_last_and_constant_ones_have_no_rho():
    counts = np.ones((1, 4, 1), np.float32)
    x = np.array([[3.0], [math.inf], [1.0], [math.inf]])
    assert midranks(x, counts).ravel() == pytest.approx(np.array([2, 3.5, 1, 3.5]) - 2.5)
    ranked = midranks(np.ones((4, 1)), counts), midranks(x, counts)
    assert np.isnan(rank_correlation(*ranked, counts)).all()


# Points and scopes


def test_points_keep_their_seeds_apart(made):
    points = made(
        lambda cell, seed: quality(cell) + seed, {"lidar": lambda cell, seed: 10.0 * seed}, 0, SEEDS
    )
    assert points.shape == (3, 1 + B)
    for i, seed in enumerate(SEEDS):
        expected = [quality(cell) + seed for cell in CELLS]
        assert points.metrics["f1"][:, i, 0] == pytest.approx(expected)
        assert (points.measures["lidar"][:, i] == 10 * seed).all()


def test_rho_is_the_mean_over_seeds_of_each_seeds_own(made):
    def of_seed(cell, seed):
        return quality(cell) + 0.2 * float(rng([CELLS.index(cell), seed]).normal())

    measured = correlation.correlate(made(quality, {"lidar": of_seed}, 0, SEEDS))
    row = one(measured, scope="all", metric="f1", measure="lidar")
    scores = [quality(cell) for cell in CELLS]
    each = [spearmanr(scores, [of_seed(c, seed) for c in CELLS])[0] for seed in SEEDS]
    assert row["rho"] == pytest.approx(np.mean(each)) and row["seeds"] == 3
    half = stats.t(2).ppf(1 - 0.025 / len(MEASURES)) * np.std(each, ddof=1) / np.sqrt(3)
    assert row["low"] == pytest.approx(row["rho"] - half) and row["low"] > -1
    assert row["high"] == pytest.approx(min(row["rho"] + half, 1))  # no correlation is above 1
    assert row["low_runs"] <= row["low"] and row["high"] <= row["high_runs"]


def test_a_cell_that_lacks_a_measure_in_one_seed_is_no_point_of_it(made):
    points = made(
        quality,
        {"alpha_req": lambda c, seed: math.nan if (c, seed) == (CELLS[0], 3) else 1.0 * len(c[0])},
        0,
        SEEDS,
    )
    row = one(correlation.correlate(points), scope="all", metric="f1", measure="alpha_req")
    assert row["n"] == len(CELLS) - 1 and not math.isnan(row["rho"])


def test_scopes_are_what_they_say(made):
    noisy = {cell: value for cell, value in zip(CELLS, rng(5).permutation(len(CELLS)), strict=True)}
    points = made(quality, {"lidar": lambda cell, seed: float(noisy[cell])})
    table = points.cells.assign(
        x=points.measures["lidar"][:, 0, 0], y=points.metrics["f1"][:, 0, 0]
    )

    def rho(frame):
        return spearmanr(frame["x"], frame["y"])[0]

    means = table.groupby(["method", "backbone"], sort=False)[["x", "y"]].mean()
    expected = {"all": rho(table), "system": rho(means)}
    expected |= {
        by: np.mean([rho(group) for _, group in table.groupby(by)]) for by in ("backbone", "method")
    }
    measured = correlation.correlate(points)
    assert set(expected) == set(SCOPES)
    for scope, value in expected.items():
        row = one(measured, scope=scope, metric="f1", measure="lidar")
        assert row["rho"] == pytest.approx(value, abs=1e-9), scope
        assert row["n"] == (len(means) if scope == "system" else len(table))


def test_a_row_per_scope_metric_and_measure(made):
    measured = correlation.correlate(made(quality, {}))
    assert len(measured) == len(SCOPES) * len(METRICS) * len(MEASURES)
    # AP was made to fall as F1 rises, AUROC to rise with it
    f1, ap, auroc = (rows(measured, metric=metric)["rho"].to_numpy() for metric in METRICS)
    assert ap == pytest.approx(-f1) and auroc == pytest.approx(f1)


def test_the_loss_is_correlated_where_a_method_has_one_and_compared_on_the_same_runs(made):
    cells = [*CELLS, *[("random", b, s) for b in ("resnet18", "vit_tiny") for s in SHARES]]
    # RankMe is right but for the random backbone's rows, which the loss does not have
    places = {cell: i if cell[0] != "random" else -i for i, cell in enumerate(cells)}
    points = made(
        lambda cell, seed: 0.01 * cells.index(cell),
        cells=cells,
        noise=0,
        measures={"loss": lambda c, s: -cells.index(c), "rankme": lambda c, s: places[c]},
    )
    measured = correlation.correlate(points)
    loss, rankme = (
        one(measured, scope="all", metric="f1", measure=name) for name in ("loss", "rankme")
    )
    assert (loss["n"], rankme["n"]) == (40, 50)
    assert loss["rho"] == pytest.approx(-1) and rankme["rho"] < 0.9
    assert loss["gain"] == pytest.approx(0)  # on its runs, RankMe is as good


def test_a_measure_that_no_run_has_is_left_out(made):
    points = made(quality, {"alpha_req": lambda cell, seed: math.nan})
    assert "alpha_req" not in points.measures
    assert set(correlation.correlate(points)["measure"]) == set(MEASURES) - {"alpha_req"}


def test_groups_of_fewer_than_three_points_say_nothing(made):
    points = made(quality, {}, cells=[("byol", "resnet18", 0.01), ("simclr", "resnet18", 0.01)])
    measured = correlation.correlate(points)
    assert measured["rho"].isna().all() and (measured["n"] == 0).all()
    assert correlation.better_than_rankme(measured)["verdict"] == "not run"


def test_nothing_to_correlate_is_said():
    with pytest.raises(board.NotRun, match="no run"):
        Points([], {}, "clean")


# Intervals


def test_a_constant_of_the_images_moves_no_interval_of_these_runs_but_other_runs_would(made):
    points = made(quality, {"lidar": lambda cell, seed: float(CELLS.index(cell) % 7)}, noise=0)
    row = one(correlation.correlate(points), scope="all", metric="f1", measure="lidar")
    assert row["low"] == pytest.approx(row["rho"]) == pytest.approx(row["high"])
    assert row["low_runs"] < row["rho"] - 0.1 and row["rho"] + 0.1 < row["high_runs"]


def test_images_move_both_intervals(made):
    quiet, noisy = (correlation.correlate(made(quality, {}, noise=noise)) for noise in (1e-4, 0.2))
    where = {"scope": "all", "metric": "f1", "measure": "lidar"}
    quiet, noisy = one(quiet, **where), one(noisy, **where)
    assert noisy["high"] - noisy["low"] > 5 * (quiet["high"] - quiet["low"])


def test_intervals_are_bonferronis(made):
    points = made(quality, {}, noise=0.1)
    row = one(correlation.correlate(points), scope=JUDGED, metric="f1", measure="nesum")
    draws = correlation.rho(points, JUDGED, "nesum", "f1")
    assert draws.shape == (1, 1 + B, 1 + REPEATS)
    assert (row["low"], row["high"]) == pytest.approx(
        bootstrap.interval(draws[0, :, 0], 1 - 0.05 / len(MEASURES))
    )
    gain = (draws - correlation.rho(points, JUDGED, BASE, "f1"))[0]
    outer = np.append(gain[0, 0], gain[1:, 1:])
    expected = bootstrap.interval(outer, 1 - 0.05 / (len(MEASURES) - 1))
    assert (row["gain_low_runs"], row["gain_high_runs"]) == pytest.approx(expected)


def test_few_draws_of_the_videos_are_enough(made):
    points = made(quality, {}, noise=0.1, resamples=correlation.DRAWN + 50)
    assert points.shape == (1, 1 + correlation.DRAWN)


def test_measures_are_compared_on_the_same_draws(made):
    # a measure that orders the runs as RankMe does gains nothing, in any draw
    same = {
        "rankme": lambda c, s: CELLS.index(c) % 7,
        "lidar": lambda c, s: 2.0 ** (CELLS.index(c) % 7),
    }
    row = one(
        correlation.correlate(made(quality, same, noise=0.1)),
        scope=JUDGED,
        metric="f1",
        measure="lidar",
    )
    assert row["rho"] != 0
    assert all(row[name] == pytest.approx(0, abs=1e-12) for name in row if name.startswith("gain"))


def test_equal_points_give_equal_tables(made):
    pd.testing.assert_frame_equal(*(correlation.correlate(made(quality, {})) for _ in range(2)))


# Verdicts


def bad(cell, seed):
    return float(rng(CELLS.index(cell)).normal())


def right(cell, seed):
    return quality(cell)


@pytest.mark.parametrize("given", [(1,), SEEDS])
@pytest.mark.parametrize(
    ("rankme", "lidar", "expected"),
    [
        (bad, right, "better"),
        (right, bad, "worse"),
        (right, right, "inconclusive"),
    ],
)
def test_each_verdict_is_reached(made, rankme, lidar, expected, given):
    measures = {"rankme": rankme, "lidar": lidar}
    measured = correlation.correlate(made(quality, measures, seeds=given, resamples=200))
    row = correlation.judged(measured, "f1").loc["lidar"]
    assert row["verdict"] == expected
    (told,) = [s for s in correlation.sentences(measured, "f1") if s.startswith("LiDAR")]
    assert (
        "inconclusive" if expected == "inconclusive" else f"predicts F1 {expected} than RankMe"
    ) in told
    assert ("in these runs" in told) == (len(given) < 3 and expected != "inconclusive")


def test_the_wrong_sign_is_no_merit(made):
    # alignment falls with quality if its paper is right: rising with it, it predicts the wrong way
    gains = {}
    for sign in (-1, 1):
        points = made(quality, {"rankme": bad, "alignment": lambda c, s, k=sign: k * right(c, s)})
        gains[sign] = correlation.judged(correlation.correlate(points), "f1").loc[
            "alignment", "gain"
        ]
    assert gains[-1] > 0.5 and gains[1] < -0.5
    assert MEASURES["alignment"].sign == -1


def test_rankme_has_no_verdict_of_its_own(made):
    base = correlation.judged(correlation.correlate(made(quality, {})), "f1").loc[BASE]
    assert base["verdict"] == "" and math.isnan(base["gain"])


@pytest.mark.parametrize(
    ("given", "words"),
    [(SEEDS, ("supported", "contradicted", "inconclusive")), ((1,), ("above", "below", "across"))],
)
def test_the_claim_is_supported_by_one_measure_and_contradicted_by_all_alone(made, given, words):
    """With one seed there is no verdict, only where the gain lies in these runs."""

    def judged(rankme, others):
        measures = {
            name: (lambda c, s, k=MEASURES[name].sign: k * others(c, s)) for name in MEASURES
        }
        points = made(quality, measures | rankme, seeds=given, resamples=200)
        return correlation.better_than_rankme(correlation.correlate(points))

    points = made(quality, {"rankme": bad, "nesum": right}, seeds=given, resamples=200)
    supported = correlation.better_than_rankme(correlation.correlate(points))
    assert (supported["verdict"], supported["measure"]) == (words[0], "nesum")
    assert supported["low"] > 0
    contradicted = judged({"rankme": right}, bad)
    assert contradicted["verdict"] == words[1] and contradicted["high"] < 0
    assert judged({"rankme": right}, right)["verdict"] == words[2]


def test_verdict_of_an_interval():
    found = [
        wording.verdict(*ends, *correlation.VERDICTS)
        for ends in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (math.nan, math.nan))
    ]
    assert found == ["better", "worse", "inconclusive", "inconclusive"]


def test_what_does_not_vary_is_called_undefined(made):
    measured = correlation.correlate(made(quality, {"nesum": lambda cell, seed: 1.0}))
    (told,) = [s for s in correlation.sentences(measured, "f1") if s.startswith("NESum")]
    assert "undefined" in told and "nan" not in told


def test_without_rankme_nothing_is_held_against_it(made):
    with pytest.raises(board.NotRun, match="no run has a RankMe"):
        correlation.correlate(made(quality, {"rankme": lambda cell, seed: math.nan}))


def test_a_plain_sentence_a_group_says_what_ranks_as_expected_and_what_opposite(made):
    measures = {
        "rankme": lambda c, s: -right(c, s),  # its paper expects the opposite
        "alignment": lambda c, s: -right(c, s),
    }
    told = correlation.summaries(correlation.correlate(made(quality, measures)), "f1")
    assert set(told) == set(SCOPES)
    assert told["all"].startswith("Alignment as expected; RankMe opposite to expected; ")
    neither = correlation.correlate(made(quality, {"rankme": bad}, resamples=50))
    neither = neither.assign(low_runs=-1.0, high_runs=1.0)
    count = neither["measure"].nunique()
    assert correlation.summaries(neither, "f1")["all"] == f"none of {count} measures is decided"


# The figure


def test_the_forest_draws_every_rho_in_its_expected_direction_and_no_label_is_cut(made):
    measured = correlation.correlate(
        made(quality, {"rankme": bad, "alignment": lambda c, s: -right(c, s)})
    )
    names = {measure: of.name for measure, of in MEASURES.items()}
    fig = forest_plot.correlations(measured, names, SCOPES, ["f1", "auroc"])
    f1, auroc, gain = fig.axes
    assert (f1.get_title(), auroc.get_title()) == ("F1: ρ", "AUROC: ρ")
    labels = [text.get_text() for text in f1.get_yticklabels()]
    assert labels == [name for title in SCOPES.values() for name in (title, *names.values())]
    place = labels.index("Alignment")  # the first heading's: within backbones
    drawn = {
        ax: {line.get_ydata()[0]: line for line in ax.lines if line.get_marker() == "o"}
        for ax in (f1, gain)
    }
    assert len(drawn[f1]) == len(SCOPES) * len(MEASURES) == len(drawn[gain]) + len(SCOPES)
    row = correlation.judged(measured, "f1").loc["alignment"]
    assert row["rho"] < -0.9 and drawn[f1][place].get_xdata()[0] == pytest.approx(-row["rho"])
    assert drawn[gain][place].get_xdata()[0] == pytest.approx(row["gain"])
    bars = [sorted(line.get_xdata()) for line in f1.lines if list(line.get_ydata()) == [place] * 2]
    assert bars[1:] == [pytest.approx([-row["high_runs"], -row["low_runs"]])]  # first the guide
    filled = {y: line.get_markerfacecolor() != "white" for y, line in drawn[gain].items()}
    decided = measured[(measured["metric"] == "f1") & measured["verdict"].isin(["better", "worse"])]
    assert sum(filled.values()) == len(decided) and filled[place]
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
