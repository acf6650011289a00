"""Train runs on a SLURM cluster through submitit: an array, an element a run, and the same bar.

    make replicate CLUSTER=slurm PARTITION=gpu

The file system is shared, and locks files: jobs read the pixels that the submitting process has
prepared, and write the run directories. sbatch hands them the environment.
"""

import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from lib.scheduling import slurm_job, slurm_state
from lib.scheduling.job import Job
from lib.scheduling.progress import Runs, cost
from lib.scheduling.slurm_state import ENDED, PATIENCE, UNKNOWN, queue, settled
from lib.study.grid import Run
from lib.system import atomic, environment

MINUTES = 240  # of a job without TIME: short jobs start sooner, and a run goes on in the next one
TIMEOUTS = 100  # of one run: it would never end if no job of TIME minutes finished an epoch
TOO_MANY = "SubmitJob", "submit limit"  # in what sbatch says of more jobs than it takes at once
# Reasons for which a job waits that pass by themselves.
USUAL = {"None", "Resources", "Priority", "JobArrayTaskLimit", "BeginTime"}


@dataclass(frozen=True)
class Cluster:
    """What is asked of SLURM."""

    partition: str = ""  # one or several, separated by commas; "" is SLURM's default
    minutes: int | None = None  # of a job
    jobs: int | None = None  # at a time; None for all
    devices: int = 1  # that share a run


def check_installed(name: str) -> None:
    """Raise ValueError unless `name`, the value of CLUSTER, is "slurm" and SLURM is here."""
    if name != "slurm":
        what = f"CLUSTER={name}: only 'slurm' is supported"
        raise ValueError(f"{what}; leave CLUSTER unset to train on this machine.")
    if not shutil.which("sbatch"):
        remedy = "submit from a machine that has it, or unset CLUSTER"
        raise ValueError(f"CLUSTER=slurm, but sbatch is not here: {remedy}.")


def options(cluster: Cluster, runs: int) -> dict:
    """submitit's parameters of an array of `runs` elements. Raises ValueError for a partition that
    is not there, and for more time than it gives."""
    chosen = slurm_state.partitions(cluster.partition)
    shortest = min(chosen, key=lambda p: p.minutes)
    limit = shortest.minutes
    time_limit = cluster.minutes or int(min(MINUTES, limit))
    if time_limit > limit:
        most = f"{limit:.0f} minutes in {shortest.name}"
        raise ValueError(f"TIME={time_limit}: a job may take {most}; ask for fewer.")
    devices = ["ntasks_per_node"] if cluster.devices > 1 else []
    if any(p.gpus for p in chosen) and environment.device() != "cpu":
        devices.append("gpus_per_node")
    return {
        "job_name": "runs",
        "partition": ",".join(dict.fromkeys(p.name for p in chosen)),
        "time": time_limit,
        "array_parallelism": cluster.jobs or runs,
        "nodes": 1,
        **dict.fromkeys(devices, cluster.devices),
        "cpus_per_task": 1,  # a run on CPU is one-threaded, and a GPU makes its views itself
        "stderr_to_stdout": True,
        "srun_args": ["--kill-on-bad-exit"],  # when one device fails, the others would wait for it
        "additional_parameters": {"requeue": True},
    }


def plan(cluster: Cluster, runs: int) -> str:
    """What is asked of SLURM for as many runs, in words. Raises what `options` raises."""
    chosen = options(cluster, runs)
    gpus = f", {chosen['gpus_per_node']} GPU(s) each" if "gpus_per_node" in chosen else ""
    several = f"{min(runs, chosen['array_parallelism'])} at a time{gpus}"
    limit = f"up to {chosen['time']} minutes a job"
    return f"as jobs of SLURM in {chosen['partition']}, {several}, {limit}"


def log(name: str) -> Path:
    """What the job prints; its first process, where there are several."""
    return slurm_job.folder() / "log" / f"{name}_0_log.out"


def submit(todo: list[Job], cluster: Cluster) -> dict[Run, str]:
    """Run -> SLURM's job. Runs whose jobs have not ended stay with them; the rest become a new
    array, or as many of them as SLURM takes at once. Raises OSError where it takes none."""
    slurm_job.folder().mkdir(parents=True, exist_ok=True)
    with FileLock(slurm_job.folder() / "lock"):  # of two processes at once, one submits
        names = {}
        for job in todo:
            with suppress(FileNotFoundError):
                names[job.run] = slurm_job.note(job.run, "job").read_text(encoding="utf-8")
        states = settled(names.values())
        jobs = {r: name for r, name in names.items() if states.get(name, UNKNOWN)[0] not in ENDED}
        if jobs:
            print(f"{len(jobs)} runs have jobs already, which go on.", flush=True)
        rest = [job for job in todo if job.run not in jobs]
        if rest:
            longest = sorted(rest, key=lambda job: cost(job.run), reverse=True)
            try:
                jobs |= _submit(longest[: slurm_state.array_limit()], cluster)
            except TooMany:
                if not jobs:
                    raise
            if waiting := len(todo) - len(jobs):
                print(f"SLURM takes no more at once: {waiting} runs wait for these.", flush=True)
    return jobs


