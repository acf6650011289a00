"""A pool of long-lived processes that train runs from one queue, longest first, under one bar.

The parent process never imports torch. A dead worker is replaced and its run tried once more. With DEVICES above 1 a
worker is that many processes, the ranks of one run at a time (`lib.devices`).
"""

import multiprocessing
import os
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from tqdm import tqdm

from lib.slots import Slot
from lib.study import Run

# Network passes per image and view of one training step, forward and backward = 1; momentum networks only go forward.
PASSES = {"supervised": 1.0, "byol": 2.7, "barlow": 2.0, "simclr": 2.0, "dino": 2.7, "mae": 1.0, "mae-released": 0.3,
          "random": 0.3}  # fmt: skip
START_UP = 4.0  # seconds until a fresh worker has imported torch and Lightning
PATIENCE = 600.0  # seconds after which the pace is told even if little is done: of GPU-days, 0.3 % are hours


def cost(run: Run) -> float:
    """Relative time of a run, in forward and backward passes of 64 px images; of Sewer-ML's training table, where
    nothing is simulated. It orders runs and fills the bar; hours come from lib.estimate."""
    normals = 0.528 * (run.data["train"] or 1.0) * run.data["fraction"]  # Sewer-ML's natural share
    images = normals / (1 - (0.472 if run.share is None else run.share))
    validation = run.data["val"] or 0.125
    scoring = validation * (1.5 + run.settings["views_per_image"]) / 3 + images / 3
    passes = PASSES.get(run.method, float(run.settings["views_per_image"]))  # of an added method
    return (images * run.settings["epochs"] * passes + scoring) * (run.px / 64) ** 2


def number(name: str, default: int, what: str) -> int:
    """A whole number of 1 or more from the environment. Raises ValueError for anything else."""
    value = os.environ.get(name) or str(default)
    if not (value.isdigit() and int(value)):
        raise ValueError(f"{name}={value}: {what}, a whole number of 1 or more.")
    return int(value)


def devices(gpus: list[str]) -> int:
    """Devices that share one run: DEVICES, else 1. Raises ValueError where it is no whole number, or above the GPUs."""
    asked = number("DEVICES", 1, "how many devices share one run")
    if gpus and asked > len(gpus):
        raise ValueError(f"DEVICES={asked}, but there are {len(gpus)} GPUs here: ask for no more, or set DEVICE=cpu.")
    return asked


def processes(jobs: int, gpus: list[str]) -> ProcessPoolExecutor:
    """As many spawned processes of one thread each, for work that is not a training; on the GPUs in turn, if any."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # inherited, before torch
    context = multiprocessing.get_context("spawn")
    cards = context.SimpleQueue()
    for i in range(jobs):
        cards.put(gpus[i % len(gpus)] if gpus else None)
    return ProcessPoolExecutor(jobs, context, _take, (cards,))


def _take(cards) -> None:
    if (card := cards.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card


def duration(seconds: float) -> str:
    """Seconds in the unit in which one would say them."""
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds > 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min"


class Bar:
    """One bar over all runs with time left; plain lines where the output is not a terminal."""

    def __init__(self, todo: list[Run]):
        self.total, self.count, self.done, self.finished = sum(map(cost, todo)), len(todo), 0.0, 0
        self.before = 0.0  # of what is done: by an earlier process, which says nothing about the pace
        self.started, self.told = time.time(), 0.0
        self.bar = tqdm(total=100, bar_format="{desc} |{bar}| {n:.0f} % {postfix}") if sys.stderr.isatty() else None

    def advance(self, amount: float) -> None:
        self.done += amount
        self.show()

    def left(self) -> str:
        spent, done = time.time() - self.started, self.done - self.before
        if done <= 0 or spent < START_UP or (done < 0.003 * self.total and spent < PATIENCE):
            return "measuring the pace"
        return f"{duration(max(0.0, self.total - self.done) / done * spent)} left"

    def show(self, note: str = "") -> None:
        percent = min(100.0, 100 * self.done / max(self.total, 1e-9))
        if self.bar is not None:
            self.bar.n = percent
            self.bar.set_description_str(f"{self.finished}/{self.count} runs", refresh=False)
            self.bar.set_postfix_str(self.left())
        elif note or time.time() - self.told > 60:
            self.told = time.time()
            print(f"{self.finished}/{self.count} runs, {percent:.0f} %, {self.left()} {note}".rstrip(), flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


@dataclass
class Pool:
    """Long-lived workers fed from one queue, longest runs first. A dead worker is replaced, its run tried once more."""

    jobs: int
    gpus: list[str]
    again: bool = False  # train complete runs, too
    devices: int = 1  # that share a run
    failed: dict[str, str] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)

    def train(self, todo: list[Run]) -> dict[str, str]:
        """Run id -> what went wrong, for those that failed."""
        queue = deque(sorted(todo, key=cost, reverse=True))
        bar = Bar(todo)
        firsts = range(0, len(self.gpus) - self.devices + 1, self.devices)  # GPUs left over are too few for a run
        groups = [",".join(self.gpus[i : i + self.devices]) for i in firsts] or [None]
        slots = [Slot(groups[i % len(groups)], self.devices) for i in range(min(self.jobs, len(todo)))]
        try:
            self._serve(slots, queue, bar)
        except BaseException:
            for slot in slots:
                slot.end()
            raise
        bar.close()
        for connection in (c for slot in slots for c in slot.connections):
            with suppress(BrokenPipeError):
                connection.send(None)
        return self.failed

    def _serve(self, slots: list[Slot], queue: deque, bar: Bar) -> None:
        """Until the queue is empty and every slot idle."""
        for slot in slots:
            slot.give(queue.popleft(), self.again)
        while busy := [s for s in slots if s.run is not None]:
            ready = wait([c for s in busy for c in s.connections], timeout=1.0)
            for slot in busy:
                told = [c for c in reversed(slot.connections) if c in ready]  # ranks above 0 only tell of failures
                if told:
                    self._answer(slot, told[0], queue, bar)
            bar.show()
            for slot in slots:
                if slot.run is None and queue:
                    slot.give(queue.popleft(), self.again)

    def _answer(self, slot: Slot, connection, queue: deque, bar: Bar) -> None:
        run = slot.run
        try:
            kind, value = connection.recv()
        except (EOFError, ConnectionResetError):
            kind, value = "failed", "its worker died (out of memory, or killed)"
            slot.end()
        if kind in ("refused", "failed") and slot.ranks > 1:
            slot.end()
        if kind == "call":
            slot.call(value)
            return
        if kind == "resumed":
            slot.before = value
            bar.before += value * cost(run)
        if kind in ("progress", "resumed"):
            bar.advance((value - slot.fraction) * cost(run))
            slot.fraction = value
            return
        slot.run = None
        if kind == "busy":  # another make has it: look again later
            queue.append(run)
            time.sleep(0.5)
            return
        if kind == "failed" and run.id not in self.retried:
            self.retried.add(run.id)
            bar.before -= slot.before * cost(run)
            bar.advance(-slot.fraction * cost(run))
            queue.append(run)
            return
        bar.finished += 1
        bar.advance((1 - slot.fraction) * cost(run))
        if kind != "done":
            self.failed[run.id] = value
        bar.show(f"{run.id} {'done' if kind == 'done' else 'failed'}")
