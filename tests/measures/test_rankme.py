"""Monitors against closed forms, limits and invariances."""

import math

import numpy as np
import pytest
import torch

from lib import methods
from lib.measures import health
from lib.measures.representation import rankme
from lib.measures.sphere import sphere_statistics
from lib.study import grid


def orthonormal(n, d):
    return torch.linalg.qr(
        torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).Q


def test_rankme_of_two_singular_values():
    # p = (2/3, 1/3): exp(ln 3 - 2/3 ln 2) = 3 / 2^(2/3); the eigenvalues (4, 1) would give 1.6493
    q = orthonormal(8, 2)
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
    assert rankme(orthonormal(n, d)) == pytest.approx(d, rel=1e-4)


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
    features = orthonormal(64, 64)
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


def test_rankme_is_bounded_and_ignores_scale_rotation_and_order():
    features = torch.randn(50, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = rankme(features)
    assert 1 < value < 20
    assert rankme(100 * features) == pytest.approx(value)
    assert rankme(features @ orthonormal(20, 20)) == pytest.approx(value)
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


def test_a_constant_backbone_and_its_embeddings_are_found_collapsed():
    constant = torch.ones(64, 512)
    noise = 1e-3 * torch.randn(64, 512, generator=torch.Generator().manual_seed(6))
    assert health.verdict([1.0], None, rankme(constant)) == "collapsed"
    assert health.verdict([1.0], sphere_statistics(constant + noise)[1].item(), 30.0) == "collapsed"
