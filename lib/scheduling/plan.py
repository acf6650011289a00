"""Train what is missing, in a pool of long-lived processes with one thread each, or on a cluster;
say what is there.

    python -m lib.scheduling.plan run [ARTEFACT ...]     train the missing and stale runs of these artefacts (default: all)
    python -m lib.scheduling.plan run --id RUN           one run
    python -m lib.scheduling.plan explain [ARTEFACT ...] which runs are complete, missing or stale, and why
    python -m lib.scheduling.plan estimate [ARTEFACT ...] what training them will take here: hours, disk, memory
    python -m lib.scheduling.plan data                   draw or check the images and fill the pixel cache

What reads Sewer-ML takes GPU-days: `run` prints the estimate of it first and asks, unless YES=1.
PROFILE, METHODS, SEEDS, JOBS, DEVICE, FORCE and YES come from the environment, and what
`lib.scheduling.slurm` reads under CLUSTER=slurm. The parent process never imports torch.
"""

import argparse
import os
import sys
from collections import Counter
from contextlib import suppress

from lib.data import pixels, sources, splits
from lib.scheduling import estimate, slurm
from lib.scheduling.local import Pool
from lib.scheduling.progress import cost
from lib.store import measured, run_directory
from lib.store.stored import MissingRuns, Stored, load, reference
from lib.study import artefacts, grid, profiles
from lib.study.grid import Run
from lib.system import environment, hardware, paths
from lib.system.hardware import devices_a_run


def wanted(names: list[str], profile: str) -> list[Run]:
    """The runs behind these artefacts (default: all that have a notebook), each once, METHODS and
    SEEDS applied."""
    found: dict[tuple[str, str], Run] = {}
    for name in names or artefacts.drawn():
        found |= {(r.profile, r.id): r for r in grid.runs(name, profile, **environment.chosen())}
    return list(found.values())


def _state(run: Run) -> tuple[str, str]:
    """As `run_directory.state`, then as `measured.state`; a network of the walkthrough that came
    with the repository counts as complete."""
    if run.profile == "walkthrough" and reference(run):
        return "complete", ""
    state = run_directory.state(run)
    if state[0] == "complete" and run.study == "grid":
        return measured.state(Stored(run, run_directory.folder(run), "fresh"))
    return state


def pending(among: list[Run], force: bool) -> list[Run]:
    """The runs to train: missing ones, and stale ones, which in `paper` cost GPU-hours and wait for
    FORCE=1.

    The walkthrough's networks are trained only where those that come with the repository are out of
    date.
    """
    todo, kept = [], 0
    for run in among:
        state, _ = _state(run)
        if state == "stale" and run.profile == "paper" and not force:
            kept += 1
        elif state != "complete":
            todo.append(run)
    if kept:
        print(
            f"{kept} runs are stale and kept: `make explain` says why, FORCE=1 trains them again."
        )
    return todo


