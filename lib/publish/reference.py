"""The committed reference: renewed from complete runs, and held against fresh ones.

    make reference    renew results/reference and figures/
    make compare      hold the runs made here against it

On the machine that made it, equal pins give equal scores; elsewhere another order of sums, or
another precision, moves single runs of so few steps, and the comparison is of their distribution.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd

from lib.analysis import results
from lib.data import sources
from lib.publish import notebooks
from lib.store import measured, run_directory
from lib.store.stored import MissingRuns, Stored, load, reference
from lib.study import artefacts, names
from lib.study.grid import Run, cells, runs
from lib.study.names import CLASSES
from lib.system import hardware, paths

PROFILE = "mini"  # the one profile whose results are committed
# Largest median of the absolute differences between runs here and committed, and largest mean
# difference, by metric.
TOLERANCE = {"f1": (0.05, 0.02), "auroc": (0.03, 0.015)}
FILES = ("run.json", "history.csv", "scores.parquet")


def committed(run: Run) -> Stored:
    """The run as committed, whatever was trained here since."""
    return Stored(run, paths.REFERENCE / run.profile / run.id, "reference")


def wanted() -> list[Run]:
    """Every run of the reference."""
    grid = [run for part in ("grid", "augmentation", "resolution") for run in cells(PROFILE, part)]
    return grid + runs("walkthrough")


def renew() -> None:
    """Replace results/reference and figures/. Raises MissingRuns, and NotebookError where a
    rendering fails.

    The walkthrough's networks move: from then on their weights in half precision are read here,
    too, so that everybody draws the same.
    """
    every, networks = wanted(), runs("walkthrough")
    kept = [run for run in networks if run_directory.state(run)[0] != "complete" and reference(run)]
    absent = [run for run in every if run_directory.state(run)[0] != "complete" and run not in kept]
    if absent:
        command = " and ".join(f"`make {name}`" for name in ("replicate", "walkthrough"))
        raise MissingRuns(
            f"{len(absent)} runs are missing or stale ({absent[0].id} ...): {command} make them."
        )
    measured.require(cells(PROFILE), "make detectors")
    _copy([run for run in every if run not in networks], paths.REFERENCE / PROFILE)
    if not kept:
        _copy(networks, paths.REFERENCE / "walkthrough")
        for run in networks:
            shutil.rmtree(run_directory.folder(run))
    if notebooks.render([], PROFILE, jobs=hardware.cores()):
        raise notebooks.NotebookError("a notebook failed: see above.")
    paths.REFERENCE_FIGURES.mkdir(exist_ok=True)
    for name in artefacts.drawn():
        for ending in ("png", "csv", "md"):
            with suppress(FileNotFoundError):
                made = paths.FIGURES / PROFILE / f"{name}.{ending}"
                shutil.copyfile(made, paths.REFERENCE_FIGURES / made.name)


def _copy(among: list[Run], target: Path) -> None:
    """The runs of one profile into `target`, which appears when complete; weights only of the small
    networks."""
    beside = target.with_name(f"{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    for run in among:
        kept = beside / run.id
        kept.mkdir(parents=True)
        for name in FILES + (
            measured.FILES if run.study == "grid" and run.profile == PROFILE else ()
        ):
            shutil.copyfile(run_directory.folder(run) / name, kept / name)
        if run.study != "grid":  # nothing reads an ablation's training scores, a third of its rows
            scores = pd.read_parquet(kept / "scores.parquet").query("split == 'val'")
            scores = scores.assign(Filename=scores["Filename"].cat.remove_unused_categories())
            run_directory.write_scores(scores, kept)
        if run.profile == "walkthrough":
            _halve(run_directory.folder(run) / "checkpoint.pt", kept / "checkpoint.pt")
    table, _ = sources.tables(among[0].data, "val")
    columns = ["Filename", *CLASSES, "Defect", "Video", "Sampled"]
    table[columns].to_parquet(beside / "validation.parquet", compression="zstd", index=False)
    (beside / "provenance.json").write_text(json.dumps(_provenance(among), indent=1) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


def _halve(source: Path, target: Path) -> None:
    """A checkpoint with its floating-point weights in half precision."""
    import torch  # only here: everything else in this module reads scores

    held = torch.load(source, weights_only=False)
    held["method"] = {
        k: v.half() if v.is_floating_point() else v for k, v in held["method"].items()
    }
    torch.save(held, target)


def _provenance(among: list[Run]) -> dict:
    """The machine, and how long the runs took on it, one thread each."""
    records = {run: load(run).record for run in among}
    first = next(iter(records.values()))
    minutes = {
        part: sum(r["total_seconds"] for run, r in records.items() if run.study == part) / 60
        for part in sorted({run.study for run in among})
    }
    return {
        "processor": hardware.machine([]),
        "cores": hardware.cores(),
        "precision": first["precision"],
        "versions": first["versions"],
        "runs": len(records),
        "core_minutes": {part: round(value, 1) for part, value in minutes.items()},
    }


def compare() -> pd.DataFrame:
    """A row per run that is complete here and committed: F1 and AUROC of both, converged probe,
    natural share.

    `identical`: every stored score is equal. Raises MissingRuns where nothing can be compared.
    """
    rows = []
    for run in cells(PROFILE):
        if run_directory.state(run)[0] != "complete":
            continue
        pair = load(run), committed(run)
        values = [
            results.measure([stored], "clean", resamples=0).set_index("metric")["value"]
            for stored in pair
        ]
        row = {"run": run.id, "identical": pair[0].scores.equals(pair[1].scores)}
        for metric in TOLERANCE:
            row |= {
                f"{metric}_here": values[0][metric],
                f"{metric}_reference": values[1][metric],
                f"{metric}_difference": values[0][metric] - values[1][metric],
            }
        rows.append(row)
    if not rows:
        raise MissingRuns(f"no run of `{PROFILE}` is complete here: `make replicate` makes them.")
    return pd.DataFrame(rows)


def told(compared: pd.DataFrame) -> tuple[str, bool]:
    """What `compare` found, in words, and whether it is within `TOLERANCE`."""
    lines = [
        f"{len(compared)} runs compared, {compared['identical'].sum()} identical to the last score."
    ]
    within = True
    for metric, (typical, mean) in TOLERANCE.items():
        gap = compared[f"{metric}_difference"]
        good = gap.abs().median() <= typical and abs(gap.mean()) <= mean
        within &= bool(good)
        lines.append(
            f"{names.METRIC_NAMES[metric]}: median difference {gap.abs().median():.3f} (tolerance {typical}), "
            f"mean {gap.mean():+.3f} (tolerance ±{mean}), largest {gap.abs().max():.3f} "
            f"({compared['run'][gap.abs().idxmax()]}): {'within' if good else 'OUTSIDE'}."
        )
    return "\n".join(lines), within
