"""The overflow of pos_weight moves the threshold: by how much, and what that does to stored
scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from lib.analysis import label_overflow, protocol_effects
from lib.data import splits
from lib.store.stored import Stored
from lib.study import grid
from lib.system import paths

SHIFT = np.log(0.99977 / 1.2222)  # of 45 % of Sewer-ML, executed with the released code


def stored(share=0.45, method="simclr", **settings):
    """A run of the committed reference, whose code may be older."""
    run = grid.run("mini", method, "resnet18", share, 42).with_settings(**settings)
    return Stored(run, paths.REFERENCE / "mini", "reference")


def f1(run, by=0.0):
    """Of the online probe on clean images, by scikit-learn."""
    scores = run.scores.query("split == 'val' and evaluation == 'clean' and probe == 'online'")
    return f1_score(scores["Defect"], scores["logit"].astype(float) + by > 0)


def value(measured, metric="f1", method="simclr"):
    backbone = "all" if method == "mean" else "resnet18"
    place = label_overflow.EFFECT, "clean images", method, backbone, metric
    return protocol_effects.one(measured, *place)["value"]


def test_only_45_percent_overflows_at_the_size_of_sewer_ml():
    assert [label_overflow.shift(share) for share in (0.01, 0.02, 0.05, 0.15)] == [0] * 4
    assert label_overflow.shift(0.45) == pytest.approx(SHIFT, abs=5e-5)


def test_a_fit_with_the_other_weight_has_its_logits_moved_by_the_shift():
    """A logistic regression that is well specified: one feature, classes one deviation apart."""
    rng = np.random.default_rng(0)
    defect = (rng.random(100_000) < 0.45).astype(int)
    x = rng.normal(defect, 1.0)[:, None]
    right, released = (
        LogisticRegression(C=np.inf, class_weight={0: 1.0, 1: weight}, tol=1e-8)
        .fit(x, defect)
        .decision_function([[0.5]])
        for weight in (1.2222, 0.99977)
    )
    assert released - right == pytest.approx(label_overflow.shift(0.45), abs=0.005)


def test_f1_changes_as_that_of_the_moved_logits_and_the_ranking_does_not():
    runs = [stored(), stored(method="supervised"), stored(0.15)]
    measured = label_overflow.measure(runs, resamples=20)
    for run in runs[:2]:
        expected = f1(run, label_overflow.shift(0.45)) - f1(run)
        assert expected != 0
        assert value(measured, method=run.run.method) == pytest.approx(expected, abs=1e-9)
    both = [value(measured, method=run.run.method) for run in runs[:2]]
    assert value(measured, method="mean") == pytest.approx(np.mean(both))
    ranked = measured[measured["metric"] == "auroc"]
    assert (ranked[["value", "low", "high"]] == 0).all(axis=None)


def test_a_run_that_was_trained_with_the_overflow_is_moved_back(monkeypatch):
    monkeypatch.setattr(splits, "INFINITE", 500)  # mini has 818 defects at 45 %
    run = stored(labels_overflow=True)
    measured = label_overflow.measure([run], resamples=20)
    assert value(measured) == pytest.approx(f1(run) - f1(run, -label_overflow.shift(0.45)))


def test_shares_that_do_not_overflow_have_no_effect_to_tell():
    measured = label_overflow.measure([stored(0.15)], resamples=20)
    assert measured.empty
    assert "not estimated" in label_overflow.sentence(measured)


def test_the_sentence_says_which_way_f1_goes():
    rows = [
        dict(zip(protocol_effects.KEYS, ("overflow", held, "mean", "all", "f1"), strict=True))
        | {"value": value, "low": value - error, "high": value + error}
        for held, value, error in (("augmented images", -0.05, 0.01), ("clean images", 0.02, 0.03))
    ]
    sentence = label_overflow.sentence(pd.DataFrame(rows))
    assert "moves every logit of the online probe by −0.20" in sentence
    assert "lowers F1 on augmented images, −0.05 [−0.06, −0.04]" in sentence
    assert "has no clear effect on F1 on clean images, +0.02 [−0.01, +0.05]" in sentence
