"""Metrics against closed forms, scikit-learn, and a bootstrap that really repeats the rows.

Their definitions are tested in test_metrics_naive.py.
"""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as reference

from lib.measures import bootstrap, correlation, metrics, seeds
from lib.study.names import CLASSES

SHARES = (None, 0.01, 0.05, 0.45, 0.8)


@pytest.fixture
def sample():
    """400 images of 20 videos: logits in steps of 0.25, so that many tie, and classes with a few
    never present."""
    rng = np.random.default_rng(0)
    defect = rng.random(400) < 0.4
    classes = (rng.random((400, 17)) < 0.15) & defect[:, None]
    classes[:, [2, 16]] = False
    logit = np.round(4 * (rng.normal(size=400) + 1.2 * defect - 0.6)) / 4
    return {
        "logit": logit,
        "defect": defect,
        "classes": classes,
        "groups": rng.integers(20, size=400),
    }


def subsample(defect, keep, seed=1):
    weights = np.ones(defect.size)
    dropped = np.random.default_rng(seed).permutation(np.flatnonzero(defect))[keep:]
    weights[dropped] = 0
    return weights


def naive(logit, defect, classes, weight):
    """Every metric by scikit-learn, one call each."""
    false, true, _ = reference.roc_curve(
        defect, logit, sample_weight=weight, drop_intermediate=False
    )
    predicted, kept = logit > 0, weight > 0
    f2 = reference.fbeta_score(
        classes,
        classes & predicted[:, None],
        beta=2,
        average=None,
        sample_weight=weight,
        zero_division=0,
    )
    common = {"sample_weight": weight, "zero_division": 0}
    return {
        "f1": reference.f1_score(defect, predicted, **common),
        "f2ciw": sum(metrics.CIW[name] * f2[i] for i, name in enumerate(CLASSES))
        / sum(metrics.CIW.values()),
        "f1_normal": reference.f1_score(~defect, ~predicted, **common),
        "precision": reference.precision_score(defect, predicted, **common),
        "recall": reference.recall_score(defect, predicted, **common),
        "auroc": reference.roc_auc_score(defect[kept], logit[kept], sample_weight=weight[kept]),
        "ap": reference.average_precision_score(defect, logit, sample_weight=weight),
        "recall_at_5": true[false <= 0.05].max(),
    }


def test_scores_of_a_case_counted_by_hand():
    defect, predicted = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0])
    classes = np.zeros((6, 17), int)
    classes[[0, 2], 0] = 1  # RB: one found, one missed: F2 = 5 / (5 + 4)
    classes[1, 14] = 1  # OS: found: F2 = 1
    scores = metrics.scores(defect, predicted, classes)
    assert scores["precision"] == pytest.approx(2 / 3) and scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3) and scores["f1_normal"] == pytest.approx(2 / 3)
    assert scores["f2ciw"] == pytest.approx(
        (1.0 * 5 / 9 + 0.9009) / 6.7024
    )  # 6.7024: the 17 weights summed


def test_without_class_columns_f2ciw_is_undefined():
    scores = metrics.scores([1, 1], [1, 1], None)
    assert np.isnan(scores.pop("f2ciw"))
    assert scores == {"f1": 1, "f1_normal": 0, "precision": 1, "recall": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [1, 0, 0], None), r"predicted has shape \(3,\), expected \(2,\)"),
        (([1, 0], [1, 0.3], None), "predicted holds 0.3, expected 0 or 1"),
        (([1, 0], [1, 0], np.zeros((2, 18))), r"classes has shape \(2, 18\), expected \(2, 17\)"),
    ],
)
def test_scores_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.scores(*arguments)


@pytest.mark.parametrize("share", SHARES[1:])
def test_share_weights_reach_the_share_and_leave_normals_alone(sample, share):
    defect = sample["defect"]
    weights = metrics.share_weights(defect, share)
    assert weights[defect].sum() / weights.sum() == pytest.approx(share, rel=1e-12)
    assert (weights[~defect] == 1).all()
    assert metrics.scores(defect, np.ones(400), None)["recall"] == 1
    always = bootstrap.resampled(np.ones(400), defect, None, None, weights[None], draws=0)
    assert always["f1"][0, 0] == pytest.approx(metrics.always_defect_f1(share), abs=1e-6)


def test_share_weights_at_the_natural_share_are_one_and_need_both_kinds_elsewhere():
    assert (metrics.share_weights([1, 1], None) == 1).all()
    with pytest.raises(ValueError, match="found 0 and 2"):
        metrics.share_weights([1, 1], 0.1)
    with pytest.raises(ValueError, match="fraction"):
        metrics.share_weights([1, 0], 45)


