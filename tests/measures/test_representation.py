"""Label-free measures against closed forms on data built for them, limits, invariances, and naive
versions."""

import math
from itertools import combinations

import numpy as np
import pytest

from lib.measures import representation
from lib.measures.representation import (
    FITTED,
    MEASURES,
    alignment,
    alpha_req,
    lidar,
    nesum,
    spectrum,
    stable_rank,
    uniformity,
)

EPS = 1e-7  # of LiDAR's p


def rng(seed=0):
    return np.random.default_rng(seed)


def orthonormal(n, d, seed=0):
    """(n, d) orthonormal columns, each of mean zero."""
    x = rng(seed).normal(size=(n, d))
    return np.linalg.qr(x - x.mean(axis=0))[0]


def of_spectrum(eigenvalues, n=400, mean=0.0, seed=0):
    """Features (n, d) whose covariance has exactly these eigenvalues, rotated at random, around a
    mean."""
    d = len(eigenvalues)
    rotation = np.linalg.qr(rng(seed + 1).normal(size=(d, d)))[0]
    return math.sqrt(n) * orthonormal(n, d, seed) * np.sqrt(eigenvalues) @ rotation + mean


def of_classes(between, within, seed=0):
    """Views (4 d, 2 d, d) whose class means have covariance diag(between), and each class
    diag(within), rotated."""
    d = len(between)
    means = math.sqrt(4 * d) * orthonormal(4 * d, d, seed) * np.sqrt(between)
    steps = np.concatenate(
        [np.diag(np.sqrt(d * np.asarray(within))), -np.diag(np.sqrt(d * np.asarray(within)))]
    )
    return (means[:, None] + steps) @ np.linalg.qr(rng(seed + 1).normal(size=(d, d)))[0]


def exponential_of_entropy(values):
    p = np.asarray(values) / np.sum(values) + EPS
    return math.exp(-(p * np.log(p)).sum())


# The spectrum


def test_spectrum_is_the_covariances_and_ignores_the_mean():
    eigenvalues = np.array([9, 4, 1, 0.25])
    assert spectrum(of_spectrum(eigenvalues, mean=5)) == pytest.approx(eigenvalues)
    features = rng().normal(size=(30, 5))
    expected = np.linalg.eigvalsh(np.cov(features.T, ddof=0))[::-1]
    assert spectrum(features) == pytest.approx(expected)


def test_rounding_errors_of_float32_are_no_directions():
    features = (np.outer(rng().normal(size=64), np.ones(16)) + 100).astype(np.float32)
    noisy = features + rng(1).normal(scale=1e-5, size=features.shape).astype(np.float32)
    assert (spectrum(noisy) > 0).sum() == 1


# alpha-ReQ


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_of_a_power_law_is_its_exponent(alpha):
    assert alpha_req(of_spectrum(np.arange(1, 61) ** -alpha, mean=1)) == pytest.approx(
        alpha, rel=1e-6
    )


@pytest.mark.parametrize("alpha", [0.7, 1.0, 1.5])
def test_alpha_of_gaussian_data(alpha):
    # A sampled log-eigenvalue deviates by sqrt(2 / n) = 0.022; over the 40 fitted ranks, whose
    # logarithms deviate by 0.4, the slope deviates by 0.022 / (0.4 sqrt(40)) = 0.009. Eigenvalues
    # also repel each other, by d / n = 1.5 % of themselves at most: hence four deviations.
    n, d = 4000, 60
    features = rng(3).normal(size=(n, d)) * np.arange(1, d + 1) ** (-alpha / 2)
    assert alpha_req(features) == pytest.approx(alpha, abs=0.036)


def test_alpha_reads_the_fitted_ranks_alone():
    eigenvalues = np.arange(1, 81) ** -1.0
    changed = eigenvalues.copy()
    changed[: FITTED[0] - 1] *= 100
    changed[FITTED[1] :] /= 100
    assert alpha_req(of_spectrum(changed)) == pytest.approx(1, rel=1e-6)
    changed[FITTED[1] - 1] /= 2
    assert alpha_req(of_spectrum(changed)) > 1.01


def test_alpha_by_hand():
    # log lambda falls by ln 4 as log j rises by ln 2, and again: alpha 2
    assert alpha_req(of_spectrum([16, 4, 16 / 9, 1], n=50), fitted=(1, 4)) == pytest.approx(2)


