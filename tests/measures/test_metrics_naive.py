"""Metrics against a naive version: loops over images, pairs and class names, from the published
definitions."""

import numpy as np
import pytest

from lib.measures import bootstrap, metrics
from lib.study.names import CLASSES

# Haurum and Moeslund 2021, the economic severity of each class, by name
PUBLISHED = {
    "RB": 1.0000,
    "OB": 0.5518,
    "PF": 0.2896,
    "DE": 0.1622,
    "FS": 0.6419,
    "IS": 0.1847,
    "RO": 0.3559,
    "IN": 0.3131,
    "AF": 0.0811,
    "BE": 0.2275,
    "FO": 0.2477,
    "GR": 0.0901,
    "PH": 0.4167,
    "PB": 0.4167,
    "OS": 0.9009,
    "OP": 0.3829,
    "OK": 0.4396,
}


def divide(a, b):
    return a / b if b else 0.0


def f_beta(truth, called, weights, beta):
    """(1 + b^2) P R / (b^2 P + R) of lists of bools, precision P and recall R; 0 where either is
    undefined or 0."""
    hits = sum(w for t, c, w in zip(truth, called, weights, strict=True) if t and c)
    precision = divide(hits, sum(w for c, w in zip(called, weights, strict=True) if c))
    recall = divide(hits, sum(w for t, w in zip(truth, weights, strict=True) if t))
    return (
        divide((1 + beta**2) * precision * recall, beta**2 * precision + recall),
        precision,
        recall,
    )


def auroc(logit, defect, weights):
    """Share of (defect, normal) pairs, each weighed by both, that are in order; a tie is half in
    order."""
    won, pairs = 0.0, 0.0
    for a, first, w in zip(logit, defect, weights, strict=True):
        for b, second, v in zip(logit, defect, weights, strict=True):
            if first and not second:
                pairs += w * v
                won += w * v * (1.0 if a > b else 0.5 if a == b else 0.0)
    return won / pairs if pairs else float("nan")


def average_precision(logit, defect, weights):
    """Precision at every threshold, from the strictest, times what recall it adds."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(logit), reverse=True):
        _, precision, recall = f_beta(defect, [value >= threshold for value in logit], weights, 1)
        total, before = total + precision * (recall - before), recall
    return total


def recall_at_5(logit, defect, weights):
    """The most defects, by weight, that a threshold calls which calls at most 5 % of the
    normals."""
    normals, defects = (
        sum(w for w, d in zip(weights, defect, strict=True) if d == kind) for kind in (False, True)
    )
    best = 0.0
    for threshold in set(logit):
        called = [(w, d) for v, w, d in zip(logit, weights, defect, strict=True) if v >= threshold]
        if sum(w for w, d in called if not d) <= 0.05 * normals * (1 + 1e-9):
            best = max(best, sum(w for w, d in called if d))
    return best / defects if normals and defects else float("nan")


def naive(logit, labels, weights=None):
    """Every metric; `labels` holds a set of class names per image, empty for a normal one."""
    weights = [1.0] * len(logit) if weights is None else list(weights)
    defect, called = [bool(names) for names in labels], [value > 0 for value in logit]
    f1, precision, recall = f_beta(defect, called, weights, 1)
    predicted = [
        names if c else set() for names, c in zip(labels, called, strict=True)
    ]  # of which classes
    f2ciw = 0.0
    for name, importance in PUBLISHED.items():
        truth, found = [name in names for names in labels], [name in names for names in predicted]
        f2ciw += importance * f_beta(truth, found, weights, 2)[0]
    return {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "f2ciw": f2ciw / sum(PUBLISHED.values()),
        "f1_normal": f_beta([not d for d in defect], [not c for c in called], weights, 1)[0],
        "auroc": auroc(logit, defect, weights),
        "ap": average_precision(logit, defect, weights),
        "recall_at_5": recall_at_5(logit, defect, weights),
    }


def matrix(labels):
    return np.array([[name in names for name in CLASSES] for names in labels])


def assert_equal_to_naive(logit, labels, weights=None):
    """`scores`, where every weight is 1, and `bootstrap`'s estimates."""
    defect = np.array([bool(names) for names in labels])
    rows = np.ones((1, len(logit))) if weights is None else np.asarray(weights)[None]
    estimates = bootstrap.resampled(logit, defect, matrix(labels), None, rows, draws=0)
    expected = naive([float(value) for value in logit], labels, weights)
    assert {k: v[0, 0] for k, v in estimates.items()} == pytest.approx(
        expected, abs=1e-6, nan_ok=True
    )
    if weights is None:
        decided = metrics.scores(defect, np.asarray(logit) > 0, matrix(labels))
        assert decided == pytest.approx({name: expected[name] for name in decided}, abs=1e-12)


def random_case(seed, n=60, absent=()):
    """Logits in steps of a half, so that many tie, some of them at the threshold; one to three
    classes a defect."""
    rng = np.random.default_rng(seed)
    names = [name for name in CLASSES if name not in absent]
    labels = [
        set(rng.choice(names, rng.integers(1, 4))) if rng.random() < 0.4 else set()
        for _ in range(n)
    ]
    logit = np.round(2 * (rng.normal(size=n) + [0.7 * bool(names) for names in labels])) / 2
    return logit, labels