def pace(among: list[Run]) -> float | None:
    """Median seconds per unit of `cost` over the complete runs, made here or committed; None where
    there are none."""
    rates = []
    for run in among:
        with suppress(MissingRuns):
            rates.append(load(run).record["total_seconds"] / cost(run))
    return sorted(rates)[len(rates) // 2] if rates else None


def check_shares(data: dict, todo: list[Run]) -> None:
    """Raise DataError unless every train share of `todo` can be reached on the training images of
    `data`."""
    table, _ = sources.tables(data, "train")
    for run in {r.share: r for r in todo}.values():
        try:
            splits.resample(table, run.share, data["seed"])
        except sources.DataError as error:
            if data["source"] != "own":
                raise
            remedy = f"take it out of train_shares in lib/study/profiles/{run.profile}.toml"
            raise sources.DataError(f"{str(error).rstrip('.')}; {remedy}.") from None


def check_all_shares(todo: list[Run], workers: int) -> None:
    """`check_shares` of all rows that `todo` reads, before the hours that decoding them may
    take."""
    groups: dict[str, list[Run]] = {}
    for r in todo:
        groups.setdefault(estimate.same_rows(r.data), []).append(r)
    for among in groups.values():
        sources.simulated(among[0].data, workers)
        check_shares(among[0].data, among)


def train(todo: list[Run], again: bool = False) -> int:
    """Train `todo`, complete runs only with `again`; returns the exit status."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = (
        "1"  # inherited by the workers, before torch
    )
    elsewhere, found = slurm.asked(), hardware.gpus()
    workers = hardware.cores() if elsewhere else hardware.jobs(found)
    check_all_shares(todo, workers)
    try:
        for data in {str(r.data): r.data for r in todo}.values():
            pixels.prepare(
                data, max(workers, hardware.cores())
            )  # one GPU trains one run, and every core can decode
        if elsewhere:
            return slurm.train(todo, again)
        failed = Pool(workers, found, again, devices_a_run(found)).train(todo)
    except KeyboardInterrupt:
        print(
            "\nstopped; the same command goes on from the last finished block of images or epoch."
        )
        return 130
    for run_id, why in failed.items():
        log = paths.RUNS / todo[0].profile / f"{run_id}.error.txt"
        log.write_text(why)
        print(f"error: {run_id}: {why.splitlines()[0]} (details in {log})", file=sys.stderr)
    return 1 if failed else 0


def check_validation(todo: list[Run]) -> None:
    """Warn, before anything trains, of validation shares that the protocol `paper` cannot draw from
    these images."""
    asked = profiles.load(todo[0].profile)
    table, _ = sources.tables(todo[0].data, "val")
    try:
        for share in asked["validation_shares"]:
            splits.resample(table, share, asked["data"]["seed"])
    except sources.DataError as error:
        reads = "Tables 3 and 4, Figures 2, 4 and 5 need it in PROTOCOL=paper"
        print(
            f"warning: in validation, {str(error).rstrip('.')}; {reads}.",
            file=sys.stderr,
            flush=True,
        )


def todo_of(names: list[str], profile: str, run_id: str | None) -> tuple[list[Run], int, bool]:
    """The runs to train for these artefacts, or one run; among how many; whether complete ones are
    trained again."""
    among = [grid.parse(profile, run_id)] if run_id else wanted(names, profile)
    force = bool(os.environ.get("FORCE"))
    again = bool(run_id) and force  # the one run that is named: trained even if it is complete
    todo = among if again else pending(among, force)
    if not todo:
        print(f"profile {profile}: all {len(among)} runs are complete.")
    return todo, len(among), again


def estimated(todo: list[Run]) -> estimate.Estimate:
    """The estimate of these runs on this machine, printed."""
    found = hardware.gpus()
    made = estimate.make(todo, hardware.jobs(found), found)
    print(estimate.table(made), flush=True)
    return made


def at_once(todo: list[Run], profile: str) -> str:
    """How many of these runs this machine trains at a time, and, where the pace is known, for how
    long."""
    workers, rate = hardware.jobs(hardware.gpus()), pace(grid.cells(profile))
    needed = f", about {sum(map(cost, todo)) * rate / workers / 60:.0f} min" if rate else ""
    return f"{workers} at a time{needed}"


def run(names: list[str], profile: str, run_id: str | None) -> int:
    """Train what is missing for these artefacts, or one run; Sewer-ML only once its cost was seen
    and agreed to."""
    todo, among, again = todo_of(names, profile, run_id)
    if not todo:
        return 0
    how = slurm.plan(len(todo)) if slurm.asked() else at_once(todo, profile)
    real = [r for r in todo if r.data["source"] == "sewer-ml"]
    if real:
        check_all_shares(real, hardware.cores())
        check_validation(real)
        if not slurm.asked():  # this machine's rates say nothing about those of the cluster's nodes
            estimate.check_disk(estimated(real))
        if not estimate.agreed(
            len(todo), f"run ID={run_id}" if run_id else " ".join(names) or "replicate"
        ):
            return 2
    print(f"profile {profile}: {len(todo)} of {among} runs to train, {how}.", flush=True)
    return train(todo, again)


def explain(names: list[str], profile: str) -> int:
    """Print, per artefact, how many runs are complete, missing or stale, which, and what input made
    them so."""
    for name in names or artefacts.drawn():
        among = wanted([name], profile)
        states = {r.id: _state(r) for r in among}
        counts = Counter(state for state, _ in states.values())
        told = ", ".join(f"{counts[s]} {s}" for s in ("complete", "stale", "missing") if counts[s])
        print(f"{name:11} {told or 'reads no run'}")
        for (state, why), many in Counter(s for s in states.values() if s[0] != "complete").items():
            ids = [run_id for run_id, found in states.items() if found == (state, why)]
            print(f"{'':11} {many} {state}, {why}: {', '.join(ids[:3])}" + " ..." * (many > 3))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.scheduling.plan", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["run", "explain", "estimate", "data"])
    parser.add_argument("artefacts", nargs="*", metavar="ARTEFACT")
    parser.add_argument("--id", help="one run, e.g. simclr-resnet18-d45-s42")
    asked = parser.parse_args()
    profile = os.environ.get("PROFILE") or "mini"
    try:
        if asked.command == "explain":
            return explain(asked.artefacts, profile)
        if asked.command == "data":
            pixels.prepare(profiles.load(profile)["data"], hardware.cores())
            return 0
        if asked.command == "estimate":
            todo, _, _ = todo_of(asked.artefacts, profile, asked.id)
            if todo:
                check_all_shares(todo, hardware.cores())
                estimated(todo)
            return 0
        return run(asked.artefacts, profile, asked.id)
    except (ValueError, OSError, MissingRuns) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