def test_alpha_of_collapsed_features_is_infinite_and_of_narrow_ones_undefined():
    assert alpha_req(of_spectrum(np.r_[np.ones(FITTED[0]), np.zeros(30)])) == math.inf
    assert alpha_req(np.ones((100, 64))) == math.inf
    assert math.isnan(alpha_req(rng().normal(size=(100, FITTED[0] + 1))))
    assert math.isfinite(alpha_req(rng().normal(size=(100, FITTED[0] + 2))))


# NESum and stable rank


def test_sums_over_the_largest_by_hand():
    features = of_spectrum([8, 4, 2, 2])
    assert nesum(features) == pytest.approx(2) == pytest.approx(stable_rank(features))


def test_a_common_mean_counts_for_the_stable_rank_alone():
    # 4 directions of variance 1 and a mean of squared length 4: (4 + 4) / 4 with it, 4 without
    features = 20 * orthonormal(400, 4) + np.array([2, 0, 0, 0])
    assert nesum(features) == pytest.approx(4)
    assert stable_rank(features) == pytest.approx((4 + 4) / (1 + 4))


def test_nesum_is_the_stable_rank_of_centred_features():
    features = rng().normal(size=(50, 20)) + 3
    assert nesum(features) == pytest.approx(stable_rank(features - features.mean(axis=0)))
    assert nesum(features) != pytest.approx(stable_rank(features), rel=0.1)


def test_bounds_of_the_sums():
    assert (
        nesum(of_spectrum(np.ones(7)))
        == pytest.approx(7)
        == pytest.approx(stable_rank(of_spectrum(np.ones(7))))
    )
    assert nesum(np.outer(np.arange(9.0), np.arange(1.0, 5))) == pytest.approx(1)
    assert nesum(np.ones((8, 3))) == 0 and stable_rank(np.ones((8, 3))) == pytest.approx(1)
    assert stable_rank(np.zeros((8, 3))) == 0


# LiDAR


def test_lidar_of_constructed_classes_is_the_entropy_of_their_ratios():
    between, within, delta = np.array([4.0, 2, 1, 1]), np.array([1.0, 1, 0.25, 4]), 0.01
    expected = exponential_of_entropy(between / (within + delta))
    assert lidar(of_classes(between, within), delta=delta) == pytest.approx(expected, rel=1e-9)
    assert lidar(of_classes(between, within)) == pytest.approx(
        exponential_of_entropy(between / (within + 1e-4))
    )


def test_lidar_sees_through_directions_that_views_fill_at_random():
    # ten informative directions, and ten of high variance that say nothing of the image
    between, within = (
        np.r_[np.ones(10), np.full(10, 1e-9)],
        np.r_[np.full(10, 0.01), np.full(10, 100.0)],
    )
    views = of_classes(between, within)
    assert lidar(views) == pytest.approx(10, rel=1e-3)
    assert nesum(views.reshape(-1, 20)) == pytest.approx(10 * (100 + 1 + 0.01) / 100, rel=1e-3)


def test_lidar_of_gaussian_data():
    # The sampled mean of q views adds within / q to the covariance between. The k images deviate
    # the log-eigenvalues by sqrt(2 / k) = 0.045; the rank, about 6, is a mean over them weighted by
    # p, and sampling spreads it by as much again times its logarithm's slope, below 1: 0.045 of
    # itself is one deviation.
    k, q, between, within = (
        1000,
        10,
        np.array([8.0, 4, 2, 2, 1, 1, 0.5, 0.5]),
        np.r_[np.ones(4), np.full(4, 0.25)],
    )
    images = rng(5).normal(size=(k, 1, 8)) * np.sqrt(between)
    views = images + rng(6).normal(size=(k, q, 8)) * np.sqrt(within)
    expected = exponential_of_entropy((between + within / q) / (within * (q - 1) / q + 1e-4))
    assert lidar(views) == pytest.approx(expected, rel=0.045)


def test_lidar_ignores_rotation_order_and_a_common_mean_and_knows_scale_by_delta_alone():
    views = of_classes([4.0, 2, 1, 1], [1.0, 1, 0.25, 4])
    value = lidar(views)
    rotation = np.linalg.qr(rng(8).normal(size=(4, 4)))[0]
    assert lidar(views[::-1, ::-1] @ rotation + 7) == pytest.approx(value, rel=1e-6)
    assert lidar(10 * views, delta=100 * 1e-4) == pytest.approx(value, rel=1e-6)
    assert lidar(1e-6 * views) == pytest.approx(
        exponential_of_entropy([4.0, 2, 1, 1]), rel=1e-4
    )  # B alone


