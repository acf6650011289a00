"""The pool: dead workers are replaced, failures are told and the rest goes on; one sentence for
wrong input."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from lib.scheduling import local, plan, progress, workers
from lib.store import run_directory, stored
from lib.study import grid as grid_module
from lib.study.grid import cells, runs
from lib.system import hardware, paths

TODO = [
    grid_module.run("smoke", "random", "resnet18", share, 1)
    for share in (0.01, 0.02, 0.05, 0.15, 0.45)
]


def command(*arguments, **environment):
    """`python -m lib.scheduling.plan` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lib.scheduling.plan", *arguments],
        capture_output=True,
        text=True,
        cwd=paths.ROOT,
        timeout=120,
        env={**os.environ, "PROFILE": "smoke", **environment},
        check=False,
    )


def flaky(connection, gpu, rank, ranks):
    """A worker that is killed the first time it sees one run, and always refuses or fails two
    others."""
    while (order := connection.recv()) is not None:
        run, _ = order
        marker = paths.WORKSPACE / run.id
        if run.share == 0.02 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if run.share == 0.05:
            connection.send(("failed", "RuntimeError: always\nTraceback ..."))
        elif run.share == 0.15:
            connection.send(("refused", "DataError: a bad image"))
        else:
            connection.send(("progress", 0.5))
            connection.send(("done", None))


def test_a_dead_worker_is_replaced_and_failures_do_not_stop_the_others(
    workspace, monkeypatch, capsys
):
    monkeypatch.setattr(workers, "_worker", flaky)
    two = local.Pool(jobs=2, gpus=[])
    failed = two.train(TODO)
    assert set(failed) == {TODO[2].id, TODO[3].id}
    assert failed[TODO[3].id] == "DataError: a bad image"
    assert two.retried == {
        TODO[1].id,
        TODO[2].id,
    }  # a refusal is final, the rest is tried once more
    assert "5/5 runs" in capsys.readouterr().out


def deaf(connection, gpu, rank, ranks):
    """Two ranks that wait for each other: the second dies, is refused its data, or fails, in its
    first run; see `mode`.

    Rank 0 is done only where the second has come.
    """
    mode, met = (paths.WORKSPACE / name for name in ("mode", "met"))
    while (order := connection.recv()) is not None:
        if rank == 0:
            connection.send(("call", gpu))
            while not met.exists():
                time.sleep(0.01)
            met.unlink()
            connection.send(("done", None))
        elif mode.exists() and (first := mode.read_text()):
            mode.unlink()
            if first == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            connection.send((first, "RankError: of one"))
        else:
            assert order[1] == gpu == "0,1"  # rank 0's message
            met.touch()


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
    monkeypatch.setattr(workers, "_worker", deaf)
    crew = local.Pool(jobs=1, gpus=["0", "1", "2"], devices=2)  # the third GPU is one too few
    assert crew.train([TODO[0]]) == failed and crew.retried == retried
    assert local.Pool(jobs=1, gpus=["0", "1"], devices=2).train(TODO[1:3]) == {}


HANGS = """
import signal, sys, time, types

def hang(run, progress=None):
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # as a rank that waits for another in a collective
    print("waits", flush=True)
    time.sleep(60)

sys.modules["lib.training.train"] = types.SimpleNamespace(train=hang)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background may have put off
    from lib import pool, study
    pool.Pool(1, [], devices=2).train([study.run("smoke", "random", "resnet18", 0.45, 1)])
"""


