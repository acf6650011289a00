"""Images of one's own: how the CSV is split and checked, and what is left out where it has no class
columns."""

import numpy as np
import pandas as pd
import pytest
from commands import command
from PIL import Image

from lib.analysis import provenance
from lib.data import pixels, sources
from lib.data.labels import class_labels
from lib.data.sources import DataError
from lib.scheduling import plan
from lib.store import stored
from lib.store.stored import MissingRuns
from lib.study import grid
from lib.study.names import CLASSES

DATA = {"source": "own", "train": 0, "val": 0, "seed": 1, "frame": 0, "fraction": 1.0, "cache": 16}


@pytest.fixture
def own(workspace, monkeypatch):
    """A function that writes labels.csv (40 rows, 10 of them defects) with further columns, and
    sets LABELS to it."""
    folder = workspace / "mine"
    folder.mkdir()
    monkeypatch.delenv("IMAGES", raising=False)
    monkeypatch.setenv("LABELS", str(folder / "labels.csv"))

    def write(n=40, **columns):
        frame = pd.DataFrame(
            {
                "Filename": [f"{i:03}.png" for i in range(n)],
                "Defect": [int(i % 4 == 0) for i in range(n)],
            }
        )
        frame = frame.assign(**columns)
        frame.to_csv(folder / "labels.csv", index=False)
        return frame

    write.folder = folder
    return write


