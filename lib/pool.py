"""A pool of long-lived processes that train runs from one queue, longest first, under one bar.

The parent process never imports torch. A dead worker is replaced and its run tried once more.
"""

import multiprocessing
import os
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import wait

from tqdm import tqdm

from lib import rundir
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
    return (images * run.settings["epochs"] * PASSES[run.method] + scoring) * (run.px / 64) ** 2


def _worker(connection, gpu: str | None) -> None:
    """Train the runs that arrive; answer ("progress" | "done" | "busy" | "refused" | "failed", value)."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from lib import trainers  # torch: only here, after the environment is set

    while (order := connection.recv()) is not None:
        run, again = order
        held = rundir.try_lock(run)
        if held is None:
            connection.send(("busy", None))
            continue
        partial = rundir.folder(run).with_name(f"{run.id}.partial")
        told = ["resumed" if (partial / "checkpoint.ckpt").exists() else "progress"]  # of the first step that is done

        def progress(fraction: float, row: dict, told: list[str] = told) -> None:
            connection.send((told[0], fraction))
            told[0] = "progress"

        try:
            if again or rundir.state(run)[0] != "complete":
                trainers.train(run, progress)
            connection.send(("done", None))
        except (BrokenPipeError, KeyboardInterrupt):
            return
        except (ValueError, OSError) as error:  # the data, or the disk: a sentence, and no use in trying again
            connection.send(("refused", f"{type(error).__name__}: {error}"))
        except Exception as error:
            connection.send(("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
        finally:
            held.release()


@dataclass
class _Slot:
    """One worker process and the run it has in hand."""

    gpu: str | None
    run: Run | None = None
    fraction: float = 0.0
    before: float = 0.0  # part of `fraction` that an earlier process had done

    @cached_property
    def _parts(self):
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker, args=(theirs, self.gpu), daemon=True)
        process.start()
        theirs.close()
        return ours, process

    @property
    def connection(self):
        return self._parts[0]

    @property
    def process(self):
        return self._parts[1]

    def give(self, run: Run, again: bool) -> None:
        self.run, self.fraction, self.before = run, 0.0, 0.0
        with suppress(BrokenPipeError):
            self.connection.send((run, again))

    def replace(self) -> None:
        self.process.join()
        del self._parts


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
    failed: dict[str, str] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)

    def train(self, todo: list[Run]) -> dict[str, str]:
        """Run id -> what went wrong, for those that failed."""
        queue = deque(sorted(todo, key=cost, reverse=True))
        bar = Bar(todo)
        slots = [_Slot(self.gpus[i % len(self.gpus)] if self.gpus else None) for i in range(min(self.jobs, len(todo)))]
        for slot in slots:
            slot.give(queue.popleft(), self.again)
        while busy := [s for s in slots if s.run is not None]:
            ready = wait([s.connection for s in busy], timeout=1.0)
            for slot in busy:
                if slot.connection in ready:
                    self._answer(slot, queue, bar)
            bar.show()
            for slot in slots:
                if slot.run is None and queue:
                    slot.give(queue.popleft(), self.again)
        bar.close()
        for slot in slots:
            with suppress(BrokenPipeError):
                slot.connection.send(None)
        return self.failed

    def _answer(self, slot: _Slot, queue: deque, bar: Bar) -> None:
        run = slot.run
        try:
            kind, value = slot.connection.recv()
        except (EOFError, ConnectionResetError):
            slot.replace()
            kind, value = "failed", "its worker died (out of memory, or killed)"
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
