"""The simulator: frames are functions of (seed, split, index), labels keep Sewer-ML's rules, every
drawing shows."""

import cv2
import numpy as np
import pandas as pd
import pytest

from lib.simulator import frames
from lib.simulator.class_mix import classes_of
from lib.simulator.pipe import Scene, View
from lib.study.names import CLASSES

SEED = 5


def test_a_frame_depends_on_nothing_but_its_index():
    alone = frames.draw(SEED, "train", 37)[0]
    for index in (90, 2, 37, 36):
        again = frames.draw(SEED, "train", index)[0]
        assert np.array_equal(again, alone) == (index == 37)
    assert not np.array_equal(frames.draw(SEED, "val", 37)[0], alone)
    assert not np.array_equal(frames.draw(SEED + 1, "train", 37)[0], alone)


@pytest.mark.parametrize("size", [(96, 96), (64, 64), (48, 80)])
def test_frames_have_the_size_asked_for_and_boxes_inside_it(size):
    for index in range(40):
        image, boxes = frames.draw(SEED, "train", index, size)
        assert image.shape == (*size, 3)
        assert image.dtype == np.uint8
        drawn = [box[0] for box in boxes]
        assert sorted(drawn) == sorted(classes_of(SEED, "train", index))
        for _, x0, y0, x1, y1 in boxes:
            assert 0 <= x0 < x1 <= size[1]
            assert 0 <= y0 < y1 <= size[0]


def test_a_scene_is_the_same_at_any_size():
    for index in (0, 11, 25):
        small = frames.draw(SEED, "train", index, (64, 64))[0].astype(float)
        large = frames.draw(SEED, "train", index, (256, 256))[0]
        large = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
        inner = np.s_[12:-12, 12:-12]  # the overlay's letters are not drawn to scale
        assert np.corrcoef(small[inner].ravel(), large[inner].ravel())[0, 1] > 0.93


def test_labels_keep_the_rules_of_sewer_ml():
    table = frames.labels(SEED, "train", 400)
    assert list(table.columns) == [*frames.COLUMNS, "Video"]
    defects = table[list(CLASSES)].to_numpy()
    assert np.array_equal(table["Defect"], defects.any(1))
    assert np.array_equal(table["ND"], 1 - table["Defect"])
    assert np.array_equal(table["VA"], table["WaterLevel"] > 0)
    assert table["WaterLevel"].between(0, 100).all()
    assert table["Filename"].str.fullmatch(r"\d{8}\.png").all()
    assert (defects.sum(1) > 1).any()  # multi-label


def test_a_longer_table_starts_with_the_shorter():
    pd.testing.assert_frame_equal(
        frames.labels(SEED, "val", 300).head(123), frames.labels(SEED, "val", 123)
    )


@pytest.mark.parametrize("seed", [1, 42])
def test_counts_are_on_quota_and_no_class_is_missing(seed):
    table = frames.labels(seed, "val", 1800)
    assert abs(table["Defect"].sum() - 0.472 * 1800) < 1
    counts = table[list(CLASSES)].sum().sort_values()
    assert counts.iloc[0] >= 30
    assert counts.iloc[-1] > 4 * counts.iloc[0]  # a long tail
    rare = frames.labels(seed, "val", 1000, defect_share=0.05)
    assert rare["Defect"].sum() == 50


def test_splits_share_neither_video_nor_name():
    train, val = frames.labels(SEED, "train", 200), frames.labels(SEED, "val", 200)
    for column in ("Video", "Filename"):
        assert not set(train[column]) & set(val[column])
    assert train.groupby("Video")["Defect"].nunique().mean() > 1.9  # both kinds in a video


