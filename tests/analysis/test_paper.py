"""The paper's numbers: committed as a header alone, checked line by line when filled in, and drawn
beside ours."""

from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from lib.analysis import paper, results
from lib.measures import metrics
from lib.publish import renderings
from lib.report import tables
from lib.study import names
from lib.system import paths

mpl.use("Agg")

HEADER = ",".join(paper.COLUMNS)
SHARES = (0.01, 0.45)


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """A function that writes rows into a paper.csv of the test's own; the numbers mean nothing."""
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)

    def write(*rows, header=HEADER):
        (tmp_path / "paper.csv").write_text("\n".join([header, *rows]) + "\n")

    write()
    return write


def reduced() -> pd.DataFrame:
    """Two methods by two train shares at the natural validation share, as
    lib.analysis.results.over_seeds gives them."""
    rows = [
        (m, "resnet18", share, np.nan, "f1", 0.5)
        for m in ("supervised", "byol")
        for share in SHARES
    ]
    return pd.DataFrame(rows, columns=[*results.KEYS, "value"]).assign(
        low=0.4, high=0.6, health="healthy"
    )


def test_no_number_of_the_paper_is_committed():
    assert (paths.ROOT / "results" / "reference" / "paper.csv").read_text() == HEADER + "\n"


def test_every_metric_that_is_printed_can_be_filled_in():
    assert set(names.METRIC_NAMES) == set(metrics.METRICS)
    assert set(names.METRIC_NAMES) < set(paper.NAMES["metric"])


def test_rows_of_the_artefact_come_back_as_numbers(fill):
    fill(
        "table1,byol,resnet18,0.01,,,,,,f1,0.25", "", "fig6,simclr,vit_tiny, 0.45,,,,,9,rankme,31.5"
    )
    assert len(paper.values("fig2")) == 0
    (row,) = paper.values("fig6").itertuples()
    assert (row.method, row.train_share, row.epoch, row.metric, row.value) == (
        "simclr",
        0.45,
        9,
        "rankme",
        31.5,
    )
    assert np.isnan(row.validation_share)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "tabel1,byol,resnet18,0.01,,,,,,f1,0.2",
            "unknown artefact 'tabel1': did you mean 'table1'",
        ),
        ("table1,byoll,resnet18,0.01,,,,,,f1,0.2", "unknown method 'byoll': did you mean 'byol'"),
        (
            "table1,byol,resnet,0.01,,,,,,f1,0.2",
            "unknown backbone 'resnet': did you mean 'resnet18'",
        ),
        (
            "table1,byol,resnet18,0.01,,,,,,f1normal,0.2",
            "unknown metric 'f1normal': did you mean 'f1_normal'",
        ),
        ("table1,byol,resnet18,0.01,,,,,,,0.2", "unknown metric ''"),
        (
            "table1,byol,resnet18,1,,,,,,f1,0.2",
            "train_share is 1, expected a share between 0 and 1",
        ),
        ("table1,byol,resnet18,0.01,-0.1,,,,,f1,0.2", "validation_share is -0.1"),
        ("table1,byol,resnet18,0.01,,,,,,f1,", "value is '', expected a number"),
        ("table1,byol,resnet18,0.01,,,,,,f1,nan", "value is 'nan', expected a number"),
        ("table2,byol,resnet18,,,64px,,,,f1,0.2", "px is '64px', expected a number"),
        ("table1,byol,resnet18,0.01,,,,,,f1,84.2", "f1 is 84.2, expected a fraction"),
        ("table1,byol,resnet18,0.01,,f1,0.2", "7 cells, expected 11"),
        ("table1,supervised,resnet18,0.01,,,,,,f1,0.3", "there twice"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(fill, row, message):
    fill("table1,supervised,resnet18,0.01,,,,,,f1,0.2", "", row)
    with pytest.raises(ValueError, match=message) as error:
        paper.values("fig2")  # whatever is asked for
    assert str(error.value).startswith(f"{paths.REFERENCE / 'paper.csv'}, line 4: ")


def test_another_header_is_refused(fill):
    fill(header="artefact,method")
    with pytest.raises(
        ValueError, match=r"its first line is artefact,method, expected artefact,method,backbone"
    ):
        paper.values("table1")


def test_values_stand_beside_the_rows_that_they_belong_to(fill):
    fill(
        "table1,byol,resnet18,0.45,,,,,,f1,0.25",
        "table1,byol,resnet18,0.45,0.01,,,,,f1,0.9",
        "table1,byol,vit_tiny,0.45,,,,,,f1,0.9",
        "fig2,byol,resnet18,0.01,,,,,,f1,0.9",
        "table1,supervised,resnet18,0.01,,,,,,recall,0.9",
    )
    found = paper.beside(reduced(), "table1")
    np.testing.assert_array_equal(found["paper"], [np.nan, np.nan, np.nan, 0.25])
    pd.testing.assert_frame_equal(found.drop(columns="paper"), reduced())


def test_the_natural_train_share_may_be_none(fill):
    fill("table2,supervised,resnet18,,,64,,,,f1,0.25")
    ours = pd.DataFrame(
        {"method": "supervised", "train_share": None, "px": [32, 64], "metric": "f1", "value": 0.5}
    )
    np.testing.assert_array_equal(paper.beside(ours, "table2")["paper"], [np.nan, 0.25])


def test_tables_print_the_paper_in_the_cell_and_draw_it_in_brackets(fill):
    bare = tables.table(
        paper.beside(reduced(), "table1"), ["f1"], ["method", "backbone"], "train_share"
    )
    fill("table1,byol,resnet18,0.45,,,,,,f1,0.25")
    table = tables.table(
        paper.beside(reduced(), "table1"), ["f1"], ["method", "backbone"], "train_share"
    )
    assert (
        "| BYOL | ResNet-18 | **0.50 [0.40, 0.60]** | **0.50 [0.40, 0.60]** (paper 0.25) |"
        in table.markdown()
    )
    assert r"\textbf{0.50 [0.40, 0.60]} (paper 0.25) \\" in table.latex()
    assert "paper" not in bare.markdown() + bare.latex()
    drawn = [t.get_text() for ax in table.draw().axes for t in ax.texts]
    assert "(0.25)" in drawn
    assert not any("(" in t.get_text() for ax in bare.draw().axes for t in ax.texts)


def test_filling_in_a_row_renders_its_artefact_again_and_no_other(fill, monkeypatch):
    monkeypatch.setattr("lib.store.stored.require", lambda runs, *_: runs)
    stored = SimpleNamespace(origin="fresh", record={"fingerprint": "same"})
    monkeypatch.setattr("lib.store.stored.load", lambda run: stored)
    given = {"profile": "smoke", "methods": [], "seeds": []}
    before = {name: renderings.inputs(name, given) for name in ("table1", "fig2")}
    fill("table1,byol,resnet18,0.45,,,,,,f1,0.25")
    after = {name: renderings.inputs(name, given) for name in before}
    assert after["fig2"] == before["fig2"]
    assert [
        part for part in before["table1"] if after["table1"][part] != before["table1"][part]
    ] == ["paper"]
