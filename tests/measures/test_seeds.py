"""Several seeds: means over them, and intervals that hold their spread as well as that of the
validation videos."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.analysis import board, curves, results
from lib.measures import bootstrap
from lib.report import captions
from lib.study import grid

B = 40_000
FACTS = {
    "data": "simulated Sewer-ML",
    "profile": "mini",
    "px": 64,
    "width": 0.5,
    "epochs": [4],
    "train_shares": 1,
    "seeds": [42],
    "n_validation": 9,
    "n_groups": 3,
    "bootstrap_unit": "videos",
    "groups": "videos",
    "fresh": 1,
    "reference": 0,
}


def noise(sigma, resamples=B):
    """(1 + B,): what the videos add to an estimate, the same for every seed."""
    return np.r_[0, sigma * np.random.default_rng(7).standard_normal(resamples)]


@pytest.mark.parametrize("many", [1, 2, 3, 5])
def test_weights_sum_to_1_and_are_equal_in_the_estimate(many):
    found = np.array(list(bootstrap.seed_weights(range(many), 50).values()))
    np.testing.assert_allclose(found.sum(axis=0), 1)
    np.testing.assert_allclose(found[:, 0], 1 / many)
    assert (found >= 0).all()
    assert (found == 1).all() if many == 1 else np.ptp(found) > 0


@pytest.mark.parametrize("values", [(0.3, 0.5), (0.1, 0.2, 0.6), (0.4, 0.1, 0.9, 0.5, 0.2)])
def test_draws_of_a_mean_vary_by_the_variance_of_a_mean(values):
    """s^2 / S with s^2 unbiased, plus the variance that all seeds have in common, of the videos."""
    of_seeds, of_videos = np.var(values, ddof=1) / len(values), 0.1**2
    for sigma, expected in ((0, of_seeds), (0.1, of_seeds + of_videos)):
        drawn = bootstrap.mean_over_seeds(
            range(len(values)), [value + noise(sigma) for value in values]
        )
        assert drawn[0] == pytest.approx(np.mean(values))
        assert drawn[1:].var() == pytest.approx(expected, rel=0.04)


def test_over_many_studies_the_variance_is_that_of_their_means():
    """Estimates of studies with three seeds each, spread tau: their own draws say how far they lie
    apart."""
    rng, tau = np.random.default_rng(3), 0.05
    studies = [
        bootstrap.mean_over_seeds(
            range(3), [np.full(301, x) for x in 0.5 + tau * rng.standard_normal(3)]
        )
        for _ in range(600)
    ]
    told, apart = (
        np.mean([drawn[1:].var() for drawn in studies]),
        np.var([drawn[0] for drawn in studies]),
    )
    assert told == pytest.approx(tau**2 / 3, rel=0.1)
    assert told == pytest.approx(apart, rel=0.2)


def test_an_undefined_resample_of_one_seed_leaves_those_without_it():
    lost = np.r_[0.5, np.nan, np.full(99, 0.7)]
    found = bootstrap.mean_over_seeds([0, 1], [lost, np.full(101, 0.2)])
    first = bootstrap.seed_weights([0, 1], 100)[0][1]  # of two seeds, a draw takes one
    assert np.isnan(found[1]) == (first > 0)
    assert np.isfinite(np.delete(found, 1)).all()


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
    agreed = results.over_seeds(measured({0: 0.3, 1: 0.3})).iloc[0]
    assert agreed["high"] - agreed["low"] == pytest.approx(
        0.02, rel=0.1
    )  # seeds add nothing, nor take videos' away
    apart = results.over_seeds(measured({0: 0.2, 1: 0.4})).iloc[0]
    assert apart["value"] == pytest.approx(0.3) and apart["seeds"] == 2
    assert apart["low"] < 0.2 < 0.4 < apart["high"]


def test_a_mean_of_several_seeds_needs_their_draws():
    with pytest.raises(KeyError, match="draws"):
        results.over_seeds(measured({0: 0.2, 1: 0.4}).drop(columns="draws"))


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

        monkeypatch.setattr(results, "draws", draws)
        return lambda method: [
            grid.run(profile, m, "resnet18", 0.45, s) for m, s in f1 if m == method
        ]

    return make


def test_a_difference_is_paired_by_seed_and_holds_their_spread(made):
    of = made({("simclr", 0): 0.3, ("simclr", 1): 0.7, ("byol", 0): 0.2, ("byol", 1): 0.6})
    gap = results.difference(of("simclr"), of("byol"))
    assert [gap[name] for name in ("estimate", "low", "high")] == pytest.approx([0.1] * 3)
    of = made({("simclr", 0): 0.3, ("simclr", 1): 0.7, ("byol", 0): 0.4, ("byol", 1): 0.4})
    gap = results.difference(of("simclr"), of("byol"))
    assert gap["estimate"] == pytest.approx(0.1)
    assert (gap["low"], gap["high"]) == pytest.approx(
        (-0.1, 0.3)
    )  # ahead with one seed, behind with the other


def test_claims_draw_seeds_as_tables_do(made):
    of = made({("simclr", 0): 0.3, ("simclr", 1): 0.7})
    f1 = board.Board(of("simclr"), "clean", 100).cell("simclr", "resnet18", 0.45)["f1"]
    assert f1[0] == pytest.approx(0.5)
    drawn = [
        results.draws(results.load(run), shares=[None], resamples=100)["f1"][0]
        for run in of("simclr")
    ]
    np.testing.assert_allclose(f1, bootstrap.mean_over_seeds([0, 1], drawn))


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
    one, several = (
        captions.footer(FACTS | {"seeds": given}, "clean") for given in ([42], [0, 1, 2])
    )
    assert "One seed, 42." in one and "bootstrap over videos, without the spread over seeds." in one
    assert (
        "Means over seeds 0, 1, 2." in several and "bootstrap over seeds, then videos." in several
    )
    assert "over points." in captions.footer(FACTS | {"bootstrap_unit": "points"}, "clean")
