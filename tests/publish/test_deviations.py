"""The table of deviations is whole, and its effects are measured, never typed."""

import re
import tomllib
from itertools import groupby

import pandas as pd
import pytest

from lib.analysis import protocol_effects
from lib.publish import docs

ROWS = tomllib.loads(docs.DEVIATIONS.read_text())["row"]
each = pytest.mark.parametrize("row", ROWS, ids=[row["item"] for row in ROWS])


@each
def test_every_row_says_everything(row):
    assert list(row) == ["group", *docs.FIELDS]
    assert all(row[name].strip() == row[name] != "" for name in row if name != "effect")
    assert not re.search(r"[|\n]", "".join(row.values()))  # a cell of a Markdown table


@each
def test_effects_are_asked_for_and_not_typed(row):
    assert not re.search(r"[-+−]0?\.\d\d", " ".join(row[name] for name in row))
    for effect, held in (one.split(", ") for one in row["effect"].split("; ") if one):
        assert held in protocol_effects.EFFECTS.get(effect, protocol_effects.PROTOCOL)


def test_rows_are_grouped_and_named_once():
    assert [group for group, _ in groupby(ROWS, key=lambda row: row["group"])] == [
        "Data",
        "Training",
        "Methods",
        "Evaluation",
    ]
    assert len({row["item"] for row in ROWS}) == len(ROWS)


def test_the_three_habits_carry_their_measured_effects():
    with_effect = [row["item"] for row in ROWS if row["effect"]]
    assert with_effect == ["MAE's training", "Test images of Table 1 and the ablations", "Probe"]


def test_an_effect_is_written_with_its_interval():
    measured = pd.DataFrame(
        [
            {
                "effect": "probe",
                "held": "clean images",
                "method": "mean",
                "backbone": "all",
                "metric": name,
                "value": value,
                "low": value - 0.01,
                "high": value + 0.02,
            }
            for name, value in (("f1", -0.05), ("auroc", 0.1))
        ]
    )
    assert docs.effects(measured, "probe, clean images") == (
        "clean images: F1 -0.05 [-0.06, -0.03], AUROC +0.10 [+0.09, +0.12]"
    )
    assert docs.effects(measured, "") == "–"
    with pytest.raises(KeyError, match="0 rows of"):
        docs.effects(measured, "mae, clean")


def test_the_page_holds_every_row():
    text = (docs.DOCS / "deviations.md").read_text()
    assert all(
        f"| {row['item']} | {row['paper']} | {row['code']} | {row['here']} | {row['why']} |" in text
        for row in ROWS
    )
