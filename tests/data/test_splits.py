"""Tables are checked, shares are met, and every layout of the images gives the same pixels."""

import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from lib.data import pixels, sources, splits
from lib.data.decoding import decode
from lib.data.labels import read_table
from lib.data.pixels import load
from lib.study.names import CLASSES
from lib.system import paths
from lib.system.errors import DataError


def table(normals, defects_per_pattern, seed=0):
    """A table with so many normals, and so many images of each of several label patterns,
    shuffled."""
    rows = [dict.fromkeys(CLASSES, 0) for _ in range(normals)]
    for pattern, n in enumerate(defects_per_pattern):
        labels = dict.fromkeys(CLASSES, 0) | {
            CLASSES[pattern % 17]: 1,
            CLASSES[(pattern * 5 + 3) % 17]: 1,
        }
        rows += [labels] * n
    frame = pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)
    defect = frame.any(axis=1).astype(int)
    frame.insert(0, "Filename", [f"{i:08d}.png" for i in range(len(frame))])
    frame.insert(1, "WaterLevel", 0)
    frame.insert(2, "VA", 0)
    return frame.assign(ND=1 - defect, Defect=defect)


# Shares


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.15, 0.45])
def test_resampling_keeps_every_normal_and_draws_the_defects_asked_for(share):
    whole = table(1000, [500, 300, 90, 30, 7, 1])
    subset = splits.resample(whole, share, 42)
    assert (subset["Defect"] == 0).sum() == 1000
    assert (subset["Defect"] == 1).sum() == int(1000 * share / (1 - share))
    assert abs(subset["Defect"].mean() - share) < 1 / 1000
    assert subset.index.is_monotonic_increasing and subset.index.is_unique
    pd.testing.assert_frame_equal(subset, whole.loc[subset.index])


def test_resampling_allots_defects_to_patterns_in_proportion():
    whole = table(1000, [500, 300, 90, 30, 7, 1])
    subset = splits.resample(whole, 0.15, 42)
    counts = pd.Series(splits.patterns(subset)).value_counts()
    for pattern, n in pd.Series(splits.patterns(whole)).value_counts().drop(0).items():
        quota = n * 176 / 928
        assert np.floor(quota) <= counts.get(pattern, 0) <= np.ceil(quota)


def test_resampling_reduces_normals_only_when_defects_run_out():
    subset = splits.resample(table(1000, [50, 50]), 0.45, 42)
    assert (subset["Defect"] == 1).sum() == 100
    assert (subset["Defect"] == 0).sum() == int(100 * 0.55 / 0.45)


def test_resampling_depends_on_its_seed_and_on_nothing_else():
    whole = table(300, [200, 90])
    first, again, other = (splits.resample(whole, 0.05, seed).index for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)
    assert splits.resample(whole, None, 1) is whole


@pytest.mark.parametrize(
    "normals, defects, share, expected",
    [
        (50, [20], 0.01, "at least 1 defect and 99 normals"),
        (0, [20], 0.45, "cannot be reached with 0 normal"),
        (500, [], 0.45, "cannot be reached with 500 normal and 0 defect"),
        (500, [20], 1.5, "between 0 and 1"),
    ],
)
def test_a_share_out_of_reach_is_refused(normals, defects, share, expected):
    with pytest.raises(DataError, match=expected):
        splits.resample(table(normals, defects), share, 0)


def test_the_fraction_is_stratified_and_drops_patterns_seen_once():
    whole = table(400, [200, 60, 20, 1])
    half = splits.stratified_fraction(whole, 0.5, 42)
    counts, before = (pd.Series(splits.patterns(t)).value_counts() for t in (half, whole))
    assert set(counts.index) == set(before[before > 1].index)
    for pattern, n in counts.items():
        assert abs(n - before[pattern] / 2) <= 1
    assert splits.stratified_fraction(whole, 1, 42) is whole


def test_the_fraction_holds_the_rows_that_the_released_code_draws():
    """That code gives scikit-learn the 17 columns themselves, whose patterns it orders as
    strings."""
    rng = np.random.default_rng(0)
    whole = pd.DataFrame((rng.random((3000, 17)) < 0.12).astype(int), columns=list(CLASSES))
    whole["Defect"] = whole.max(axis=1)
    often = whole.groupby(list(CLASSES))["Defect"].transform("size") > 1
    assert 50 < len(whole[often].drop_duplicates()) < often.sum() < 3000
    theirs, _ = train_test_split(
        whole[often], train_size=0.5, random_state=42, stratify=whole.loc[often, list(CLASSES)]
    )
    assert splits.stratified_fraction(whole, 0.5, 42).index.tolist() == sorted(theirs.index)


# Tables


def spoil(path, change):
    frame = pd.read_csv(path, dtype={"Filename": str})
    change(frame).to_csv(path, index=False)


