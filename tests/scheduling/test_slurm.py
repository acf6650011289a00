"""Runs on a cluster: what is asked of SLURM, and, on a real one of one node, what becomes of runs
that are stopped."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from math import inf
from pathlib import Path

import pandas as pd
import pytest
import submitit

from lib import __main__ as command_line
from lib.data import pixels
from lib.scheduling import slurm as slurm_module
from lib.scheduling import slurm_job, slurm_state
from lib.scheduling.job import Job
from lib.scheduling.slurm import Cluster, Watch, log, options
from lib.scheduling.slurm_state import minutes, queue
from lib.store import run_directory
from lib.study import choices, grid, profiles
from lib.system import paths

ABSENT = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(name)]
needs_slurm = pytest.mark.skipif(
    bool(ABSENT) or os.geteuid() != 0,
    reason=f"SLURM needs root, and lacks {', '.join(ABSENT) or 'nothing else'} here",
)
SCRIPT = paths.ROOT / "tests" / "slurm.sh"
PARTITIONS = (
    "cpu*|4:00:00|(null)\nlong|3-00:00:00|(null)\ngpu|infinite|gpu:h100:4\ngpu|infinite|(null)\n"
)


def longer(method: str, seed: int, epochs: int) -> grid.Run:
    """A run of the profile `smoke` that takes seconds."""
    return grid.run("smoke", method, "resnet18", 0.45, seed).with_settings(epochs=epochs)


def partial(run) -> Path:
    return run_directory.folder(run).with_name(f"{run.id}.partial")


def until(condition, process=None, seconds=120.0):
    """Wait for `condition()` to be true, while `process` runs."""
    end = time.time() + seconds
    while not condition():
        assert time.time() < end and (process is None or process.poll() is None), "waited in vain"
        time.sleep(0.05)


# What is asked of SLURM


@pytest.fixture
def answers(monkeypatch):
    """SLURM's commands, answered without it; every variable unset."""
    for name in ("PARTITION", "TIME", "JOBS", "DEVICES", "DEVICE", "CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(slurm_state, "slurm", lambda *command: PARTITIONS)
    monkeypatch.setattr(slurm_module.shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setenv("CLUSTER", "slurm")
    return monkeypatch


def asked() -> dict:
    """What the environment asks of SLURM for seven runs."""
    arguments = argparse.Namespace(choices=choices.read())
    return options(command_line._request(arguments).cluster, 7)


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({}, {"partition": "cpu", "time": 240, "array_parallelism": 7}),
        (
            {"PARTITION": "long", "TIME": "4000", "JOBS": "3"},
            {"partition": "long", "time": 4000, "array_parallelism": 3},
        ),
        ({"PARTITION": "gpu"}, {"partition": "gpu", "time": 240, "gpus_per_node": 1}),
        (
            {"PARTITION": "gpu", "DEVICES": "4"},
            {"gpus_per_node": 4, "ntasks_per_node": 4, "cpus_per_task": 1},
        ),
        ({"PARTITION": "long,gpu"}, {"partition": "long,gpu", "gpus_per_node": 1}),
    ],
)
def test_variables_become_options(answers, environment, expected):
    for name, value in environment.items():
        answers.setenv(name, value)
    assert expected.items() <= asked().items()


def test_no_gpu_is_asked_for_where_there_is_none_or_the_processor_is_wanted(answers):
    assert "gpus_per_node" not in asked()
    answers.setenv("PARTITION", "gpu")
    answers.setenv("DEVICE", "cpu")
    assert "gpus_per_node" not in asked()


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"PARTITION": "gpus"}, "set PARTITION to one of cpu, gpu, long"),
        ({"PARTITION": "gpu,fast"}, "no such partition"),
        ({"TIME": "241"}, "a job may take 240 minutes in cpu"),
        ({"TIME": "1h"}, "TIME=1h"),
        ({"JOBS": "0"}, "JOBS=0"),
        ({"DEVICES": "two"}, "DEVICES=two"),
    ],
)
def test_wrong_options_get_one_sentence(answers, environment, expected):
    for name, value in environment.items():
        answers.setenv(name, value)
    with pytest.raises(ValueError, match=expected) as raised:
        asked()
    assert len(str(raised.value).splitlines()) == 1


