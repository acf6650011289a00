"""Work spread over processes of this machine. A process starts fresh (none is a fork of this one),
computes on one thread, and ends with the process that started it, however that ends."""

import importlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from lib.system import atomic, environment, paths
from lib.system.errors import DataError

# Read when numpy or torch is imported.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Block = tuple[int, list[Any], list[Any]]  # its number, rows of the table, where their images lie
BadImage = tuple[Any, str, str]  # row, kind, message
Worker = Callable[[list[Any], list[Any]], list[BadImage]]  # rows and places -> unreadable ones


def end_with_parent(last: Callable[[], None] = lambda: None) -> None:
    """Tie this process to the one that started it: leave Ctrl-C to the parent, and end at once,
    after calling `last`, when the parent has ended, even in the middle of a wait."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        last()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Processes started in this block ignore Ctrl-C, even while they import; this one receives it
    at the end of the block."""
    resource_tracker.ensure_running()  # when it starts, it unblocks the signal
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)


def sweep() -> None:
    """Remove what a killed process left unfinished, a few times: others may still write."""
    for _ in range(5):
        atomic.sweep(paths.written(), ends=True)
        time.sleep(0.05)


def start(context, variables: dict[str, str], target: Callable, *arguments):
    """A process that ends with this one, and the end of a pipe on which it is heard: it calls
    `target(connection, *arguments)`. Its environment is that of this process with `variables` on
    top, whatever process it is forked from, before it imports anything that reads it."""
    ours, theirs = context.Pipe()
    everything, call = environment.everything() | variables, pickle.dumps((target, arguments))
    process = context.Process(target=_call, args=(theirs, everything, call), daemon=True)
    # Forks of a server are deaf as it is; a start would wait until it has imported torch.
    with interrupts_blocked() if context.get_start_method() == "spawn" else nullcontext():
        process.start()
    theirs.close()
    return process, ours


def _call(connection: Connection, variables: dict[str, str], call: bytes) -> None:
    end_with_parent()
    environment.replace(variables)
    importlib.reload(paths)  # what this process is a fork of may have read another WORKSPACE
    target, arguments = pickle.loads(call)
    target(connection, *arguments)


def _begin(cards) -> None:
    """Prepare a process of the pool, before it imports numpy or torch."""
    end_with_parent(sweep)
    environment.hand_down(ONE_THREAD | cards.get())


def end(processes: Sequence[multiprocessing.Process]) -> None:
    """End these processes at once."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


@contextmanager
def pool(workers: int, job: str, gpus: Sequence[str] = ()) -> Iterator[ProcessPoolExecutor]:
    """Processes for work that is not a training, on the GPUs in turn if there are any. They end
    with the block; at once where it raises. Raises DataError where a process dies; `job` says what
    the processes did, as in "read images"."""
    context = multiprocessing.get_context("spawn")
    try:
        cards = context.SimpleQueue()
    except OSError as error:  # its lock is a file in /dev/shm
        what = f"several processes need shared memory, /dev/shm ({error.strerror})"
        raise DataError(f"{what}: mount it, in a container with --shm-size=1g.") from None
    for i in range(workers):
        cards.put({"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {})
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(workers, context, _begin, (cards,)) as executor:
        try:
            with interrupts_blocked():
                for _ in range(workers):  # each starts a process
                    executor.submit(int)
            yield executor
        except BaseException as error:
            end([child for child in multiprocessing.active_children() if child not in others])
            if not isinstance(error, BrokenProcessPool):
                raise
            raise DataError(
                f"a process that {job} died (out of memory, or killed): run the same command "
                "again, with JOBS=1 where memory is short."
            ) from None


def results(pool: ProcessPoolExecutor, do: Callable[[Any], Any], jobs: Iterable[Any]) -> list:
    """`do(job)` of every job, in order. The pool's own `map` cancels what is left at Ctrl-C, and a
    thread of the pool complains of that."""
    futures = [pool.submit(do, job) for job in jobs]
    return [future.result() for future in futures]


def together(
    do: Worker, work: Iterator[Block], workers: int
) -> Iterator[tuple[int, list[BadImage]]]:
    """Blocks as they are finished, each with what `do` returned: in this process, or in `workers`
    others. Raises what `do` raises, and DataError where a process dies."""
    if workers == 1:
        yield from ((block, do(rows, places)) for block, rows, places in work)
        return
    running: dict[Future, int] = {}
    with pool(workers, "read images") as executor:
        while True:
            # Two blocks a process: none waits for its next one.
            for block, rows, places in islice(work, 2 * workers - len(running)):
                running[executor.submit(do, rows, places)] = block
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(finished, key=lambda f: f.exception() is not None):
                yield running.pop(future), future.result()


def each(rows: list[Any], places: list[Any], do: Callable[[Any, Any], None]) -> list[BadImage]:
    """`do(row, place)` for every image; returns those that it, or the place itself, refused with a
    DataError."""
    bad = []
    for row, place in zip(rows, places, strict=True):
        try:
            if isinstance(place, DataError):
                raise place
            do(row, place)
        except DataError as error:
            bad.append((row, getattr(error, "kind", "unusable"), str(error)))
    return bad
