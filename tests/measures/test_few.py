"""Where a kind of image has too few independent units, there is an estimate and no interval."""

import numpy as np
import pandas as pd
import pytest

from lib.analysis import judgement, provenance, results, wording
from lib.analysis.claim_parts import Part
from lib.measures import bootstrap, seeds
from lib.report import captions

THRESHOLD = ("f1", "f1_normal", "precision", "recall", "auroc", "ap", "recall_at_5")


def draws(defects, normals, groups=None, weights=None):
    """Draws of a perfect detector of so many images of either kind."""
    defect = np.repeat([1, 0], [defects, normals])
    logit = defect * 4.0 - 2 + np.linspace(0, 1, defect.size)
    weights = np.ones((1, defect.size)) if weights is None else weights
    return bootstrap.resampled(logit, defect, None, groups, weights, draws=50)


def test_the_minimum_is_the_fewest_whose_range_is_a_95_percent_interval_of_the_median():
    coverage = [1 - 2.0 ** (1 - k) for k in range(1, 20)]
    assert 1 + next(i for i, c in enumerate(coverage) if c >= 0.95) == bootstrap.FEWEST


@pytest.mark.parametrize("defects, normals", [(1, 29), (5, 25), (25, 5), (29, 1), (1, 1), (5, 5)])
def test_of_too_few_images_of_a_kind_there_is_no_interval(defects, normals):
    for name in THRESHOLD:
        values = draws(defects, normals)[name][0]
        [row] = results.intervals(values[None])
        assert row["value"] == 1 and np.isnan([row["low"], row["high"]]).all(), name
        assert wording.of_row(row, wording.PLAIN) == "1.00"
        assert judgement.verdict([Part("", values[None])]) == "inconclusive"


@pytest.mark.parametrize("defects, normals", [(6, 24), (24, 6), (6, 6)])
def test_of_just_enough_there_is_one(defects, normals):
    [row] = results.intervals(draws(defects, normals)["auroc"])
    assert (row["low"], row["high"]) == (1, 1)


def test_groups_are_counted_not_their_images():
    few = np.r_[np.repeat(np.arange(5), 4), 100 + np.arange(40)]  # 20 defects in five videos
    assert np.isnan(draws(20, 40, few)["f1"][0, 1:]).all()
    enough = np.r_[np.arange(20) % 6, 100 + np.arange(40)]
    assert not np.isnan(draws(20, 40, enough)["f1"][0, 1:]).any()


def test_only_the_shares_with_too_few_lose_their_interval():
    weights = np.ones((3, 60))
    weights[1, 5:20] = 0  # five of twenty defects
    weights[2, 20:] = 0  # no normal
    values = draws(20, 40, weights=weights)
    assert np.isnan(values["f1"][1:, 1:]).all() and not np.isnan(values["f1"][0]).any()
    assert values["f1"][1, 0] == 1


def test_a_difference_of_too_few_has_no_interval_and_no_p():
    one = draws(3, 30)["f1"]
    estimate, low, high, p = seeds.difference(one[:, None], one[:, None])
    assert estimate == [0] and np.isnan([low, high, p]).all()


def table(defects, normals, groups):
    defect = np.repeat([1, 0], [defects, normals])
    video = [str(i % groups) for i in range(defect.size)]
    return pd.DataFrame({"Defect": defect, "Video": video, "Sampled": True})


def test_the_footer_says_how_many_there_are():
    few = provenance._few(table(1, 29, 30), "images")
    assert few == "images with a defect: 1, without: 29; an interval takes 6 of each"
    facts = {"n_validation": 30, "bootstrap_unit": "images", "seeds": [42], "few": few}
    facts["groups"] = "videos"
    assert captions._images(facts) == f"n = 30 validation images; no 95 % intervals ({few})"
    assert provenance._few(table(6, 24, 30), "images") == ""
    few = provenance._few(table(200, 200, 5), "videos")
    assert few.startswith("videos with a defect: 5, without: 5;")
