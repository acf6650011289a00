"""What a set of trainings will take here, in hours and disk: closed-form counts, and rates from
`lib.scheduling.throughput`. Does not import torch."""

import heapq
import os
import sys
from collections import ChainMap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lib.data import splits
from lib.scheduling import disk_budget, throughput
from lib.study.grid import Run
from lib.system import environment, hardware, paths
from lib.system.errors import DataError
from lib.system.progress import duration

FIXED = 1024  # validation images at the end of an epoch: lib.training.batches.FIXED
SCORE = 5.5  # bytes of scores.parquet a row with the 632,610 names of a run of `paper`; 3 in mini
FITTED = 3.6  # memory of the converged probe's fit, over that of its features, measured on 3,000
BASE = 0.6e9  # bytes of memory of a process with torch, and its batch of pixels


@dataclass(frozen=True)
class Work:
    """What one run does, in images."""

    training: int  # through optimiser steps, all epochs, all views of an image as one
    clean: float  # through the backbone, resized
    augmented: int  # through the backbone, one random view each
    fitting: int  # rows that the converged probe is fitted on
    scores: int  # rows of scores.parquet

    @property
    def passed(self) -> float:
        """Images that are read from the cache of pixels."""
        return self.training + self.clean + self.augmented

    def seconds(self, measured: dict) -> float:
        """At the rates of `lib.scheduling.throughput_probe.Rates`."""
        parts = ("training", "clean", "augmented", "fitting")
        return sum(getattr(self, part) / measured[part] for part in parts)


