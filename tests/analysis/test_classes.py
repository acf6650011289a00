"""Class-wise scores equal a naive count, absent classes are nan, and where a class is half lost is
found. Table 5 equals labels counted by hand."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lib.analysis import classes
from lib.data import sources, splits
from lib.measures import bootstrap
from lib.report import tables
from lib.simulator import frames
from lib.study import profiles
from lib.study.names import CLASSES

mpl.use("Agg")

ABSENT = "OS"
SHARES = [0.01, 0.02, 0.05, 0.15, 0.45]


@pytest.fixture(scope="module")
def random():
    """Scores and labels of 300 images of 30 videos; several classes an image, none of ABSENT."""
    rng = np.random.default_rng(0)
    labels = (rng.random((300, len(CLASSES))) < 0.06).astype(int)
    labels[:, CLASSES.index(ABSENT)] = 0
    defect = labels.any(axis=1).astype(int)
    logit = np.round(rng.normal(size=300) + 0.7 * defect + 0.5 * labels[:, 0], 1)  # rounded: ties
    return SimpleNamespace(
        logit=logit, defect=defect, labels=labels, video=np.repeat(np.arange(30), 10)
    )


def detections(data, counted=None, draws=50):
    counted = np.ones(len(data.logit)) if counted is None else counted
    return classes.detections(data.logit, data.defect, data.labels, data.video, counted, draws)


def test_recall_and_false_alarms_equal_a_naive_count(random):
    found = detections(random)
    for j, name in enumerate(CLASSES):
        called = [
            logit > 0 for logit, row in zip(random.logit, random.labels, strict=True) if row[j]
        ]
        expected = sum(called) / len(called) if called else np.nan
        assert found["recall", name][0] == pytest.approx(expected, nan_ok=True)
    assert found["recall", classes.ANY][0] == pytest.approx(
        np.mean(random.logit[random.defect == 1] > 0)
    )
    assert found["recall", classes.NORMAL][0] == pytest.approx(
        np.mean(random.logit[random.defect == 0] > 0)
    )


def test_recall_at_equal_false_alarms_equals_a_naive_count(random):
    found = detections(random)
    normals, thresholds = random.logit[random.defect == 0], np.unique(random.logit)
    lowest = min(t for t in thresholds if (normals >= t).mean() <= 0.05)
    for j, name in enumerate(CLASSES):
        if name != ABSENT:
            expected = (random.logit[random.labels[:, j] == 1] >= lowest).mean()
            assert found["recall_at_5", name][0] == pytest.approx(expected)
    assert ("recall_at_5", classes.NORMAL) not in found  # 5 % by construction


def test_auroc_against_normals_equals_scikit_learn(random):
    found = detections(random)
    for j, name in enumerate(CLASSES):
        if name != ABSENT:
            kept = (random.defect == 0) | (random.labels[:, j] == 1)
            expected = roc_auc_score(random.labels[kept, j], random.logit[kept])
            assert found["auroc", name][0] == pytest.approx(expected, abs=1e-6)


def test_a_class_without_images_is_unknown_not_missed(random):
    found = detections(random)
    assert all(np.isnan(found[metric, ABSENT]).all() for metric in classes.METRICS)
    kept = {
        name: values
        for (metric, name), values in found.items()
        if metric == "recall" and name != ABSENT
    }
    assert not any(np.isnan(values[0]) for values in kept.values())


def test_a_resample_without_the_class_is_left_out(monkeypatch):
    monkeypatch.setattr(bootstrap, "FEWEST", 1)
    labels = np.zeros((8, len(CLASSES)), int)
    labels[:2, 0] = labels[4:, 1] = 1  # the first class in one video of four, always found
    data = SimpleNamespace(
        logit=np.ones(8),
        defect=labels.any(axis=1).astype(int),
        labels=labels,
        video=np.repeat(np.arange(4), 2),
    )
    recall = detections(data, draws=200)["recall", CLASSES[0]][1:]
    assert 0 < np.isnan(recall).mean() < 0.7  # (3/4)^4 = 0.32, and where no normal was drawn
    assert (recall[~np.isnan(recall)] == 1).all()


def test_images_that_do_not_count_are_left_out(random):
    counted = np.arange(300) % 3 > 0
    part = SimpleNamespace(**{name: values[counted] for name, values in vars(random).items()})
    weighed, cut = detections(random, counted), detections(part)
    for key, values in cut.items():
        assert weighed[key][0] == pytest.approx(values[0], abs=1e-6, nan_ok=True)


def test_resamples_are_those_of_every_other_metric(random):
    other = bootstrap.resampled(
        random.logit, random.defect, None, random.video, np.ones((1, 300)), draws=50
    )
    np.testing.assert_allclose(detections(random)["recall", classes.ANY], other["recall"][0])


def test_without_class_columns_all_defects_are_one(random):
    found = classes.detections(random.logit, random.defect, None, random.video, np.ones(300), 10)
    assert set(found) == {
        ("recall_at_5", classes.ANY),
        ("recall", classes.ANY),
        ("auroc", classes.ANY),
        ("recall", classes.NORMAL),
    }
    assert classes.images(pd.DataFrame({"Defect": [0, 1, 1]})) == {
        classes.ANY: 2,
        classes.NORMAL: 1,
    }


def test_images_at_a_train_share_are_those_of_its_subset():
    table = frames.labels(1, "train", 400)
    for share in SHARES:
        subset = splits.resample(table, share, 1)
        found = classes.images(subset)
        assert found[classes.ANY] + found[classes.NORMAL] == len(subset)
        assert {name: found[name] for name in CLASSES} == subset[list(CLASSES)].sum().to_dict()
        assert found[classes.ANY] == (subset[list(CLASSES)].sum(axis=1) > 0).sum()


# Half lost


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (
            [0, 0, 0.2, 0.6, 0.8],
            0.05 * 3**0.5,
        ),  # 0.4 lies half-way between 5 and 15 %, in logarithms
        ([0, 0.1, 0.4, 0.8, 0.8], 0.05),
        ([0.4, 0.5, 0.6, 0.7, 0.8], 0),  # never below half
        ([0.9, 0.9, 0.2, 0.6, 0.8], 0.05 * 3**0.5),  # what comes back below does not count
        ([0, 0, 0, 0, 0], np.nan),  # nothing to lose
        ([0.1, np.nan, 0.2, 0.6, 0.8], np.nan),
    ],
)
def test_the_share_at_which_half_is_lost(curve, expected):
    assert classes.halved(curve, SHARES) == pytest.approx(expected, nan_ok=True)
    both = classes.halved([curve, [0, 0, 0.2, 0.6, 0.8]], SHARES)
    assert both == pytest.approx([expected, 0.05 * 3**0.5], nan_ok=True)


def test_one_train_share_has_no_half():
    assert np.isnan(classes.halved([[0.5]], [0.45])).all()


class Made(classes.Scores):
    """Recall that falls to half of its excess at 15 % for the first class, the next ones ever
    later."""

    def __init__(self, averaged=("byol",)):
        self.shares, self.averaged = SHARES, list(averaged)
        self.validation = dict.fromkeys([*CLASSES, classes.ANY, classes.NORMAL], 30)

    def curves(self, metric, name):
        chance = {"recall_at_5": 0.05, "recall": 0.1, "auroc": 0.5}[metric]
        if name == classes.NORMAL:
            return np.full((1, 21, 5), chance)
        k = 3.0 if name == classes.ANY else CLASSES.index(name) * 0.2
        halving = np.log(0.15) - k * np.log(1.6)
        steps = np.clip(0.25 + (np.log(SHARES) - halving) / 16, 0, 0.5)
        steps[-1] = 0.5
        return np.tile(chance + steps, (1, 21, 1))


def test_the_false_alarm_rate_is_no_finding():
    np.testing.assert_allclose(Made().excess("recall", "RB")[0, 0, -1], 0.5)
    for metric in classes.METRICS:
        halves = classes.halvings(Made(), metric)
        assert halves["RB"][0, 0] == pytest.approx(0.15)
        assert list(halves) == [*CLASSES, classes.ANY]


def test_the_reading_names_the_first_and_the_last():
    training = {name: 100 - i for i, name in enumerate(CLASSES)}
    sentences = classes.sentences(Made(), training)
    assert "first for RB 15 [15, 15], OB 14" in sentences["recall"]
    assert "OK" in sentences["recall"].split("last for")[1]
    assert "the first and the last are clearly different in these runs)" in sentences["recall"]
    assert "+1.00" in sentences["auroc"]  # here the commonest class is lost first
    assert "false alarms from 0.10 to 0.10" in sentences["alarms"]


def test_nothing_is_read_where_no_method_of_the_paper_is():
    assert list(classes.sentences(Made(averaged=()), {})) == ["none"]
    assert classes.halvings(Made(averaged=()), "auroc") == {}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0755, 0.04, 0.09), "7.5 [4, 9]"),
        ((0.0, 0.0, 0.012), "<1 [<1, 1.2]"),
        ((np.nan, np.nan, np.nan), "–"),
        ((0.2, np.nan, np.nan), "20"),
    ],
)
def test_shares_as_printed(numbers, expected):
    assert classes.at(*numbers, 0.01) == expected


# Counts


def labelled(*patterns: str) -> pd.DataFrame:
    """A table with a row a pattern, such as "RB FS", or "" for a normal."""
    rows = [{c: int(c in p.split()) for c in CLASSES} | {"Defect": int(bool(p))} for p in patterns]
    return pd.DataFrame(rows)


def test_an_image_of_two_classes_counts_for_both():
    counted = classes.count(
        {"Training": labelled("", "RB", "RB FS"), "Validation": labelled("FS", "")}
    )
    of = counted.set_index(["subset", "class"])["images"]
    assert of["Training"][["Normal", "Defect", "All", "RB", "FS", "OK"]].tolist() == [
        1,
        2,
        3,
        2,
        1,
        0,
    ]
    assert of["Validation"][["Normal", "Defect", "All", "RB", "FS"]].tolist() == [
        1,
        1,
        2,
        0,
        1,
    ]


def test_table_names_every_class_and_keeps_the_order():
    table = tables.counts(
        classes.count({"Training": labelled("", *CLASSES), "at 1 %": labelled("", "OS")})
    )
    lines = table.markdown().splitlines()
    assert lines[0] == "| Class | Code | Training | at 1 % |"
    assert lines[2:5] == [
        "| Normal |  | 1 | 1 |",
        "| Defect |  | 17 | 1 |",
        "| All |  | 18 | 2 |",
    ]
    assert [line.split(" | ")[1] for line in lines[5:]] == list(CLASSES)
    assert "| lateral reinstatement cuts | OS | 1 | 1 |" in lines
    assert r"at 1\,\%" in table.latex()
    assert {t.get_text() for t in table.draw().axes[0].texts} >= {"17", "18"}


def test_without_class_columns_there_are_totals_alone():
    table = tables.counts(classes.count({"Training": pd.DataFrame({"Defect": [0, 1, 1]})}))
    assert table.markdown().splitlines()[2:] == [
        "| Normal | 1 |",
        "| Defect | 2 |",
        "| All | 3 |",
    ]
    assert table.draw().axes


def test_a_train_share_keeps_the_normals(store):
    data = profiles.load("smoke")["data"]
    counted = classes.count(classes.subsets(data, [0.05, 0.45])).set_index(["subset", "class"])[
        "images"
    ]
    normals = counted["Training", "Normal"]
    assert normals == counted["at 5 %", "Normal"] == counted["at 45 %", "Normal"]
    assert counted["at 5 %", "Defect"] == int(normals * 0.05 / 0.95)
    assert "for Table 1" not in counted.index.get_level_values("subset")


def test_the_validation_fraction_is_told_where_it_is_less(store):
    data = profiles.load("smoke")["data"]
    found = classes.subsets(data | {"fraction": 0.5}, [])
    assert len(found["for Table 1"]) == pytest.approx(len(found["Validation"]) / 2, abs=20)
    assert len(found["Training"]) < len(sources.tables(data, "train")[0])
