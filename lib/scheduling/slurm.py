"""Train runs on a SLURM cluster through submitit: one array, an element a run, watched under the
same bar.

    CLUSTER=slurm PARTITION=gpu python -m lib.scheduling.plan run [ARTEFACT ...]

The file system is shared, and locks files (flock: NFS 4, or Lustre mounted with it): jobs read the
pixels that the submitting process has prepared, and write the run directories. sbatch hands them
the environment, WORKSPACE and all; its own variables (SBATCH_ACCOUNT, SBATCH_QOS,
SBATCH_MEM_PER_CPU, ...) say what has no variable here.
"""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from lib.scheduling import slurm_job
from lib.scheduling.progress import Bar, cost
from lib.study.grid import Run
from lib.system.environment import number
from lib.system.hardware import devices_a_run

MINUTES = 240  # of a job, unless TIME says: short jobs find their place sooner, and a run goes on in the next one
TIMEOUTS = 100  # of one run: it would never end if no job of TIME minutes finished an epoch
PATIENCE = 60.0  # seconds until what a job wrote last is seen here: NFS caches folders for as long
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
    "UNKNOWN",
}
UNKNOWN = "UNKNOWN", ""  # state of a job that SLURM has forgotten, minutes after its end
USUAL = {
    "None",
    "Resources",
    "Priority",
    "JobArrayTaskLimit",
    "BeginTime",
}  # why a job waits, and soon will not


def asked() -> bool:
    """Whether CLUSTER asks for SLURM. Raises ValueError for any other cluster, and where SLURM is
    not there."""
    name = os.environ.get("CLUSTER", "")
    if name not in ("", "slurm"):
        raise ValueError(
            f"CLUSTER={name}: 'slurm' is the one that is known; without CLUSTER, this machine trains."
        )
    if name and not shutil.which("sbatch"):
        raise ValueError(
            "CLUSTER=slurm, but sbatch is not here: submit from a machine that has it, or unset CLUSTER."
        )
    return bool(name)


def slurm(*command: str) -> str:
    """What a command of SLURM prints. Raises OSError with the first line of its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(
            f"{command[0]} failed: {(done.stderr.strip() or 'no reason given').splitlines()[0]}"
        )
    return done.stdout


@dataclass(frozen=True)
class Partition:
    """What SLURM says of one of its partitions."""

    name: str
    default: bool
    minutes: float  # a job's limit
    gpus: bool


def minutes(limit: str) -> float:
    """SLURM's [days-]hours:minutes:seconds, minutes:seconds or "infinite", in minutes."""
    if not limit[:1].isdigit():
        return math.inf
    days, _, clock = limit.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 1440 * int(days or 0) + seconds / 60


def partitions(names: str) -> list[Partition]:
    """These partitions (comma-separated; none: the default one). Raises ValueError for one that is
    not there."""
    lines = slurm("sinfo", "--all", "--noheader", "--format=%P|%l|%G").splitlines()
    listed = [
        line.split("|") for line in lines
    ]  # a partition with several kinds of nodes has several lines
    found = [
        Partition(p.rstrip("*"), p.endswith("*"), minutes(limit), "gpu" in gres)
        for p, limit, gres in listed
    ]
    chosen = [p for p in found if (p.name in names.split(",") if names else p.default)]
    if not chosen or (names and {p.name for p in chosen} != set(names.split(","))):
        wrong = (
            f"PARTITION={names}: no such partition" if names else "SLURM has no default partition"
        )
        raise ValueError(
            f"{wrong}; set PARTITION to one of {', '.join(sorted({p.name for p in found}))}."
        )
    return chosen


