"""Detectors equal scikit-learn's and SciPy's definitions, know their own training images, and fall
for nothing flat."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler, normalize

from lib.measures import detectors

every = pytest.mark.parametrize("fit", detectors.DETECTORS.values(), ids=detectors.DETECTORS)


@pytest.fixture(scope="module")
def bank():
    """(60, 7) features of unequal scale, correlated, and one of them dead."""
    rng = np.random.default_rng(0)
    found = (
        rng.normal(size=(60, 7)) @ rng.normal(size=(7, 7)) * np.array([1, 1, 5, 0.1, 1, 20, 0]) + 3
    )
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def new():
    return np.random.default_rng(1).normal(3, 4, size=(9, 7)).astype(np.float32)


def test_neighbours_are_the_mean_of_the_two_least_distances(bank, new):
    distances = np.sort(cdist(normalize(new), normalize(bank)), axis=1)
    np.testing.assert_allclose(
        detectors.neighbours(bank).score(new), distances[:, :2].mean(1), rtol=1e-4
    )


def test_length_does_not_matter_to_neighbours(bank, new):
    score = detectors.neighbours(bank).score
    np.testing.assert_allclose(score(100 * new), score(new), rtol=1e-4)


def test_mahalanobis_is_scipys_with_the_covariance_of_ledoit_and_wolf(bank, new):
    scaler = StandardScaler().fit(bank.astype(float))
    covariance, shrinkage = ledoit_wolf(scaler.transform(bank))
    inverse = np.linalg.pinv(covariance)
    expected = [mahalanobis(z, np.zeros(7), inverse) for z in scaler.transform(new)]
    found = detectors.mahalanobis(bank)
    np.testing.assert_allclose(found.score(new), expected, rtol=1e-4)
    assert found.facts["shrinkage"] == pytest.approx(shrinkage, rel=1e-5) and 0 < shrinkage < 1


def test_the_residual_is_what_pca_does_not_reconstruct(bank, new):
    scaler = StandardScaler().fit(bank.astype(float))
    pca = PCA(detectors.VARIANCE, svd_solver="full").fit(scaler.transform(bank))
    z = scaler.transform(new)
    rest = np.linalg.norm(z - pca.inverse_transform(pca.transform(z)), axis=1)
    found = detectors.residual(bank)
    assert found.facts["components"] == pca.n_components_ < 6
    np.testing.assert_allclose(found.score(new), rest, rtol=1e-4)


def test_the_forest_is_scikit_learns_and_the_same_every_time(bank, new):
    expected = -IsolationForest(max_samples=60, random_state=0).fit(bank).score_samples(new)
    np.testing.assert_array_equal(detectors.forest(bank).score(new), expected)
    np.testing.assert_array_equal(detectors.forest(bank).score(new), expected)


@every
def test_what_is_far_from_the_bank_scores_higher(fit, bank):
    rng = np.random.default_rng(2)
    bank, near = np.split(rng.normal(size=(120, 5)) * [3, 3, 0.1, 0.1, 0.1] + 1, [80])
    score = fit(bank).score
    far = near + np.array([0, 0, 4, -4, 0])
    assert np.median(score(far)) > np.quantile(score(near), 0.95)


@every
def test_constant_features_give_one_finite_score(fit):
    """A collapsed network maps every image to one point."""
    bank = np.zeros((20, 4), np.float32)
    scores = np.concatenate(
        [detectors.held_out(fit, bank, np.arange(20)), fit(bank).score(bank[:3])]
    )
    assert np.isfinite(scores).all() and np.ptp(scores) < 1e-9


def test_an_image_is_scored_without_its_video(bank):
    groups = np.repeat(np.arange(20), 3)
    twins = np.repeat(bank[:20], 3, axis=0)  # the frames of a video are one and the same
    assert detectors.neighbours(twins).score(twins) == pytest.approx(np.zeros(60), abs=1e-3)
    assert detectors.held_out(detectors.neighbours, twins, groups).min() > 0.01


def test_held_out_scores_are_those_of_a_fit_on_the_other_folds(bank):
    groups = np.repeat(np.arange(5), 12)  # as many as folds
    found = detectors.held_out(detectors.mahalanobis, bank, groups)
    for group in range(5):
        rest = detectors.mahalanobis(bank[groups != group])
        np.testing.assert_allclose(found[groups == group], rest.score(bank[groups == group]))


@pytest.mark.parametrize("videos", [1, 2])
def test_few_videos_are_enough(bank, videos):
    assert np.isfinite(detectors.held_out(detectors.neighbours, bank, np.arange(60) % videos)).all()


def test_a_twentieth_of_the_training_images_exceed_the_threshold():
    scores = np.random.default_rng(3).permutation(1000).astype(float)
    assert (scores > detectors.threshold(scores)).mean() == pytest.approx(0.05)
