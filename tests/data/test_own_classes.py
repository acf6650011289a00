"""The names in one's own column Class are the classes of tables, of figures and of the draw of
defects."""

import numpy as np
import pandas as pd
import pytest
from test_own_labels import DATA, write

from lib.analysis import classes, provenance
from lib.data import gallery, own_labels, sources, splits
from lib.data.labels import class_flags
from lib.publish import notebooks, renderings
from lib.report import captions, tables
from lib.study.names import CLASSES, class_names
from lib.system.errors import DataError

HEADER = "Filename,Defect,Split,Class,Group"
# Each row four times on either side: normal, two kinds of defect and both, a defect of no kind.
KINDS = ((0, ""), (0, " dull;Normal"), (1, "crack"), (1, "spall; crack ;crack"), (1, " "))
NONE = pd.DataFrame(columns=list(gallery.COLUMNS))


@pytest.fixture
def own(workspace, monkeypatch):
    """A table of 40 rows as LABELS, in ten groups."""
    rows = [
        f"{split}{i}{j}.png,{defect},{split},{name},{split} {i}"
        for split in ("train", "val")
        for j in range(4)
        for i, (defect, name) in enumerate(KINDS)
    ]
    monkeypatch.setenv("LABELS", str(write(workspace, *rows, header=HEADER)))
    monkeypatch.delenv("IMAGES", raising=False)
    return workspace


def validation():
    return sources.tables(DATA, "val")[0]


def test_names_are_separated_by_semicolons_and_counted_once(own):
    table = validation()
    assert list(class_flags(table)) == ["crack", "dull", "spall"]
    assert class_flags(table).sum().to_dict() == {"crack": 8, "dull": 4, "spall": 4}
    alone = class_flags(table[table["Defect"] == 0])
    assert alone.sum().to_dict() == {"crack": 0, "dull": 4, "spall": 0}
    assert alone.index.equals(table.index[table["Defect"] == 0])


def test_table_5_counts_the_users_own_classes_and_groups(own):
    subsets = classes.subsets(DATA, [0.2])
    lines = tables.counts(classes.count(subsets)).markdown().splitlines()
    assert lines[0] == "| Class | Training | at 20 % | Validation |"
    assert [line.split(" | ") for line in lines[2:6]] == [
        ["| Normal", "8", "8", "8 |"],
        ["| Defect", "12", "2", "12 |"],
        ["| All", "20", "10", "20 |"],
        ["| Groups", "5", str(subsets["at 20 %"]["Group"].nunique()), "5 |"],
    ]
    assert [line.split(" | ")[0] for line in lines[6:]] == ["| crack", "| dull", "| spall"]
    assert lines[6].split(" | ")[1] == "8" and lines[7].split(" | ")[2] == "4"


def test_a_share_draws_every_combination_of_names(own):
    table = sources.tables(DATA, "train")[0]
    drawn = splits.resample(table, 3 / 11, 0)  # 8 normal images and 3 of 12 defects
    assert (drawn["Defect"] == 0).sum() == 8
    assert sorted(drawn["Class"][drawn["Defect"] == 1]) == ["", "crack", "crack;spall"]
    half = splits.stratified_fraction(table, 0.5, 0)
    assert (half.groupby(["Defect", "Class"], observed=True).size() == 2).all()


def test_figure_1_shows_each_class_and_says_what_it_is(own):
    chosen = gallery.choose(validation(), NONE, 8)
    assert list(chosen["Shown"]) == ["", "", "", "dull", "crack", "spall", "", ""]
    assert chosen["Filename"].is_unique
    captions = list(chosen.apply(gallery.caption, axis=1))
    assert captions[3:6] == ["Normal: dull", "Defect: crack", "Defect: crack, spall"]
    assert captions[6:] == ["Defect: crack", "Defect"]
    assert set(captions[:3]) <= {"Normal", "Normal: dull"}


def test_recall_is_that_of_a_classs_defects(own):
    table = validation()
    assert classes.scored(table) == ["crack", "spall"]
    assert classes.images(table)["crack"] == 8 and classes.images(table)["dull"] == 0
    logit = np.where(table["Class"] == "crack", 1.0, -1.0)
    flags = class_flags(table)[["crack", "spall"]]
    found = classes.detections(logit, table["Defect"], flags, None, np.ones(20), 5, list(flags))
    recall = [found["recall", name][0] for name in ("crack", "spall", classes.ANY, classes.NORMAL)]
    assert recall == pytest.approx([0.5, 0, 1 / 3, 0])


@pytest.mark.parametrize(
    "value, defect, message",
    [
        (
            "normal",
            1,
            "Class is 'normal', Defect is 1 (1 such rows); correct the row or remove it.",
        ),
        (
            "crack; NORMAL",
            1,
            "Class is 'crack; NORMAL', Defect is 1 (1 such rows); correct the row",
        ),
        (
            "Defect",
            1,
            "Class is 'Defect', as tables call the images of all classes (1 such rows); gi",
        ),
        (
            "all",
            0,
            "Class is 'all', as tables call the images of all classes (1 such rows); give the",
        ),
    ],
)
def test_names_that_tables_use_otherwise_are_refused(tmp_path, value, defect, message):
    path = write(tmp_path, "a.png,0,", f"b.png,{defect},{value}", header="Filename,Defect,Class")
    with pytest.raises(DataError) as error:
        own_labels.read(path)
    assert str(error.value).startswith(f"{path}, row 3 (b.png): {message}")


def test_a_column_without_names_is_none(tmp_path):
    path = write(tmp_path, "a.png,0,normal", "b.png,1,", header="Filename,Defect,Class")
    table = own_labels.read(path)
    assert list(class_flags(table)) == []
    assert classes.count({"x": table})["class"].tolist() == list(classes.TOTALS)


def test_the_footer_counts_groups_and_a_table_without_runs_tells_of_a_leak(
    own, capsys, monkeypatch
):
    for variable in ("METHODS", "SEEDS"):
        monkeypatch.delenv(variable, raising=False)
    assert captions.footer(provenance.of_data("own"), []) == (
        "Data: labels.csv. Profile own: 20 training and 20 validation images of 10 groups. No run "
        "is read."
    )
    text = (own / "labels.csv").read_text()
    (own / "labels.csv").write_text(text.replace("Group", "Site", 1))
    monkeypatch.setattr(renderings, "outdated", lambda stamp, now: "")  # nothing is drawn
    notebooks.render(["table5"], "own")
    leak = "labels.csv has no Group: that no group lies in both splits is not checked"
    assert capsys.readouterr().err == f"warning: {leak}.\n"
    assert f"Data: labels.csv ({leak}). Profile own: 20" in captions.footer(
        provenance.of_data("own"), []
    )


def test_a_class_of_ones_own_may_be_called_like_a_code_of_sewer_ml():
    """Images that a user calls OK were connections with construction changes."""
    assert class_names(["OK", "crack"]) == {"OK": "OK", "crack": "crack"}
    assert class_names([*CLASSES, "All"])["OK"] == "connection with construction changes"
    counts = tables.Counts(pd.DataFrame({"Training": [3, 4]}, index=["OK", "crack"]))
    assert counts.columns()[0] == ["Class", "Training"]
    assert "connection" not in counts.markdown()
