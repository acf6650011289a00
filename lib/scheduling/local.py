"""A pool of long-lived processes that train runs from one queue, longest first, under one bar.

The parent process never imports torch. A dead worker is replaced and its run tried once more. With
DEVICES above 1 a worker is that many processes, the ranks of one run at a time
(`lib.system.ranks`).
"""

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from lib.scheduling import progress
from lib.scheduling.workers import Slot
from lib.study.grid import Run


@dataclass
class Pool:
    """Long-lived workers fed from one queue, longest runs first. A dead worker is replaced, its run
    tried once more."""

    jobs: int
    gpus: list[str]
    again: bool = False  # train complete runs, too
    devices: int = 1  # that share a run
    failed: dict[str, str] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)

    def train(self, todo: list[Run]) -> dict[str, str]:
        """Run id -> what went wrong, for those that failed."""
        queue = deque(sorted(todo, key=progress.cost, reverse=True))
        bar = progress.Bar(todo)
        firsts = range(
            0, len(self.gpus) - self.devices + 1, self.devices
        )  # GPUs left over are too few for a run
        groups = [",".join(self.gpus[i : i + self.devices]) for i in firsts] or [None]
        slots = [
            Slot(groups[i % len(groups)], self.devices) for i in range(min(self.jobs, len(todo)))
        ]
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

    def _serve(self, slots: list[Slot], queue: deque, bar: progress.Bar) -> None:
        """Until the queue is empty and every slot idle."""
        for slot in slots:
            slot.give(queue.popleft(), self.again)
        while busy := [s for s in slots if s.run is not None]:
            ready = wait([c for s in busy for c in s.connections], timeout=1.0)
            for slot in busy:
                told = [
                    c for c in reversed(slot.connections) if c in ready
                ]  # ranks above 0 only tell of failures
                if told:
                    self._answer(slot, told[0], queue, bar)
            bar.show()
            for slot in slots:
                if slot.run is None and queue:
                    slot.give(queue.popleft(), self.again)

    def _answer(self, slot: Slot, connection, queue: deque, bar: progress.Bar) -> None:
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
            bar.before += value * progress.cost(run)
        if kind in ("progress", "resumed"):
            bar.advance((value - slot.fraction) * progress.cost(run))
            slot.fraction = value
            return
        slot.run = None
        if kind == "busy":  # another make has it: look again later
            queue.append(run)
            time.sleep(0.5)
            return
        if kind == "failed" and run.id not in self.retried:
            self.retried.add(run.id)
            bar.before -= slot.before * progress.cost(run)
            bar.advance(-slot.fraction * progress.cost(run))
            queue.append(run)
            return
        bar.finished += 1
        bar.advance((1 - slot.fraction) * progress.cost(run))
        if kind != "done":
            self.failed[run.id] = value
        bar.show(f"{run.id} {'done' if kind == 'done' else 'failed'}")