def draw(folder, names, side=24):
    """An image of noise for each name."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side + 6, 3), dtype=np.uint8)).save(
            folder / name
        )


def sides():
    """The file names of the two splits, and whether groups are known."""
    (train, known), (val, _) = (sources.tables(DATA, split) for split in ("train", "val"))
    return train, val, known


# Splits


def test_without_split_a_stratified_fifth_is_held_out_and_the_leak_is_told(own, capsys):
    draw(own.folder, own()["Filename"])
    train, val, known = sides()
    assert (len(val), val["Defect"].sum(), train["Defect"].sum()) == (8, 2, 8)
    assert not set(train["Filename"]) & set(val["Filename"])
    assert not known
    pixels.prepare(DATA)
    assert capsys.readouterr().err.startswith(
        "warning: labels.csv has no Split and no Group: images of one group (video, pipe, site) may"
    )


def test_the_same_images_are_held_out_each_time(own):
    own()
    first = sides()[1]
    sources._own.cache_clear()  # another process
    pd.testing.assert_frame_equal(sides()[1], first)


def test_whole_groups_are_held_out_without_a_warning(own, capsys):
    draw(own.folder, own(Group=[f"pipe {i // 4}" for i in range(40)])["Filename"])
    train, val, known = sides()
    assert known
    assert not set(train["Group"]) & set(val["Group"])
    assert len(val) == 8
    assert (val["Video"] == val["Group"]).all()
    pixels.prepare(DATA)
    assert "warning" not in capsys.readouterr().err


def test_split_is_followed_however_it_is_spelt(own):
    words = ["train", "Training", " TRAIN ", "val", "Valid", "validation ", "VAL", "train"]
    frame = own(Split=[words[(i // 4) % 8] for i in range(40)])
    train, val, _ = sides()
    expected = ~frame["Split"].str.strip().str.lower().str.startswith("train")
    assert list(val["Filename"]) == list(frame["Filename"][expected])
    assert list(train["Filename"]) == list(frame["Filename"][~expected])


def test_groups_on_both_sides_are_told(own, capsys):
    split = ["train" if i < 30 else "val" for i in range(40)]
    draw(
        own.folder,
        own(Split=split, Group=[i % 15 if i in (3, 33) else 100 + i for i in range(40)])[
            "Filename"
        ],
    )
    pixels.prepare(DATA)
    warning = capsys.readouterr().err
    assert (
        warning
        == "warning: 1 groups of labels.csv (3 ...) lie in both splits: scores will be too high.\n"
    )
    run = grid.run("own", "random", "resnet18", 0.45, 42)
    assert "(1 groups of labels.csv (3 ...) lie in both splits" in provenance._data_name(run.data)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"Split": ["train"] * 30 + ["holdout"] * 10},
            r"row 32 \(030\.png\): Split is 'holdout', expected train or val",
        ),
        (
            {"Split": ["train"] * 30 + ["test"] * 10},
            r"Split is 'test', .*\(10 such rows\); write val for images to score",
        ),
        (
            {"Split": ["train"] * 30 + [None] * 10},
            r"row 32 \(030\.png\): Split is empty \(10 such rows\); fill it in",
        ),
        (
            {"Split": ["train"] * 30 + ["  "] * 10},
            r"row 32 \(030\.png\): Split is empty \(10 such rows\); fill it in",
        ),
        (
            {"Split": ["train"] * 40},
            "every row is in the split train; name some train and some val",
        ),
        (
            {"Split": ["val" if i == 1 else "train" for i in range(40)]},
            "its val rows need normal and defect images, found 1 normal and 0 defect; "
            "add what is missing",
        ),
        (
            {"Defect": [0] * 40},
            r"5 normal and 5 defect images or more; .*\(found 40 normal and 0 defect images\)",
        ),
        (
            {"Defect": [1] * 40},
            r"5 normal and 5 defect images or more; .*\(found 0 normal and 40 defect images\)",
        ),
        (
            {"Group": ["a"] * 40},
            r"held out of 5 normal and 5 defect groups or more; add groups, or Split "
            r"\(found 1 normal and 1 defect groups\)",
        ),
        ({"Group": ["a", None] * 20}, r"row 3 \(001\.png\): Group is empty \(20 such rows\)"),
        (
            {"Filename": ["a.png", None, *map(str, range(38))]},
            r"row 3: Filename is empty \(1 such rows\)",
        ),
        ({"Defect": [2] * 40}, "labels must be 0 or 1"),
        (
            {"Filename": ["a.png"] * 40},
            r"row 3: it names a\.png twice, first in row 2 \(39 such rows\); keep one row",
        ),
        ({"n": 0}, "has a header and no rows: add one row per image"),
    ],
)
def test_a_table_that_cannot_be_split_is_refused(own, columns, message):
    own(**columns)
    with pytest.raises(DataError, match=message) as error:
        sources.tables(DATA, "train")
    assert str(own.folder / "labels.csv") in str(error.value)


def test_a_missing_column_shows_the_columns_found(own):
    own().rename(columns={"Defect": "Label"}).to_csv(own.folder / "labels.csv", index=False)
    expected = (
        r"lacks the column\(s\) Defect; expected Filename, Defect, found Filename, Label: add them"
    )
    with pytest.raises(DataError, match=expected):
        sources.tables(DATA, "train")


@pytest.mark.parametrize("mark, name", [(";", "semicolons"), ("\t", "tabs")])
def test_a_table_of_a_spreadsheet_that_uses_other_separators_is_told_so(own, mark, name):
    own().to_csv(own.folder / "labels.csv", index=False, sep=mark)
    with pytest.raises(
        DataError,
        match=rf"labels\.csv is separated by {name}, expected commas: save it as a CSV with",
    ):
        sources.tables(DATA, "train")


def test_a_table_of_a_spreadsheet_with_windows_line_ends_and_a_mark_is_read(own):
    own()
    before = sides()[0]
    path = own.folder / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(sides()[0], before)


def test_an_edited_table_is_read_anew_in_the_same_process(own):
    own()
    assert len(sides()[0]) == 32
    own(Split=["val" if i >= 30 else "train" for i in range(40)])
    assert len(sides()[0]) == 30


@pytest.mark.parametrize("content", [b"", "Filename,Defect\nr\xf6hre.png,1\n".encode("latin-1")])
def test_a_file_that_is_no_csv_in_utf8_is_refused(own, content):
    own()
    (own.folder / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"labels\.csv is no CSV in UTF-8 .*: save it as one"):
        sources.tables(DATA, "train")


def test_other_images_under_the_same_names_are_other_data(own):
    names = own()["Filename"]
    draw(own.folder, names)
    before = sources.identity(DATA)
    assert sources.identity(DATA) == before
    draw(own.folder, names[:1], side=30)
    assert sources.identity(DATA) != before


def test_class_columns_must_agree_with_defect(own):
    frame = own()
    good = {name: frame["Defect"] * (name == "RO") for name in CLASSES}
    own(**good)
    sources.tables(DATA, "train")
    own(**good | {"RO": frame["Defect"].where(frame.index != 8, 0)})
    with pytest.raises(
        DataError, match=r"row 10 \(008\.png\): the class columns contradict Defect \(1 such rows\)"
    ):
        sources.tables(DATA, "train")


def test_some_but_not_all_class_columns_are_told_and_left_out(own, capsys):
    frame = own(Group=[f"pipe {i // 4}" for i in range(40)])
    draw(own.folder, frame["Filename"])
    own(
        **{name: frame["Defect"] * (name == "RO") for name in CLASSES[:-2]}, Group=frame["Filename"]
    )
    pixels.prepare(DATA)
    pixels.prepare({**DATA, "cache": 20})  # told once a process
    assert capsys.readouterr().err == (
        "warning: labels.csv lacks the class column(s) OP, OK: the other classes are ignored, "
        "and F2CIW is left out.\n"
    )
    assert class_labels(sides()[0]) is None


# Images


def test_subfolders_jpg_and_a_folder_elsewhere(own, workspace, monkeypatch):
    names = [f"pipe{i % 3}/{i:03}.{'jpg' if i % 2 else 'png'}" for i in range(40)]
    own(Filename=names)
    draw(own.folder, names)
    split = pixels.load(DATA, "train")
    assert split.pixels.shape == (32, 16, 16, 3)
    with Image.open(own.folder / split.table["Filename"][1]) as image:
        expected = np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(split.pixels[1], expected)
    (own.folder / "pipe0").rename(workspace / "pipe0")
    for folder in ("pipe1", "pipe2"):
        (own.folder / folder).rename(workspace / folder)
    monkeypatch.setenv("IMAGES", str(workspace))
    assert pixels.load(DATA, "val").pixels.shape == (8, 16, 16, 3)


def test_a_folder_for_labels_names_the_tables_in_it(own, monkeypatch):
    own()
    monkeypatch.setenv("LABELS", str(own.folder))
    with pytest.raises(
        DataError, match=r"mine is a folder, which holds labels\.csv: set LABELS to the CSV itself"
    ):
        sources.tables(DATA, "train")


def test_a_missing_image_is_named_with_the_remedy(own):
    frame = own()
    draw(own.folder, frame["Filename"].drop(5))
    held = frame["Filename"][5] in set(sides()[1]["Filename"])
    with pytest.raises(
        DataError, match=r"005\.png is in the table, but not in .*: complete the images, set IMAGES"
    ):
        pixels.load(DATA, "val" if held else "train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("", "set LABELS to a CSV with the columns Filename, Defect"),
        ("nowhere.csv", r"nowhere\.csv does not exist: set LABELS to your CSV"),
        (".", r" is a folder.*: set LABELS to the CSV itself"),
    ],
)
def test_an_absent_table_is_refused(own, monkeypatch, labels, message):
    monkeypatch.setenv("LABELS", labels)
    with pytest.raises(DataError, match=message):
        sources.tables(DATA, "train")


# A run


OUT_OF_REACH = (
    "a share of 1% defects cannot be reached with 24 normal and 8 defect images: it takes at least "
    "1 defect and 99 normals."
)


def test_a_share_out_of_reach_is_left_out_with_a_sentence(own, monkeypatch, capsys):
    draw(own.folder, own()["Filename"])
    monkeypatch.setenv("LABELS", str(own.folder / "labels.csv"))
    request = plan.Request("own", ["table1"], methods=["random"], train_shares=[0.01, 0.05, 0.45])
    assert {job.run.share for job in request.pending()} == {0.05, 0.45}
    assert f"left out: {OUT_OF_REACH}" in capsys.readouterr().out.splitlines()
    with pytest.raises(MissingRuns, match="4 of 4 runs are missing"):  # two backbones
        stored.require([*request.runs(), grid.parse("own", "random-vit_tiny-d01-s42")], "make")


def test_shares_of_which_none_is_in_reach_are_refused_before_anything_trains(own, workspace):
    draw(own.folder, own()["Filename"])
    chosen = {"PROFILE": "own", "METHODS": "random", "SEEDS": "42", "TRAIN_SHARES": "0.01,0.02"}
    done = command("replicate", "table1", **chosen, LABELS=str(own.folder / "labels.csv"))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert errors == [
        f"error: {OUT_OF_REACH} Choose other shares, for example TRAIN_SHARES=0.15,0.45."
    ]
    assert not list(workspace.glob("runs/own/*/run.json"))
    assert not list(workspace.glob("runs/own/*.partial"))
