"""Several seeds: means over them, and intervals that hold their spread as well as that of the
validation videos."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cards import FACTS
from scipy import stats

from lib.analysis import board, curves, results, scoring
from lib.measures import seeds
from lib.report import captions
from lib.study import grid

B = 40_000


def noise(sigma, resamples=B):
    """(1 + B,): what the videos add to an estimate, the same for every seed."""
    return np.r_[0, sigma * np.random.default_rng(7).standard_normal(resamples)]


def drawn(values, sigma=0.0):
    """(S, 1 + B) draws of seeds with these estimates, whose videos' error they share."""
    return np.stack([value + noise(sigma) for value in values])


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.6), (0.4, 0.1, 0.9, 0.5, 0.2)])
def test_seeds_alone_give_students_interval_of_their_mean(values):
    low, high = seeds.interval(drawn(values))
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    expected = stats.t(len(values) - 1, mean, error).interval(0.95)
    assert (low, high) == pytest.approx(expected)
    low, high = seeds.interval(drawn(values), 0.99)
    assert high - mean == pytest.approx(stats.t(len(values) - 1).ppf(0.995) * error)


@pytest.mark.parametrize("many", [1, 2, 3, 5])
def test_videos_alone_give_their_own_interval_however_many_seeds(many):
    low, high = seeds.interval(drawn([0.3] * many, 0.1))
    assert (low, high) == pytest.approx((0.3 - 0.196, 0.3 + 0.196), abs=5e-3)


def test_both_errors_join():
    values, sigma = (0.1, 0.2, 0.6), 0.1
    low, high = seeds.interval(drawn(values, sigma))
    of_seeds = np.var(values, ddof=1) / 3
    total = of_seeds + sigma**2
    half = stats.t(2 * total / of_seeds).ppf(0.975) * np.sqrt(total)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), rel=0.01)


def test_a_sampling_error_of_a_runs_own_is_counted_once():
    """Runs whose draws have nothing in common: their spread holds all of their error."""
    rng, values = np.random.default_rng(5), (0.1, 0.2, 0.6)
    own = np.stack([np.r_[v, v + 0.2 * rng.standard_normal(B)] for v in values])
    assert seeds.interval(own) == pytest.approx(seeds.interval(drawn(values)), rel=0.02)


@pytest.mark.parametrize("many", [1, 2])
def test_too_few_seeds_have_no_spread(many):
    values = (0.2, 0.6)[:many]
    assert seeds.interval(drawn(values)) == pytest.approx([np.mean(values)] * 2)


def test_intervals_of_many_tables_are_those_of_each():
    tables = np.stack([drawn((0.1, 0.2, 0.6), 0.1), drawn((0.5, 0.4, 0.9), 0.02)])
    together = np.transpose(seeds.interval(tables))
    np.testing.assert_allclose(together, [seeds.interval(one) for one in tables])


@pytest.mark.parametrize("many", [1, 3])
def test_without_draws_there_is_no_interval_and_lost_resamples_leave_it(many):
    values = np.linspace(0.1, 0.3, many)
    assert np.isnan(seeds.interval(values[:, None])).all()
    lost = drawn(values, 0.1)
    whole = seeds.interval(lost)
    lost[:, 1:2000] = np.nan
    assert seeds.interval(lost) == pytest.approx(whole, rel=0.05)
    lost[:, 1:] = np.nan
    assert np.isnan(seeds.interval(lost)).all()
    assert np.isnan(seeds.difference(lost, lost)[1:]).all()


def test_p_is_that_of_student_and_agrees_with_the_interval():
    ours, theirs = drawn((0.3, 0.5, 0.4)), drawn((0.2, 0.3, 0.1))
    estimate, low, _, p = seeds.difference(ours, theirs)
    told = stats.ttest_1samp((0.1, 0.2, 0.3), 0)
    assert (estimate, p) == pytest.approx((0.2, told.pvalue))
    assert (low > 0) == (p < 0.05)
    assert seeds.difference(ours, ours)[3] == 1
    assert seeds.difference(ours + 0.1, ours)[3] < 1e-9  # each seed by exactly as much
    with pytest.raises(ValueError, match="pairs need the same seeds"):
        seeds.difference(ours, theirs[:2])


@pytest.mark.parametrize("many", [3, 5, 10])
def test_degrees_of_freedom_hold_95_percent_whatever_the_parts(many):
    """Exact coverage, from the distribution of the spread: between .94 and .97 for any part r of
    the seeds in the variance. Satterthwaite's would fall to .92 for three seeds."""
    spread = stats.chi2(many - 1).ppf((np.arange(2000) + 0.5) / 2000) / (many - 1)
    for r in np.linspace(0, 1, 21):
        estimated = r * spread + 1 - r
        part = r * spread / estimated
        half = {
            power: stats.t((many - 1) / np.maximum(part, 1e-9) ** power).ppf(0.975)
            * np.sqrt(estimated)
            for power in (1, 2)
        }
        coverage = {k: (2 * stats.norm.cdf(h) - 1).mean() for k, h in half.items()}
        assert 0.94 < coverage[1] < 0.97
        assert coverage[2] < coverage[1] + 1e-9


def measured(values, half=0.01):
    """Rows as lib.analysis.results.measure makes them, a value a seed, with an interval of about +-
    `half` over videos."""
    return pd.DataFrame(
        [
            {
                "method": "simclr",
                "backbone": "resnet18",
                "train_share": 0.45,
                "validation_share": np.nan,
                "metric": "f1",
                "seed": seed,
                "health": "healthy",
                "value": value,
                "low": value - half,
                "high": value + half,
                "draws": value + noise(half / 1.96, 2000),
            }
            for seed, value in values.items()
        ]
    )


