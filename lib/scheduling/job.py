"""What there is to do for one run, and doing it. Does not import torch until then."""

from collections.abc import Callable
from dataclasses import dataclass

from lib.store import measured, run_directory
from lib.store.stored import load, reference
from lib.study.grid import Run


def state(run: Run) -> tuple[str, str]:
    """As `run_directory.state`; committed networks of the walkthrough count as complete."""
    committed = run.profile == "walkthrough" and reference(run)
    return ("complete", "") if committed else run_directory.state(run)


def unmeasured(run: Run) -> str | None:
    """Why a run that was trained here has no current measurement; None where it has one, or needs
    none: only runs of the grid keep the weights that are measured."""
    if run.study != "grid" or run_directory.record(run_directory.folder(run)) is None:
        return None
    word, why = measured.state(load(run))
    return None if word == "complete" else why


def status(run: Run) -> tuple[str, str]:
    """As `state`, and ("unmeasured", why) for a complete run without a current measurement."""
    word, why = state(run)
    missing = unmeasured(run) if word == "complete" else None
    return (word, why) if missing is None else ("unmeasured", missing)


@dataclass(frozen=True)
class Job:
    """A run that is to be complete and measured."""

    run: Run
    again: bool = False  # train it even where it is complete
    force: bool = False  # also retrain a stale run of the profile `paper`, which costs GPU-hours

    def need(self) -> str:
        """What is missing: "training", "measurement" or "" for nothing."""
        word, _ = state(self.run)
        kept = word == "stale" and self.run.profile == "paper" and not self.force
        if self.again or not (word == "complete" or kept):
            return "training"
        return "" if unmeasured(self.run) is None else "measurement"

    def do(self, progress: Callable[[float, dict], None] | None, rank: int = 0) -> None:
        """Train and measure the run as far as it needs it; `progress` hears what is done. The
        caller holds the run's lock. All ranks train, rank 0 measures."""
        from lib.training import train  # torch: after the environment is set

        need = self.need()
        if need == "training":
            train.ensure(self.run, progress, again=True)
        elif need == "measurement" and rank == 0:
            train.remeasure(self.run)
