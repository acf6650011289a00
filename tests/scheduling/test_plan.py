"""The pool: dead workers are replaced, failures are told and the rest goes on; one sentence for
wrong input."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import commands
import pytest
from commands import python

from lib.scheduling import job as job_module
from lib.scheduling import local, progress
from lib.scheduling.job import Job
from lib.scheduling.plan import Request
from lib.store import run_directory
from lib.study import grid as grid_module
from lib.study.grid import cells, runs
from lib.system import hardware, paths

TODO = [
    grid_module.run("smoke", "random", "resnet18", share, 1)
    for share in (0.01, 0.02, 0.05, 0.15, 0.45)
]


command = partial(commands.command, PROFILE="smoke")
JOBS = [Job(run) for run in TODO]


def flaky(connection, job, rank):
    """A worker that is killed the first time it sees one run, and always refuses or fails two
    others."""
    run = job.run
    marker = paths.WORKSPACE / run.id
    if run.share == 0.02 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if run.share == 0.05:
        connection.send(("failed", "RuntimeError: always\nTraceback ..."))
    elif run.share == 0.15:
        connection.send(("refused", "DataError: a bad image"))
    else:
        connection.send(0.5)
        connection.send(("done", ""))


def test_a_dead_worker_is_replaced_and_failures_do_not_stop_the_others(
    workspace, monkeypatch, capsys
):
    monkeypatch.setattr(local, "_work", flaky)
    two = local.Pool(jobs=2, gpus=[])
    failed = two.train(JOBS)
    assert set(failed) == {TODO[2].id, TODO[3].id}
    assert failed[TODO[3].id] == "DataError: a bad image"
    assert two.retried == {
        TODO[1].id,
        TODO[2].id,
    }  # a refusal is final, the rest is tried once more
    assert "5/5 runs" in capsys.readouterr().out


def test_a_run_that_another_make_trains_is_looked_at_again_later(workspace, monkeypatch):
    monkeypatch.setattr(local, "_work", flaky)
    held = run_directory.try_lock(TODO[0])
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        held.release()

    monkeypatch.setattr(local.time, "sleep", sleep)
    assert local.Pool(jobs=1, gpus=[]).train([JOBS[0], JOBS[4]]) == {}
    assert waits  # the other run was trained first, then the lock was awaited


def deaf(connection, job, rank):
    """Two ranks that wait for each other: the second dies, is refused its data, or fails, in its
    first run; see `mode`.

    Rank 0 is done only where the second has come.
    """
    mode, met = (paths.WORKSPACE / name for name in ("mode", "met"))
    variables = os.environ
    assert variables["CUDA_VISIBLE_DEVICES"] == "0,1" and variables["WORLD_SIZE"] == "2"
    assert variables["RANK"] == variables["LOCAL_RANK"] == str(rank)
    if rank == 0:
        while not met.exists():
            time.sleep(0.01)
        assert met.read_text() == variables["MASTER_PORT"]
        met.unlink()
        connection.send(("done", ""))
    elif mode.exists() and (first := mode.read_text()):
        mode.unlink()
        if first == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send((first, "RankError: of one"))
    else:
        beside = met.with_suffix(".new")
        beside.write_text(variables["MASTER_PORT"])
        beside.rename(met)
        connection.send(("done", ""))


@pytest.mark.parametrize(
    "mode, retried, failed",
    [
        ("killed", {TODO[0].id}, {}),
        ("failed", {TODO[0].id}, {}),
        ("refused", set(), {TODO[0].id: "RankError: of one"}),
    ],
)
def test_where_one_rank_fails_all_are_replaced_and_nothing_waits(
    workspace, monkeypatch, mode, retried, failed
):
    (workspace / "mode").write_text(mode)
    monkeypatch.setattr(local, "_work", deaf)
    two = local.Pool(jobs=1, gpus=["0", "1", "2"], devices=2)  # the third GPU is one too few
    assert two.train([JOBS[0]]) == failed and two.retried == retried
    assert local.Pool(jobs=1, gpus=["0", "1"], devices=2).train(JOBS[1:3]) == {}


HANGS = """
import signal, sys, time, types

def hang(run, progress=None, again=False):
    progress and progress(0.1, {})
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # as a rank that waits for another in a collective
    print("waits", flush=True)
    time.sleep(3600)

sys.modules["lib.training.train"] = types.SimpleNamespace(ensure=hang)
if __name__ == "__main__":
    # A shell may have put Ctrl-C off for what it runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from lib.scheduling import job, local
    from lib.study import grid
    run = grid.run("smoke", "random", "resnet18", 0.45, 1)
    local.Pool(1, [], devices=2).train([job.Job(run)])
