"""How fast each system trains here: measured by `lib.scheduling.throughput_probe` in processes of
their own, as many at once as will train. Rates are kept in build/<profile>/estimate.json by
machine, settings and code. Does not import torch: only the processes that measure import it."""

import sys
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict

from tqdm import tqdm

from lib.store import fingerprints
from lib.study import names
from lib.study.grid import Run
from lib.system import atomic, hardware, parallel, paths


def system(run: Run) -> tuple:
    """Runs that are equal in this train equally fast."""
    return run.method, run.backbone, run.px, run.data["cache"], run.crop < 1, run.jitter > 0


def name(run: Run) -> str:
    """A system as tables name it."""
    view = ", no jitter" if run.jitter == 0 else ""
    return f"{names.NAMES[run.method]}, {names.NAMES[run.backbone]}, {run.px} px{view}"


def rates(todo: list[Run], rows: list[int], workers: int, gpus: list[str]) -> list[dict]:
    """Per run the rates of its system (`lib.scheduling.throughput_probe.Rates`), measured at its
    largest run unless they are known; `rows` are the runs' training images. Raises ValueError where
    a process that measures dies."""
    pairs = sorted(zip(rows, todo, strict=True), key=lambda pair: pair[0])
    largest = {system(run): (n, run) for n, run in pairs}  # the last one holds
    machine = hardware.machine(gpus)
    keys = {s: _key(run, n, workers, machine) for s, (n, run) in largest.items()}
    file = paths.BUILD / todo[0].profile / "estimate.json"
    known = atomic.read_json(file) or {}
    if absent := {keys[s]: largest[s] for s in keys if keys[s] not in known}:
        known |= _measure(absent, workers, gpus)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.put_json(file, known)
    return [known[keys[system(run)]] for run in todo]


def _key(run: Run, rows: int, workers: int, machine: str) -> str:
    code = {k: v for k, v in fingerprints.inputs(run).items() if k.startswith("lib/")}
    facts = machine, workers, min(run.settings.batch, rows), asdict(run.settings), *system(run)
    return fingerprints.digest([*facts, code | fingerprints.code("scheduling/throughput_probe")])


def _measure(absent: dict[str, tuple[int, Run]], workers: int, gpus: list[str]) -> dict[str, dict]:
    """Key -> rates of these (training images, run)."""
    print(f"measuring {len(absent)} system(s) on {hardware.machine(gpus)} ...", flush=True)
    rates, quiet = {}, not sys.stderr.isatty()
    with parallel.pool(workers, "measured", gpus) as pool:
        futures = {pool.submit(_steps, run, rows): (k, run) for k, (rows, run) in absent.items()}
        for future in tqdm(as_completed(futures), "probe", len(futures), disable=quiet):
            key, run = futures[future]
            try:
                rates[key] = future.result()
            except BrokenProcessPool:
                what = f"a process that measured {name(run)} died (out of memory, or killed)"
                remedy = f"lower JOBS, now {workers}, or close other programs"
                raise ValueError(f"{what}: {remedy}.") from None
    return rates


def _steps(run: Run, rows: int) -> dict:
    from lib.scheduling import throughput_probe  # torch: after the environment is set

    return throughput_probe.measure(run, rows)
