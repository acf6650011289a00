"""Measures of a representation and verdicts on its health against closed forms, on data built for
them: limits, invariances, and naive versions."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from lib import methods
from lib.measures import health, representation
from lib.measures.representation import (
    FITTED,
    MEASURES,
    alignment,
    alpha_req,
    lidar,
    nesum,
    rankme,
    spectrum,
    sphere_statistics,
    stable_rank,
    uniformity,
)
from lib.study import grid

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


def orthonormal_tensor(n, d):
    return torch.linalg.qr(
        torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q


def test_rankme_of_two_singular_values():
    # p = (2/3, 1/3): exp(ln 3 - 2/3 ln 2) = 3 / 2^(2/3); the eigenvalues (4, 1) would give 1.6493
    q = orthonormal_tensor(8, 2)
    features = q @ torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert (
        rankme(features)
        == pytest.approx(3 / 2 ** (2 / 3), abs=1e-5)
        == pytest.approx(1.8899, abs=1e-4)
    )


@pytest.mark.parametrize("seed", range(3))
def test_rankme_is_the_entropy_of_square_roots_of_the_covariances_eigenvalues(seed):
    features = np.random.default_rng(seed).normal(size=(30, 8)) * np.arange(1, 9) + 1  # not centred
    s = [max(value, 0) ** 0.5 for value in np.linalg.eigvalsh(features.T @ features)]
    entropy = -sum((value / sum(s) + 1e-7) * math.log(value / sum(s) + 1e-7) for value in s)
    assert rankme(features) == pytest.approx(math.exp(entropy), rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(64, 16), (16, 16)])
def test_rankme_of_orthonormal_features_is_d(n, d):
    assert rankme(orthonormal_tensor(n, d)) == pytest.approx(d, rel=1e-4)


@pytest.mark.parametrize(
    "features",
    [
        torch.ones(256, 512),
        torch.zeros(256, 512),
        torch.outer(torch.arange(-50.0, 50), torch.arange(1.0, 65)),
    ],
    ids=["constant", "zero", "one direction"],
)
def test_rankme_of_rank_one_is_one(features):
    assert rankme(features) == pytest.approx(1, abs=0.01)


def test_rankme_per_batch_is_bounded_by_the_batch_and_that_of_the_whole_set_is_not():
    # 64 orthonormal features: every batch of 8 has the highest RankMe it can, an eighth of the
    # whole set's
    features = orthonormal_tensor(64, 64)
    batches = [rankme(batch, eps=1e-6) for batch in features.split(8)]
    assert batches == pytest.approx([8] * 8, rel=1e-3)
    assert rankme(features) == pytest.approx(64, rel=1e-3)
    features = torch.randn(640, 64, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    assert np.mean([rankme(batch, eps=1e-6) for batch in features.split(8)]) < 8 < rankme(features)


def test_training_logs_rankme_of_each_view_of_a_batch_with_the_authors_eps():
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 1)
    model = methods.build(run, steps=9, steps_per_epoch=3, pos_weight=1.0).train()
    views = [
        torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(2)
    ]
    step = model.step(views, torch.arange(8))
    model.loss = lambda views, images: step
    model.training_step((views, torch.tensor([0.0, 1] * 4), torch.arange(8)), 0)
    logged = model._sums["rankme_batch"]
    assert logged == [rankme(features, eps=1e-6) for features in step.features]
    assert max(logged) <= 8 and logged != [rankme(features) for features in step.features]


@pytest.mark.parametrize("batches, measured", [(3, 3), (16, 16), (29, 15), (48, 16), (1000, 16)])
def test_training_logs_rankme_of_sixteen_batches_an_epoch_at_most(batches, measured):
    run = grid.run("smoke", "random", "resnet18", 0.45, 1)
    model = methods.build(run, steps=batches, steps_per_epoch=batches, pos_weight=1.0)
    step = model.step([torch.randn(4, 3, 32, 32)], torch.arange(4))
    for batch in range(batches):
        model._watch(step, torch.zeros(4), torch.zeros(4), torch.tensor(0.0), batch)
    assert len(model._sums["rankme_batch"]) == measured


def test_rankme_is_bounded_and_ignores_scale_rotation_and_order():
    features = torch.randn(50, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = rankme(features)
    assert 1 < value < 20
    assert rankme(100 * features) == pytest.approx(value)
    assert rankme(features @ orthonormal_tensor(20, 20)) == pytest.approx(value)
    assert rankme(features.flip(0).T) == pytest.approx(value)
    assert rankme(features.numpy()) == value


def test_eps_adds_its_own_entropy():
    # rank one in 512 dimensions: 511 zeros add -eps ln eps each, the first adds -eps
    eps = 1e-6
    expected = math.exp(-511 * eps * math.log(eps) - eps)
    assert rankme(torch.eye(1, 512).repeat(512, 1).double(), eps=eps) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_under_autocast_are_measured_in_float32(dtype):
    features = torch.randn(64, 32, generator=torch.Generator().manual_seed(2)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, spread = rankme(features), sphere_statistics(features)
    assert value == pytest.approx(rankme(features.double()), rel=1e-5)
    torch.testing.assert_close(spread, sphere_statistics(features.float()), rtol=0, atol=0)


@pytest.mark.parametrize("features", [torch.ones(3), torch.ones(2, 2, 2), torch.ones(0, 4)])
def test_rankme_rejects_other_shapes(features):
    with pytest.raises(ValueError, match=r"expected \(n, d\)"):
        rankme(features)


def test_rankme_rejects_what_is_not_finite():
    with pytest.raises(ValueError, match="diverged"):
        rankme(np.array([[1.0, np.nan]]))


def test_even_spread_has_deviation_one_and_mean_zero():
    vectors = torch.randn(4096, 128, generator=torch.Generator().manual_seed(3))
    mean, std = sphere_statistics(vectors)
    assert mean == pytest.approx(0, abs=1e-3)
    assert std == pytest.approx(1, abs=0.01)


def test_one_point_has_deviation_zero_and_its_own_mean():
    assert sphere_statistics(torch.full((32, 64), 5.0))[0] == pytest.approx(
        1 / 8
    )  # 1 / sqrt(64), the largest mean
    mean, std = sphere_statistics(torch.tensor([3.0, 4.0]).repeat(32, 1))
    assert std == pytest.approx(0, abs=1e-6)
    assert mean == pytest.approx(0.7)


def test_statistics_of_opposite_points_by_hand():
    # coordinates +-1 in the first of two dimensions: deviation sqrt(2) there (n - 1 = 1), 0 in the
    # other
    mean, std = sphere_statistics(torch.tensor([[3.0, 0.0], [-0.1, 0.0]]))
    assert mean == 0
    assert std == pytest.approx(math.sqrt(2) / 2 * math.sqrt(2))


def test_squared_deviation_is_one_minus_the_mean_cosine():
    # the reason given for the threshold of a collapse
    vectors = torch.randn(512, 256, generator=torch.Generator().manual_seed(4)) + 2
    unit = torch.nn.functional.normalize(vectors, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(0).sum() / (512 * 511)
    assert sphere_statistics(vectors)[1] ** 2 == pytest.approx(1 - cosine.item(), rel=0.02)


def test_statistics_ignore_the_lengths_of_vectors():
    generator = torch.Generator().manual_seed(5)
    vectors, lengths = (
        torch.randn(64, 16, generator=generator),
        torch.rand(64, 1, generator=generator) + 0.1,
    )
    torch.testing.assert_close(sphere_statistics(vectors), sphere_statistics(lengths * vectors))


def test_statistics_need_two_vectors():
    with pytest.raises(ValueError, match=r"shape \(1, 4\)"):
        sphere_statistics(torch.ones(1, 4))


@pytest.mark.parametrize(
    ("last", "verdict"), [(6.90, "collapsed"), (7.02, "collapsed"), (6.80, "healthy")]
)
def test_a_loss_at_that_of_a_constant_output_is_a_collapse(last, verdict):
    assert health.verdict([6.9, last], 0.9, 40.0, trivial=math.log(1024)) == verdict


@pytest.mark.parametrize(
    ("loss", "std", "rank", "verdict"),
    [
        ([6.0, 3.0], 0.9, 40.0, "healthy"),
        ([0.1, 0.4], 0.5, 12.0, "healthy"),  # BYOL leaving a near-collapse
        ([0.7, 0.3], None, 1.6, "healthy"),  # supervised, two points
        ([], None, 3.0, "healthy"),  # the random backbone
        ([9.0, math.nan], 0.9, 40.0, "diverged"),
        ([math.inf, 2.0], 0.9, 40.0, "diverged"),
        ([6.0, 61.0], 0.9, 40.0, "diverged"),
        ([6.0, 3.0], math.nan, 40.0, "diverged"),
        ([6.0, 3.0], None, math.nan, "diverged"),
        ([2.0, 0.0], 0.01, 40.0, "collapsed"),
        ([2.0, 0.0], 0.0, 40.0, "collapsed"),
        ([1.0, 0.9], None, 1.001, "collapsed"),
    ],
)
def test_health(loss, std, rank, verdict):
    assert health.verdict(loss, std, rank) == verdict


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [([1.5, 2.4e7], "diverged"), ([1.0, math.inf], "diverged"), ([0.9, 1.4], "healthy")],
)
def test_an_online_probe_that_grows_without_bound_is_marked(loss, verdict):
    assert health.of_probe(loss) == verdict


def test_a_constant_backbone_and_its_embeddings_are_found_collapsed():
    constant = torch.ones(64, 512)
    noise = 1e-3 * torch.randn(64, 512, generator=torch.Generator().manual_seed(6))
    assert health.verdict([1.0], None, rankme(constant)) == "collapsed"
    assert health.verdict([1.0], sphere_statistics(constant + noise)[1].item(), 30.0) == "collapsed"