@pytest.fixture
def tree(tmp_path):
    """A small tree in Sewer-ML's layout; returns its root."""
    for split, folder in (("Train", "Train"), ("Val", "Valid")):
        frame = table(6, [3, 2], seed=1)
        frame["Filename"] = [f"{split}{n}" for n in frame["Filename"]]
        frame.to_csv(tmp_path / f"SewerML_{split}.csv", index=False)
        (tmp_path / folder).mkdir()
        rng = np.random.default_rng(0)
        for name in frame["Filename"]:
            Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(
                tmp_path / folder / name
            )
    return tmp_path


def changed(frame, row, column, value):
    """The table with one field changed."""
    frame = frame.astype({column: object})
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    "change, expected",
    [
        (
            lambda f: f.drop(columns=["OK", "ND"]),
            r"lacks the column\(s\) OK, ND; expected Filename, .*, Defect, found Filename, .*, "
            "OP, Defect: download it again",
        ),
        (
            lambda f: f.assign(Defect=1 - f["Defect"]),
            r", row 2 \(Train00000000\.png\): the class columns contradict Defect \(11 such "
            r"rows\); correct the row",
        ),
        (
            lambda f: f.assign(RB=7),
            r", row 2 \(Train00000000\.png\): labels must be 0 or 1, RB is '7' \(11 such rows\)",
        ),
        (
            lambda f: changed(f, 4, "GR", None),
            r", row 6 \(Train00000004\.png\): GR is empty \(1 such rows\); fill it in",
        ),
        (
            lambda f: changed(f, 4, "Defect", "yes"),
            r", row 6 \(Train00000004\.png\): .* Defect is 'yes' \(1 such rows\)",
        ),
        (
            lambda f: pd.concat([f, f[1:3]]),
            r", row 13: it names Train00000001\.png twice, first in row 3 \(2 such rows\); "
            "keep one row per image",
        ),
        (
            lambda f: changed(f, 4, "Filename", None),
            r", row 6: Filename is empty \(1 such rows\); fill it in",
        ),
        (lambda f: f[:0], "a header and no rows: download it again"),
    ],
)
def test_a_wrong_table_is_refused(tree, change, expected):
    path = tree / "SewerML_Train.csv"
    spoil(path, change)
    with pytest.raises(DataError, match=expected) as error:
        read_table(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "mark, name", [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_a_table_with_other_separators_is_told_so(tree, mark, name):
    path = tree / "SewerML_Train.csv"
    path.write_text(path.read_text().replace(",", mark))
    with pytest.raises(
        DataError, match=f"is separated by {name}, expected commas: save it as a CSV with commas"
    ):
        read_table(path)


def test_windows_line_ends_and_a_byte_order_mark_are_read(tree):
    path = tree / "SewerML_Train.csv"
    before = read_table(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(read_table(path), before)


def test_an_absent_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="SEWERML_ROOT"):
        read_table(tmp_path / "SewerML_Train.csv")


# Images

DATA = {
    "source": "sewer-ml",
    "train": 0,
    "val": 0,
    "seed": 42,
    "frame": 0,
    "fraction": 1.0,
    "cache": 16,
}


@pytest.fixture
def real(tree, workspace, monkeypatch):
    """The tree as SEWERML_ROOT, beside the workspace."""
    root = tree.parent / f"{tree.name}-root"
    root.mkdir()
    for part in [p for p in tree.iterdir() if p.name.startswith(("SewerML", "Train", "Valid"))]:
        shutil.move(part, root / part.name)
    monkeypatch.setenv("SEWERML_ROOT", str(root))
    yield root
    shutil.rmtree(root)


def both_splits():
    """The pixels of both splits."""
    return {split: np.array(load(DATA, split).pixels) for split in sources.TABLES}


def arrange(root, layout):
    """Move the images of a tree with Train/ and Valid/ into another of the layouts in which users
    have them."""
    for folder, series in (("Train", "train"), ("Valid", "valid")):
        files = sorted((root / folder).iterdir())
        if layout == "zips":  # some in each
            for i, part in enumerate((files[::2], files[1::2])):
                with zipfile.ZipFile(root / f"{series}0{i}.zip", "w") as archive:
                    for file in part:
                        archive.write(file, f"somewhere/{file.name}")
            shutil.rmtree(root / folder)
        elif layout in ("images", "flat"):
            (root / "images").mkdir(exist_ok=True)
            for file in files:
                file.rename((root / "images" if layout == "images" else root) / file.name)
            (root / folder).rmdir()


@pytest.mark.parametrize("layout", ["images", "flat", "zips"])
def test_every_layout_gives_the_same_pixels(real, workspace, layout):
    wanted = both_splits()
    assert wanted["train"].shape == (11, 16, 16, 3)
    with Image.open(real / "Train" / load(DATA, "train").table["Filename"][0]) as first:
        np.testing.assert_array_equal(
            wanted["train"][0], np.asarray(first.resize((16, 16), Image.Resampling.BICUBIC))
        )
    arrange(real, layout)
    assert not (real / "Train").exists() and not (real / "Valid").exists()
    shutil.rmtree(workspace / "data" / "cache")
    for split, found in both_splits().items():
        np.testing.assert_array_equal(found, wanted[split])


def test_the_cache_is_read_not_made_again(real):
    load(DATA, "train")
    shutil.rmtree(real / "Train")
    assert len(load(DATA, "train").pixels) == 11


def test_bad_images_are_summed_up_and_only_they_are_read_again(real, workspace, monkeypatch):
    files = [real / "Train" / name for name in read_table(real / "SewerML_Train.csv")["Filename"]]
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[: len(whole) // 2])
    files[5].write_text("not an image")
    files[7].rename(real / "away.png")
    with pytest.raises(DataError) as error:
        load(DATA, "train")
    first, *named = str(error.value).splitlines()
    assert first.startswith(
        "3 of 11 images cannot be used (1 damaged, 1 no image, 1 absent); all are listed in "
    )
    for path, line in zip((files[3], files[5], files[7].name), named, strict=True):
        assert line.startswith(f"  {path} ")
    assert not list((workspace / "data" / "cache").glob("*.npy"))
    files[3].write_bytes(whole)
    files[5].write_bytes(whole)
    (real / "away.png").rename(files[7])
    read = []
    monkeypatch.setattr(pixels, "decode", lambda place: read.append(place.path) or decode(place))
    assert (load(DATA, "train").pixels[3] == load(DATA, "train").pixels[5]).all()
    assert read == [files[3], files[5], files[7]]


def test_a_damaged_zip_is_named(real):
    shutil.rmtree(real / "Train")
    (real / "train00.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DataError, match=r"train00\.zip is not a complete zip") as error:
        load(DATA, "train")
    assert "11 of 11 images cannot be used (11 absent)" in str(error.value)


def test_images_in_two_places_are_warned_of_once(real, capsys):
    for file in sorted((real / "Train").iterdir())[:2]:
        shutil.copy(file, real / file.name)
    load(DATA, "train")
    assert capsys.readouterr().err.startswith(
        "warning: 2 images lie in two places with the same size ("
    )


def test_a_full_disk_is_told_before_anything_is_written(real, workspace, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(DataError, match="free some, or set WORKSPACE"):
        load(DATA, "train")
    assert not list((workspace / "data" / "cache").glob("*.npy*[!k]"))  # nothing but its lock


def test_the_data_are_read_without_torch():
    code = "import sys; from lib.data import pixels; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False)
    assert done.returncode == 0


def test_images_without_known_videos_are_their_own_group(real):
    split = load(DATA, "val")
    assert not split.videos_known
    assert (split.table["Video"] == split.table["Filename"]).all()


def test_sewer_ml_without_its_root_is_refused(workspace, monkeypatch):
    monkeypatch.delenv("SEWERML_ROOT", raising=False)
    with pytest.raises(DataError, match="set SEWERML_ROOT"):
        load(DATA, "train")


# The held-out part


def own(groups):
    """Groups of one kind each, as modules of cells are: kind "a" seldom defective, "b" often."""
    rng = np.random.default_rng(0)
    rows = []
    for group in range(groups):
        kind, share = (("a", 0.1), ("b", 0.5))[group % 3 == 0]
        defect = (rng.random(30) < share).astype(int)
        rows += [{"Defect": d, "Class": f"{kind}{d}", "Video": f"{kind} {group}"} for d in defect]
    frame = pd.DataFrame(rows)
    return frame.assign(Class=frame["Class"].astype("category"), Group=frame["Video"])


@pytest.mark.parametrize("share", [0.2, 0.25])
def test_whole_groups_are_held_out_with_each_class_at_its_share(share):
    frame = own(48)
    held = splits.held_out(frame, 1, share)
    assert held.mean() == pytest.approx(share, abs=0.03)
    assert pd.Series(held).groupby(frame["Video"]).nunique().eq(1).all()
    kinds = frame["Class"].str[0]
    assert (kinds[held] == "b").mean() == pytest.approx((kinds == "b").mean(), abs=0.06)
    assert frame["Defect"][held].mean() == pytest.approx(frame["Defect"].mean(), abs=0.05)


def test_classes_too_rare_for_every_part_are_stratified_by_defect(recwarn):
    frame = own(48).drop(columns="Group")
    frame["Class"] = frame["Class"].cat.add_categories(["once"])
    frame.loc[frame.index[frame["Defect"] == 1][0], "Class"] = "once"
    held = splits.held_out(frame, 1)
    assert held.sum() == pytest.approx(len(frame) / 5, abs=1) and not recwarn.list