def test_the_most_of_f2ciw_is_reached_by_the_constant_detector(sample):
    defect, classes = sample["defect"], sample["classes"]
    high = metrics.f2ciw_maximum(classes, np.ones(400))
    assert metrics.scores(defect, np.zeros(400), classes)["f2ciw"] == 0
    assert high == pytest.approx(metrics.scores(defect, np.ones(400), classes)["f2ciw"])
    assert high == pytest.approx(
        1 - (metrics.CIW["PF"] + metrics.CIW["OK"]) / 6.7024
    )  # the two absent classes
    # a class may be absent by its weights
    without_rb = metrics.f2ciw_maximum(classes, ~classes[:, 0])
    assert high - without_rb == pytest.approx(metrics.CIW["RB"] / 6.7024)


def test_bootstrap_estimates_agree_with_scikit_learn(sample):
    defect = sample["defect"]
    weights = [metrics.share_weights(defect, share) for share in SHARES]
    weights += [subsample(defect, keep=12), np.random.default_rng(2).random(400)]
    result = bootstrap.resampled(**sample, weights=np.stack(weights), draws=0)
    for share, weight in enumerate(weights):
        expected = naive(sample["logit"], defect, sample["classes"], weight)
        assert {name: result[name][share, 0] for name in metrics.METRICS} == pytest.approx(
            expected, abs=1e-6
        )


@pytest.mark.parametrize("chunk", [1, 2**18])
def test_bootstrap_equals_repeating_the_rows_of_the_drawn_groups(sample, chunk, monkeypatch):
    monkeypatch.setattr(bootstrap, "CHUNK", chunk)
    logit, defect, classes, groups = sample.values()
    weights = np.stack([metrics.share_weights(defect, 0.05), subsample(defect, keep=40)])
    result = bootstrap.resampled(**sample, weights=weights, draws=8, seed=3)
    drawn = np.random.default_rng(3).integers(20, size=(8, 20))
    for draw, videos in enumerate(drawn):
        rows = np.concatenate([np.flatnonzero(groups == video) for video in videos])
        for share, weight in enumerate(weights):
            expected = naive(logit[rows], defect[rows], classes[rows], weight[rows])
            found = {name: result[name][share, 1 + draw] for name in metrics.METRICS}
            assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_auroc_by_pairs_of_groups_is_that_of_the_rows(sample, tied, monkeypatch):
    """Few groups and many, subsampled, weighted and whole shares, with ties and without."""
    if not tied:
        sample = sample | {"logit": np.random.default_rng(9).normal(size=400) + sample["defect"]}
    defect = sample["defect"]
    whole, some = np.ones(400), subsample(defect, 60)
    weighted = np.linspace(0.5, 2, 400), metrics.share_weights(defect, 0.05)
    weights = np.stack([whole, some, *weighted])
    quick = bootstrap.resampled(**sample, weights=weights, draws=40, ranked=("auroc",))
    monkeypatch.setattr(bootstrap, "FEW", 0)
    rows = bootstrap.resampled(**sample, weights=weights, draws=40)
    np.testing.assert_allclose(quick["auroc"], rows["auroc"], atol=1e-6)
    np.testing.assert_array_equal(quick["f1"], rows["f1"])
    assert np.isnan(quick["ap"]).all() and not np.isnan(rows["ap"]).any()


def test_bootstrap_ignores_monotone_logits_and_names_of_groups(sample):
    weights = metrics.share_weights(sample["defect"], 0.15)[None]
    a = bootstrap.resampled(**sample, weights=weights, draws=20)
    renamed = sample | {
        "logit": sample["logit"] ** 3,
        "groups": np.array([f"video{g:02}" for g in sample["groups"]]),
    }
    b = bootstrap.resampled(**renamed, weights=weights, draws=20)
    for name in metrics.METRICS:
        np.testing.assert_array_equal(a[name], b[name])


def test_auroc_and_recall_do_not_depend_on_the_share_while_precision_does(sample):
    weights = np.stack([metrics.share_weights(sample["defect"], share) for share in (0.01, 0.45)])
    result = bootstrap.resampled(**sample, weights=weights, draws=50)
    np.testing.assert_allclose(result["auroc"][0], result["auroc"][1])
    np.testing.assert_allclose(result["recall"][0], result["recall"][1], atol=1e-6)
    assert (result["precision"][0] < result["precision"][1]).all()


def test_grouped_resamples_spread_as_the_groups_do(monkeypatch):
    monkeypatch.setattr(bootstrap, "FEWEST", 1)  # one video of normals is enough here
    # recall of videos that are all found or all missed: its variance is that of 16 coins, not of 16
    # x 25 images
    groups = np.repeat(np.arange(17), 25)
    logit = np.where(groups % 2 == 0, 1.0, -1.0)
    defect = groups < 16
    arguments = (logit, defect, None)
    spread = {
        name: bootstrap.resampled(*arguments, unit, np.ones((1, groups.size)), draws=2000)[
            "recall"
        ][0, 1:].std()
        for name, unit in {"video": groups, "image": None}.items()
    }
    assert spread["video"] == pytest.approx((0.25 / 16) ** 0.5, rel=0.1)
    assert spread["image"] == pytest.approx((0.25 / 400) ** 0.5, rel=0.1)


