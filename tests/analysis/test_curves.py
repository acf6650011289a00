"""Histories and points read back from stored runs, against the files and closed forms."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from lib.analysis import curves as curves_module
from lib.analysis import results
from lib.analysis.curves import trend, width, within
from lib.methods import backbones
from lib.store.stored import Stored
from lib.study import grid, names, protocols
from lib.training import train as train_module


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The cheapest run with a history."""
    run = grid.run("smoke", "random", "resnet18", 0.45, 42)
    return Stored(run, train_module.train(run, store=tmp_path_factory.mktemp("runs")), "fresh")


def test_curves_hold_every_known_value_and_count_completed_epochs(stored):
    found = curves_module.curves([stored])
    assert set(found["metric"]) == {
        "rankme_batch",
        "rankme",
        "feature_mean",
        "feature_std",
    }  # it has no embeddings
    assert found["epoch"].tolist() == [1] * len(found)
    for metric, value in found.set_index("metric")["value"].items():
        assert value == stored.history[metric].iloc[-1]
    assert found["run"].eq(stored.run.id).all()


def test_points_by_split_and_protocol(stored):
    train = stored.scores[
        (stored.scores["split"] == "train") & (stored.scores["probe"] == "converged")
    ]
    f1 = {
        ("clean", "train"): f1_score(train["Defect"], train["logit"] > 0),
        ("paper", "train"): stored.history["train_f1"].iloc[-1],
        **{
            (p, "val"): results.measure([stored], p, resamples=0)
            .set_index("metric")
            .at["f1", "value"]
            for p in protocols.PROTOCOLS
        },
    }
    for (protocol, split), expected in f1.items():
        row = curves_module.points([stored], protocol, split).iloc[0]
        assert row["f1"] == pytest.approx(expected)
        assert row["rescaled"] == pytest.approx(
            stored.record["rankme"] / 128
        )  # 200 images, 512 x 0.25 features


@pytest.mark.parametrize("backbone", names.BACKBONES)
@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_width_is_that_of_the_backbone(profile, backbone):
    run = grid.run(profile, "supervised", backbone, 0.45, 42)
    assert width(run) == backbones.build(backbone, run.settings, run.px).features


def test_within_groups():
    groups = {"byol": (1, 2, 3), "dino": (3, 2, 1), "mae": (2, 2, 2)}
    points = pd.DataFrame(
        [
            {"method": m, "rescaled": i, "f1": y}
            for m, ys in groups.items()
            for i, y in enumerate(ys)
        ]
        + [{"method": "alone", "rescaled": 0, "f1": 0}]
    )
    np.testing.assert_allclose(within(points, "method"), [1, -1, np.nan, np.nan])


def test_trend_is_the_mean_over_runs():
    curves = {"a": (1, 2, 3), "b": (4, 5, 6), "c": (3, 2, 1), "d": (1, 2, 4)}
    found = pd.DataFrame(
        [
            {"run": run, "backbone": "resnet18", "metric": "rankme", "epoch": e, "value": v}
            for run, values in curves.items()
            for e, v in enumerate(values)
        ]
    )
    assert trend(found)["resnet18", "rankme"] == pytest.approx((1 + 1 - 1 + 1) / 4)
    assert np.isnan(trend(found[found["epoch"] == 0]).item())