def test_lidar_of_identical_images_is_one():
    assert lidar(np.repeat(rng().normal(size=(1, 5, 6)), 20, axis=0)) == pytest.approx(1, abs=1e-4)


def test_lidar_is_bounded_by_the_images():
    assert 1 < lidar(rng().normal(size=(5, 40, 32))) < 4 + 1e-3


# Alignment and uniformity


def test_alignment_and_uniformity_equal_naive_versions():
    views, features = rng().normal(size=(7, 3, 5)), rng(1).normal(size=(12, 5))

    def squared(a, b):
        return sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)

    pairs = [squared(a, b) for image in views for a, b in combinations(image, 2)]
    assert alignment(views) == pytest.approx(np.mean(pairs))
    potentials = [math.exp(-2 * squared(a, b)) for a, b in combinations(features, 2)]
    assert uniformity(features) == pytest.approx(math.log(np.mean(potentials)))


def test_ends_of_alignment_and_uniformity():
    assert alignment(np.ones((4, 2, 3)) * np.array([1, 2])[:, None]) == pytest.approx(
        0
    )  # lengths do not count
    assert alignment(np.array([[[1.0, 0], [-2, 0]]] * 3)) == pytest.approx(4)
    assert alignment(np.array([[[1.0, 0], [0, 1]]] * 3)) == pytest.approx(2)
    assert uniformity(np.ones((6, 4))) == pytest.approx(0)
    assert uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8)
    # orthonormal features: every squared distance is 2
    assert uniformity(np.eye(10)) == pytest.approx(-4)


def test_uniformity_of_an_even_spread_in_many_dimensions():
    # x.y of uniform unit vectors has variance 1 / d: log E exp(4 x.y - 4) = -4 + 8 / d
    d = 200
    assert uniformity(rng().normal(size=(1000, d))) == pytest.approx(-4 + 8 / d, abs=5e-3)


# All of them


def test_measures_are_the_functions_of_what_they_read():
    features, views = rng().normal(size=(90, 20)) + 1, rng(1).normal(size=(12, 4, 20))
    found = representation.measures(features.astype(np.float32), views.astype(np.float32))
    assert set(found) == set(MEASURES) - {"loss"}
    assert all(type(value) is float for value in found.values())
    for name, function in {
        "alpha_req": alpha_req,
        "nesum": nesum,
        "stable_rank": stable_rank,
        "uniformity": uniformity,
    }.items():
        assert found[name] == pytest.approx(function(features), rel=1e-4), name
    assert found["lidar"] == pytest.approx(lidar(views), rel=1e-4)
    assert found["alignment"] == pytest.approx(alignment(views), rel=1e-4)
    s = np.linalg.svd(features, compute_uv=False)
    assert found["rankme"] == pytest.approx(exponential_of_entropy(s), rel=1e-4)


@pytest.mark.parametrize("where", ["features", "views"])
def test_measures_of_a_diverged_run_are_undefined(where):
    given = {"features": np.ones((9, 4)), "views": np.ones((5, 2, 4))}
    given[where].flat[3] = np.nan
    found = representation.measures(**given)
    assert len(found) == len(MEASURES) - 1 and all(math.isnan(value) for value in found.values())


def test_measures_of_a_collapsed_run_are_those_of_one_point():
    found = representation.measures(np.ones((30, 16)), np.ones((6, 3, 16)))
    expected = {
        "rankme": 1,
        "alpha_req": math.inf,
        "lidar": 1,
        "nesum": 0,
        "stable_rank": 1,
        "alignment": 0,
    }
    assert found == pytest.approx(expected | {"uniformity": 0}, abs=1e-3)


def test_training_loss_is_the_last_one_where_the_method_has_one():
    history = {"loss": [4.0, 3.0, 2.5]}
    assert representation.training_loss("simclr", history) == 2.5
    assert all(
        math.isnan(representation.training_loss(method, history))
        for method in representation.WITHOUT_LOSS
    )


@pytest.mark.parametrize(
    ("features", "views", "message"),
    [
        (np.ones(3), np.ones((5, 2, 4)), r"features has shape \(3,\)"),
        (np.ones((1, 4)), np.ones((5, 2, 4)), r"features has shape \(1, 4\)"),
        (np.ones((9, 4)), np.ones((5, 4)), r"views has shape \(5, 4\)"),
        (np.ones((9, 4)), np.ones((5, 1, 4)), r"views has shape \(5, 1, 4\)"),
    ],
)
def test_other_shapes_are_rejected(features, views, message):
    with pytest.raises(ValueError, match=message):
        representation.measures(features, views)