def test_the_partition_that_gives_the_least_time_is_named(answers):
    lines = "".join(reversed(PARTITIONS.splitlines(keepends=True)))
    answers.setattr(slurm_state, "slurm", lambda *command: lines)
    answers.setenv("PARTITION", "cpu,long")
    answers.setenv("TIME", "241")
    with pytest.raises(ValueError, match="a job may take 240 minutes in cpu"):
        asked()


def test_without_a_default_partition_one_is_asked_for(answers):
    answers.setattr(slurm_state, "slurm", lambda *command: PARTITIONS.replace("*", ""))
    with pytest.raises(ValueError, match="no default partition; set PARTITION to one of cpu"):
        asked()


@pytest.mark.parametrize(
    "limit, expected",
    [
        ("infinite", inf),
        ("30:00", 30),
        ("1:00:00", 60),
        ("1-12:00:00", 2160),
        ("0:30", 0.5),
    ],
)
def test_limits_are_read_in_minutes(limit, expected):
    assert minutes(limit) == expected


@pytest.mark.parametrize(
    "name, path, expected",
    [
        ("slrum", os.environ["PATH"], "only 'slurm' is supported"),
        ("slurm", "", "sbatch is not here"),
    ],
)
def test_other_clusters_and_machines_without_slurm_are_refused(monkeypatch, name, path, expected):
    monkeypatch.setenv("CLUSTER", name)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(ValueError, match=expected):
        asked()


def test_a_job_that_ends_without_a_word_has_failed_once_its_word_cannot_come_any_more(
    workspace, monkeypatch
):
    run = longer("random", 1, 1)
    watch = Watch({run: "7"})

    def has_ended(states):
        watch.look_at(run, states)
        return run in watch.bar.ended

    slurm_job.write_progress(run, 0.5)
    assert not has_ended({"7": ("COMPLETED", "None")})
    assert not has_ended({})
    monkeypatch.setattr(slurm_module, "PATIENCE", 0.0)
    assert not has_ended({"7": ("RUNNING", "None")})
    assert has_ended({"7": ("OUT_OF_MEMORY", "None")})
    assert "OUT_OF_MEMORY" in watch.failed[run]


def test_what_a_job_had_done_before_it_was_watched_says_nothing_about_the_pace(workspace):
    run = longer("random", 1, 1)
    watch = Watch({run: "7"})
    watch.bar.started -= 100
    shown = []
    for fraction in (0.6, 0.7):
        slurm_job.write_progress(run, fraction)
        watch.look_at(run, {"7": ("RUNNING", "None")})
        shown.append((watch.bar.left(), round(watch.bar.share, 6)))
    assert shown == [("measuring the pace", 0.6), ("5 min left", 0.7)]  # 0.3 of it at 0.1 in 100 s


# How many jobs SLURM takes


@pytest.fixture
def limited(workspace, monkeypatch):
    """A SLURM with a limit of array elements and one of submitted jobs, which ends every job as
    soon as it is watched; returns the sizes of the arrays that it took."""
    taken, live = [], []

    def told(*command):
        if command[0] == "scontrol":
            return f"MailProg = /bin/mail\nMaxArraySize            = {taken_at_most['array']}\n"
        return PARTITIONS

    def submit_array(self, elements):
        if len(elements) + len(live) > taken_at_most["jobs"]:
            why = f"{taken_at_most['word']}\nsbatch: error: Batch job submission failed"
            raise submitit.core.utils.FailedJobError(f"sbatch: error: {why}")
        taken.append(len(elements))
        live.extend(elements)
        names = [f"{len(taken)}_{i}" for i in range(len(elements))]
        return [argparse.Namespace(job_id=name) for name in names]

    def until_all_ended(self):
        live.clear()
        return {}

    taken_at_most = {"array": 1001, "jobs": 10**6, "word": "QOSMaxSubmitJobPerUserLimit"}
    monkeypatch.setattr(slurm_state, "slurm", told)
    monkeypatch.setattr(slurm_module, "settled", lambda jobs: {})
    monkeypatch.setattr(submitit.SlurmExecutor, "__init__", lambda self, *_, **__: None)
    monkeypatch.setattr(submitit.SlurmExecutor, "update_parameters", lambda self, **_: None)
    monkeypatch.setattr(submitit.SlurmExecutor, "submit_array", submit_array)
    monkeypatch.setattr(Watch, "until_all_ended", until_all_ended)
    return taken_at_most, taken