def test_a_tables_interval_holds_the_spread_over_seeds():
    alone = results.over_seeds(measured({0: 0.3})).iloc[0]
    assert (alone["low"], alone["value"], alone["high"]) == pytest.approx((0.29, 0.3, 0.31))
    agreed = results.over_seeds(measured({0: 0.3, 1: 0.3, 2: 0.3})).iloc[0]
    assert agreed["high"] - agreed["low"] == pytest.approx(
        0.02, rel=0.1
    )  # seeds add nothing, nor take videos' away
    apart = results.over_seeds(measured({0: 0.2, 1: 0.3, 2: 0.4})).iloc[0]
    assert apart["value"] == pytest.approx(0.3) and apart["seeds"] == 3
    assert apart["low"] < 0.06 and apart["high"] > 0.54
    two = results.over_seeds(measured({0: 0.2, 1: 0.4})).iloc[0]
    assert two["high"] - two["low"] == pytest.approx(0.02, rel=0.1)


def test_a_tables_interval_is_one_of_scores():
    wide = results.over_seeds(measured({0: 0.9, 1: 0.1, 2: 0.8})).iloc[0]
    assert (wide["low"], wide["high"]) == (0, 1)


def test_a_mean_of_several_seeds_without_their_draws_has_no_interval():
    bare = results.over_seeds(measured({0: 0.2, 1: 0.4}).drop(columns="draws")).iloc[0]
    assert bare["value"] == pytest.approx(0.3) and np.isnan([bare["low"], bare["high"]]).all()


@pytest.fixture
def made(monkeypatch):
    """A function that makes the store hold runs of F1 `f1[method, seed]`; returns the runs of a
    method."""

    def make(f1, profile="smoke"):
        for module in (results, board):
            monkeypatch.setattr(module, "load", lambda run: SimpleNamespace(run=run))

        def draws(stored, *, shares, resamples, **_):
            value = f1[stored.run.method, stored.run.seed] + noise(0.001, resamples)
            return {"f1": np.stack([value] * len(shares))}

        monkeypatch.setattr(scoring, "draws", draws)
        return lambda method: [
            grid.run(profile, m, "resnet18", 0.45, s) for m, s in f1 if m == method
        ]

    return make


def test_a_difference_is_paired_by_seed_and_holds_their_spread(made):
    ours = {("simclr", s): value for s, value in enumerate((0.3, 0.7, 0.5))}
    of = made(ours | {("byol", s): value - 0.1 for (_, s), value in ours.items()})
    gap = results.difference(of("simclr"), of("byol"))
    assert [gap[name] for name in ("estimate", "low", "high")] == pytest.approx([0.1] * 3)
    of = made(ours | {("byol", s): 0.4 for s in range(3)})
    gap = results.difference(of("simclr"), of("byol"))
    assert (gap["estimate"], gap["seeds"]) == (pytest.approx(0.1), 3)
    half = stats.t(2).ppf(0.975) * 0.2 / np.sqrt(3)
    assert (gap["low"], gap["high"]) == pytest.approx((0.1 - half, 0.1 + half))


def test_claims_draw_as_tables_do(made):
    of = made({("simclr", 1): 0.7, ("simclr", 0): 0.3})
    own = board.Board(of("simclr"), "clean", 100)
    f1 = own.draws(("simclr", "resnet18", 0.45))[0]["f1"]
    assert own.seeds == [0, 1] and f1.shape == (2, 101)
    assert f1[:, 0] == pytest.approx([0.3, 0.7])
    np.testing.assert_allclose(f1, results.natural_by_seed(own.stored, "f1", "clean", 100))


def test_points_of_a_correlation_are_means_over_seeds():
    rows = [
        {
            "run": str(s),
            "method": m,
            "backbone": "resnet18",
            "train_share": 0.01,
            "seed": s,
            "health": h,
            "f1": f,
            "rankme": 10 * f,
            "bound": 64,
            "rescaled": 10 * f / 64,
        }
        for m, s, h, f in (
            ("simclr", 0, "healthy", 0.2),
            ("simclr", 1, "collapsed", 0.4),
            ("byol", 0, "healthy", 0.5),
            ("byol", 1, "healthy", 0.5),
        )
    ]
    found = curves.over_seeds(pd.DataFrame(rows))
    assert list(found["method"]) == ["simclr", "byol"] and (found["seeds"] == 2).all()
    assert list(found["f1"]) == pytest.approx([0.3, 0.5]) and list(
        found["rescaled"] * 64
    ) == pytest.approx([3, 5])
    assert list(found["health"]) == ["collapsed", "healthy"]


def test_the_footer_says_what_the_intervals_hold():
    one, two, several = (
        captions.footer(FACTS | {"seeds": given}, "clean") for given in ([42], [0, 1], [0, 1, 2])
    )
    assert "One seed, 42." in one and "bootstrap over videos, without the spread over seeds." in one
    assert "Means over seeds 0, 1." in two and "the spread over seeds (two are too few)." in two
    assert (
        "Means over seeds 0, 1, 2." in several
        and "Student’s t over seeds, joined with a bootstrap over videos." in several
    )


def test_the_footer_says_that_unnamed_videos_make_intervals_too_narrow():
    """Sewer-ML names no videos; images of one's own without groups are no videos."""
    images = FACTS | {"bootstrap_unit": "images"}
    assert "too narrow" in captions.footer(images, "clean")
    assert "too narrow" not in captions.footer(images | {"groups": "groups"}, "clean")
    assert "too narrow" not in captions.footer(FACTS, "clean")
