"""Interactive charts hold the numbers of the CSV from which they are made."""

from base64 import b64decode

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from report_files import measured

from lib.analysis.correlation import METRICS, SCOPES
from lib.publish.charts import CHARTS, chart
from lib.study.artefacts import ARTEFACTS


def drawn(name, file):
    return go.Figure(chart(name, file))


def numbers(array):
    """What Plotly writes as base64, as an array; other lists as they are."""
    if not isinstance(array, dict):
        return np.array(array)
    flat = np.frombuffer(b64decode(array["bdata"]), array["dtype"])
    return flat.reshape([int(n) for n in array["shape"].split(",")]) if "shape" in array else flat


def points(file):
    """Two methods on two backbones, as Figure 10 saves them."""
    frame = pd.DataFrame(
        [
            (m, b, s)
            for m in ("byol", "dino")
            for b in ("resnet18", "vit_tiny")
            for s in (0.01, 0.45)
        ],
        columns=["method", "backbone", "train_share"],
    )
    frame.assign(f1=0.5, rescaled=0.2, health="collapsed", seeds=1).to_csv(file, index=False)


def test_every_chart_belongs_to_an_artefact():
    assert set(CHARTS) <= set(ARTEFACTS)
    assert {"table1", "fig2", "fig4", "fig5", "fig9", "fig10", "labelfree"} == set(CHARTS)


def test_what_has_no_chart_or_no_numbers_has_none(tmp_path):
    measured(tmp_path / "table1.csv")
    assert chart("fig1", tmp_path / "table1.csv") is None
    assert chart("fig2", tmp_path / "none.csv") is None


@pytest.mark.parametrize("name", ["table1", "fig2"])
def test_equal_numbers_give_equal_charts(tmp_path, name):
    measured(tmp_path / f"{name}.csv")
    assert chart(name, tmp_path / f"{name}.csv") == chart(name, tmp_path / f"{name}.csv")


def test_table_1_has_a_line_a_system_and_metric(tmp_path):
    measured(tmp_path / "table1.csv")
    fig = drawn("table1", tmp_path / "table1.csv")
    assert len(fig.data) == 2 * 2 * 2
    assert [list(numbers(line.y)) for line in fig.data] == 8 * [[0.123456, 0.5]]
    assert list(fig.data[0].x) == ["1 %", "45 %"]
    assert {line.name for line in fig.data} == {"BYOL", "Supervised"}


def test_over_several_seeds_values_are_means_and_no_interval_is_claimed(tmp_path):
    file = tmp_path / "fig2.csv"
    measured(file)
    one = pd.read_csv(file)
    pd.concat([one, one.assign(seed=43, value=one["value"] + 0.2)]).to_csv(file, index=False)
    fig = drawn("fig2", file)
    assert numbers(fig.data[0].z)[0] == pytest.approx([0.223456, 0.223456])
    assert fig.data[0].customdata[0][0][0] == "mean of 2 seeds"


def test_a_heatmap_names_rows_and_columns(tmp_path):
    measured(tmp_path / "fig2.csv")
    (panel,) = drawn("fig2", tmp_path / "fig2.csv").data
    assert list(panel.x) == ["1 %", "45 %"]
    assert list(panel.y) == ["BYOL, 1 %", "BYOL, 45 %", "Supervised, 1 %", "Supervised, 45 %"]
    assert list(panel.customdata[0][0]) == ["0.10–0.90", "healthy"]


def test_every_run_is_a_point_of_its_method_and_health(tmp_path):
    points(tmp_path / "fig10.csv")
    fig = drawn("fig10", tmp_path / "fig10.csv")
    dots = [trace for trace in fig.data if trace.showlegend is False]
    assert sum(len(trace.x) for trace in dots) == 8
    assert {symbol for trace in dots for symbol in trace.marker.symbol} == {"x"}
    assert [trace.name for trace in fig.data if trace.showlegend is None] == ["BYOL", "DINO"]


def test_correlations_point_up_where_they_are_expected(tmp_path):
    file = tmp_path / "labelfree.csv"
    rows = [(s, m, n, g) for s in SCOPES for m in METRICS for n, g in (("rankme", 1), ("loss", -1))]
    frame = pd.DataFrame(rows, columns=["scope", "metric", "measure", "sign"])
    frame.assign(rho=0.5 * frame["sign"], low_runs=-1, high_runs=1, n=9).to_csv(file, index=False)
    fig = drawn("labelfree", file)
    assert len(fig.data) == len(SCOPES) * len(METRICS)
    assert all(np.allclose(numbers(trace.y), 0.5) for trace in fig.data)
    assert list(fig.data[0].x) == ["RankMe", "Training loss"]
