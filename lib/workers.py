"""Train what is missing, in a pool of long-lived processes with one thread each; say what is there and what is not.

    python -m lib.workers run [ARTEFACT ...]     train the missing and stale runs of these artefacts (default: all)
    python -m lib.workers run --id RUN           one run
    python -m lib.workers explain [ARTEFACT ...] which runs are complete, missing or stale, and why
    python -m lib.workers data                   draw or check the images and fill the pixel cache

PROFILE, METHODS, SEEDS, JOBS, DEVICE and FORCE come from the environment. The parent process never imports torch.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import wait
from pathlib import Path

from tqdm import tqdm

from lib import datasets, paths, runs, study
from lib.study import Run

# Network passes per image and view of one training step, forward and backward = 1; momentum networks only go forward.
PASSES = {"supervised": 1.0, "byol": 2.7, "barlow": 2.0, "simclr": 2.0, "dino": 2.7, "mae": 1.0, "mae-released": 0.3,
          "random": 0.3}  # fmt: skip
START_UP = 4.0  # seconds until a fresh worker has imported torch and Lightning


def cores() -> int:
    """Cores that this process may use: its affinity, and the container's quota where there is one."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        found = min(found, max(1, int(quota) // int(period)))
    with suppress(OSError, ValueError):
        quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
        period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
        found = min(found, max(1, quota // period)) if quota > 0 else found
    return found


def gpus() -> list[str]:
    """The GPUs this process may use: CUDA_VISIBLE_DEVICES where set, else all; none under DEVICE=cpu."""
    if os.environ.get("DEVICE") == "cpu" or not shutil.which("nvidia-smi"):
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def jobs(found: list[str]) -> int:
    """Runs to train at once: JOBS, else one per GPU in `found`, else one per core."""
    return int(os.environ.get("JOBS") or len(found) or cores())


def cost(run: Run) -> float:
    """Relative time of a run, in forward and backward passes of 64 px images."""
    normals = 0.528 * (run.data["train"] or 1.0)  # Sewer-ML's natural share
    images = normals / (1 - (0.472 if run.share is None else run.share))
    validation = run.data["val"] or 0.125
    scoring = validation * (1.5 + run.settings["views_per_image"]) / 3 + images / 3
    return (images * run.settings["epochs"] * PASSES[run.method] + scoring) * (run.px / 64) ** 2


def chosen() -> dict[str, list | None]:
    """METHODS and SEEDS of the environment, separated by commas or blanks, as arguments of `study.runs`.

    Raises ValueError for a seed that is not a whole number; `study.runs` refuses unknown methods.
    """
    methods, seeds = (os.environ.get(name, "").replace(",", " ").split() or None for name in ("METHODS", "SEEDS"))
    if seeds and not all(s.isdigit() for s in seeds):
        raise ValueError(f"SEEDS={os.environ['SEEDS']}: seeds are whole numbers, separated by commas.")
    return {"methods": methods, "seeds": seeds and [int(s) for s in seeds]}


def wanted(names: list[str], profile: str) -> list[Run]:
    """The runs behind these artefacts (default: all that have a notebook), each once, METHODS and SEEDS applied."""
    found: dict[str, Run] = {}
    for name in names or study.artefacts():
        found |= {r.id: r for r in study.runs(name, profile, **chosen())}
    return list(found.values())


def pending(among: list[Run], force: bool) -> list[Run]:
    """The runs to train: missing ones, and stale ones, which in `paper` cost GPU-hours and wait for FORCE=1.

    The walkthrough's networks are trained only where those that come with the repository are out of date.
    """
    todo, kept = [], 0
    for run in among:
        if run.profile == "walkthrough" and runs.reference(run):
            continue
        state, _ = runs.state(run)
        if state == "stale" and run.profile == "paper" and not force:
            kept += 1
        elif state != "complete":
            todo.append(run)
    if kept:
        print(f"{kept} runs are stale and kept: `make explain` says why, FORCE=1 trains them again.")
    return todo


def pace(among: list[Run]) -> float | None:
    """Median seconds per unit of `cost` over the complete runs, made here or committed; None where there are none."""
    rates = []
    for run in among:
        with suppress(runs.MissingRuns):
            rates.append(runs.load(run).record["total_seconds"] / cost(run))
    return sorted(rates)[len(rates) // 2] if rates else None


# The pool


def _worker(connection, gpu: str | None) -> None:
    """Train the runs that arrive; answer ("progress" | "done" | "busy" | "refused" | "failed", value)."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    from lib import trainers  # torch: only here, after the environment is set

    while (order := connection.recv()) is not None:
        run, again = order
        held = runs.try_lock(run)
        if held is None:
            connection.send(("busy", None))
            continue
        try:
            if again or runs.state(run)[0] != "complete":
                trainers.train(run, lambda fraction, row: connection.send(("progress", fraction)))
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
        self.run, self.fraction = run, 0.0
        with suppress(BrokenPipeError):
            self.connection.send((run, again))

    def replace(self) -> None:
        self.process.join()
        del self._parts


class Bar:
    """One bar over all runs with time left; plain lines where the output is not a terminal."""

    def __init__(self, todo: list[Run]):
        self.total, self.count, self.done, self.finished = sum(map(cost, todo)), len(todo), 0.0, 0
        self.started, self.told = time.time(), 0.0
        self.bar = tqdm(total=100, bar_format="{desc} |{bar}| {n:.0f} % {postfix}") if sys.stderr.isatty() else None

    def advance(self, amount: float) -> None:
        self.done += amount
        self.show()

    def left(self) -> str:
        spent = time.time() - self.started
        if self.done < 0.003 * self.total or spent < START_UP:
            return "measuring the pace"
        return f"{max(0.0, self.total - self.done) / self.done * spent / 60:.0f} min left"

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
        if kind == "progress":
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
            bar.advance(-slot.fraction * cost(run))
            queue.append(run)
            return
        bar.finished += 1
        bar.advance((1 - slot.fraction) * cost(run))
        if kind != "done":
            self.failed[run.id] = value
        bar.show(f"{run.id} {'done' if kind == 'done' else 'failed'}")


def check_shares(data: dict, todo: list[Run]) -> None:
    """Raise DataError unless every train share of `todo` can be reached on the training images of `data`."""
    table, _ = datasets.tables(data, "train")
    for run in {r.share: r for r in todo}.values():
        try:
            datasets.resample(table, run.share, data["seed"])
        except datasets.DataError as error:
            if data["source"] != "own":
                raise
            remedy = f"take it out of train_shares in lib/profiles/{run.profile}.toml"
            raise datasets.DataError(f"{str(error).rstrip('.')}; {remedy}.") from None


def train(todo: list[Run], again: bool = False) -> int:
    """Train `todo`, complete runs only with `again`; returns the exit status."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # inherited by the workers, before torch
    found = gpus()
    workers = jobs(found)
    for data in {str(r.data): r.data for r in todo}.values():
        datasets.prepare(data, workers)
        check_shares(data, [r for r in todo if r.data == data])
    pool = Pool(workers, found, again)
    try:
        failed = pool.train(todo)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last finished epochs.")
        return 130
    for run_id, why in failed.items():
        log = paths.RUNS / todo[0].profile / f"{run_id}.error.txt"
        log.write_text(why)
        print(f"error: {run_id}: {why.splitlines()[0]} (details in {log})", file=sys.stderr)
    return 1 if failed else 0


def run(names: list[str], profile: str, run_id: str | None) -> int:
    """Train what is missing for these artefacts, or one run."""
    among = [study.parse(profile, run_id)] if run_id else wanted(names, profile)
    force = bool(os.environ.get("FORCE"))
    again = bool(run_id) and force  # the one run that is named: trained even if it is complete
    todo = among if again else pending(among, force)
    if not todo:
        print(f"profile {profile}: all {len(among)} runs are complete.")
        return 0
    workers, rate = jobs(gpus()), pace(study.grid(profile))
    time_needed = f", about {sum(map(cost, todo)) * rate / workers / 60:.0f} min" if rate else ""
    print(
        f"profile {profile}: {len(todo)} of {len(among)} runs to train, {workers} at a time{time_needed}.", flush=True
    )
    return train(todo, again)


def explain(names: list[str], profile: str) -> int:
    """Print, per artefact, how many runs are complete, missing or stale, and which input made them so."""
    for name in names or study.artefacts():
        among = wanted([name], profile)
        states = [runs.state(r) for r in among]
        counts = Counter(state for state, _ in states)
        print(f"{name:8} " + ", ".join(f"{counts[s]} {s}" for s in ("complete", "stale", "missing") if counts[s]))
        for why, many in Counter(why for state, why in states if state == "stale").items():
            print(f"         {many} stale, {why}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.workers", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "explain", "data"])
    parser.add_argument("artefacts", nargs="*", metavar="ARTEFACT")
    parser.add_argument("--id", help="one run, e.g. simclr-resnet18-d45-s42")
    asked = parser.parse_args()
    profile = os.environ.get("PROFILE") or "mini"
    try:
        if asked.command == "explain":
            return explain(asked.artefacts, profile)
        if asked.command == "data":
            datasets.prepare(study.profile(profile)["data"], cores())
            return 0
        return run(asked.artefacts, profile, asked.id)
    except (ValueError, OSError, runs.MissingRuns) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
