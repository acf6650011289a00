"""One run as a job of SLURM: what trains it there, and the notes by which it says how far it is.
Knows no torch.

runs/.slurm/PROFILE/ID.job    the job that the run was given to
runs/.slurm/PROFILE/ID.json   how far it is, and how it ended
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lib.store import run_directory
from lib.study.grid import Run
from lib.system import paths

TELL = 1.0  # seconds between two notes of how far a run is


def folder() -> Path:
    """Where all about jobs lies: beside the runs of every profile, since an array may train runs of
    two."""
    return paths.RUNS / ".slurm"


def note(run: Run, kind: str) -> Path:
    """A run's note of `kind`, "job" or "json"; its folder exists."""
    path = folder() / run.profile / f"{run.id}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def tell(run: Run, fraction: float, ended: str = "") -> None:
    """Note what is done of a run, and, once it has `ended`, "done" or what went wrong."""
    path = note(run, "json")
    beside = path.with_suffix(".writing")
    beside.write_text(json.dumps({"fraction": fraction, "ended": ended}))
    beside.replace(path)


def heard(run: Run) -> tuple[float, str]:
    """What `tell` noted last."""
    with suppress(FileNotFoundError):
        told = json.loads(note(run, "json").read_text())
        return told["fraction"], told["ended"]
    return 0.0, ""


@dataclass
class Training:
    """An element of the array. Preempted, out of time or requeued by hand, it is queued again, and
    goes on from the run's own checkpoint of its last epoch."""

    run: Run
    again: bool  # train it even if it is complete

    def checkpoint(self):
        """What submitit queues in place of this job, at the signal that comes before its end."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Train the run, on as many devices as the job has processes. Raises what the training
        raises."""
        from submitit.helpers import JobEnvironment, TorchDistributedEnvironment

        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
        place = JobEnvironment()
        if place.num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        if place.global_rank > 0:  # rank 0 holds the lock and speaks
            self._train(None)
            return
        tell(self.run, 0.0)
        try:
            with run_directory.lock(
                self.run
            ):  # waits while another make trains it, or this job's last process is dying
                self._train(Progress(self.run))
        except Exception as error:
            tell(self.run, 0.0, f"{type(error).__name__}: {error}")
            raise
        tell(self.run, 1.0, "done")

    def _train(self, progress: "Progress | None") -> None:
        from pytorch_lightning.utilities.exceptions import (
            SIGTERMException,
        )  # torch: after the environment is set

        from lib.training import train

        try:
            train.ensure(self.run, progress, self.again)
        except (
            SIGTERMException
        ):  # Lightning gives up at SIGTERM, the first word of preemption, but SLURM queues
            while (
                True
            ):  # only those again that it had to kill itself: of who leaves before, it says FAILED
                signal.pause()


@dataclass
class Progress:
    """Notes, now and then, what is done of a run."""

    run: Run
    last: float = 0.0

    def __call__(self, fraction: float, row: dict) -> None:
        if time.time() - self.last > TELL:
            self.last = time.time()
            tell(self.run, fraction)
