"""Which runs are asked for, which of them are missing, and training those, here or on a cluster.
The parent process never imports torch."""

import sys
from collections import Counter
from dataclasses import dataclass

from lib.data import pixels, sources, splits
from lib.scheduling import disk_budget, estimate, slurm
from lib.scheduling.job import Job, state, status
from lib.scheduling.local import Pool
from lib.scheduling.progress import cost
from lib.store import run_directory
from lib.store.stored import find, reachable, unreachable
from lib.study import artefacts, grid, profiles
from lib.study.choices import Choices
from lib.study.grid import Run
from lib.system import atomic, hardware, paths
from lib.system.progress import duration


@dataclass(frozen=True)
class Request(Choices):
    """The runs that are to be complete, of some artefacts or a single one, and how they train."""

    run_id: str | None = None  # this run alone
    force: bool = False  # also retrain stale runs of `paper`, and the run `run_id` if complete
    yes: bool = False  # start trainings on Sewer-ML without asking
    cluster: slurm.Cluster | None = None  # None: this machine

    def runs(self) -> list[Run]:
        """Each run that is asked for, once."""
        if self.run_id:
            return [grid.parse(self.profile, self.run_id)]
        wanted = self.artefacts or artefacts.of_profile(self.profile)
        every = [run for name in wanted for run in self.reads(name)]
        return list({(run.profile, run.id): run for run in every}.values())

    def reads(self, artefact: str) -> list[Run]:
        """The runs of one artefact, without train shares that the user's data cannot reach."""
        return reachable(grid.runs(artefact, self.profile, **self.chosen))

    def pending(self) -> list[Job]:
        """The runs to train or measure; prints if there are none, and if stale runs are kept: those
        of the profile `paper` cost GPU-hours and wait for FORCE=1."""
        runs, again = self.runs(), bool(self.run_id) and self.force
        profile = profiles.load(self.profile)
        shares = [] if self.run_id else self.train_shares or profile["train_shares"]
        for sentence in unreachable(profile["data"], shares).values():
            print(f"left out: {sentence}", flush=True)
        todo = [job for run in runs if (job := Job(run, again, self.force)).need()]
        kept = [run for run in runs if run.profile == "paper" and state(run)[0] == "stale"]
        if kept and not self.force:
            remedy = "`make explain` says why, FORCE=1 trains them again"
            print(f"{len(kept)} runs are stale and kept: {remedy}.")
        if runs and not todo:
            print(f"profile {self.profile}: all {len(runs)} runs are complete.")
        every = [f"{100 * share:g}" for share in profile["train_shares"]]
        if self.run_id and runs[0].study == "grid" and f"{100 * runs[0].share:g}" not in every:
            shares = f"{self.profile} trains with {', '.join(every)} % of defects"
            print(f"note: {shares}, so no table or figure reads {self.run_id}.")
        return todo

    def workers(self) -> int:
        """How many runs this machine trains at a time."""
        possible = hardware.jobs(hardware.gpus(), self.devices)
        return self.jobs or possible


def check_train_shares(runs: list[Run]) -> None:
    """Raise DataError unless the train shares of all runs can be reached on their tables, before
    the hours that decoding the images may take."""
    read = {disk_budget.same_rows(run.data): run.data for run in runs}
    for rows, data in read.items():
        table, _ = sources.tables(data, "train")
        own = (run.share for run in runs if disk_budget.same_rows(run.data) == rows)
        for share in dict.fromkeys(own):
            splits.resample(table, share, data["seed"])


def check_validation_shares(run: Run) -> None:
    """Warn, before training, of validation shares that the protocol `paper` cannot draw here."""
    profile = profiles.load(run.profile)
    table, _ = sources.tables(run.data, "val")
    try:
        for share in profile["validation_shares"]:
            splits.resample(table, share, profile["data"]["seed"])
    except sources.DataError as error:
        warning = f"warning: in validation, {str(error).rstrip('.')}; Tables 3 and 4, Figures 2, 4 "
        print(f"{warning}and 5 need it in PROTOCOL=paper.", file=sys.stderr, flush=True)


def estimated(runs: list[Run], request: Request) -> estimate.Estimate:
    """The estimate of these runs on this machine, printed."""
    forecast = estimate.forecast(runs, request.workers(), hardware.gpus(), request.runs())
    print(estimate.table(forecast), flush=True)
    return forecast