class TooMany(OSError):
    """SLURM takes no further job of this user now."""


def _submit(rest: list[Job], cluster: Cluster) -> dict[Run, str]:
    """A new array of these, of half of them where SLURM does not take so many, and so on."""
    import submitit

    executor = submitit.SlurmExecutor(slurm_job.folder() / "log", max_num_timeout=TIMEOUTS)
    executor.update_parameters(**options(cluster, len(rest)))
    for job in rest:
        slurm_job.write_progress(job.run, 0.0)
    try:
        elements = executor.submit_array([slurm_job.Training(job) for job in rest])
    except submitit.core.utils.FailedJobError as error:
        too_many = any(word in str(error) for word in TOO_MANY)
        if too_many and len(rest) > 1:
            return _submit(rest[: len(rest) // 2], cluster)
        refused = f"sbatch refused: {str(error).strip().splitlines()[-1]}"
        raise (TooMany if too_many else OSError)(refused) from None
    jobs = {job.run: element.job_id for job, element in zip(rest, elements, strict=True)}
    for run, name in jobs.items():
        atomic.put_text(slurm_job.note(run, "job"), name)
    array = elements[0].job_id.split("_")[0]
    print(f"{len(rest)} runs are submitted, as job {array}.", flush=True)
    return jobs


def train(todo: list[Job], cluster: Cluster) -> int:
    """Submit what has no job yet, and watch until all have ended; returns the exit status. Runs
    that SLURM does not take with the others follow. Ctrl-C ends the watch alone: raises
    KeyboardInterrupt with what to do next."""
    status = 0
    while todo:
        jobs = submit(todo, cluster)
        try:
            failed = Watch(jobs).until_all_ended()
        except KeyboardInterrupt:
            arrays = " ".join(sorted({name.split("_")[0] for name in jobs.values()}))
            remedy = f"the same command watches them again, `scancel {arrays}` stops them"
            raise KeyboardInterrupt(f"the jobs go on; {remedy}.") from None
        for run, why in failed.items():
            details = f"(job {jobs[run]}, details in {log(jobs[run])})"
            print(f"error: {run.id}: {why.splitlines()[0]} {details}", file=sys.stderr)
            status = 1
        todo = [job for job in todo if job.run not in jobs]
    return status


@dataclass
class Watch:
    """The bar over runs that jobs train, fed from the jobs' notes and SLURM's queue."""

    jobs: dict[Run, str]
    failed: dict[Run, str] = field(default_factory=dict)
    # Since when SLURM has said that a run's job has ended, while the run has no outcome.
    silent: dict[Run, float] = field(default_factory=dict)
    reasons: set[str] = field(default_factory=set)  # why jobs wait, as printed

    def __post_init__(self):
        self.bar = Runs(list(self.jobs))

    def until_all_ended(self) -> dict[Run, str]:
        """Run -> what went wrong, for those that failed."""
        began, left, states = time.monotonic(), list(self.jobs), {}
        while left:
            with suppress(OSError):  # SLURM's controller may restart: its last answer holds
                states = queue()
            self._say_why_they_wait(left, states)
            for run in left:
                self.look_at(run, states)
            left = [run for run in left if run not in self.bar.ended]
            if not self.bar.fractions:
                self.bar.started = time.monotonic()  # time in the queue is not part of the pace
            self.bar.show()
            if left:  # short studies are followed closely, long ones spare the controller
                time.sleep(min(30.0, max(1.0, (time.monotonic() - began) / 20)))
        self.bar.close()
        return self.failed

    def look_at(self, run: Run, states: dict) -> None:
        """Show what is done of a run, and how it ended if it did."""
        fraction, outcome = slurm_job.read_progress(run)
        outcome = outcome or self._without_a_note(run, states.get(self.jobs[run], UNKNOWN)[0])
        if outcome == "done":
            self.bar.finish(run, outcome)
        elif outcome:
            self.failed[run] = outcome
            self.bar.finish(run, "failed")
        elif fraction:  # at first sight: by an earlier job, or before anyone watched
            self.bar.advance(run, fraction, resumed=True)

    def _without_a_note(self, run: Run, state: str) -> str:
        """How a run ended whose job left no outcome; "" while that may still be on its way here."""
        if state not in ENDED:
            self.silent.pop(run, None)
            return ""
        since = self.silent.setdefault(run, time.monotonic())
        waits = state != "CANCELLED" and time.monotonic() - since < PATIENCE
        return "" if waits else f"its job ended without a result, SLURM says {state}"

    def _say_why_they_wait(self, left: list[Run], states: dict) -> None:
        """Print, once, every reason that does not pass by itself, such as too high a limit."""
        queued = [states.get(self.jobs[run], UNKNOWN) for run in left]
        waiting = [reason for state, reason in queued if state == "PENDING"]
        for reason in [r for r in dict.fromkeys(waiting) if r not in USUAL | self.reasons]:
            self.reasons.add(reason)
            tqdm.write(f"{waiting.count(reason)} jobs wait: {reason}")
