"""Train runs on this machine: a fresh process for each run and device (`lib.system.ranks`), several
runs at once. The parent process never imports torch, and holds the locks of the runs."""

import multiprocessing
import socket
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from itertools import cycle, islice
from multiprocessing.connection import Connection, wait
from statistics import mean

from filelock import FileLock

from lib.scheduling.job import Job
from lib.scheduling.progress import Runs, cost
from lib.store import run_directory
from lib.system import fork_server, parallel
from lib.system.errors import DISK_FULL, DataError, no_room

BUSY = 0.5  # seconds until runs that another make trains are looked at again


def _context(gpus: list[str]):
    """How processes start: CUDA does not work in a fork of a process that has touched it."""
    if gpus:
        return multiprocessing.get_context("spawn")
    return fork_server.context("torch", "pytorch_lightning", "lib.data.fused_views")


def _work(connection: Connection, job: Job, rank: int) -> None:
    """A process's work: sends, as rank 0, what fraction of the run is done, and in the end
    ("done" | "refused" | "full" | "failed", why)."""
    tell = (lambda fraction, row: connection.send(float(fraction))) if rank == 0 else None
    try:
        job.do(tell, rank)
        outcome = "done", ""
    except (ValueError, OSError) as error:  # the data or the disk: trying again is of no use
        full = getattr(error, "errno", None) in DISK_FULL
        outcome = "full" if full else "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        outcome = "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    connection.send(outcome)


@dataclass
class Training:
    """A run in training: its lock, and a process for each of its devices."""

    job: Job
    gpus: str | None  # CUDA's numbers of the devices, separated by commas
    lock: FileLock
    resumed: bool
    processes: list = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)  # one a rank, in order

    def start(self, devices: int, context) -> None:
        variables = {} if self.gpus is None else {"CUDA_VISIBLE_DEVICES": self.gpus}
        if devices > 1:  # a free port for each run: no rank can meet what is left of the last one
            with socket.create_server(("127.0.0.1", 0)) as probe:
                variables["MASTER_PORT"] = str(probe.getsockname()[1])
            variables |= {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": str(devices)}
        for rank in range(devices):
            place = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank)) if devices > 1 else {}
            process, heard = parallel.start(context, variables | place, _work, self.job, rank)
            self.processes.append(process)
            self.connections.append(heard)

    def hear(self, ready: list[Connection]) -> float | tuple[str, str] | None:
        """The next message of the ranks: a fraction, or how the run ended; None for no news. Ranks
        above 0 are heard first: where one fails, rank 0 only knows that it is gone."""
        for connection in [c for c in reversed(self.connections) if c in ready]:
            try:
                message = connection.recv()
            except (EOFError, OSError):
                return "failed", "its worker died (out of memory, or killed)"
            if connection is self.connections[0] or message[0] != "done":
                return message
            self.connections.remove(connection)  # rank 0 goes on alone: it scores
            connection.close()
        return None

    def end(self) -> None:
        """End every rank at once: one that is left would wait for those that are gone."""
        parallel.end(self.processes)
        for connection in self.connections:
            connection.close()
        self.lock.release()


@dataclass
class Pool:
    """Trains runs from one queue, longest first, under one bar. A run whose process dies or fails
    is tried once more; the others go on."""

    jobs: int
    gpus: list[str]
    devices: int = 1  # that share a run
    failed: dict[str, str] = field(default_factory=dict)
    retried: set[str] = field(default_factory=set)

    def train(self, todo: list[Job]) -> dict[str, str]:
        """Run id -> what went wrong, for those that failed."""
        queue = deque(sorted(todo, key=lambda job: cost(job.run), reverse=True))
        bar, active = Runs([job.run for job in todo]), []
        # GPUs that are left over are too few for a run.
        groups = range(0, len(self.gpus) - self.devices + 1, self.devices)
        shares = [",".join(self.gpus[i : i + self.devices]) for i in groups] or [None]
        free = deque(islice(cycle(shares), min(self.jobs, len(todo))))
        context = _context(self.gpus)
        try:
            while queue or active:
                self._start(queue, active, free, bar, context)
                ready = wait([c for t in active for c in t.connections], timeout=1.0)
                for training in list(active):
                    message = training.hear(ready)
                    if isinstance(message, float):
                        bar.advance(training.job.run, message, training.resumed)
                    elif message:
                        training.end()
                        active.remove(training)
                        free.append(training.gpus)
                        self._ended(training.job, *message, queue, bar)
                bar.show()
        finally:
            for training in active:
                training.end()
            bar.close()
        return self.failed

    def _start(self, queue: deque, active: list, free: deque, bar: Runs, context) -> None:
        """Fill the free places with runs that no other make trains."""
        busy = 0
        while free and busy < len(queue):
            job = queue.popleft()
            lock = run_directory.try_lock(job.run)
            if lock is None:
                queue.append(job)
                busy += 1
            elif not job.need():  # another make has finished it meanwhile
                lock.release()
                bar.finish(job.run, "done")
            else:
                checkpoint = run_directory.folder(job.run).with_name(f"{job.run.id}.partial")
                resumed = (checkpoint / "checkpoint.ckpt").exists()
                training = Training(job, free.popleft(), lock, resumed)
                active.append(training)
                training.start(self.devices, context)
        if busy and free:
            time.sleep(BUSY)

    def _ended(self, job: Job, kind: str, why: str, queue: deque, bar: Runs) -> None:
        run = job.run
        if kind == "full":  # every other run would fail after it
            folder, left = run_directory.folder(run).parent, 1 + len(queue)
            complete = [record.parent for record in folder.glob("*/run.json")]
            sizes = [sum(f.stat().st_size for f in each.iterdir()) for each in complete]
            need = f"{left} runs take about {left * mean(sizes) / 1e6:,.0f} MB" if sizes else ""
            raise DataError(no_room(folder, need))
        if kind == "failed" and run.id not in self.retried:
            self.retried.add(run.id)
            bar.restart(run)
            queue.append(job)
        elif kind == "done":
            bar.finish(run, "done")
        else:
            self.failed[run.id] = why
            bar.finish(run, "failed")
