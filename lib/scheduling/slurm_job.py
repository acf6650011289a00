"""One run as a job of SLURM: what trains it there, and its notes of how far it is. Does not import
torch.

runs/.slurm/PROFILE/ID.job    the job that the run was given to
runs/.slurm/PROFILE/ID.json   how far it is, and how it ended
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib.scheduling.job import Job
from lib.store import run_directory
from lib.study.grid import Run
from lib.system import atomic, environment, parallel, paths

INTERVAL = 1.0  # seconds between two notes of how far a run is


def folder() -> Path:
    """The folder of all notes and logs, of every profile: one array may train runs of two."""
    return paths.RUNS / ".slurm"


def note(run: Run, kind: str) -> Path:
    """A run's note of `kind`, "job" or "json"; its folder exists."""
    path = folder() / run.profile / f"{run.id}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_progress(run: Run, fraction: float, outcome: str = "") -> None:
    """Note what is done of a run and, once it has ended, the outcome: "done" or what went wrong."""
    atomic.put_json(note(run, "json"), {"fraction": fraction, "outcome": outcome})


def read_progress(run: Run) -> tuple[float, str]:
    """The fraction and the outcome that `write_progress` noted last."""
    last = atomic.read_json(note(run, "json")) or {}
    return last.get("fraction", 0.0), last.get("outcome", "")


@dataclass
class Training:
    """An element of the array. When it is preempted, out of time or requeued by hand, SLURM queues
    it again, and it goes on from the run's own checkpoint of its last epoch."""

    job: Job

    def checkpoint(self):
        """What submitit queues in place of this job, at the signal that comes before its end."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Train the run, a device for each process of the job. Raises what the training raises."""
        from submitit.helpers import JobEnvironment, TorchDistributedEnvironment

        environment.hand_down(parallel.ONE_THREAD)  # before torch
        place, run = JobEnvironment(), self.job.run
        if place.num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if place.global_rank > 0:  # rank 0 holds the lock and speaks
            self._do(None, place.global_rank)
            return
        last = 0.0

        def progress(fraction: float, row: dict) -> None:
            nonlocal last
            if time.time() - last > INTERVAL:
                last = time.time()
                write_progress(run, fraction)

        write_progress(run, 0.0)
        try:
            # Another make may be training the run, or this job's last process may be dying: wait.
            with run_directory.lock(run):
                self._do(progress, 0)
        except Exception as error:
            write_progress(run, 0.0, f"{type(error).__name__}: {error}")
            raise
        write_progress(run, 1.0, "done")

    def _do(self, progress: Callable | None, rank: int) -> None:
        from pytorch_lightning.utilities.exceptions import SIGTERMException

        try:
            self.job.do(progress, rank)
        except SIGTERMException:
            # Lightning stops at SIGTERM, the first word of a preemption. SLURM marks jobs that exit
            # on SIGTERM as FAILED; only jobs that it kills are queued again, so wait to be killed.
            while True:
                signal.pause()