SEVEN = [Job(longer("random", seed, 1)) for seed in range(7)]


@pytest.mark.parametrize(
    "limit, arrays",
    [
        ({}, [7]),
        ({"array": 3}, [3, 3, 1]),
        ({"jobs": 4}, [3, 4]),
        ({"jobs": 1, "word": "AssocMaxSubmitJobLimit"}, [1] * 7),
        ({"array": 5, "jobs": 4, "word": "policy (job submit limit, user's size"}, [2, 2, 3]),
    ],
)
def test_runs_beyond_a_limit_of_slurm_follow_when_others_have_ended(limited, limit, arrays, capsys):
    limited[0].update(limit)
    assert slurm_module.train(SEVEN, Cluster()) == 0
    assert limited[1] == arrays
    told = capsys.readouterr().out
    assert ("SLURM takes no more at once" in told) == (len(arrays) > 1)


@pytest.mark.parametrize("word", ["QOSMaxSubmitJobPerUserLimit", "Invalid account"])
def test_a_refusal_that_no_smaller_array_mends_is_told(limited, word):
    limited[0].update(jobs=0, word=word)
    with pytest.raises(OSError, match="sbatch refused: sbatch: error: Batch job submission failed"):
        slurm_module.train(SEVEN, Cluster())
    assert not limited[1]


def test_without_a_word_slurm_has_its_default_limit(monkeypatch):
    monkeypatch.setattr(slurm_state, "slurm", lambda *command: "ClusterName = test\n")
    assert slurm_state.array_limit() == 1001


