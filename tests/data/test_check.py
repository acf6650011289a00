"""What data are there is told against what is expected, and whatever is wrong with them, with file
and remedy."""

import io
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_files import lock, png
from test_splits import arrange, spoil, table

from lib.__main__ import main
from lib.data import check, image_check, sources
from lib.data.files import Images
from lib.simulator import frames
from lib.study import names, profiles
from lib.study.names import CLASSES
from lib.system import paths

N = 48  # images in each table
VARIABLES = ("PROFILE", "SEWERML_ROOT", "LABELS", "IMAGES", "SCAN", "JOBS", "METHODS", "SEEDS")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def real(workspace, monkeypatch):
    """A small tree in Sewer-ML's layout, extracted, as SEWERML_ROOT."""
    root = workspace / "sewer-ml"
    rng = np.random.default_rng(0)
    for split, folder in (("Train", "Train"), ("Val", "Valid")):
        (root / folder).mkdir(parents=True)
        frame = table(30, [10, 8], seed=1)
        frame["Filename"] = [f"{split}{n}" for n in frame["Filename"]]
        frame.to_csv(root / f"SewerML_{split}.csv", index=False)
        for name in frame["Filename"]:
            (root / folder / name).write_bytes(
                png(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
            )
    monkeypatch.setenv("SEWERML_ROOT", str(root))
    return root


def checked(capsys, scan=False):
    """Exit status, what was printed, and what is wrong, of `make data-check`."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("SCAN", "1" if scan else "")
        status = main(["data-check"])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def image(root, i, split="Train"):
    return root / {"Train": "Train", "Val": "Valid"}[split] / f"{split}{i:08d}.png"


def row(out, name):
    """The cells of the first line that begins with `name`."""
    line = next(line for line in out.splitlines() if line.strip().startswith(name))
    return line.strip().removeprefix(name).split()


# All is well


@pytest.mark.parametrize("layout", ["Train and Valid", "images", "flat", "zips"])
def test_every_layout_is_found_complete(real, capsys, layout):
    arrange(real, layout)
    status, out, err = checked(capsys, scan=True)
    assert (status, err) == (0, "")
    assert row(out, "SewerML_Train.csv (train)") == ["48", "30", "18"]
    for name in sources.TABLES.values():
        assert row(out[out.index("\nImages\n") :], name) == ["48", "48", "0"]
    assert "All 96 images can be used." in out and out.endswith("All is well.\n")
    assert "in no table" not in out
    place = {
        "Train and Valid": "Train/",
        "images": "images/",
        "flat": "sewer-ml/",
        "zips": "train01.zip",
    }[layout]
    assert re.search(rf"{place} +{24 if layout == 'zips' else 48}\n", out)
    assert (
        "2 of the 14 zips train00.zip to train13.zip are there; absent: train02.zip to train13.zip."
        in out
    ) == (layout == "zips")


def test_counts_are_held_against_the_published_ones_and_a_subset_is_no_error(
    real, capsys, monkeypatch
):
    status, out, _ = checked(capsys)
    assert status == 0
    assert row(out, "as published") == ["1,040,129", "552,820", "487,309"]
    assert row(out, "difference") == ["-1,040,081", "-552,790", "-487,291"]
    assert (
        "SewerML_Val.csv differs from the published one: fine for a subset, else download it again."
        in out
    )
    monkeypatch.setattr(check, "PUBLISHED", dict.fromkeys(sources.TABLES, (48, 30, 18)))
    assert "SewerML_Val.csv has the published counts." in checked(capsys)[1]


def test_the_published_counts_add_up():
    assert all(rows == normal + defect for rows, normal, defect in check.PUBLISHED.values())


def test_images_of_every_class_are_counted(real, capsys):
    _, out, _ = checked(capsys)
    labels = pd.read_csv(real / "SewerML_Train.csv")
    for name in CLASSES:
        assert row(out, f"{name} {names.CLASS_NAMES[name]}") == [str(labels[name].sum())] * 2


def test_simulated_frames_are_not_compared_with_sewer_ml(workspace, capsys, monkeypatch):
    monkeypatch.setenv("PROFILE", "smoke")
    data = profiles.load("smoke")["data"]
    root = sources.root(data)
    status, _, err = checked(capsys)
    assert (status, err) == (
        2,
        f"error: {root} does not exist: `make data`, with the same PROFILE, draws the "
        "simulated images.\n",
    )
    frames.write_tables(root, 1, {"train": 8, "val": 8})
    frames.write_frames(root, 1, "val", 8, 48)
    status, _, err = checked(capsys)
    assert (status, err) == (
        2,
        f"error: {root / 'Train'} does not exist: `make data`, with the same PROFILE, draws the "
        "simulated images.\n",
    )
    frames.write_frames(root, 1, "train", 8, 48)
    status, out, err = checked(capsys)
    assert (status, err) == (0, "")
    assert "simulated frames" in out and "published" not in out and "VAP" not in out


def test_windows_line_ends_and_a_byte_order_mark_are_well(real, capsys):
    path = real / "SewerML_Train.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    status, out, err = checked(capsys)
    assert (status, err) == (0, "") and row(out, "SewerML_Train.csv (train)") == ["48", "30", "18"]


# Something is wrong


def into_zips(root):
    arrange(root, "zips")
    return root / "train01.zip"


def absent_zip(root):
    into_zips(root).unlink()


def locked_zip(root):
    lock(into_zips(root))


def cut_zip(root):
    path = into_zips(root)
    path.write_bytes(path.read_bytes()[:-40])


def two_images_of_a_name(root):
    (root / image(root, 0).name).write_bytes(image(root, 1).read_bytes() + b"longer")


def cut_image(root):
    image(root, 7).write_bytes(image(root, 7).read_bytes()[:500])


def deep_image(root):
    Image.fromarray(np.zeros((20, 24), np.uint16)).save(image(root, 7))


def tiny_image(root):
    Image.new("RGB", (24, 9)).save(image(root, 7))


def labels_against_defect(root):
    spoil(root / "SewerML_Train.csv", lambda f: f.assign(Defect=1 - f["Defect"]))


def rows_twice(root):
    spoil(root / "SewerML_Val.csv", lambda f: pd.concat([f, f[:2]]))


def tables_that_share(root):
    shutil.copy(root / "SewerML_Train.csv", root / "SewerML_Val.csv")


PASSWORD = (
    r"24 images are in a locked zip: .*train01\.zip is protected by a password .*: extract it, "
    "unzip -j -P PASSWORD "
)


@pytest.mark.parametrize(
    "wrong, expected",
    [
        (
            absent_zip,
            r"24 of 48 images are absent \(Train\d+\.png, .*: of train00\.zip to train13\.zip, "
            r"train01\.zip to "
            r"train13\.zip not there; put what is missing into .*sewer-ml\.",
        ),
        (locked_zip, PASSWORD),
        (
            cut_zip,
            r"train01\.zip is not a complete zip \(File is not a zip file\): download it again",
        ),
        (
            two_images_of_a_name,
            r"1 names stand for two different images: Train0{8}\.png is in .*Train/.*: remove one",
        ),
        (
            labels_against_defect,
            r"SewerML_Train\.csv, row 2 \(Train.*\): the class columns contradict Defect \(48 such",
        ),
        (
            rows_twice,
            r"SewerML_Val\.csv, row 50: it names Val00000000\.png twice, first in row 2 \(2 "
            r"such rows\); keep",
        ),
        (
            tables_that_share,
            r"48 images are in both SewerML_Train\.csv and SewerML_Val\.csv \(Train00000000\.png, ",
        ),
        (
            lambda root: image(root, 7).unlink(),
            r"1 of 48 images are absent \(Train00000007\.png\): .* complete the images",
        ),
        (
            lambda root: (root / "SewerML_Val.csv").unlink(),
            r"SewerML_Val\.csv does not exist: set SEWERML_ROOT to",
        ),
    ],
)
def test_what_is_wrong_is_seen_without_opening_an_image(real, capsys, monkeypatch, wrong, expected):
    wrong(real)
    monkeypatch.setattr(image_check.decoding, "decode", None)  # nothing is decoded
    status, out, err = checked(capsys)
    assert status == 1 and re.search(f"^error: .*{expected}", err, re.MULTILINE)
    assert "form on its page of Aalborg University" in out and "CC BY-NC-SA 4.0" in out


@pytest.mark.parametrize(
    "wrong, kind, expected",
    [
        (
            cut_image,
            "damaged",
            "cannot be decoded, it is cut short or damaged .*: extract, download or save it again",
        ),
        (
            deep_image,
            "wrong mode",
            "is 16-bit grey, expected 8-bit RGB or grey: save all images as 8-bit with one scale",
        ),
        (
            tiny_image,
            "wrong size",
            "has 24 x 9 px, expected at least 16 px a side .*: replace it, or leave it out",
        ),
        (
            lambda root: image(root, 7).write_text("404"),
            "no image",
            "cannot be decoded, it is no image .* again",
        ),
    ],
)
def test_a_bad_image_is_named_and_the_scan_goes_on(real, capsys, workspace, wrong, kind, expected):
    wrong(real)
    assert checked(capsys)[0] == 0  # names and sizes tell nothing of it
    status, _, err = checked(capsys, scan=True)
    listing = workspace / "build" / "paper" / "data-check.txt"
    assert status == 1
    assert err.startswith(
        f"error: 1 of 96 images cannot be used (1 {kind}); all are listed in {listing}; once "
        "they are"
    )
    assert re.search(f"\n  {image(real, 7)} {expected}", err)
    assert (
        listing.read_text().startswith(f"{kind}: {image(real, 7)} ")
        and len(listing.read_text().splitlines()) == 1
    )


def test_a_scan_sums_up_every_kind_and_a_clean_one_leaves_no_list(
    real, capsys, workspace, monkeypatch
):
    whole = {i: image(real, i, "Val").read_bytes() for i in range(9)}
    for i in range(6):
        image(real, i, "Val").write_bytes(whole[i][:500])
    image(real, 6, "Val").unlink()
    image(real, 7, "Val").write_bytes(png(Image.new("RGB", (5, 40))))
    monkeypatch.setenv("JOBS", "2")
    monkeypatch.setattr(image_check.cache, "ALONE", 0)
    monkeypatch.setattr(image_check.cache, "BLOCK", 20)
    status, _, err = checked(capsys, scan=True)
    listing = workspace / "build" / "paper" / "data-check.txt"
    assert (
        status == 1
        and "8 of 96 images cannot be used (6 damaged, 1 absent, 1 wrong size); all are listed"
        in err
    )
    assert (
        f"{image(real, 7, 'Val')} has 5 x 40 px" in err
        and "Val00000006.png is in the table, but" in err
    )
    assert len(listing.read_text().splitlines()) == 8
    for i, data in whole.items():
        image(real, i, "Val").write_bytes(data)
    assert checked(capsys, scan=True)[0] == 0 and not listing.exists()


def test_images_in_no_table_are_counted_and_equal_copies_told(real, capsys):
    for i in range(4):
        (real / f"0150000{i}.png").write_bytes(png())
    shutil.copy(image(real, 3), real / image(real, 3).name)
    with zipfile.ZipFile(real / "valid00.zip", "w") as archive:
        archive.write(image(real, 5, "Val"), "Valid/" + image(real, 5, "Val").name)
    status, out, err = checked(capsys)
    assert status == 0
    assert (
        "4 images are in no table and are not used (01500000.png, 01500001.png, 01500002.png ...)."
        in out
    )
    assert err.count("warning: 1 images lie in two places with the same size") == 2


# One's own, and what cannot be checked


@pytest.fixture
def own(workspace, monkeypatch):
    folder = workspace / "mine"
    folder.mkdir()
    frame = pd.DataFrame(
        {
            "Filename": [f"p/{i:03}.png" for i in range(120)],
            "Defect": [int(i % 4 == 0) for i in range(120)],
        }
    )
    (folder / "p").mkdir()
    rng = np.random.default_rng(0)
    for name in frame["Filename"]:
        (folder / name).write_bytes(png(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)))
    frame.to_csv(folder / "labels.csv", index=False)
    monkeypatch.setenv("LABELS", str(folder / "labels.csv"))
    return folder


def test_images_of_ones_own_are_counted_by_split_and_classes_are_optional(own, capsys):
    status, out, err = checked(capsys, scan=True)
    assert status == 0 and out.startswith("Profile own: images of your own in ")
    assert row(out, "labels.csv (val)") == ["24", "18", "6"]
    assert (
        "No class columns: F2CIW is left out." in out
        and "published" not in out
        and "VAP" not in out
    )
    assert err.startswith("warning: labels.csv has no Split and no Group")
    (own / "p" / "004.png").unlink()
    (own / "p" / "005.png").write_bytes(png()[:900])
    (own / "p" / "new.png").write_bytes(png())
    status, out, err = checked(capsys, scan=True)
    assert status == 1 and "1 of 120 images are absent (p/004.png)" in err
    assert "2 of 120 images cannot be used (1 absent, 1 damaged)" in err
    assert "1 images are in no table and are not used (p/new.png)." in out


def test_a_wrong_table_of_ones_own_is_told(own, capsys):
    spoil(own / "labels.csv", lambda f: f.assign(Defect=2))
    status, _, err = checked(capsys)
    assert (
        status == 1
        and "labels.csv, row 2 (p/000.png): labels must be 0 or 1, Defect is '2' (120 such rows)"
        in err
    )


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"PROFILE": "paper"}, "set SEWERML_ROOT to the folder with its CSVs and images"),
        (
            {"SEWERML_ROOT": "/nowhere"},
            "/nowhere is no folder: set SEWERML_ROOT to the one that holds the images",
        ),
        ({"PROFILE": "own"}, "set LABELS to a CSV"),
        ({"PROFILE": "papre"}, "unknown profile 'papre': did you mean 'paper'?"),
        ({}, "simulated-v"),
    ],
)
def test_what_cannot_be_checked_exits_with_2(workspace, capsys, monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    status, _, err = checked(capsys)
    assert status == 2 and err.startswith("error: ") and expected in err and err.count("\n") == 1


def test_without_profile_the_data_that_are_named_are_checked(workspace, monkeypatch):
    checked_profiles = []
    monkeypatch.setattr(check, "check", lambda profile, *_: checked_profiles.append(profile) or [])
    monkeypatch.delenv("PROFILE", raising=False)
    for name in ("", "SEWERML_ROOT", "LABELS"):
        if name:
            monkeypatch.setenv(name, "somewhere")
        assert main(["data-check"]) == 0
    monkeypatch.setenv("PROFILE", "smoke")
    assert main(["data-check"]) == 0
    assert checked_profiles == ["mini", "paper", "own", "smoke"]


def test_make_leaves_the_profile_open_unless_it_is_given():
    """Else `make data-check` could not tell which data are meant."""
    printed = "print-%:\n\t@echo $${PROFILE:-unset}\n"
    for given, expected in (([], "unset"), (["PROFILE=smoke"], "smoke")):
        command = ["make", "-f", "Makefile", "-f", "-", "PYTHON=python", "print-profile", *given]
        done = subprocess.run(
            command, cwd=paths.ROOT, input=printed, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected


def test_a_progressive_jpeg_with_runs_of_zeros_is_whole():
    """Its later scans add nothing to periodic pictures, in long runs of zeros."""
    tile = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.tile(tile, (64, 64, 1))).save(file, "JPEG", progressive=True, quality=90)
    pixels = np.asarray(Image.open(file))
    assert bytes(image_check.ZEROS) in file.getvalue()
    assert not image_check._zeroed(file.getvalue(), pixels)


def test_names_without_an_ending_and_with_a_dot_are_found(tmp_path):
    for name in ("i00", "i01.png", "i02.png", "labels.csv"):
        (tmp_path / name).write_bytes(png())
    stored = Images(tmp_path, (".",), "none*.zip")
    presence = image_check.Presence(stored, ["i00", "./i01.png", "i02.png"])
    assert presence.absent == [] and presence.wrong() == []
    assert sum(presence.count_by_place.values()) == 3
    assert presence.used == {"i00", "i01.png", "i02.png"} == presence.all_files | {"i00"}