def options(runs: int) -> dict:
    """submitit's parameters of an array of `runs` elements, from PARTITION, TIME, JOBS, DEVICES and
    DEVICE.

    Raises ValueError for what is not a number or not a partition, and for more time than a
    partition gives.
    """
    names = os.environ.get("PARTITION", "")
    chosen = partitions(names)
    limit = min(p.minutes for p in chosen)
    time_asked = number("TIME", int(min(MINUTES, limit)), "minutes that a job may take")
    if time_asked > limit:
        raise ValueError(
            f"TIME={time_asked}: a job may take {limit:.0f} minutes in {chosen[0].name}; ask for fewer."
        )
    shared = devices_a_run([])  # by nodes that this machine does not know
    gpus = any(p.gpus for p in chosen) and os.environ.get("DEVICE") != "cpu"
    return {
        "job_name": "runs",
        "partition": ",".join(dict.fromkeys(p.name for p in chosen)),
        "time": time_asked,
        "array_parallelism": number("JOBS", runs, "how many runs to train at once"),
        "nodes": 1,
        **({"ntasks_per_node": shared} if shared > 1 else {}),
        **({"gpus_per_node": shared} if gpus else {}),
        "cpus_per_task": 1,  # a run on CPU is one-threaded, and a GPU makes its views itself
        "stderr_to_stdout": True,
        "srun_args": ["--kill-on-bad-exit"],  # when one device fails, the others would wait for it
        "additional_parameters": {"requeue": True},
    }


def plan(runs: int) -> str:
    """What is asked of SLURM for as many runs, in words; raises as `options`, before anything slow
    starts."""
    chosen = options(runs)
    gpus = f", {chosen['gpus_per_node']} GPU(s) each" if "gpus_per_node" in chosen else ""
    several = f"{min(runs, chosen['array_parallelism'])} at a time{gpus}"
    return f"as jobs of SLURM in {chosen['partition']}, {several}, up to {chosen['time']} minutes a job"


def queue() -> dict[str, tuple[str, str]]:
    """Job, or element of an array -> (state, why it waits), of all the user's jobs that SLURM
    remembers."""
    lines = slurm(
        "squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i %T %r"
    ).splitlines()
    return {
        name: (state, reason) for name, state, reason in (line.split(maxsplit=2) for line in lines)
    }


def settled(jobs: Iterable[str]) -> dict[str, tuple[str, str]]:
    """`queue`, waiting while one of these jobs, after a kill, may be about to end or to be queued
    again."""
    until = time.time() + PATIENCE
    states = queue()
    while (
        any(states.get(name, UNKNOWN)[0] == "COMPLETING" for name in jobs) and time.time() < until
    ):
        time.sleep(1.0)
        states = queue()
    return states


def log(name: str) -> Path:
    """What the job prints; its first process, where there are several."""
    return slurm_job.folder() / "log" / f"{name}_0_log.out"


def submit(todo: list[Run], again: bool) -> dict[Run, str]:
    """Run -> job. Jobs that were given runs before, and have not ended, keep them; the rest are a
    new array.

    Raises OSError where SLURM refuses.
    """
    slurm_job.folder().mkdir(parents=True, exist_ok=True)
    with FileLock(slurm_job.folder() / "lock"):  # of two processes at once, one submits
        given = {
            run: path.read_text() for run in todo if (path := slurm_job.note(run, "job")).exists()
        }
        states = settled(given.values())
        jobs = {
            run: name for run, name in given.items() if states.get(name, UNKNOWN)[0] not in ENDED
        }
        rest = sorted((run for run in todo if run not in jobs), key=cost, reverse=True)
        if jobs:
            print(f"{len(jobs)} runs have jobs already, which go on.", flush=True)
        if rest:
            jobs |= _submit(rest, again)
    return jobs


def _submit(rest: list[Run], again: bool) -> dict[Run, str]:
    """A new array."""
    import submitit

    executor = submitit.SlurmExecutor(slurm_job.folder() / "log", max_num_timeout=TIMEOUTS)
    executor.update_parameters(**options(len(rest)))
    for run in rest:
        slurm_job.tell(run, 0.0)
    try:
        made = executor.submit_array([slurm_job.Training(run, again) for run in rest])
    except submitit.core.utils.FailedJobError as error:
        raise OSError(f"sbatch refused: {str(error).strip().splitlines()[-1]}") from None
    jobs = {run: element.job_id for run, element in zip(rest, made, strict=True)}
    for run, name in jobs.items():
        slurm_job.note(run, "job").write_text(name)
    print(f"{len(rest)} runs are submitted, as job {made[0].job_id.split('_')[0]}.", flush=True)
    return jobs


