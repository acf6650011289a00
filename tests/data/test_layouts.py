"""`make labels`: trees laid out as data sets lay them out give the right table of labels."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.__main__ import main
from lib.data import own_labels
from lib.data.folders import NORMAL


def draw(root, names, mask=None):
    """An image for each name; a mask, empty or with a bright square, where `mask` is 0 or 1."""
    rng = np.random.default_rng(0)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 30), dtype=np.uint8)
        if mask is not None:
            pixels = np.zeros((20, 30), np.uint8)
            pixels[4:8, 4:8] = 255 * mask
        Image.fromarray(pixels).save(path)


def numbered(pattern, n):
    return [pattern.format(i) for i in range(n)]


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """A function that runs `make labels` on the tree; returns the table and what was printed."""

    def run(status=0):
        monkeypatch.setenv("FOLDER", str(tmp_path / "set"))
        monkeypatch.setenv("OUT", str(tmp_path / "labels.csv"))
        assert main(["labels"]) == status
        text = capsys.readouterr()
        if status:
            return text.err
        return pd.read_csv(tmp_path / "labels.csv", keep_default_na=False), text.out

    run.root = tmp_path / "set"
    return run


def counts(frame):
    """Class, "" for normals -> rows, after a check that the classes are those of defects."""
    assert ((frame["Class"] != "") == (frame["Defect"] == 1)).all()
    return frame["Class"].value_counts().to_dict()


def test_mvtec_ad(table):
    draw(table.root, numbered("bottle/train/good/{:03}.png", 9))
    draw(table.root, numbered("bottle/test/good/{:03}.png", 3))
    draw(table.root, numbered("bottle/test/broken_large/{:03}.png", 4))
    draw(table.root, numbered("bottle/test/contamination/{:03}.png", 2))
    draw(table.root, numbered("bottle/ground_truth/broken_large/{:03}_mask.png", 4), mask=1)
    draw(table.root, numbered("bottle/ground_truth/contamination/{:03}_mask.png", 2), mask=1)
    (table.root / "bottle" / "license.txt").write_text("")
    frame, text = table()
    assert counts(frame) == {"": 12, "broken_large": 4, "contamination": 2}
    assert list(frame) == ["Filename", "Defect", "Class"]  # no Split, no Group
    assert all((table.root / name).is_file() for name in frame["Filename"])
    assert "12 normal and 6 defect images" in text and "4 in broken_large: defect" in text
    assert "6 masks" in text and "1 not images (.txt)" in text
    assert "training part holds normal images only, and this study needs defects there" in text
    assert f"LABELS={table.root.parent / 'labels.csv'} IMAGES={table.root}" in text


def test_visa_as_published_and_btad(table):
    draw(table.root, numbered("candle/Data/Images/Normal/{:04}.JPG", 6))
    draw(table.root, numbered("candle/Data/Images/Anomaly/{:03}.JPG", 3))
    draw(table.root, numbered("candle/Data/Masks/Anomaly/{:03}.png", 3), mask=1)
    draw(table.root, numbered("01/train/ok/{:04}.bmp", 4))
    draw(table.root, numbered("01/test/ok/{:04}.bmp", 2))
    draw(table.root, numbered("01/test/ko/{:04}.bmp", 2))
    draw(table.root, numbered("01/ground_truth/ko/{:04}.bmp", 2), mask=1)
    frame, text = table()
    assert counts(frame) == {"": 12, "Anomaly": 3, "ko": 2}
    assert "5 masks" in text


def test_kolektor_sdd(table):
    for item in range(6):
        draw(table.root, numbered(f"kos{item:02}/Part{{}}.jpg", 8))
        draw(table.root, [f"kos{item:02}/Part{i}_label.bmp" for i in range(8) if i != item], 0)
        draw(table.root, [f"kos{item:02}/Part{item}_label.bmp"], mask=1)
    frame, text = table()
    assert frame["Defect"].sum() == 6 and len(frame) == 48
    assert frame["Group"].nunique() == 6
    defects = frame[frame["Defect"] == 1]["Filename"]
    assert list(defects) == [f"kos{i:02}/Part{i}.jpg" for i in range(6)]
    assert "42 empty mask: normal" in text and "6 mask with pixels above 0: defect" in text


def test_kolektor_sdd2_has_a_split_of_its_own(table):
    draw(table.root, numbered("train/{:05}.png", 7) + numbered("test/{:05}.png", 4))
    draw(table.root, numbered("train/{:05}_GT.png", 7) + numbered("test/{:05}_GT.png", 4), mask=0)
    draw(table.root, ["train/00001_GT.png", "test/00002_GT.png"], mask=1)
    frame, text = table()
    assert frame.groupby("Split")["Defect"].agg(["size", "sum"]).to_numpy().tolist() == [
        [7, 1],
        [4, 1],
    ]
    assert "Group" not in frame and "Split is the data set's own" in text


def test_magnetic_tiles(table):
    for name, n in {"MT_Blowhole": 3, "MT_Crack": 2, "MT_Free": 5}.items():
        draw(table.root, numbered(f"{name}/Imgs/exp1_num_{{}}.jpg", n))
        draw(table.root, numbered(f"{name}/Imgs/exp1_num_{{}}.png", n), mask=name != "MT_Free")
    frame, text = table()
    assert counts(frame) == {"": 5, "MT_Blowhole": 3, "MT_Crack": 2}
    assert set(frame["Filename"].str[-4:]) == {".jpg"} and "10 masks" in text


def test_masks_with_smooth_edges_are_masks(table):
    """Those of magnetic tiles have up to 216 grey values along the edges of their spots; they were
    taken for 388 more images of defects. A second photograph of the same name is none."""
    for name in ("MT_Break", "MT_Free"):
        draw(table.root, numbered(f"{name}/Imgs/{{}}.jpg", 3))
        draw(table.root, numbered(f"{name}/Imgs/{{}}.png", 3), mask=name != "MT_Free")
    smooth = np.zeros((20, 30), np.uint8)
    smooth[5:10, 5:10] = 255
    smooth[5:10, 10:13] = np.arange(15).reshape(5, 3) * 17  # 2.5 % of the pixels
    Image.fromarray(smooth).save(table.root / "MT_Break/Imgs/0.png")
    draw(table.root, ["MT_Break/Imgs/1.png"])
    frame, text = table()
    assert counts(frame) == {"": 3, "MT_Break": 4} and "5 masks" in text


def test_image_folder_with_a_split(table):
    for side, n in {"train": 4, "val": 2, "test": 1}.items():
        draw(table.root, numbered(f"{side}/0/{{}}.png", n) + numbered(f"{side}/1/{{}}.png", n))
    frame, _ = table()
    assert frame.groupby(["Split", "Defect"]).size().tolist() == [4, 4, 3, 3]


def test_masks_of_the_defects_alone_leave_the_others_normal(table):
    draw(table.root, numbered("images/{}.jpg", 6))
    draw(table.root, numbered("masks/{}.png", 2), mask=1)
    frame, text = table()
    assert frame["Defect"].tolist() == [1, 1, 0, 0, 0, 0]
    assert "4 no mask: all masks show defects: normal" in text


def test_groups_below_the_classes(table):
    for i in range(5):
        draw(table.root, [f"good/pipe{i}/a.png", f"crack/pipe{i}/b.png"])
    frame, text = table()
    assert frame["Group"].nunique() == 5 and "Group is the folder below the class's" in text


@pytest.mark.parametrize(
    "name, normal",
    {
        "good": 1,
        "OK": 1,
        "Normal": 1,
        "MT_Free": 1,
        "defect_free": 1,
        "ok (2)": 1,
        "normal images": 1,
        "no_defect": 1,
        "Non-defective": 1,
        "train_good": 1,
        "nok": 0,
        "NotOK": 0,
        "not_ok": 0,
        "NOT - OK": 0,
        "not so good": 0,
        "ab-normal": 0,
        "no good": 0,
        "abnormal": 0,
        "ko": 0,
        "broken": 0,
        "normal_wear": 0,
        "goods": 0,
        "1": 0,
        "10": 0,
    }.items(),
)
def test_names_of_normals(name, normal):
    assert bool(NORMAL.fullmatch(name.lower())) == normal


@pytest.mark.parametrize(
    "names, message",
    [
        ([], "no image"),
        (["crack/a.png", "hole/b.png"], "found crack, hole; rename the folder of normals"),
        (["good/a.png"], "found good;"),
    ],
)
def test_what_tells_no_labels_is_refused(table, names, message):
    table.root.mkdir()
    draw(table.root, names)
    assert message in table(status=2)


def test_what_lies_about_is_counted_and_never_labelled(table):
    draw(table.root, ["good/a.png", "bad/b.png", "loose.png"])
    spare = [".cache/a.png", "@eaDir/b.png", "bad/thumbnails/b.png", "__MACOSX/bad/._b.png"]
    spare += ["bad/.ipynb_checkpoints/b.png", "bad/._b.png", "bad/b_thumb.png"]
    draw(table.root, spare)
    os.symlink(table.root, table.root / "bad" / "again")
    frame, text = table()
    assert sorted(frame["Filename"]) == ["bad/b.png", "good/a.png"]
    (line,) = (line for line in text.splitlines() if line.startswith("Skipped: "))
    expected = {
        "1 checkpoints",
        "1 hidden",
        "1 images without a label",
        "1 reached twice by links",
        "3 system files",
        "2 thumbnails",
    }
    assert set(line.removeprefix("Skipped: ").rstrip(".").split("; ")) == expected


MASKS = {
    "16 bits": lambda marked: Image.fromarray(np.full((20, 30), 257 * marked, np.uint16)),
    "32 bits": lambda marked: Image.fromarray(np.full((20, 30), marked, np.int32)),
    "small": lambda marked: Image.fromarray(np.full((4, 6), marked, np.uint8)),
    "transparent": lambda marked: Image.new("RGBA", (30, 20), (200, 0, 0, 255 * marked)),
    "opaque": lambda marked: Image.new("RGBA", (30, 20), (marked, 0, 0, 255)),
    "palette": lambda marked: Image.new("L", (30, 20), 9 * marked).convert("P"),
    "one bit": lambda marked: Image.new("1", (30, 20), marked),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_kind_are_read(table, kind):
    """Those that could be no photograph were passed over without a word."""
    draw(table.root, numbered("{}.jpg", 6))
    for i in range(6):
        suffix = "tif" if "bits" in kind else "png"
        MASKS[kind](i % 2).save(table.root / f"{i}_label.{suffix}")
    found, _ = table()
    assert found.set_index("Filename")["Defect"].to_dict() == {f"{i}.jpg": i % 2 for i in range(6)}


def test_masks_that_cannot_be_read_are_counted(table):
    draw(table.root, numbered("{}.jpg", 4))
    for i in range(4):
        draw(table.root, [f"{i}_label.png"], mask=i % 2)
    (table.root / "3_label.png").write_bytes(b"no image")
    found, said = table()
    assert len(found) == 3
    assert "Skipped: 1 images without a label; 3 masks; 1 masks that cannot be read." in said


def test_another_table_is_not_overwritten(table):
    draw(table.root, ["good/a.png", "bad/b.png"])
    (table.root.parent / "labels.csv").write_text("Filename,Defect\n")
    assert "labels.csv exists and differs: name another file with OUT" in table(status=2)


@pytest.mark.parametrize("side", ["dev", "site1"])
def test_the_deeper_folder_of_normals_decides(table, side):
    """Half of them were defects of the class "dev" before."""
    for place in ("train", side):
        for kind in ("good", "bad"):
            draw(table.root / place / kind, numbered("{}.png", 6))
    found, _ = table()
    assert found["Defect"].tolist() == ["bad" in name for name in found["Filename"]]
    assert set(found["Class"]) == {"", "bad"}


def test_what_is_written_is_read_again(table):
    """Names that tables give to all defects, a semicolon, a leading blank, a line break."""
    names = ("good/0", "good/ 1", " odd/2", "defect/3", "dent;scratch/4", "dent;scratch/x\ny")
    draw(table.root, [f"{name}.png" for name in names])
    found, said = table()
    assert set(found["Class"]) == {" odd", "", "dent,scratch"}
    assert "1 with line breaks in their names" in said
    read = own_labels.read(table.root.parent / "labels.csv")
    assert {Path(name) for name in read["Filename"]} == {Path(f"{n}.png") for n in names[:5]}


# Names that contradict one another


@pytest.mark.parametrize("normals", ["good", "ok"])
def test_numbers_below_named_classes_are_groups(table, normals):
    """Five of six sites of the normals were defects before, "in 1", and crack/0 was normal."""
    for name in (normals, "crack"):
        draw(table.root, [f"{name}/{site}/{i}.png" for site in range(6) for i in range(3)])
    frame, _ = table()
    assert counts(frame) == {"": 18, "crack": 18} and frame["Group"].nunique() == 6


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (("good/normal", "good/dark", "crack/normal", "crack/dark"), ("crack", "normal")),
        (("ok/a", "ok/b", "crack/normal", "crack/severe"), ("crack", "normal")),
        (("good/cam1", "good/cam2", "crack/cam_free", "crack/cam1"), ("crack", "cam_free")),
        (("crack/set/good", "crack/set/crack/normal"), ("crack", "normal")),  # crack twice
        (("train/good/normal", "train/good/dark", "train/crack/dark"), ("good", "dark")),
    ],
)
def test_folders_that_contradict_one_another_are_refused(table, tree, names):
    for name in tree:
        draw(table.root, numbered(f"{name}/{{}}.png", 6))
    message = table(status=2)
    assert len(message.strip().splitlines()) == 1 and "rename one of the two." in message
    assert all(f"{name} says" in message or f", {name} the contrary" in message for name in names)


@pytest.mark.parametrize(
    "name", ["good_augmented", "ok_reviewed", "good and bad", "Normal-2nd try"]
)
def test_a_name_that_may_be_that_of_normals_is_refused(table, name):
    for folder in ("good", "crack", name):
        draw(table.root, numbered(f"{folder}/{{}}.png", 6))
    message = table(status=2)
    assert f"does {name} hold normals or defects? Rename it" in message


@pytest.mark.parametrize("name", ["no_good", "not ok", "abnormal", "goodyear", "token"])
def test_names_of_defects_that_hold_such_letters_are_classes(table, name):
    for folder in ("good", name):
        draw(table.root, numbered(f"{folder}/{{}}.png", 6))
    assert counts(table()[0]) == {"": 6, name: 6}


def test_parts_without_labels_get_none(table):
    """MVTec AD 2: its private parts were classes of defects before."""
    for name in ("train/good", "validation/good", "test_public/good", "test_public/bad"):
        draw(table.root, numbered(f"{name}/{{}}.png", 6))
    for name in ("test_private", "test_private_mixed", "unlabeled", "unknown"):
        draw(table.root, numbered(f"{name}/{{}}.png", 4))
    frame, text = table()
    assert counts(frame) == {"": 18, "bad": 6} and "16 images without a label" in text


def test_inverted_masks_are_told(table):
    draw(table.root, numbered("images/{}.png", 8))
    draw(table.root, numbered("masks/{}.png", 4), mask=1)
    for i in range(4, 8):
        Image.new("L", (30, 20), 255).save(table.root / f"masks/{i}.png")
    draw(table.root, ["images/8.png", "images/9.png"])
    _, text = table()
    assert "4 mask without a pixel of 0, inverted?: defect" in " ".join(text.split())


def test_a_folder_without_images_is_told_so(table):
    (table.root / "empty").mkdir(parents=True)
    assert "holds no image: name the folder that does." in table(status=2)
