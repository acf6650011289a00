"""Simulated images and tables that are damaged are drawn again; nobody deletes them by hand."""

import errno
import shutil

import numpy as np
import pytest

from lib.data import cache, pixels, sources
from lib.simulator import frames
from lib.study import grid
from lib.system import atomic, paths
from lib.system.errors import DataError

DATA = grid.run("smoke", "simclr", "resnet18", 0.45, 42).data | {"train": 3, "val": 3}


@pytest.fixture
def root(workspace):
    for split in ("train", "val"):
        sources.simulated(DATA, split)
    return sources.root(DATA)


def damage(path, kind):
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"zero": bytes(path.stat().st_size), "empty": b"", "text": b"<html>"}[kind]
        )


@pytest.mark.parametrize("kind", ["gone", "zero", "empty", "text"])
@pytest.mark.parametrize(
    "name", ["Train/00000001.png", "SewerML_Train.csv", "Videos.csv", "Train/Boxes.csv"]
)
def test_damaged_frames_and_tables_are_drawn_again(root, name, kind, capsys):
    before = (root / name).read_bytes()
    expected = frames.draw(DATA["seed"], "train", 1, (48, 48))[0]
    damage(root / name, kind)
    split = pixels.load(DATA, "train")
    np.testing.assert_array_equal(split.pixels[1], expected)
    assert (root / name).read_bytes() == before
    folder = (root / name).parent
    assert capsys.readouterr().err == f"warning: {folder} is damaged: it is drawn again.\n"


def test_what_a_killed_drawing_left_is_removed(root):
    left = root / f".Train.new-{atomic.HOST}-{2**22 + 1}-abc"  # of a process that cannot be
    left.mkdir()
    atomic.sweep(paths.written())
    assert not left.exists() and (root / "Train").exists()


def test_whole_images_are_left_alone(root, capsys):
    written = (root / "Videos.csv").stat().st_mtime_ns
    pixels.load(DATA, "train")
    assert (root / "Videos.csv").stat().st_mtime_ns == written and not capsys.readouterr().err


def test_a_full_disk_deletes_no_image(root, monkeypatch):
    usage = shutil.disk_usage(paths.DATA)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(DataError, match="free some, or set WORKSPACE to a larger disk"):
        pixels.load(DATA, "train")
    assert (root / "Train" / "00000001.png").exists()


def test_a_cache_that_cannot_be_written_deletes_no_image(root, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        pixels.load(DATA, "train")
    assert (root / "Train" / "00000001.png").exists()