def alive(group: int) -> bool:
    """Whether a process of this group is left."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


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
        assert (
            sum("waits" in parent.stdout.readline() for _ in range(3)) == 2
        )  # beside the bar's line
        os.kill(parent.pid, ending)
        assert parent.wait(50) != 0  # less than they would sleep
        until = time.time() + 10
        while alive(parent.pid) and time.time() < until:
            time.sleep(0.05)
        assert not alive(parent.pid)


@pytest.mark.parametrize(
    "found, asked, jobs, shared",
    [
        (["0", "1", "2", "3", "4"], "2", 2, 2),
        (["0"], "1", 1, 1),
        ([], "2", 3, 2),
        ([], "64", 1, 64),
        ([], "", 6, 1),
    ],
)
def test_devices_share_out_gpus_or_cores(found, asked, jobs, shared, monkeypatch):
    monkeypatch.delenv("JOBS", raising=False)
    monkeypatch.setenv("DEVICES", asked)
    monkeypatch.setattr(hardware, "cores", lambda: 6)
    assert (hardware.jobs(found), hardware.devices_a_run(found)) == (jobs, shared)


def test_more_devices_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("DEVICES", "3")
    with pytest.raises(ValueError, match="DEVICES=3, but there are 2 GPUs here"):
        hardware.jobs(["0", "1"])


def test_two_processes_do_not_train_the_same_run(workspace):
    held = run_directory.try_lock(TODO[0])
    other = f"from lib import rundir, study; print(rundir.try_lock(study.parse('smoke', '{TODO[0].id}')))"
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


def test_what_an_earlier_process_had_done_says_nothing_about_the_pace(monkeypatch):
    def answered(*replies):
        bar = progress.Bar(TODO[:1])
        bar.started -= 100
        crew, slot = local.Pool(1, []), workers.Slot(None, run=TODO[0])
        connection = SimpleNamespace(recv=iter(replies).__next__)
        for _ in replies:
            crew._answer(slot, connection, [], bar)
        return bar.left(), round(bar.done / bar.total, 6)

    assert answered(("progress", 0.6), ("progress", 0.7)) == (
        "1 min left",
        0.7,
    )  # 0.3 of it at 0.7 in 100 s
    assert answered(("resumed", 0.6)) == ("measuring the pace", 0.6)
    assert answered(("resumed", 0.6), ("progress", 0.7)) == (
        "5 min left",
        0.7,
    )  # 0.3 at 0.1 in 100 s
    failed = answered(("resumed", 0.6), ("failed", "once"))
    assert failed == ("measuring the pace", 0.0)


def test_the_pace_of_gpu_days_is_told_after_minutes():
    bar = progress.Bar(TODO)
    bar.advance(0.001 * bar.total)
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
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from lib import workers; "
    code += "print(workers.cores())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    assert done.stdout.strip() == "1"


def test_choosing_methods_and_seeds_narrows_the_grid(monkeypatch):
    monkeypatch.setenv("METHODS", "simclr byol")
    monkeypatch.setenv("SEEDS", "0,1")
    chosen = plan.wanted(["table1"], "smoke")
    assert {r.method for r in chosen} == {"simclr", "byol"} and {r.seed for r in chosen} == {0, 1}
    assert len(chosen) == 2 * 2 * 5 * 2


def test_explaining_is_quick_and_counts(workspace):
    started = time.time()
    done = command("explain", "fig2")
    assert done.returncode == 0 and "60 missing" not in done.stdout
    assert f"{len(runs('fig2', 'smoke'))} missing" in done.stdout
    assert time.time() - started < 30


def test_a_complete_run_is_trained_again_only_when_it_is_named_and_forced(store, monkeypatch):
    run, environment = TODO[4], {"WORKSPACE": str(store)}
    monkeypatch.setattr(paths, "WORKSPACE", store)
    assert command("run", "--id", run.id, **environment).returncode == 0
    trained = (run_directory.folder(run) / "run.json").stat().st_mtime_ns
    assert "complete" in command("run", "--id", run.id, **environment).stdout
    assert (run_directory.folder(run) / "run.json").stat().st_mtime_ns == trained
    assert command("run", "--id", run.id, FORCE="1", **environment).returncode == 0
    assert (run_directory.folder(run) / "run.json").stat().st_mtime_ns > trained


def test_the_walkthroughs_networks_are_trained_only_where_the_committed_ones_are_out_of_date(
    workspace, monkeypatch
):
    networks = runs("walkthrough", "smoke")
    assert [r.profile for r in networks] == ["walkthrough"] * 2
    wanted = plan.wanted([], "mini")
    assert {r.id for r in networks} < {
        r.id for r in wanted if r.profile == "mini"
    }  # the same names, and other runs
    assert set(networks) < set(wanted) and len(wanted) == 132
    monkeypatch.setattr(stored, "reference", lambda run: paths.REFERENCE)
    assert plan.pending(networks, force=False) == []
    monkeypatch.setattr(stored, "reference", lambda run: None)
    assert plan.pending(networks, force=False) == networks