def train(todo: list[Run], again: bool) -> int:
    """Submit what has no job yet, and watch until all have ended; returns the exit status."""
    jobs = submit(todo, again)
    try:
        failed = Watch(jobs).until_all_ended()
    except KeyboardInterrupt:
        arrays = " ".join(sorted({name.split("_")[0] for name in jobs.values()}))
        print(
            f"\nthe jobs go on; the same command watches them again, `scancel {arrays}` stops them."
        )
        return 130
    for run, why in failed.items():
        print(
            f"error: {run.id}: {why.splitlines()[0]} (job {jobs[run]}, details in {log(jobs[run])})",
            file=sys.stderr,
        )
    return 1 if failed else 0


@dataclass
class Watch:
    """The bar over runs that jobs train, fed from the jobs' notes and SLURM's queue."""

    jobs: dict[Run, str]
    done: dict[Run, float] = field(default_factory=dict)  # fraction of each run that the bar shows
    failed: dict[Run, str] = field(default_factory=dict)
    silent: dict[Run, float] = field(
        default_factory=dict
    )  # since when SLURM says that its job has ended
    reasons: set[str] = field(default_factory=set)  # why jobs wait, as told

    def __post_init__(self):
        self.bar = Bar(list(self.jobs))

    def until_all_ended(self) -> dict[Run, str]:
        """Run -> what went wrong, for those that failed."""
        began, left, states = time.time(), list(self.jobs), {}
        while left:
            with suppress(OSError):  # SLURM's controller may restart: what it said last holds
                states = queue()
            self._say_why_they_wait(left, states)
            left = [run for run in left if not self._has_ended(run, states)]
            if not self.done:
                self.bar.started = time.time()  # time in the queue says nothing about the pace
            self.bar.show()
            # Short studies are followed closely, long ones spare the controller, which all users
            # share.
            time.sleep(min(30.0, max(1.0, (time.time() - began) / 20)) if left else 0)
        self.bar.close()
        return self.failed

    def _has_ended(self, run: Run, states: dict) -> bool:
        """Whether the run has ended; shows what is done of it."""
        fraction, ended = slurm_job.heard(run)
        ended = ended or self._without_a_word(run, states.get(self.jobs[run], UNKNOWN)[0])
        if ended:
            fraction = 1.0
            self.bar.finished += 1
            if ended != "done":
                self.failed[run] = ended
        elif fraction and run not in self.done:
            self.bar.before += fraction * cost(run)  # by an earlier job, or before anyone watched
        if fraction:
            self.bar.advance((fraction - self.done.get(run, 0.0)) * cost(run))
            self.done[run] = fraction
        if ended:
            self.bar.show(f"{run.id} {'done' if ended == 'done' else 'failed'}")
        return bool(ended)

    def _without_a_word(self, run: Run, state: str) -> str:
        """How a run ended whose job left no note; "" while the job goes on, or its note may be on
        its way here."""
        if state not in ENDED:
            self.silent.pop(run, None)
            return ""
        since = self.silent.setdefault(run, time.time())
        if state != "CANCELLED" and time.time() - since < PATIENCE:
            return ""
        return f"its job ended without a word, SLURM says {state}"

    def _say_why_they_wait(self, left: list[Run], states: dict) -> None:
        """Tell, once, of every reason that does not go by itself, such as a limit that the job
        exceeds."""
        queued = [states.get(self.jobs[run], UNKNOWN) for run in left]
        waiting = [reason for state, reason in queued if state == "PENDING"]
        for reason in dict.fromkeys(waiting):
            if reason not in USUAL | self.reasons:
                self.reasons.add(reason)
                tqdm.write(f"{waiting.count(reason)} jobs wait: {reason}")
