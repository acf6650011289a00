"""Many images worked through in blocks, by this process or by several, with the pace and the time
left.

Processes are spawned, never forked, and end with the one that started them.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm import tqdm

from lib.system.errors import DataError

PAUSE = 60  # seconds between two lines of progress, where there is no terminal

Block = tuple[int, list[Any], list[Any]]  # its number, rows of the table, where their images lie
Bad = tuple[Any, str, str]  # row, kind, message
Do = Callable[[list[Any], list[Any]], list[Bad]]  # rows and places -> those that could not be read


def together(do: Do, work: Iterator[Block], workers: int) -> Iterator[tuple[int, list[Bad]]]:
    """Blocks as they are finished, each with what `do` returned: in this process, or in `workers`
    others.

    Raises what `do` raises, and DataError where a process dies.
    """
    if workers == 1:
        for block, rows, places in work:
            yield block, do(rows, places)
        return
    context = multiprocessing.get_context("spawn")
    crew = {}
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            crew[ours] = context.Process(target=_serve, args=(theirs, do), daemon=True)
            crew[ours].start()
            theirs.close()
        busy = {ours for ours in crew if _give(ours, work)}
        while busy:
            for ours in wait(list(busy)):
                yield _answer(ours)
                if not _give(ours, work):
                    busy.remove(ours)
    finally:
        for ours, process in crew.items():
            ours.close()
            process.terminate()
            process.join()


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


def _give(ours: Connection, work: Iterator[Block]) -> bool:
    """Send the next block, if there is one."""
    with suppress(BrokenPipeError):  # a dead process is found when it is asked for its answer
        for piece in work:
            ours.send(piece)
            return True
        return False
    return True


def _answer(ours: Connection) -> tuple[int, list[Bad]]:
    try:
        answer = ours.recv()
    except (EOFError, ConnectionResetError):
        raise DataError(
            "a process that read images died (out of memory, or killed): run the same command again, with JOBS=1 where "
            "memory is short."
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(theirs: Connection, do: Do) -> None:
    """Do the blocks that arrive until the parent is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the parent, which ends its processes
    with suppress(EOFError, OSError):
        while True:
            block, rows, places = theirs.recv()
            try:
                theirs.send((block, do(rows, places)))
            except DataError as error:
                theirs.send(DataError(str(error)))
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception:
                theirs.send(RuntimeError(traceback.format_exc()))


class Progress:
    """Images, images a second and the time left: a bar on a terminal, else a line a minute; nothing
    unless `loud`."""

    def __init__(self, what: str, count: int, loud: bool):
        self.what, self.count, self.done, self.loud = what, count, 0, loud
        self.began = self.told = time.monotonic()
        shown = loud and sys.stderr.isatty()
        self.bar = tqdm(total=count, desc=what, unit=" images", smoothing=0.05) if shown else None

    def advance(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(images)
        elif self.loud and now - self.told >= PAUSE:
            self.told, pace = now, self.done / (now - self.began)
            left = (self.count - self.done) / pace / 60
            told = f"{self.what}: {self.done:,}/{self.count:,} images, {pace:.0f} images/s, {left:.0f} min left"
            print(told, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def processes(jobs: int, gpus: list[str]) -> ProcessPoolExecutor:
    """As many spawned processes of one thread each, for work that is not a training; on the GPUs in
    turn, if any."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # inherited, before torch
    context = multiprocessing.get_context("spawn")
    cards = context.SimpleQueue()
    for i in range(jobs):
        cards.put(gpus[i % len(gpus)] if gpus else None)
    return ProcessPoolExecutor(jobs, context, _take, (cards,))


def _take(cards) -> None:
    if (card := cards.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