def work(run: Run, rows: int, validation: int) -> Work:
    """What lib.training.train and probes do for a run on `rows` images, scored on `validation`."""
    s, grid = run.settings, run.study == "grid"
    single = rows % min(s.batch, rows) == 1  # which cannot be batch-normalised, and is left out
    checks = -(-s.epochs // s.validate_every)
    flipped = s.flip * validation if grid else 0
    masked = rows if run.method == "mae-released" else 0  # its probe is fitted on masked images
    return Work(
        training=s.epochs * (rows - single),
        clean=checks * min(FIXED, validation) + rows + masked + validation + flipped,
        augmented=validation * s.views_per_image,
        fitting=rows,
        scores=2 * (rows + validation * (1 + grid + s.views_per_image)),  # two probes
    )


def wall(each: Iterable[float], workers: int) -> float:
    """The time until all are trained, longest first, each by the first process that is free."""
    ends = [0.0] * workers
    for taken in sorted(each, reverse=True):
        heapq.heapreplace(ends, ends[0] + taken)
    return max(ends)


@dataclass(frozen=True)
class Estimate:
    """Of `todo`: what each run does, at which measured rates. Times in seconds, sizes in bytes."""

    todo: list[Run]
    work: list[Work]
    rates: list[dict]
    workers: int
    gpus: list[str]
    machine: str
    turns: list[disk_budget.Turn]  # in which they train, as the disk allows
    free: int

    @property
    def seconds(self) -> list[float]:
        return [w.seconds(r) for w, r in zip(self.work, self.rates, strict=True)]

    @property
    def at_once(self) -> int:
        """How many train at a time."""
        return min(self.workers, len(self.todo))

    @property
    def unit(self) -> str:
        return "GPU-hours" if self.gpus else "core-hours"

    def hours(self, seconds: float) -> float:
        """Seconds of one process in GPU-hours or core-hours: processes on one GPU share it."""
        return seconds / 3600 * (min(1.0, len(self.gpus) / self.workers) if self.gpus else 1.0)

    @property
    def wall(self) -> float:
        """Seconds until all are trained."""
        return wall(self.seconds, self.workers)

    @property
    def caches(self) -> int:
        """Bytes of pixels still to be written, of all turns."""
        return disk_budget.left(dict(ChainMap(*(turn.caches for turn in self.turns))))

    @property
    def most_pixels(self) -> int:
        """Bytes of the pixels that lie on the disk at once."""
        return max((sum(turn.caches.values()) for turn in self.turns), default=0)

    @property
    def read(self) -> int:
        """Bytes of pixels that all trainings read, over and over."""
        return int(sum(w.passed * _bytes(r) for w, r in zip(self.work, self.todo, strict=True)))

    @property
    def read_a_second(self) -> float:
        """Bytes of pixels a second that those that train at once read at most."""
        paces = (r["training"] * _bytes(run) for run, r in zip(self.todo, self.rates, strict=True))
        return sum(heapq.nlargest(self.at_once, paces))

    @property
    def store(self) -> int:
        """Bytes of the run directories, the checkpoints of those in training among them."""
        pairs = zip(self.todo, self.rates, strict=True)
        weights = sum(r["weights"] for run, r in pairs if run.study == "grid")
        kept = sum(w.scores for w in self.work) * SCORE + weights
        checkpoint = max(r["checkpoint"] for r in self.rates)
        return int(kept + 2 * self.workers * checkpoint)  # the next beside the last

    @property
    def memory(self) -> int:
        """Bytes of the process that takes most, in a step or while it fits the converged probe."""
        from lib.analysis.curves import width  # no other command of the scheduler imports this

        pairs = zip(self.todo, self.work, strict=True)
        fits = (FITTED * 4 * w.fitting * width(run) for run, w in pairs)
        return int(BASE + max(*(rates["memory"] for rates in self.rates), *fits))


def _bytes(run: Run) -> int:
    """Of one image's pixels as they are cached for a run."""
    return 3 * run.data["cache"] ** 2


def forecast(todo: list[Run], workers: int, gpus: list[str], every: Sequence[Run] = ()) -> Estimate:
    """The estimate of these runs, `workers` at a time on `gpus`, of `every` run of the command;
    measures new systems, in minutes. Raises DataError where a train share cannot be reached,
    ValueError where the probe dies."""
    tables = disk_budget.tables_of(todo)
    keys = [(disk_budget.same_rows(run.data), run.share) for run in todo]
    drawn = {
        key: len(splits.resample(tables[key[0], "train"], run.share, run.data["seed"]))
        for key, run in dict(zip(keys, todo, strict=True)).items()
    }
    rows, validation = [drawn[key] for key in keys], [len(tables[key, "val"]) for key, _ in keys]
    return Estimate(
        todo=todo,
        work=list(map(work, todo, rows, validation)),
        rates=throughput.rates(todo, rows, workers, gpus),
        workers=workers,
        gpus=gpus,
        machine=hardware.machine(gpus),
        turns=disk_budget.plan(todo, every, tables),
        free=paths.free(paths.DATA),
    )


def table(estimate: Estimate) -> str:
    """The estimate, a line per system, and what stands against it."""
    groups: dict[tuple, list[int]] = {}
    for i, run in enumerate(estimate.todo):
        groups.setdefault(throughput.system(run), []).append(i)
    seconds, how = estimate.seconds, "on a few steps of random pixels"
    lines = [f"Measured on {estimate.machine}, {estimate.workers} at a time, {how}:\n"]
    lines += [f"{'system':40} {'images/s':>9} {'runs':>5} {estimate.unit:>11}"]
    for members in groups.values():
        first, hours = members[0], estimate.hours(sum(seconds[i] for i in members))
        name, pace = throughput.name(estimate.todo[first]), estimate.rates[first]["training"]
        lines.append(f"{name:40} {pace:9.3g} {len(members):5} {_hours(hours):>11}")
    total = _hours(estimate.hours(sum(seconds)))
    lines.append(f"{'total':40} {'':9} {len(estimate.todo):5} {total:>11}")
    devices = f"{len(estimate.gpus)} GPU(s)" if estimate.gpus else "this processor"
    sizes = estimate.caches, estimate.store, estimate.free, estimate.most_pixels, estimate.read
    pixels, stored, free, most, read = (f"{size / 1e9:,.1f} GB" for size in sizes)
    several = len(estimate.turns)
    pixels += f" of pixels in {several} turns, {most} at once," if several > 1 else " of pixels"
    lines += [
        f"\ntime:   about {duration(estimate.wall)} on {devices}, {estimate.at_once} training(s) "
        "at once, after decoding the images",
        f"disk:   {pixels} and {stored} of runs to write, {free} free in {paths.WORKSPACE}",
        f"memory: about {estimate.memory / 1e9:.1f} GB a training at most",
        f"reads:  {read} of pixels in all, up to {estimate.read_a_second / 1e6:,.0f} MB/s",
    ]
    return "\n".join([*lines, *(f"warning: {sentence}" for sentence in _warnings(estimate))])


def _hours(hours: float) -> str:
    return f"{hours:,.1f}" if hours >= 1 else f"{hours:.2g}"


def _warnings(estimate: Estimate) -> list[str]:
    total, warnings = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), []
    if estimate.most_pixels > total:
        warnings.append(
            f"{estimate.most_pixels / 1e9:,.1f} GB of pixels do not fit in the memory, "
            f"{total / 1e9:.1f} GB: {paths.DATA} should lie on a disk that reads "
            f"{estimate.read_a_second / 1e6:,.0f} MB/s in random pieces of one image."
        )
    pairs = zip(estimate.todo, estimate.rates, strict=True)
    halved = {throughput.name(run): r for run, r in pairs if r["batch"] < r["wanted"]}
    if estimate.gpus:
        return warnings + [
            f"{name}: a batch of {rates['wanted']} does not fit this GPU's memory, where the "
            f"training would fail; measured with {rates['batch']}. A larger GPU, or fewer JOBS on "
            "one, is needed."
            for name, rates in halved.items()
        ]
    if halved:
        steps = "steps of fewer images than the batch were measured"
        warnings.append(f"on a processor, {steps}, and scaled.")
    if estimate.memory * estimate.at_once > 0.9 * total:
        what = f"{estimate.at_once} trainings at once may exceed the memory"
        warnings.append(f"{what}, {total / 1e9:.1f} GB: lower JOBS.")
    return warnings


def check_disk(estimate: Estimate) -> None:
    """Raise DataError where what is to be written exceeds the free disk."""
    for turn in estimate.turns:
        if turn.lacks:
            raise DataError(turn.no_room())
    need = estimate.store + (estimate.caches if len(estimate.turns) == 1 else 0)
    if need > estimate.free:
        raise DataError(
            f"{paths.WORKSPACE} has {estimate.free / 1e9:.1f} GB free and these trainings write "
            f"{need / 1e9:.1f} GB: free some, set WORKSPACE to a larger disk, or train fewer at "
            "first, e.g. METHODS=simclr,random."
        )


def confirmed(count: int, target: str) -> bool:
    """Whether the user, at a terminal, agrees to the trainings; else prints how to start them."""
    if sys.stdin.isatty():
        with suppress(EOFError):
            if input(f"Start {count} trainings? [y/N] ").strip().lower() in ("y", "yes"):
                return True
    variables = environment.as_arguments()
    print(f"nothing was started; to start: make {target} {variables} YES=1")
    return False
