"""The pixel cache: the same bytes however it is filled, resumed after a kill, within bounded memory
and the disk."""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lib.data import cache
from lib.data import pixels as pixel_module
from lib.data.decoding import ImageError
from lib.study import grid
from lib.system import paths, progress
from lib.system.errors import DataError

NAMES = [f"{i:05d}.png" for i in range(50)]
BLOCK = 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cache, "BLOCK", BLOCK)


def pixels(name, side=16):
    """What the image of that name shows."""
    return np.full((side, side, 3), int(Path(name).stem) % 251, np.uint8)


def logged(log, name, side=16, refuse=(), kill=""):
    """Pixels, with each name noted in a file; refuses some names, and kills its process at one."""
    if name == kill:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(log, "a") as file:
        file.write(f"{name}\n")
    if name in refuse:
        raise ImageError("damaged", f"{name} is cut short: download it again.")
    return pixels(name, side)


def fill_and_die(path, log, kill):
    cache.BLOCK = BLOCK
    cache.fill(path, NAMES, 16, str, partial(logged, log, kill=kill))


def test_the_array_holds_every_image_in_order_and_nothing_lies_beside_it(tmp_path):
    cache.fill(tmp_path / "x.npy", NAMES, 16, str, pixels)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.stack([pixels(n) for n in NAMES]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy", "x.npy.sum"]
    assert cache.is_whole(tmp_path / "x.npy")


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def zero_an_image(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(768))


def cut(path):
    os.truncate(path, path.stat().st_size - 768)


def empty(path):
    os.truncate(path, 0)


DAMAGE = [zero, zero_an_image, cut, empty]


@pytest.mark.parametrize("what", ["", ".sum"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_filled_again(tmp_path, damage, what, capsys):
    path = tmp_path / "x.npy"
    assert not cache.is_whole(path)
    cache.fill(path, NAMES, 16, str, pixels)
    damaged = tmp_path / f"x.npy{what}"
    damage(damaged) if not what else damaged.write_bytes(b"\xff\0")
    assert not cache.is_whole(path) and f"{path} is damaged" in capsys.readouterr().err
    cache.fill(path, NAMES, 16, str, pixels)
    np.testing.assert_array_equal(np.load(path), np.stack([pixels(n) for n in NAMES]))
    assert cache.is_whole(path)


def test_a_loaded_split_never_shows_zeroed_pixels(store, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "DATA", tmp_path / "own-data")
    data = grid.run("smoke", "simclr", "resnet18", 0.45, 42).data | {"train": 4, "val": 4}
    expected = np.array(pixel_module.load(data, "val").pixels)
    path = pixel_module.cached(data, "val", pixel_module.load(data, "val").table)
    zero(path)
    np.testing.assert_array_equal(pixel_module.load(data, "val").pixels, expected)


@pytest.mark.parametrize("damage", [cut, empty, zero])
def test_a_damaged_half_filled_cache_begins_again(tmp_path, damage):
    path = tmp_path / "x.npy"
    refuses = partial(logged, tmp_path / "log", refuse=NAMES[-1:])
    with pytest.raises(DataError):
        cache.fill(path, NAMES, 16, str, refuses)
    damage(cache.beside(path, "partial"))
    cache.fill(path, NAMES, 16, str, pixels)
    np.testing.assert_array_equal(np.load(path), np.stack([pixels(n) for n in NAMES]))


@pytest.mark.parametrize("note", [b"\xff\xfe", b"{}\n[]\n", b"\0" * 50])
def test_a_damaged_note_of_what_is_filled_begins_again(tmp_path, note):
    path = tmp_path / "x.npy"
    with pytest.raises(DataError):
        cache.fill(path, NAMES, 16, str, partial(logged, tmp_path / "log", refuse=NAMES[-1:]))
    cache.beside(path, "blocks").write_bytes(note)
    cache.fill(path, NAMES, 16, str, pixels)
    np.testing.assert_array_equal(np.load(path), np.stack([pixels(n) for n in NAMES]))


def test_several_processes_write_the_same_bytes(tmp_path, monkeypatch):
    cache.fill(tmp_path / "one.npy", NAMES, 16, str, pixels, workers=2)  # few: read by this process
    monkeypatch.setattr(cache, "ALONE", 0)
    log = tmp_path / "log"
    cache.fill(tmp_path / "two.npy", NAMES, 16, str, partial(logged, log), workers=2)
    assert (tmp_path / "two.npy").read_bytes() == (tmp_path / "one.npy").read_bytes()
    assert sorted(log.read_text().split()) == NAMES
    assert not multiprocessing.active_children()


def test_a_killed_fill_goes_on_where_it_was_and_ends_with_the_same_bytes(tmp_path):
    path, log = tmp_path / "x.npy", tmp_path / "log"
    child = multiprocessing.get_context("spawn").Process(
        target=fill_and_die, args=(path, log, NAMES[29])
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert log.read_text().split() == NAMES[:29]
    assert not path.exists()
    with open(cache.beside(path, "blocks"), "a") as notes:
        notes.write('{"block": 3, "b')  # a note that the kill cut short does not count
    log.unlink()
    cache.fill(path, NAMES, 16, str, partial(logged, log))
    assert log.read_text().split() == NAMES[24:]  # three blocks of 8 had been finished
    cache.fill(tmp_path / "whole.npy", NAMES, 16, str, pixels)
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_process_that_dies_is_told_and_what_was_finished_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ALONE", 0)
    log = tmp_path / "log"
    with pytest.raises(
        DataError, match=r"a process that read images died .*: run the same command again"
    ):
        cache.fill(
            tmp_path / "x.npy", NAMES, 16, str, partial(logged, log, kill=NAMES[49]), workers=2
        )
    notes = [
        json.loads(line)
        for line in cache.beside(tmp_path / "x.npy", "blocks").read_text().splitlines()
    ]
    assert len(notes) > 3
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("names, side", [(NAMES[::-1], 16), (NAMES, 12), (NAMES[:40], 16)])
def test_what_was_filled_for_other_images_or_another_side_is_not_gone_on_with(
    tmp_path, names, side
):
    path, log = tmp_path / "x.npy", tmp_path / "log"
    with pytest.raises(DataError):
        cache.fill(path, NAMES, 16, str, partial(logged, log, refuse=NAMES[30:31]))
    log.unlink()
    cache.fill(path, names, side, str, partial(logged, log, side=side))
    assert log.read_text().split() == names
    np.testing.assert_array_equal(np.load(path), np.stack([pixels(n, side) for n in names]))


def test_bad_images_are_summed_up_by_kind_and_only_they_are_read_again(tmp_path):
    path, log = tmp_path / "x.npy", tmp_path / "log"

    def find(name):
        if name in NAMES[3:5]:
            raise ImageError("absent", f"{name} is nowhere: complete the images.")
        return name

    with pytest.raises(DataError) as error:
        cache.fill(path, NAMES, 16, find, partial(logged, log, refuse=NAMES[10:22]))
    lines = str(error.value).splitlines()
    listing = cache.beside(path, "bad.txt")
    assert lines[0].startswith(
        f"14 of 50 images cannot be used (12 damaged, 2 absent); all are listed in {listing}; "
        "once they are fixed, run"
    )
    assert len(lines) == 1 + cache.NAMED
    assert f"  {NAMES[3]} is nowhere: complete the images." in lines
    assert f"  {NAMES[10]} is cut short: download it again." in lines
    assert len(listing.read_text().splitlines()) == 14
    assert not path.exists()
    log.unlink()
    cache.fill(path, NAMES, 16, str, partial(logged, log))
    assert log.read_text().split() == [*NAMES[3:5], *NAMES[10:22]]
    np.testing.assert_array_equal(np.load(path), np.stack([pixels(n) for n in NAMES]))
    assert not listing.exists()


def test_pixels_of_another_shape_or_type_are_a_mistake_of_the_reader(tmp_path):
    with pytest.raises(TypeError, match=r"expected uint8 \(8, 8, 3\), read uint8 \(16, 16, 3\)"):
        cache.fill(tmp_path / "x.npy", NAMES, 8, str, pixels)


# Disk, memory, progress


def test_a_disk_too_full_for_what_is_left_is_refused_before_anything_is_written(
    tmp_path, monkeypatch
):
    path, image = tmp_path / "x.npy", 16 * 16 * 3
    free = 0.95 * 50 * image  # 5 % stay free
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * free, 0, free)
    )
    with pytest.raises(
        DataError, match=r"x\.npy needs 0\.0 GB more and .* free: free some, or set WORKSPACE"
    ):
        cache.fill(path, NAMES, 16, str, pixels)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    with pytest.raises(DataError):
        cache.fill(path, NAMES, 16, str, partial(logged, tmp_path / "log", refuse=NAMES[:1]))
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * free, 0, 2 * image)
    )
    cache.fill(path, NAMES, 16, str, pixels)  # one image is left
    assert path.exists()