def test_resamples_without_defects_have_no_auroc_and_leave_the_interval(monkeypatch):
    monkeypatch.setattr(bootstrap, "FEWEST", 1)
    result = bootstrap.resampled(
        [2.0, -1.0, -2.0], [1, 0, 0], None, None, np.ones((1, 3)), draws=300
    )
    without = result["recall"][0] == 0  # the one defect was not drawn
    assert 0 < without[1:].mean() < 1
    assert np.isnan(result["auroc"][0, without]).all() and (result["ap"][0, without] == 0).all()
    low, high = bootstrap.interval(result["auroc"])
    assert low == high == 1
    assert np.isnan(bootstrap.interval(result["f2ciw"])).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logit": np.full(400, np.nan)}, "400 nan"),
        ({"groups": np.arange(3)}, r"groups has shape \(3,\), expected \(400,\)"),
        ({"weights": np.ones(400)}, r"weights has shape \(400,\), expected \(shares, 400\)"),
        ({"weights": -np.ones((1, 400))}, "not negative"),
    ],
)
def test_bootstrap_rejects(sample, change, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.resampled(**({"weights": np.ones((1, 400))} | sample | change))


def test_interval_holds_the_quantiles_of_the_resamples_alone():
    low, high = bootstrap.interval(np.r_[1e9, np.arange(101.0)], level=0.9)
    assert (low, high) == pytest.approx((5, 95))


def test_without_resamples_there_is_no_interval():
    assert np.isnan(bootstrap.interval(np.ones((5, 1)))).all()


def test_paired_difference_sees_what_separate_intervals_hide(sample):
    rng = np.random.default_rng(4)
    video = rng.normal(size=20)[sample["groups"]]  # a hard or easy video shifts both systems alike
    weights = np.ones((1, 400))
    better = bootstrap.resampled(**sample | {"logit": sample["logit"] + video}, weights=weights)[
        "f1"
    ]
    worse = bootstrap.resampled(
        **sample | {"logit": sample["logit"] + video - 0.5}, weights=weights
    )["f1"]
    estimate, low, high, p = seeds.difference(better[:, None], worse[:, None])
    paired = high - low
    separate = np.hypot(*[np.subtract(*bootstrap.interval(x)) for x in (better, worse)])
    assert low < estimate < high and paired < separate
    assert estimate == better[0, 0] - worse[0, 0]
    opposite = seeds.difference(worse[:, None], better[:, None])
    np.testing.assert_allclose(opposite, [-estimate, -high, -low, p])


def test_p_is_one_without_a_difference_and_as_small_as_the_draws_allow():
    draws = np.random.default_rng(5).random((2, 1, 100))
    assert seeds.difference(draws, draws)[3] == pytest.approx([1, 1])
    assert seeds.difference(draws + 2, draws)[3] == pytest.approx([2 / 100] * 2)


# Rank correlation


def test_spearman_of_monotone_and_reversed_values():
    x = np.arange(1.0, 8)
    assert correlation.spearman(x, np.exp(x)) == pytest.approx((1, 1, 1))
    assert correlation.spearman(x, -(x**3)) == pytest.approx((-1, -1, -1))


def test_spearman_with_ties_is_scipys():
    x, y = np.random.default_rng(0).integers(4, size=(2, 30))
    rho, low, high = correlation.spearman(x, y, draws=400)
    assert rho == pytest.approx(spearmanr(x, y).statistic)
    assert low < rho < high
    assert correlation.spearman(x, y, draws=400) == (rho, low, high)
    assert correlation.spearman(x, y, draws=400, seed=1)[1:] != (low, high)


def test_spearman_interval_is_that_of_resampled_pairs():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 20))
    drawn = np.random.default_rng(5).integers(20, size=(300, 20))
    expected = np.quantile([spearmanr(x[i], y[i]).statistic for i in drawn], [0.025, 0.975])
    np.testing.assert_allclose(correlation.spearman(x, y, draws=300, seed=5)[1:], expected)


def test_spearman_of_a_constant_is_undefined():
    assert np.isnan(correlation.spearman([1, 1, 1], [1, 2, 3])).all()
    # Of so few pairs each resample is constant, or gives the estimate.
    rho, low, high = correlation.spearman([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], draws=50)
    assert rho == 1 and np.isnan([low, high]).all()
    assert np.isnan(correlation.spearman([1, 2, 3], [1, 3, 2], draws=0)[1:]).all()


@pytest.mark.parametrize(
    ("x", "y"), [([1], [1]), ([1, 2], [1, 2, 3]), ([1, np.nan], [1, 2]), (1, 2)]
)
def test_spearman_refuses(x, y):
    with pytest.raises(ValueError, match="expected twice the same"):
        correlation.spearman(x, y)
