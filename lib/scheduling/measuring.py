"""Measures finished runs whose measurements are missing or stale."""

import os
import sys
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from lib.scheduling import plan
from lib.store import measured
from lib.store.stored import load
from lib.study import artefacts
from lib.study.grid import Run
from lib.study.names import nearest
from lib.system import hardware
from lib.system.parallel import processes

# Computing what is missing


def pending(among: list[Run]) -> list[Run]:
    """Those of these runs whose frozen results are missing or stale. Raises MissingRuns for a run
    that is not there."""
    return [run for run in among if measured.state(load(run))[0] != "complete"]


def _compute(run: Run) -> None:
    from lib.store import measured  # torch: only here, once the environment is set
    from lib.store.stored import load
    from lib.training import measure

    stored = load(run)
    measured.write(*measure.made(stored), stored)


def compute(todo: list[Run]) -> dict[str, str]:
    """Pass every run's images through its network, one thread each; run id -> what went wrong,
    where something did."""
    gpus, failed = hardware.gpus(), {}
    bar = tqdm(total=len(todo), unit="run", desc="frozen runs", disable=not sys.stderr.isatty())
    with bar, processes(min(hardware.jobs(gpus), len(todo)), gpus) as pool:
        waiting = {pool.submit(_compute, run): run for run in todo}
        for future in as_completed(waiting):
            try:
                future.result()
            except (RuntimeError, ValueError, OSError, BrokenProcessPool) as error:
                failed[waiting[future].id] = f"{type(error).__name__}: {error}"
            bar.update()
    return failed


def wanted(names: list[str], profile: str) -> list[Run]:
    """The runs behind those of these artefacts (default: all) that read frozen results."""
    reading = [name for name in names or artefacts.drawn() if artefacts.ARTEFACTS[name].frozen]
    return plan.wanted(reading, profile) if reading else []


def main() -> int:
    """The command line; what is wrong is told in one sentence."""
    profile = os.environ.get("PROFILE") or "mini"
    try:
        among = wanted(
            [nearest(name, artefacts.ARTEFACTS, "artefact") for name in sys.argv[1:]], profile
        )
        todo = pending(among)
        if todo:
            print(
                f"profile {profile}: {len(todo)} of {len(among)} frozen runs to pass images through.",
                flush=True,
            )
        failed = compute(todo) if todo else {}
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for run_id, why in failed.items():
        print(f"error: {run_id}: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
