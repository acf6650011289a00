"""One place of the pool: long-lived processes, the ranks of one run at a time (`lib.system.ranks`);
mostly a single one.

The pool talks to every rank. Rank 0 locks a run, calls the others to it, tells how far it is and
how it ended; the others speak only when they fail.
"""

import gc
import multiprocessing
import os
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lib.store import run_directory
from lib.study.grid import Run


def _worker(connection, gpu: str | None, rank: int, ranks: int) -> None:
    """Train the runs that arrive, as rank 0 or beside it, until the pool says None or is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if ranks > 1:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1"}
        os.environ.update({name: str(value) for name, value in place.items()})
        threading.Thread(target=_end_with_pool, daemon=True).start()
    from lib.training import train as train_module  # torch: only here, after the environment is set

    with suppress(BrokenPipeError, KeyboardInterrupt):
        if rank == 0:
            _lead(connection, train_module.ensure, ranks)
        else:  # called only to train
            _follow(connection, train_module.train, ranks)


def _end_with_pool() -> None:
    """End this process when the pool's ends: it may be waiting for another rank, and hear of
    nothing."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _lead(connection, train: Callable, ranks: int) -> None:
    """Rank 0: answer each order ("busy" | "done" | "refused" | "failed", value), after the messages
    of `_train`."""
    while (order := connection.recv()) is not None:
        run, again = order
        held = run_directory.try_lock(run)
        if held is None:
            connection.send(("busy", None))
            continue
        try:
            connection.send(_attempt(_train, connection, train, ranks, run, again))
        finally:
            held.release()
            gc.collect()  # the run's network and optimiser are in cycles, and the next one's would come on top


def _train(connection, train: Callable, ranks: int, run: Run, again: bool) -> None:
    """Train and measure `run` where it lacks that; tells ("call", port) and, of what is done,
    ("resumed" | "progress", part)."""
    trains = again or run_directory.state(run)[0] != "complete"
    if trains and ranks > 1:  # a port for each run: no rank can meet what is left of the last one
        os.environ["MASTER_PORT"] = str(free_port())
        connection.send(("call", os.environ["MASTER_PORT"]))
    partial = run_directory.folder(run).with_name(f"{run.id}.partial")
    told = [
        "resumed" if (partial / "checkpoint.ckpt").exists() else "progress"
    ]  # of the first step that is done

    def progress(fraction: float, row: dict) -> None:
        connection.send((told[0], fraction))
        told[0] = "progress"

    train(run, progress, again)


def free_port() -> int:
    """A port of this host that nothing listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _follow(connection, train: Callable, ranks: int) -> None:
    """Another rank: train each run that rank 0 calls for; answer only "refused" or "failed"."""
    while (order := connection.recv()) is not None:
        run, os.environ["MASTER_PORT"] = order
        answer = _attempt(train, run)
        if answer[0] != "done":
            connection.send(answer)


def _attempt(do: Callable[..., object], *arguments) -> tuple[str, str | None]:
    """("done" | "refused" | "failed", what went wrong) of `do(*arguments)`."""
    try:
        do(*arguments)
    except BrokenPipeError:  # the pool is gone
        raise
    except (
        ValueError,
        OSError,
    ) as error:  # the data, or the disk: a sentence, and no use in trying again
        return "refused", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    return "done", None


@dataclass
class Slot:
    """A process for each of `ranks` on the GPUs `gpu`, and the run they have in hand."""

    gpu: str | None
    ranks: int = 1
    run: Run | None = None
    fraction: float = 0.0
    before: float = 0.0  # part of `fraction` that an earlier process had done
    connections: list = field(default_factory=list)  # one a rank, in order
    processes: list = field(default_factory=list)

    def give(self, run: Run, again: bool) -> None:
        """Hand `run` to rank 0; processes start where there are none."""
        self.run, self.fraction, self.before = run, 0.0, 0.0
        context = multiprocessing.get_context("spawn")
        for rank in range(len(self.processes), self.ranks):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_worker, args=(theirs, self.gpu, rank, self.ranks), daemon=True
            )
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)
        with suppress(BrokenPipeError):
            self.connections[0].send((run, again))

    def call(self, port: str) -> None:
        """Have the other ranks join rank 0, which waits for them at `port`."""
        for connection in self.connections[1:]:
            with suppress(BrokenPipeError):
                connection.send((self.run, port))

    def end(self) -> None:
        """End every rank at once: one that is left would wait for those that are gone."""
        for process in self.processes:
            process.kill()
        for process, connection in zip(self.processes, self.connections, strict=True):
            process.join()
            connection.close()
        self.processes, self.connections = [], []