@pytest.mark.parametrize("seed", range(5))
def test_random_images_with_tied_logits(seed):
    logit, labels = random_case(seed)
    assert len(set(logit)) < 20 and (logit == 0).any()
    assert_equal_to_naive(logit, labels)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_images(seed):
    logit, labels = random_case(seed)
    rng = np.random.default_rng(seed)
    assert_equal_to_naive(
        logit, labels, rng.random(60) * (rng.random(60) < 0.8)
    )  # a fifth weighs nothing
    defect = [bool(names) for names in labels]
    assert_equal_to_naive(logit, labels, metrics.share_weights(defect, 0.02))


@pytest.mark.parametrize("absent", [("RB",), ("PF", "OS", "OK")])
def test_absent_classes_score_zero_and_count(absent):
    logit, labels = random_case(7, absent=absent)
    assert_equal_to_naive(logit, labels)
    best = metrics.scores(
        [1] * 17, [1] * 17, matrix([{n} - set(absent) or {"OB"} for n in CLASSES])
    )["f2ciw"]
    assert best == pytest.approx(
        1 - sum(PUBLISHED[name] for name in absent) / sum(PUBLISHED.values())
    )


@pytest.mark.parametrize(
    "labels", [[set()] * 12, [{"RB", "OK"}] * 12], ids=["all normal", "all defect"]
)
@pytest.mark.parametrize(
    "logit", [np.arange(12.0) - 6, np.ones(12), -np.ones(12)], ids=["some", "all", "none"]
)
def test_one_kind_of_image_with_some_all_or_none_called(labels, logit):
    assert_equal_to_naive(logit, labels)


@pytest.mark.parametrize(
    "logit", [np.ones(60), -np.ones(60), np.zeros(60)], ids=["all", "none", "at the threshold"]
)
def test_a_constant_detector(logit):
    labels = random_case(3)[1]
    assert_equal_to_naive(logit, labels)
    found = bootstrap.resampled(
        logit, [bool(names) for names in labels], None, None, np.ones((1, 60)), draws=0
    )
    assert found["auroc"][0, 0] == 0.5 and found["recall"][0, 0] == (logit[0] > 0)


# A single image is right or wrong, and knows the importance of its own classes alone.
@pytest.mark.parametrize(
    ("defect", "called", "f1", "f1_normal", "ap"),
    [(1, 1, 1, 0, 1), (1, 0, 0, 0, 1), (0, 1, 0, 0, 0), (0, 0, 0, 1, 0)],
)
@pytest.mark.parametrize("names", [{"AF"}, {"RB", "PH", "OK"}, set(CLASSES)], ids=len)
def test_a_single_image(defect, called, f1, f1_normal, ap, names):
    labels, logit = [names if defect else set()], [0.5 if called else -0.5]
    assert_equal_to_naive(logit, labels)
    importance = sum(PUBLISHED[name] for name in names) / sum(PUBLISHED.values())
    expected = {
        "f1": f1,
        "precision": f1,
        "recall": f1,
        "f1_normal": f1_normal,
        "f2ciw": f1 * importance,
    }
    assert metrics.scores([defect], [called], matrix(labels)) == pytest.approx(expected)
    found = bootstrap.resampled(logit, [defect], None, None, np.ones((1, 1)), draws=0)
    assert np.isnan(found["auroc"][0, 0]) and found["ap"][0, 0] == ap


# F2CIW


def test_each_class_has_its_published_importance():
    assert metrics.CIW == PUBLISHED
    assert dict(zip(CLASSES, metrics.IMPORTANCE, strict=True)) == PUBLISHED


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_f2ciw_ignores_the_scale_of_its_weights(factor, monkeypatch):
    logit, labels = random_case(11)
    arguments = ([bool(names) for names in labels], logit > 0, matrix(labels))
    equal = np.ones(len(logit))
    before, most = metrics.scores(*arguments), metrics.f2ciw_maximum(arguments[2], equal)
    monkeypatch.setattr(metrics, "IMPORTANCE", factor * metrics.IMPORTANCE)
    assert 0 < before["f2ciw"] < 1
    assert metrics.scores(*arguments) == pytest.approx(before, rel=1e-12)
    assert metrics.f2ciw_maximum(arguments[2], equal) == pytest.approx(most, rel=1e-12)


def test_f2ciw_depends_on_the_order_of_classes_unless_their_weights_follow(monkeypatch):
    logit, labels = random_case(12)
    defect, classes = [bool(names) for names in labels], matrix(labels)
    order = np.roll(np.arange(17), 5)

    def f2ciw(columns):
        return metrics.scores(defect, logit > 0, columns)["f2ciw"]

    before, columns_alone = f2ciw(classes), f2ciw(classes[:, order])
    monkeypatch.setattr(metrics, "IMPORTANCE", metrics.IMPORTANCE[order])
    assert f2ciw(classes[:, order]) == pytest.approx(before, rel=1e-12)
    assert abs(columns_alone - before) > 0.01 and abs(f2ciw(classes) - before) > 0.01
