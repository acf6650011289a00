"""Runs whose cached pixels the disk cannot hold together train in turns, on a disk of any size that
holds the largest of their caches."""

import os
import shutil

import pytest

from lib.data import cache, sources
from lib.scheduling import disk_budget, local, plan
from lib.scheduling.job import Job
from lib.scheduling.plan import Request
from lib.simulator import frames
from lib.store import fingerprints, run_directory
from lib.study import grid
from lib.system import paths
from lib.system.errors import DataError

TRAIN, VAL = 44, 20
GRID, FIGURE3, LARGE, LARGEST = range(4)


@pytest.fixture
def runs(workspace, monkeypatch):
    """A run of each size of cache in `rehearsal`, on two tables without an image."""
    root = workspace / "sewer-ml"
    root.mkdir()
    for split, n in (("train", TRAIN), ("val", VAL)):
        table = frames.labels(1, split, n)[list(frames.COLUMNS)]
        table.to_csv(root / sources.TABLES[split], index=False)
    monkeypatch.setenv("SEWERML_ROOT", str(root))
    fingerprints._identity.cache_clear()
    names = (
        "random-resnet18-d45-s42",
        "supervised-resnet18-dnat-s42-crop0.08-jit0.1",
        "supervised-resnet18-dnat-s42-px384",
        "supervised-resnet18-dnat-s42-px512",
    )
    return [grid.parse("rehearsal", name) for name in names]


@pytest.fixture
def disk(workspace, monkeypatch):
    """`disk(n)` lets the disk hold n bytes of pixels; `disk.most` is what has lain there at once.
    The pixels are files with holes."""

    class Disk:
        most = 0

        def __call__(self, capacity: float) -> None:
            self.capacity = capacity

        def used(self) -> int:
            used = sum(path.stat().st_size for path in (paths.DATA / "cache").glob("*.npy"))
            self.most = max(self.most, used)
            return used

        def usage(self, path):
            return shutil._ntuple_diskusage(0, 0, int(self.capacity) - self.used())

        def fill(self, data, workers=1):
            for path, size in disk_budget.caches(data, tables_of(data)).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                os.truncate(path, size)
            assert self.used() <= self.capacity

    one = Disk()
    monkeypatch.setattr(shutil, "disk_usage", one.usage)
    monkeypatch.setattr(plan.pixels, "prepare", one.fill)
    return one


def tables_of(data):
    return {
        (disk_budget.same_rows(data), split): sources.tables(data, split)[0]
        for split in sources.TABLES
    }


def size(*runs) -> int:
    """Bytes of the caches of these runs, each file once."""
    files = {}
    for run in runs:
        files |= disk_budget.caches(run.data, tables_of(run.data))
    return sum(files.values())


def planned(runs, every=()):
    return disk_budget.plan(runs, every, disk_budget.tables_of(runs))


def test_runs_whose_pixels_fit_train_together(runs, disk):
    disk(size(*runs) / cache.DISK_LIMIT + 1)
    (turn,) = planned(runs)
    assert turn.runs == runs and not turn.spare and sum(turn.caches.values()) == size(*runs)


def test_on_a_smaller_disk_the_smallest_caches_come_first_and_make_room(runs, disk):
    assert size(runs[LARGEST]) > size(*runs[:LARGEST])  # the others fit where it fits
    disk(size(runs[LARGEST]) / cache.DISK_LIMIT + 1)
    first, second = planned(runs[::-1])
    assert set(map(str, first.runs)) == set(map(str, runs[:LARGEST]))
    assert second.runs == [runs[LARGEST]] and not first.spare
    assert set(second.spare) == set(first.caches) - set(second.caches)
    assert not first.lacks and not second.lacks


def test_all_runs_are_trained_on_about_half_of_the_disk(runs, disk, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(local.Pool, "train", lambda self, todo: trained.extend(todo) or {})
    monkeypatch.setattr(Request, "runs", lambda self: runs)
    disk(size(runs[LARGEST]) / cache.DISK_LIMIT + 1)
    assert plan.train([Job(run) for run in runs], Request("rehearsal", jobs=1)) == 0
    assert {job.run.id for job in trained} == {run.id for run in runs} and len(trained) == 4
    assert disk.most < 0.55 * size(*runs)
    told = capsys.readouterr().out
    assert "turn 2 of 2, as the disk allows: 1 runs on" in told and "its runs are done" in told


def test_caches_of_complete_runs_go_only_where_their_room_is_needed(runs, disk):
    disk(size(*runs) / cache.DISK_LIMIT + 1)
    disk.fill(runs[GRID].data)
    (turn,) = planned(runs[FIGURE3:], runs)
    turn.make_room()
    assert disk.used() == size(runs[GRID])
    disk(size(*runs[:LARGE]) - 1)
    (turn,) = planned([runs[FIGURE3]], runs)
    lock = run_directory.try_lock(runs[GRID])
    with pytest.raises(DataError, match=f"may be in use: {runs[GRID].id} is in training"):
        turn.make_room()
    lock.release()
    turn.make_room()
    left = set((paths.DATA / "cache").glob("*.npy"))
    assert left and left == set(turn.caches) & left  # the validation images, which it reads, too


def test_a_disk_that_holds_no_turn_is_told_with_a_remedy(runs, disk):
    disk(size(runs[LARGEST]) / 2)
    (turn,) = planned([runs[LARGEST]])
    with pytest.raises(DataError, match=r"lacks 0\.\d GB for the pixels of 1 run\(s\) at 512 px"):
        turn.make_room()


def test_a_removed_cache_leaves_nothing(tmp_path):
    for name in ("x.npy", *(f"x.npy.{what}" for what in ("sum", "partial", "blocks", "bad.txt"))):
        (tmp_path / name).touch()
    (tmp_path / "y.npy").touch()
    cache.remove(tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["y.npy"]
