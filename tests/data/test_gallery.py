"""Figure 1's frames: a frame of every class, alone where possible, the same ones every time."""

import numpy as np
import pandas as pd
import pytest

from lib.data import gallery, sources
from lib.study import profiles
from lib.study.names import CLASS_NAMES, CLASSES


@pytest.fixture
def smoke(store):
    data = profiles.load("smoke")["data"]
    table, _ = sources.tables(data, "val")
    return table, gallery.boxes(data)


def table_of(*patterns: str) -> pd.DataFrame:
    rows = [{c: int(c in p.split()) for c in CLASSES} | {"Defect": int(bool(p))} for p in patterns]
    names = [f"{i}.png" for i in range(len(rows))]
    return pd.DataFrame(rows).assign(Filename=names, Video=names)


def boxes_of(area: dict[str, int], name: str = "RO") -> pd.DataFrame:
    """A box a file, one pixel high."""
    return pd.DataFrame(
        [(f, name, 0, 0, n, 1) for f, n in area.items()], columns=list(gallery.COLUMNS)
    )


NONE = boxes_of({})


def test_every_class_is_shown_and_the_page_is_full(smoke):
    chosen = gallery.choose(*smoke, 24)
    assert len(chosen) == 24
    assert chosen["Filename"].is_unique
    assert [name for name in chosen["Shown"] if name] == list(CLASSES)
    assert all(row[row["Shown"]] == 1 for _, row in chosen.iterrows() if row["Shown"])
    assert (chosen["Defect"] == 0).sum() == 4
    assert gallery.choose(*smoke, 24).equals(chosen)


def test_boxes_lie_in_the_stored_frames(smoke):
    table, boxes = smoke
    ours = boxes[boxes["Filename"].isin(table["Filename"])]
    shown = table.set_index("Filename").loc[ours["Filename"]]
    assert all(shown[c].iloc[i] == 1 for i, c in enumerate(ours["Class"]))
    side = profiles.load("smoke")["data"]["frame"]
    assert ours[["x0", "y0"]].to_numpy().min() >= 0
    assert ours[["x1", "y1"]].to_numpy().max() <= side


def test_a_class_alone_is_preferred_to_a_larger_one_in_company():
    table = table_of("RO", "FS RO", "RO")
    chosen = gallery.choose(table, boxes_of({"0.png": 5, "1.png": 99, "2.png": 5}), 2)
    assert chosen.loc[chosen["Shown"] == "RO", "Filename"].item() in ("0.png", "2.png")


def test_the_box_is_neither_the_least_nor_the_most():
    area = {f"{i}.png": n for i, n in enumerate((1, 50, 20, 30, 40))}
    chosen = gallery.choose(table_of(*["RO"] * 5), boxes_of(area), 1)
    assert area[chosen["Filename"].item()] == 40  # three quarters of the way


def test_without_boxes_the_middle_row_stands_for_its_class():
    assert gallery.choose(table_of(*["RO"] * 5), NONE, 1)["Filename"].item() == "2.png"


def test_a_class_without_images_is_left_out():
    chosen = gallery.choose(table_of("", "RO", "FS GR"), NONE, 24)
    assert set(chosen["Shown"]) == {"", "RO", "FS", "GR"}


def test_no_class_columns_normals_and_defects():
    table = pd.DataFrame(
        {"Filename": list("abcdefgh"), "Video": list("abcdefgh"), "Defect": [0, 1] * 4}
    )
    chosen = gallery.choose(table, NONE, 4)
    assert chosen["Defect"].tolist() == [0, 0, 1, 1]
    assert [gallery.caption(row) for _, row in chosen.iterrows()] == [
        "Normal",
        "Normal",
        "Defect",
        "Defect",
    ]


def test_a_class_of_the_users_own_that_is_normal_stands_with_the_normals():
    table = pd.DataFrame({"Filename": list("abcd"), "Defect": [0, 1, 0, 1]}).assign(
        Class=pd.Categorical(["dust", "scratch", "smear", "crack"]), Video=list("abcd")
    )
    chosen = gallery.choose(table, NONE, 4)
    assert chosen["Shown"].tolist() == ["dust", "smear", "crack", "scratch"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", "Normal"),
        ("RO", "RO: roots"),
        ("GR RO", "RO + GR: roots, branch pipe"),
    ],
)
def test_captions_hold_codes_and_names(pattern, expected):
    assert gallery.caption(table_of(pattern).iloc[0]) == expected


def test_every_class_has_a_name():
    assert tuple(CLASS_NAMES) == CLASSES
    assert len(set(CLASS_NAMES.values())) == len(CLASSES)


def test_normals_come_from_different_videos():
    table = table_of(*[""] * 8).assign(Video=np.repeat(list("abcd"), 2))
    assert gallery.choose(table, NONE, 4)["Video"].is_unique
