"""A full disk stops everything at once, in a sentence that says what is needed and where; what is
finished stays, and nothing half-written does."""

import errno
import os
from pathlib import Path

import pytest

from lib import __main__ as command_line
from lib.scheduling import local, plan
from lib.scheduling.job import Job
from lib.simulator import frames
from lib.store import run_directory
from lib.study import grid
from lib.system import atomic, paths
from lib.system.errors import DataError
from lib.training import predict

RUNS = [grid.run("smoke", "random", "resnet18", s, 1) for s in (0.01, 0.02, 0.05, 0.15, 0.45)]
JOBS = [Job(run) for run in RUNS]
REMEDY = "free some, or set WORKSPACE to a larger one; what is finished is kept"
FULL = [errno.ENOSPC, errno.EDQUOT]
full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def fills(connection, job, rank):
    """A worker whose disk is full."""
    (paths.RUNS / f"{job.run.id}.began").touch()
    connection.send(("full", "OSError: No space left on device"))


def test_the_first_full_disk_stops_the_others_and_says_what_is_needed(workspace, monkeypatch):
    monkeypatch.setattr(local, "_work", fills)
    complete = paths.RUNS / "smoke" / "another"
    complete.mkdir(parents=True)
    (complete / "run.json").write_bytes(bytes(3_000_000))
    with pytest.raises(DataError) as error:
        local.Pool(jobs=1, gpus=[]).train(JOBS)
    told = str(error.value)
    assert told.startswith(f"the disk of {paths.RUNS / 'smoke'} is full (")
    assert "5 runs take about 15 MB" in told and REMEDY in told and "\n" not in told
    assert len(list(paths.RUNS.glob("*.began"))) == 1
    for run in RUNS:  # every lock is free again
        lock = run_directory.try_lock(run)
        assert lock
        lock.release()


@pytest.mark.parametrize(
    "error, kind",
    [(OSError(number, os.strerror(number)), "full") for number in FULL]
    + [(OSError(errno.EIO, "input/output error"), "refused"), (ValueError("wrong"), "refused")]
    + [(RuntimeError("unexpected"), "failed")],
)
def test_a_worker_tells_a_full_disk_from_other_failures(error, kind):
    class Failing:
        def do(self, tell, rank):
            raise error

    class Connection(list):
        send = list.append

    connection = Connection()
    local._work(connection, Failing(), 0)
    assert connection[0][0] == kind


@pytest.mark.parametrize("number", FULL)
@pytest.mark.parametrize("name", ["runs/smoke/a/run.json", None])
def test_any_command_says_where_the_disk_is_full(workspace, monkeypatch, capsys, number, name):
    def fail(arguments):
        raise OSError(number, os.strerror(number), name and str(workspace / name))

    monkeypatch.setitem(command_line.COMMANDS, "report", fail)
    assert command_line.main(["report"]) == 2
    told = capsys.readouterr().err
    where = workspace / name if name else paths.WORKSPACE
    assert told.startswith(f"error: the disk of {where} is full (") and REMEDY in told


@full_device
def test_weights_on_a_full_disk_are_an_error_of_the_disk():
    with pytest.raises(OSError, match="No space left") as error:
        predict.write_weights({"a": 1}, Path("/dev/full"))
    assert error.value.errno == errno.ENOSPC


@full_device
@pytest.mark.parametrize("put", [atomic.put_text, atomic.put_json])
def test_a_file_that_did_not_fit_leaves_nothing(tmp_path, monkeypatch, put):
    path = put(tmp_path / "a.json", "old" if put is atomic.put_text else {"a": 1})
    old = path.read_bytes()
    write = Path.write_text

    def half(beside, text, **options):
        write(beside, text[:3], **options)
        return write(Path("/dev/full"), text, **options)

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="No space left"):
        put(path, "new" if put is atomic.put_text else {"a": 2})
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]


def test_a_frame_that_does_not_fit_is_an_error_of_the_disk(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as error:
        frames._write_some((tmp_path, 1, "train", range(1), 32))
    assert error.value.errno == errno.ENOSPC


def test_the_report_of_a_failure_goes_once_the_run_succeeds(workspace, monkeypatch, capsys):
    outcomes = [{RUNS[0].id: "RuntimeError: first\ndetails", RUNS[1].id: "DataError: b"}, {}]
    monkeypatch.setattr(plan, "check_train_shares", lambda runs: None)
    monkeypatch.setattr(plan.pixels, "prepare", lambda data, workers: None)
    monkeypatch.setattr(local.Pool, "train", lambda self, todo: outcomes.pop(0))
    reports = paths.RUNS / "smoke"
    reports.mkdir(parents=True)
    assert plan.train(JOBS, plan.Request("smoke", jobs=1)) == 1
    assert sorted(p.name for p in reports.iterdir()) == sorted(
        f"{run.id}.error.txt" for run in RUNS[:2]
    )
    assert f"error: {RUNS[0].id}: RuntimeError: first (details in" in capsys.readouterr().err
    assert plan.train(JOBS, plan.Request("smoke", jobs=1)) == 0
    assert not list(reports.iterdir())


def test_what_a_kill_left_in_a_complete_run_goes_and_an_unfinished_run_keeps_it(workspace):
    complete, partial = (paths.RUNS / "smoke" / name for name in ("a", "a.partial"))
    for folder in (complete, partial):
        folder.mkdir(parents=True)
        for name in ("run.json", *run_directory.RESUME_FILES):
            (folder / name).touch()
    run_directory.tidy()
    assert [p.name for p in complete.iterdir()] == ["run.json"]
    assert len(list(partial.iterdir())) == 3