def train(todo: list[Job], request: Request) -> int:
    """Train and measure `todo`, in turns where the disk cannot hold all pixels."""
    runs = [job.run for job in todo]
    check_train_shares(runs)
    planned, status = disk_budget.plan(runs, request.runs(), disk_budget.tables_of(runs)), 0
    for number, turn in enumerate(planned, 1):
        if len(planned) > 1:
            what = f"{len(turn.runs)} runs on {sum(turn.caches.values()) / 1e9:,.1f} GB of pixels"
            print(f"turn {number} of {len(planned)}, as the disk allows: {what}.", flush=True)
        turn.make_room()
        status |= _train([job for job in todo if job.run in turn.runs], request)
    return status


def _train(todo: list[Job], request: Request) -> int:
    """Prepare the pixels of `todo`, train and measure; returns the exit status."""
    runs, workers = [job.run for job in todo], 0 if request.cluster else request.workers()
    for data in {str(run.data): run.data for run in runs}.values():
        pixels.prepare(data, max(workers, hardware.cores()))  # one GPU may train, all cores decode
    if request.cluster:
        return slurm.train(todo, request.cluster)
    failed = Pool(workers, hardware.gpus(), request.devices).train(todo)
    for run in runs:
        log = paths.RUNS / run.profile / f"{run.id}.error.txt"
        log.unlink(missing_ok=True)  # of an earlier failure
        if why := failed.get(run.id):
            atomic.put_text(log, why)
            print(f"error: {run.id}: {why.splitlines()[0]} (details in {log})", file=sys.stderr)
    return 1 if failed else 0


def run(request: Request) -> int:
    """Train what is missing, Sewer-ML only once its cost is agreed to; returns the exit status."""
    run_directory.tidy()
    todo = request.pending()
    if not todo:
        return 0
    run_directory.check_locks()
    cluster, runs = request.cluster, [job.run for job in todo if job.need() == "training"]
    how = slurm.plan(cluster, len(todo)) if cluster else _at_once(runs, request)
    real = [run for run in runs if run.data["source"] == "sewer-ml"]
    if real:
        check_train_shares(real)
        check_validation_shares(real[0])
        if not cluster:  # this machine's rates say nothing about those of the cluster's nodes
            estimate.check_disk(estimated(real, request))
        single = f"run ID={request.run_id}" if request.run_id else ""
        target = single or " ".join(request.artefacts) or "replicate"
        if not (request.yes or estimate.confirmed(len(real), target)):
            return 2
    rest = f" and {len(todo) - len(runs)} to measure" if len(runs) < len(todo) else ""
    work = f"{len(runs)} of {len(request.runs())} runs to train{rest}"
    print(f"profile {request.profile}: {work}, {how}.", flush=True)
    return train(todo, request)


def _at_once(runs: list[Run], request: Request) -> str:
    """How many runs this machine trains or measures at a time, and how long the trainings `runs`
    take, at the median pace of complete runs if there are any."""
    complete = [stored for run in grid.cells(request.profile) if (stored := find(run))]
    paces = sorted(stored.record["total_seconds"] / cost(stored.run) for stored in complete)
    how = f"{request.workers()} at a time"
    if not (paces and runs):
        return how
    seconds = sum(map(cost, runs)) * paces[len(paces) // 2] / request.workers()
    return f"{how}, about {duration(seconds)}"


def explain(request: Request) -> None:
    """Print, per artefact, how many runs are complete, unmeasured, missing or stale, and why."""
    for name in request.artefacts or artefacts.of_profile(request.profile):
        states = {run.id: status(run) for run in request.reads(name)}
        counts = Counter(word for word, _ in states.values())
        words = [w for w in ("complete", "unmeasured", "stale", "missing") if counts[w]]
        summary = ", ".join(f"{counts[word]} {word}" for word in words)
        kinds = dict.fromkeys(states.values())
        if len(kinds) == 1 and len(states) > 3:  # all alike: no names
            summary += "".join(f", {why}" for word, why in kinds if word != "complete")
            kinds = {}
        print(f"{name:17} {summary or 'reads no run'}")
        for word, why in kinds:
            ids = [run_id for run_id, state in states.items() if state == (word, why)]
            shown = ", ".join(ids[:3]) + " ..." * (len(ids) > 3)
            if word != "complete":
                print(f"{'':17} {len(ids)} {word}, {why}: {shown}")
