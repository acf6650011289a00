"""Table 5 against labels counted by hand."""

import pandas as pd
import pytest

from lib.analysis import class_counts
from lib.data import sources
from lib.report import count_table
from lib.study import profiles
from lib.study.names import CLASSES


def labelled(*patterns: str) -> pd.DataFrame:
    """A table with a row a pattern, such as "RB FS", or "" for a normal."""
    rows = [{c: int(c in p.split()) for c in CLASSES} | {"Defect": int(bool(p))} for p in patterns]
    return pd.DataFrame(rows)


def test_an_image_of_two_classes_counts_for_both():
    counted = class_counts.count(
        {"Training": labelled("", "RB", "RB FS"), "Validation": labelled("FS", "")}
    )
    of = counted.set_index(["subset", "class"])["images"]
    assert of["Training"][["Normal (ND)", "Defect", "All", "RB", "FS", "OK"]].tolist() == [
        1,
        2,
        3,
        2,
        1,
        0,
    ]
    assert of["Validation"][["Normal (ND)", "Defect", "All", "RB", "FS"]].tolist() == [
        1,
        1,
        2,
        0,
        1,
    ]


def test_table_names_every_class_and_keeps_the_order():
    table = count_table.table(
        class_counts.count({"Training": labelled("", *CLASSES), "at 1 %": labelled("", "OS")})
    )
    lines = table.markdown().splitlines()
    assert lines[2] == "| Class | Code | Training | at 1 % |"
    assert lines[4:7] == [
        "| Normal (ND) |  | 1 | 1 |",
        "| Defect |  | 17 | 1 |",
        "| All |  | 18 | 2 |",
    ]
    assert [line.split(" | ")[1] for line in lines[7:]] == list(CLASSES)
    assert "| lateral reinstatement cuts | OS | 1 | 1 |" in lines
    assert r"at 1\,\%" in table.latex()
    assert {t.get_text() for t in table.draw().axes[0].texts} >= {"roots", "RO", "18"}


def test_without_class_columns_there_are_totals_alone():
    table = count_table.table(class_counts.count({"Training": pd.DataFrame({"Defect": [0, 1, 1]})}))
    assert table.markdown().splitlines()[4:] == [
        "| Normal (ND) |  | 1 |",
        "| Defect |  | 2 |",
        "| All |  | 3 |",
    ]
    assert table.draw().axes


def test_a_train_share_keeps_the_normals(store):
    data = profiles.load("smoke")["data"]
    counted = class_counts.count(class_counts.subsets(data, [0.05, 0.45])).set_index(
        ["subset", "class"]
    )["images"]
    normals = counted["Training", "Normal (ND)"]
    assert normals == counted["at 5 %", "Normal (ND)"] == counted["at 45 %", "Normal (ND)"]
    assert counted["at 5 %", "Defect"] == int(normals * 0.05 / 0.95)
    assert "for Table 1" not in counted.index.get_level_values("subset")


def test_the_validation_fraction_is_told_where_it_is_less(store):
    data = profiles.load("smoke")["data"]
    found = class_counts.subsets(data | {"fraction": 0.5}, [])
    assert len(found["for Table 1"]) == pytest.approx(len(found["Validation"]) / 2, abs=20)
    assert len(found["Training"]) < len(sources.tables(data, "train")[0])
