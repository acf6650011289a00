"""Processes of the pool share the work, and none is left, however their parent ends. Files and
folders appear whole, and a failure leaves what was there."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands import python

from lib.system import atomic, hardware, parallel, paths
from lib.system.errors import DataError


def settings(_):
    return os.environ["OMP_NUM_THREADS"], os.environ.get("CUDA_VISIBLE_DEVICES")


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def double(rows, places):
    return [(row, "doubled", str(2 * place)) for row, place in zip(rows, places, strict=True)]


def test_processes_have_one_thread_and_take_the_gpus_in_turn(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with parallel.pool(1, "worked", ["3"]) as pool:
        assert list(pool.map(settings, range(3))) == [("1", "3")] * 3
    with parallel.pool(1, "worked") as pool:
        assert list(pool.map(settings, range(1))) == [("1", None)]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_process_that_dies_is_one_sentence_and_no_process_is_left():
    with (
        pytest.raises(DataError, match=r"a process that drew images died .* with JOBS=1"),
        parallel.pool(2, "drew images") as pool,
    ):
        list(pool.map(die, range(4)))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_block_is_done_once(workers):
    work = ((i, [i, -i], [i, 10 * i]) for i in range(20))
    done = dict(parallel.together(double, work, workers))
    assert done == {i: double([i, -i], [i, 10 * i]) for i in range(20)}


def test_work_that_is_left_early_leaves_no_process():
    work = ((i, [i], [i]) for i in range(10**6))
    blocks = parallel.together(double, work, 2)
    next(blocks)
    blocks.close()
    assert not multiprocessing.active_children()
    assert next(work)[0] < 10  # blocks are made when they are needed


SLEEPS = """
import signal, time
from lib.system import parallel

if __name__ == "__main__":
    # A shell may have put Ctrl-C off for what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with parallel.pool(2, "slept") as pool:
        pool.submit(print, "sleeps", flush=True).result()
        pool.submit(time.sleep, 60).result()
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(tmp_path, ending):
    script = tmp_path / "sleeps.py"
    script.write_text(SLEEPS)
    with subprocess.Popen(
        [sys.executable, script],
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
    ) as parent:
        assert "sleeps" in parent.stdout.readline()
        os.kill(parent.pid, ending)
        assert parent.wait(30) != 0  # less than they would sleep
        until = time.time() + 10
        with suppress(ProcessLookupError):  # the group is gone
            while time.time() < until:
                os.killpg(parent.pid, 0)
                time.sleep(0.05)
            pytest.fail("a process is left")


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = atomic.put_text(tmp_path / "a.json", "old")

    def write(beside):
        beside.write_text("ha")
        assert path.read_text() == "old"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic.put(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    assert atomic.put_text(path, "ü").read_text(encoding="utf-8") == "ü"


def test_a_folder_takes_the_place_of_an_old_one(tmp_path):
    old, new = tmp_path / "run", tmp_path / "run.partial"
    for folder in (old, new):
        folder.mkdir()
        (folder / folder.name).touch()
    assert atomic.put_folder(new, old) == old
    assert [f.name for f in old.iterdir()] == ["run.partial"]
    assert list(tmp_path.iterdir()) == [old]


def test_a_folder_may_be_new(tmp_path):
    (tmp_path / "new").mkdir()
    assert atomic.put_folder(tmp_path / "new", tmp_path / "run").is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from lib.system import atomic

folder = Path(sys.argv[1])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(beside):
    beside.write_text("half")
    die()

if sys.argv[2] == "file":
    atomic.put(folder / "a.b.parquet", half)
elif sys.argv[2] == "folder":
    with atomic.new_folder(folder / "simulated-v1-96px") as beside:
        half(beside / "image.png")
else:  # between two renamings
    (folder / "old").mkdir()
    (folder / "old" / "a").touch()
    (folder / "new").mkdir()
    Path.rename, rename = (lambda self, to: (rename(self, to), die())), Path.rename
    atomic.put_folder(folder / "new", folder / "old")
"""


@pytest.mark.parametrize("what", ["file", "folder", "old folder"])
def test_what_a_killed_process_left_unfinished_is_swept_and_nothing_else(tmp_path, what):
    kept = [".hidden", ".a.new-thing", "x.new-1-2"]
    kept += [atomic._beside(tmp_path / "mine.csv").name, f".b.new-{'0' * 8}-4.png"]
    for name in kept:  # this process's own, and one of another machine among them
        (tmp_path / name).touch()
    code = [sys.executable, "-c", KILLED, tmp_path, what]
    subprocess.run(code, cwd=paths.ROOT, check=False)
    before = {path.name for path in tmp_path.iterdir()}
    assert len(before - set(kept) - {"new"}) == 1
    atomic.sweep([tmp_path, tmp_path / "absent"])
    assert {path.name for path in tmp_path.iterdir()} - {"new"} == set(kept)
    os.utime(tmp_path / kept[-1], (0, 0))  # another machine's, and old
    atomic.sweep([tmp_path])
    assert {path.name for path in tmp_path.iterdir()} - {"new"} == set(kept[:-1])


@pytest.mark.parametrize("replace", [False, True])
def test_a_new_folder_appears_whole_or_not_at_all(tmp_path, replace):
    folder = tmp_path / "report"
    with atomic.new_folder(folder, replace) as beside:
        (beside / "first").touch()
    with pytest.raises(OSError, match="full"), atomic.new_folder(folder, replace) as beside:
        raise OSError("full")
    assert [f.name for f in folder.iterdir()] == ["first"] and list(tmp_path.iterdir()) == [folder]
    if replace:
        with atomic.new_folder(folder, replace) as beside:
            (beside / "second").touch()
        assert [f.name for f in folder.iterdir()] == ["second"]
        assert list(tmp_path.iterdir()) == [folder]


THREADS = """
from lib.scheduling import local
from lib.system import parallel

def count(connection):
    import torch
    connection.send(torch.get_num_threads())

if __name__ == "__main__":
    _, connection = parallel.start(local._context([]), {}, count)
    print(connection.recv())
"""


def test_trainings_compute_on_one_thread_whatever_the_cores(tmp_path):
    """Results must not depend on the number of cores, and two trainings must not fight for them."""
    (tmp_path / "threads.py").write_text(THREADS)
    done = python(str(tmp_path / "threads.py"), OMP_NUM_THREADS="", MKL_NUM_THREADS="")
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("AMD EPYC 7763 64-Core Processor", "AMD EPYC 7763 64-Core"),
        ("Intel(R) Xeon(R) Processor", "Intel Xeon"),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "Intel Core i7-8700 @ 3.20GHz"),
    ],
)
def test_a_processor_is_named_without_its_makers_signs(monkeypatch, model, name):
    text = f"vendor_id\t: x\nmodel name\t: {model}\nmodel name\t: {model}\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **how: text)
    assert hardware.machine([]) == name
