"""Work spread over processes of this machine.

A process starts fresh (none is a fork of this one), computes on one thread, and ends with the
process that started it, however that ends.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

from lib.system import environment
from lib.system.errors import DataError

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # read when numpy or torch is imported

PRELOADED: list[str] = []  # modules that processes need which are started later

Block = tuple[int, list[Any], list[Any]]  # its number, rows of the table, where their images lie
Bad = tuple[Any, str, str]  # row, kind, message
Do = Callable[[list[Any], list[Any]], list[Bad]]  # rows and places -> those that could not be read


def end_with_parent() -> None:
    """Tie this process to the one that started it: leave Ctrl-C to the parent, and end at once when
    the parent has ended, even in the middle of a wait for something that cannot come any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def forking(*modules: str):
    """How processes start on Linux: as forks, in 0.1 s, of one server process that imports
    `modules` once, together with those in `PRELOADED`. The first call starts the server, and does
    not wait for it. macOS forbids forks that use its libraries: there each process starts anew.
    They compute on one thread, which is said before anything imports torch."""
    environment.hand_down(ONE_THREAD)
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules, *PRELOADED])
    forkserver.ensure_running()
    return context


def start(context, variables: dict[str, str], target: Callable, *arguments):
    """A process that ends with this one, and the end of a pipe on which it is heard: it calls
    `target(connection, *arguments)`.

    Its environment is that of this process with `variables` on top, whatever process it is forked
    from, and is complete before it imports anything that reads it.
    """
    ours, theirs = context.Pipe()
    everything, call = environment.everything() | variables, pickle.dumps((target, arguments))
    process = context.Process(target=_call, args=(theirs, everything, call), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _call(connection: Connection, variables: dict[str, str], call: bytes) -> None:
    end_with_parent()
    environment.replace(variables)
    target, arguments = pickle.loads(call)
    target(connection, *arguments)


def _begin(cards) -> None:
    """Prepare a process of the pool, before it imports numpy or torch."""
    end_with_parent()
    card = cards.get()
    chosen = {} if card is None else {"CUDA_VISIBLE_DEVICES": card}
    environment.hand_down(ONE_THREAD | chosen)


def end_children(but: Sequence[multiprocessing.Process] = ()) -> None:
    """End at once the processes that this one started and that still run, but for those named."""
    ours = [process for process in multiprocessing.active_children() if process not in but]
    for process in ours:
        process.kill()
    for process in ours:
        process.join()


@contextmanager
def pool(workers: int, job: str, gpus: Sequence[str] = ()) -> Iterator[ProcessPoolExecutor]:
    """Processes for work that is not a training, on the GPUs in turn if there are any. They end
    with the block; at once where it raises.

    Raises DataError where a process dies; `job` says what the processes did, as in "read images".
    """
    context = multiprocessing.get_context("spawn")
    cards = context.SimpleQueue()
    for i in range(workers):
        cards.put(gpus[i % len(gpus)] if gpus else None)
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(workers, context, _begin, (cards,)) as executor:
        try:
            yield executor
        except BaseException as error:
            end_children(others)
            if not isinstance(error, BrokenProcessPool):
                raise
            raise DataError(
                f"a process that {job} died (out of memory, or killed): run the same command "
                "again, with JOBS=1 where memory is short."
            ) from None


def together(do: Do, work: Iterator[Block], workers: int) -> Iterator[tuple[int, list[Bad]]]:
    """Blocks as they are finished, each with what `do` returned: in this process, or in `workers`
    others.

    Raises what `do` raises, and DataError where a process dies.
    """
    if workers == 1:
        for block, rows, places in work:
            yield block, do(rows, places)
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


def each(rows: list[Any], places: list[Any], do: Callable[[Any, Any], None]) -> list[Bad]:
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