"""


def alive(group: int) -> bool:
    """Whether a process of this group runs, and is not only an entry that nobody has waited for."""
    done = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return any(int(number) == group and state[0] != "Z" for number, state in rows)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_rank_outlives_the_pool(workspace, tmp_path, ending):
    script = tmp_path / "hangs.py"
    script.write_text(HANGS)
    with subprocess.Popen(
        [sys.executable, script],
        start_new_session=True,
        cwd=paths.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
    ) as parent:
        waiting = 0  # other lines are the bar's, in any order
        while waiting < 2:
            waiting += "waits" in parent.stdout.readline()
        os.kill(parent.pid, ending)
        assert parent.wait() != 0
        until = time.monotonic() + 300  # far below what they would sleep
        while alive(parent.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(parent.pid)


@pytest.mark.parametrize(
    "gpus, devices, jobs",
    [
        (["0", "1", "2", "3", "4"], 2, 2),
        (["0"], 1, 1),
        ([], 2, 3),
        ([], 12, 1),
        ([], 1, 6),
    ],
)
def test_devices_share_out_gpus_or_cores(gpus, devices, jobs, monkeypatch):
    monkeypatch.setattr(hardware, "cores", lambda: 6)
    monkeypatch.setattr(hardware, "memory", lambda: int(64e9))
    monkeypatch.setattr(hardware, "gpus", lambda: gpus)
    assert Request("smoke", devices=devices).workers() == jobs
    assert Request("smoke", devices=devices, jobs=3).workers() == 3  # as JOBS says


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(hardware, "gpus", lambda: ["0", "1"])
    with pytest.raises(ValueError, match="DEVICES=3, but there are 2 GPUs here"):
        Request("smoke", devices=3, jobs=1).workers()


def test_two_processes_do_not_train_the_same_run(workspace):
    held = run_directory.try_lock(TODO[0])
    other = (
        "from lib.store import run_directory; from lib.study import grid; "
        f"print(run_directory.try_lock(grid.parse('smoke', '{TODO[0].id}')))"
    )
    tried = subprocess.run(
        [sys.executable, "-c", other], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    assert tried.stdout.strip() == "None"
    held.release()
    tried = subprocess.run(
        [sys.executable, "-c", other], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    assert "FileLock" in tried.stdout


@pytest.mark.parametrize(
    "arguments, environment, expected",
    [
        (["run"], {"PROFILE": "smok"}, "did you mean 'smoke'"),
        (["run", "tabel1"], {}, "did you mean 'table1'"),
        (["run"], {"METHODS": "simclr,byoll"}, "did you mean 'byol'"),
        (["run"], {"SEEDS": "one"}, "seeds are whole numbers"),
        (["run"], {"DEVICES": "0"}, "a whole number of 1 or more"),
        (["run", "--id", "simclr-resnet18"], {}, "is not a run id"),
        (
            ["run"],
            {"PROFILE": "paper", "SEWERML_ROOT": ""},
            "set SEWERML_ROOT to the folder with its CSVs",
        ),
        (
            ["run"],
            {"PROFILE": "paper", "SEWERML_ROOT": "/nowhere"},
            "SewerML_Train.csv does not exist",
        ),
    ],
)
def test_wrong_input_gets_one_sentence_and_a_status(workspace, arguments, environment, expected):
    done = command(*arguments, **environment)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.strip().splitlines()) == 1
    assert not list(workspace.glob("runs/*/*"))


def test_longer_trainings_cost_more():
    def cost(*row, **options):
        return progress.cost(grid_module.run("mini", *row, 1, **options))

    assert (
        cost("simclr", "resnet18", 0.45)
        > cost("simclr", "resnet18", 0.01)
        > cost("random", "resnet18", 0.01)
    )
    assert cost("byol", "vit_tiny", 0.45) > cost("simclr", "vit_tiny", 0.45)
    small, large = (
        cost("supervised", "resnet18", None, study="resolution", px=px) for px in (32, 96)
    )
    assert large == pytest.approx(9 * small)


def test_what_an_earlier_process_had_done_says_nothing_about_the_pace():
    def answered(*fractions, resumed, restarts=False):
        bar = progress.Runs(TODO[:1])
        bar.started -= 100
        for fraction in fractions:
            bar.advance(TODO[0], fraction, resumed)
        if restarts:
            bar.restart(TODO[0])
        return bar.left(), round(bar.share, 6)

    # 0.3 of it are left; 0.7 were done in 100 s
    assert answered(0.6, 0.7, resumed=False) == ("1 min left", 0.7)
    assert answered(0.6, resumed=True) == ("measuring the pace", 0.6)
    # 0.3 of it are left; 0.1 was done in 100 s
    assert answered(0.6, 0.7, resumed=True) == ("5 min left", 0.7)
    assert answered(0.6, resumed=True, restarts=True) == ("measuring the pace", 0.0)


def test_the_pace_of_gpu_days_is_told_after_minutes():
    bar = progress.Runs(TODO)
    first = max(TODO, key=progress.cost)
    bar.advance(first, 0.001 * sum(map(progress.cost, TODO)) / progress.cost(first))
    bar.started -= 300
    assert bar.left() == "measuring the pace"
    bar.started -= 400
    assert bar.left() == "8.1 days left"  # 700 s took a thousandth


def test_a_run_of_the_whole_table_costs_twice_that_of_its_half():
    grid, ablation = (
        grid_module.run("paper", "supervised", "resnet18", None, 42),
        cells("paper", "augmentation")[0],
    )
    assert 1.8 < progress.cost(ablation) / progress.cost(grid) < 2


def test_cores_respect_the_affinity_of_the_process():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from lib.system import hardware; print(hardware.cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    assert done.stdout.strip() == "1"


def test_choosing_methods_and_seeds_narrows_the_grid():
    chosen = Request("smoke", ["table1"], methods=["simclr", "byol"], seeds=[0, 1]).runs()
    assert {r.method for r in chosen} == {"simclr", "byol"} and {r.seed for r in chosen} == {0, 1}
    assert len(chosen) == 2 * 2 * 3 * 2


def test_explaining_counts_and_needs_no_torch(workspace):
    script = "import sys; from lib.__main__ import main; main(['explain', 'fig2'])"
    done = python("-c", f"{script}; sys.exit('torch' in sys.modules)", PROFILE="smoke")
    assert done.returncode == 0 and "60 missing" not in done.stdout
    assert done.stdout.split() == [
        "fig2",
        *f"{len(runs('fig2', 'smoke'))} missing, not trained here".split(),
    ]


def test_a_complete_run_is_trained_again_only_when_it_is_named_and_forced(store, monkeypatch):
    run, environment = TODO[4], {"WORKSPACE": str(store)}
    monkeypatch.setattr(paths, "WORKSPACE", store)
    assert command("run", "--id", run.id, **environment).returncode == 0
    trained = (run_directory.folder(run) / "run.json").stat().st_mtime_ns
    assert "complete" in command("run", "--id", run.id, **environment).stdout
    assert (run_directory.folder(run) / "run.json").stat().st_mtime_ns == trained
    assert command("run", "--id", run.id, FORCE="1", **environment).returncode == 0
    assert (run_directory.folder(run) / "run.json").stat().st_mtime_ns > trained


@pytest.mark.parametrize(("share", "noted"), [("45", False), ("46", True)])
def test_a_run_that_no_figure_reads_is_said_to_be_one(workspace, capsys, share, noted):
    wanted = Request("smoke", run_id=f"simclr-resnet18-d{share}-s42")
    assert len(wanted.pending()) == 1
    told = f"so no table or figure reads simclr-resnet18-d{share}-s42." in capsys.readouterr().out
    assert told == noted


def test_a_run_that_was_begun_is_told_from_one_that_was_not(workspace):
    one = grid_module.run("smoke", "simclr", "resnet18", 0.45, 42)
    assert run_directory.state(one) == ("missing", "not trained here")
    run_directory.folder(one).with_name(f"{one.id}.partial").mkdir(parents=True)
    assert run_directory.state(one) == ("missing", "begun, not finished")


def test_the_walkthroughs_networks_are_trained_only_where_the_committed_ones_are_out_of_date(
    workspace, monkeypatch
):
    networks = runs("walkthrough", "smoke")
    assert [r.profile for r in networks] == ["walkthrough"] * 4
    wanted = Request("mini").runs()
    assert {r.id for r in networks} < {
        r.id for r in wanted if r.profile == "mini"
    }  # the same names, and other runs
    assert set(networks) < set(wanted) and len(wanted) == 134
    request = Request("mini", ["walkthrough"])
    monkeypatch.setattr(job_module, "reference", lambda run: paths.REFERENCE)
    assert request.pending() == []
    monkeypatch.setattr(job_module, "reference", lambda run: None)
    assert [job.run for job in request.pending()] == networks