def test_a_full_disk_while_writing_is_told(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(
        DataError,
        match=r"partial cannot be written \(No space left on device\): free some disk, or",
    ):
        cache.fill(tmp_path / "x.npy", NAMES, 16, str, pixels)


def grow(path, pipe):
    """Fill a cache of 315 MB, and send how much resident memory that took, in MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cache.fill(path, [f"{i}.png" for i in range(1600)], 256, str, partial(pixels, side=256))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes on macOS, kilobytes on Linux
    pipe.send(grown / unit)


def test_memory_does_not_grow_with_the_cache(tmp_path):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=grow, args=(tmp_path / "x.npy", theirs))
    child.start()
    assert ours.recv() < 60  # a fifth of the cache; a mapped array takes all of it
    child.join()
    assert (tmp_path / "x.npy").stat().st_size > 3e8


def test_a_long_fill_is_announced_and_tells_its_pace(tmp_path, monkeypatch, capsys):
    cache.fill(tmp_path / "short.npy", NAMES, 16, str, pixels)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(cache, "LOUD_IMAGES", 49)
    monkeypatch.setattr(progress, "PAUSE", 0)
    cache.fill(tmp_path / "x.npy", NAMES, 16, str, pixels)
    first, second, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "pixel cache x.npy: 50 images to decode to 16 x 16 px by one process, 0.0 GB to write, "
    )
    assert f"GB free in {tmp_path}" in first
    assert second == "Stopped half-way, the same command continues where it was."
    assert len(lines) == 7  # a line a block, as PAUSE is 0
    assert lines[0].startswith("pixel cache: 8/50 images, ") and lines[0].endswith(" min left")
    assert "50/50 images" in lines[-1] and lines[-1].endswith(" images/s, 0 min left")