# On a real one


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A SLURM of one node, reached by the environment, and a workspace that its jobs share."""
    folder = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        others = (
            "JOBS",
            "TIME",
            "PARTITION",
            "DEVICE",
            "DEVICES",
            "FORCE",
        )  # of a make around this one
        for name in [
            n for n in os.environ if n in others or n.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))
        ]:
            patch.delenv(name)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("CLUSTER", "slurm")
        patch.setenv("PROFILE", "smoke")
        patch.setenv("WORKSPACE", str(folder))
        for name in ("DATA", "RUNS"):
            patch.setattr(paths, name, folder / name.lower())
        subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
        pixels.prepare(profiles.load("smoke")["data"])
        try:
            yield folder
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


def make(**environment):
    """`python -m lib run table2`, in a process of its own: four runs of one
    seed."""
    return subprocess.Popen(
        [sys.executable, "-m", "lib", "run", "table2"],
        cwd=paths.ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "METHODS": "supervised", "SEEDS": "1", **environment},
    )


@needs_slurm
def test_runs_are_submitted_once_and_what_fails_is_told(slurm):
    runs = grid.runs("table2", "smoke", methods=["supervised"], seeds=[1])
    bad, preempted = runs[0], runs[-1]
    partial(bad).parent.mkdir(parents=True)
    partial(bad).touch()  # where its folder should be
    asked = make(SBATCH_TIMELIMIT="50")
    given = slurm_job.note(preempted, "job")
    until(given.exists, asked)
    limit = slurm_state.slurm("squeue", "--noheader", "--format=%l").split()[0]
    until(
        (paths.RUNS / "smoke" / ".locks" / f"{preempted.id}.lock").exists, asked
    )  # its job is at work
    name = given.read_text()
    told = subprocess.Popen(["scancel", "--signal=USR2", name])  # as SLURM does before a limit
    until(lambda: "Requeued job" in log(name).read_text(), asked)
    told.kill()  # refused while the job is queued again, it would repeat itself, and kill that one
    told.wait()
    asked.send_signal(signal.SIGINT)
    out, _ = asked.communicate(timeout=120)
    assert asked.returncode == 130 and "the jobs go on; the same command watches them again" in out
    assert (
        "4 of 4 runs to train, as jobs of SLURM in work, 4 at a time" in out
        and "4 runs are submitted" in out
    )
    watching = make()
    out, err = watching.communicate(timeout=240)
    assert watching.returncode == 1
    assert "runs have jobs already, which go on." in out and given.read_text() == name
    assert "runs, 100 %" in out and f"{preempted.id} done" in out and f"{bad.id} failed" in out
    assert len(err.strip().splitlines()) == 1
    assert f"error: {bad.id}: FileExistsError" in err
    named = re.search(r"details in (\S+)\)", err)[1]
    assert "FileExistsError" in Path(named).read_text()
    assert "Requeued job" in log(given.read_text()).read_text()
    assert [run_directory.state(r)[0] for r in runs] == ["missing"] + ["complete"] * 3
    assert limit == "50:00"  # sbatch's own variables are heard
    assert all(run_directory.record(run_directory.folder(r))["threads"] == 1 for r in runs[1:])
    assert not list(run_directory.folder(preempted).glob("*.json.*")) and not list(
        paths.RUNS.glob("smoke/*.partial/*")
    )

    partial(bad).unlink()
    before = {r: slurm_job.note(r, "job").read_text() for r in runs}
    again = make(DEVICES="2")
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0 and "1 of 4 runs to train" in out and "1 runs are submitted" in out
    assert [r for r in runs if slurm_job.note(r, "job").read_text() != before[r]] == [bad]
    assert run_directory.record(run_directory.folder(bad))["devices"] == 2
    jobs = set(queue())
    out, err = make().communicate(timeout=120)
    assert "all 4 runs are complete" in out and set(queue()) == jobs


@needs_slurm
def test_a_run_that_was_cancelled_is_submitted_again_and_one_that_was_preempted_goes_on(
    slurm, tmp_path, capsys
):
    from lib.scheduling import slurm_job, slurm_state
    from lib.scheduling.slurm import submit, train
    from lib.store import run_directory
    from lib.training import train as training

    cancelled, preempted = longer("simclr", 2, 12), longer("supervised", 2, 60)
    with run_directory.lock(cancelled):
        alone = training.train(cancelled, store=tmp_path)
    todo = [Job(cancelled), Job(preempted)]
    jobs = submit(todo, Cluster())
    for run in jobs:
        until(lambda run=run: (partial(run) / "checkpoint.ckpt").exists())
    slurm_state.slurm("scancel", jobs[cancelled])
    wrap = ["--partition=urgent", "--ntasks=2", "--wrap=true", "--output=/dev/null"]
    slurm_state.slurm("sbatch", *wrap)  # takes every core
    capsys.readouterr()
    assert train(todo, Cluster()) == 0
    out = capsys.readouterr().out
    assert "1 runs have jobs already, which go on." in out and "1 runs are submitted" in out
    assert slurm_job.note(preempted, "job").read_text() == jobs[preempted]
    assert slurm_job.note(cancelled, "job").read_text() != jobs[cancelled]
    assert "Restarts=1" in slurm_state.slurm("scontrol", "show", "job", jobs[preempted])
    for run in jobs:
        assert run_directory.state(run) == ("complete", "")
        history = pd.read_csv(run_directory.folder(run) / "history.csv")
        assert history["epoch"].tolist() == list(range(run.settings.epochs))
    ours = run_directory.folder(cancelled)
    theirs, resumed = (
        pd.read_csv(f / "history.csv").drop(columns="seconds") for f in (alone, ours)
    )
    pd.testing.assert_frame_equal(resumed, theirs, check_exact=True)
    theirs, resumed = (pd.read_parquet(f / "scores.parquet") for f in (alone, ours))
    pd.testing.assert_frame_equal(resumed, theirs, check_exact=True)
