"""The two questions of ours: judged by what the correlation and the paired difference say, or not
run."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.analysis import claims, correlation, questions, results
from lib.analysis.board import NotRun
from lib.store import measured as measured_module


def board(*methods, protocol="clean", resamples=10):
    stored = [SimpleNamespace(run=SimpleNamespace(id=m, method=m)) for m in methods]
    return SimpleNamespace(stored=stored, protocol=protocol, resamples=resamples)


@pytest.fixture
def gains(monkeypatch):
    """Reconstruction minus probe, as `results.difference` gives it, and what it was given."""
    asked = []
    told = {"estimate": 0.1, "low": 0.02, "high": 0.2, "p": 0.01}
    view = SimpleNamespace(detector="reconstruction", setting="normals")
    others = [
        SimpleNamespace(detector="knn", setting="normals"),
        SimpleNamespace(detector="reconstruction", setting="unlabelled"),
    ]
    monkeypatch.setattr(measured_module, "detected", lambda stored: [*others, view])

    def difference(ours, theirs, metric, protocol):
        asked.append((ours, [s.run.method for s in theirs], metric, protocol))
        return told

    monkeypatch.setattr(results, "difference", difference)
    return told, asked, view


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.02, 0.2, "supported"),
        (-0.2, -0.02, "contradicted"),
        (-0.1, 0.1, "inconclusive"),
    ],
)
def test_reconstruction_is_held_against_the_probe_of_the_same_runs(gains, low, high, verdict):
    told, asked, view = gains
    told |= {"low": low, "high": high}
    found = questions.reconstruction_over_probe(
        board("mae", "simclr", "mae-released", "mae"), "mae"
    )
    assert (found["value"], found["low"], found["high"], found["verdict"]) == (
        0.1,
        low,
        high,
        verdict,
    )
    assert asked == [([view, view], ["mae", "mae"], "auroc", "clean")]


def test_the_other_row_of_mae_is_no_point_of_the_correlation(monkeypatch):
    seen = {}

    def points(wanted, measured, protocol, resamples):
        seen.update(
            wanted=[run.method for run in wanted],
            measured=sorted(measured),
            asked=(protocol, resamples),
        )

    best = {"measure": "lidar", "value": 0.3, "low": 0.1, "high": 0.5, "verdict": "supported"}
    monkeypatch.setattr(correlation, "Points", points)
    monkeypatch.setattr(correlation, "correlate", lambda points, scopes, targets: pd.DataFrame())
    monkeypatch.setattr(correlation, "better_than_rankme", lambda measured: dict(best))
    monkeypatch.setattr(measured_module, "measures", lambda run: {})
    found = questions.measure_over_rankme(
        board("mae", "byol", "mae-released", protocol="paper"), "mae-released"
    )
    assert seen == {
        "wanted": ["byol", "mae-released"],
        "measured": ["byol", "mae-released"],
        "asked": ("paper", 10),
    }
    assert found == {"note": "lidar", "value": 0.3, "low": 0.1, "high": 0.5, "verdict": "supported"}


def test_what_was_not_trained_is_not_run(monkeypatch):
    def none(*arguments):
        raise NotRun("no run is there")

    monkeypatch.setattr(correlation, "Points", none)
    monkeypatch.setattr(measured_module, "measures", lambda run: {})
    scored = claims.score({"clean": board("simclr")}, questions.QUESTIONS)
    assert len(scored) == 4 and set(scored["verdict"]) == {"not run"}
    assert np.isnan(scored["value"]).all()
    assert set(scored["note"]) == {
        "no run is there",
        "mae was not trained",
        "mae-released was not trained",
    }
    assert list(scored["claim"]) == [13, 13, 14, 14]