@pytest.mark.parametrize("name", CLASSES)
def test_every_drawing_shows_where_its_box_says(name):
    """With and without the defect the frame differs visibly inside the box, and where a crop would
    keep it."""
    for index in range(0, 320, 19):
        image, boxes = frames.draw(SEED, "train", index, classes=(name,))
        without, none = frames.draw(SEED, "train", index, classes=())
        assert not none
        ((_, x0, y0, x1, y1),) = boxes
        change = np.abs(image.astype(float) - without).mean(2)
        assert change[y0:y1, x0:x1].mean() > 4
        assert (change > 12).mean() > 0.008  # and is seen at 64 px: at least 30 pixels there
        centre = np.zeros(change.shape, bool)
        centre[12:-12, 12:-12] = True  # what a crop usually keeps
        assert (change > 12)[centre].sum() > 0.4 * (change > 12).sum()


@pytest.mark.parametrize(("name", "least"), [("FS", 3.0), ("DE", 10.0), ("PF", 1.5)])
def test_classes_of_the_wall_itself_are_seen_at_a_glance(name, least):
    """In nine frames of ten so many per cent of the frame are 30 grey levels of 255 lighter or
    darker than in the same frame without the defect. (1.5 % are a shape 12 px wide where the
    frame is 96 px.)"""
    shares = []
    for index in range(0, 960, 16):
        image, without = (
            frames.draw(SEED, "train", index, classes=classes)[0].astype(float).mean(2)
            for classes in ((name,), ())
        )
        shares.append(100 * (np.abs(image - without) > 30).mean())
    assert np.quantile(shares, 0.1) > least


def test_a_deformed_bore_is_an_oval():
    """The joint's outline, where the wall lies at one depth, is as wide and high as asked for."""
    level = View(pan=0, tilt=0, roll=0, zoom=1, x=0, y=0)
    scene = Scene((400, 400), level, 0, squash=(0.0, 1.2, 0.6, 0.8))
    y, x = np.nonzero(scene.z > 2)  # farther than depth 2: inside the outline
    outline = 2 * np.float32([x.max() + 1, y.max() + 1, x.min(), y.min()]) / 200 - 2
    np.testing.assert_allclose(outline, (1.2, 0.8, -1.2, -0.6), atol=0.02)


def test_colour_does_not_tell_defects_from_normals():
    colours = np.array(
        [frames.draw(SEED, "train", i, (48, 48))[0].mean((0, 1)) for i in range(300)]
    )
    defect = frames.labels(SEED, "train", 300)["Defect"].to_numpy(bool)
    gap = colours[defect].mean(0) - colours[~defect].mean(0)
    assert np.all(np.abs(gap) < 0.6 * colours.std(0))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_written_reads_back(tmp_path, workers):
    root = tmp_path / "data"
    sizes = {"train": 20, "val": 10}
    frames.write_tables(root, SEED, sizes)
    for split, n in sizes.items():
        assert not frames.is_whole(root / frames.SPLITS[split][0])
        frames.write_frames(root, SEED, split, n, 48, workers)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]  # nothing temporary stays
    assert frames.is_whole(root)
    for split, n in sizes.items():
        folder, table, _ = frames.SPLITS[split]
        assert frames.is_whole(root / folder)
        read = pd.read_csv(root / table)
        pd.testing.assert_frame_equal(
            read, frames.labels(SEED, split, n)[list(frames.COLUMNS)], check_dtype=False
        )
        assert sorted(p.name for p in (root / folder).glob("*.png")) == sorted(read["Filename"])
        for i in (0, n - 1):
            stored = cv2.imread(str(root / folder / frames.filename(split, i)))[..., ::-1]
            assert np.array_equal(stored, frames.draw(SEED, split, i, (48, 48))[0])
    assert len(pd.read_csv(root / "Videos.csv")) == 30
    boxes = pd.concat(pd.read_csv(file) for file in root.glob("*/Boxes.csv"))
    assert set(boxes["Class"]) <= set(CLASSES) and len(boxes) > 10
    with pytest.raises(OSError, match="not empty"):
        frames.write_frames(root, SEED, "val", 1, 48)
