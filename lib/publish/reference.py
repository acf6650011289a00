"""The committed reference: renewed from complete runs, and held against fresh ones.

    make reference    renew results/reference and the pictures in figures/
    make compare      hold the runs made here against it

On the machine that made it, equal pins give equal scores; elsewhere another order of sums, or
another precision, moves single runs of so few steps, and the comparison is of their distribution.
"""

import io
import json
import shutil
from pathlib import Path

import pandas as pd

from lib.analysis import results
from lib.data import sources
from lib.publish import notebooks
from lib.store import committed as tables
from lib.store import measured, run_directory
from lib.store.stored import MissingRuns, Stored, load, reference
from lib.study import artefacts, names
from lib.study.grid import Run, cells, runs
from lib.study.names import CLASSES
from lib.system import atomic, hardware, paths

PROFILE = "mini"  # the one profile whose results are committed
RENDERED = paths.REFERENCE / PROFILE / "figures.parquet"  # what every artefact shows, as text
# Largest median of the absolute differences between runs here and committed, and largest mean
# difference, by metric.
TOLERANCE = {"f1": (0.05, 0.02), "auroc": (0.03, 0.015)}


def committed(run: Run) -> Stored:
    """The run as committed, whatever was trained here since."""
    return Stored(run, paths.REFERENCE / run.profile, "reference")


def wanted() -> list[Run]:
    """Every run of the reference."""
    studies = ("grid", "augmentation", "resolution")
    return [run for study in studies for run in cells(PROFILE, study)] + runs("walkthrough")


def renew() -> None:
    """Replace results/reference and figures/. Raises MissingRuns, and NotebookError where a
    rendering fails; then the results of `PROFILE` stay as they are.

    The walkthrough's networks move: from then on their weights in half precision are read here,
    too, so that everybody draws the same.
    """
    networks = runs("walkthrough")
    mini = [run for run in wanted() if run not in networks]
    absent = [run for run in wanted() if run_directory.state(run)[0] != "complete"]
    kept = [run for run in networks if run in absent and reference(run)]
    absent = [run for run in absent if run not in kept]
    if absent:
        command = " and ".join(f"`make {name}`" for name in ("replicate", "walkthrough"))
        what = f"{len(absent)} runs are missing or stale ({absent[0].id} ...)"
        raise MissingRuns(f"{what}: {command} make them.")
    measured.require(cells(PROFILE), "make detectors")
    if not kept:
        write([load(run) for run in networks], paths.REFERENCE / "walkthrough", weights=True)
        for run in networks:
            shutil.rmtree(run_directory.folder(run))
    if notebooks.render([], PROFILE, jobs=hardware.cores()):
        raise notebooks.NotebookError("a notebook failed: see above.")
    write([load(run) for run in mini], paths.REFERENCE / PROFILE)
    write_renderings(paths.FIGURES / PROFILE)


def write_renderings(folder: Path) -> None:
    """The pictures of every artefact from `folder` into figures/, its CSV and Markdown into
    `RENDERED`, a row per artefact: `artefact`, `csv`, and `markdown`, "" where it has none."""
    paths.REFERENCE_FIGURES.mkdir(exist_ok=True)
    rows = []
    for name in artefacts.drawn():
        shutil.copyfile(folder / f"{name}.png", paths.REFERENCE_FIGURES / f"{name}.png")
        table, text = folder / f"{name}.csv", folder / f"{name}.md"
        markdown = text.read_text(encoding="utf-8") if text.exists() else ""
        rows.append(
            {"artefact": name, "csv": table.read_text(encoding="utf-8"), "markdown": markdown}
        )
    smallest = {"compression": "zstd", "compression_level": 19}
    atomic.put(RENDERED, lambda beside: pd.DataFrame(rows).to_parquet(beside, **smallest))


def values(artefact: str) -> pd.DataFrame:
    """The numbers that the committed rendering of the artefact shows. Raises KeyError for an
    artefact that has none."""
    return read_values(io.StringIO(_rendered(artefact, "csv")))


def markdown(artefact: str) -> str:
    """The committed rendering of the artefact in Markdown, "" if it is no table."""
    return _rendered(artefact, "markdown")


def read_values(file: Path | io.StringIO) -> pd.DataFrame:
    """The CSV of a rendered artefact; only empty cells are nan, as "none" is a name."""
    return pd.read_csv(file, keep_default_na=False, na_values=[""])


def _rendered(artefact: str, column: str) -> str:
    return pd.read_parquet(RENDERED).set_index("artefact").at[artefact, column]


def write(runs: list[Stored], folder: Path, weights: bool = False) -> None:
    """The tables of these runs, of one profile, into `folder`, which appears when complete;
    `weights` only of small networks."""
    beside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    tables.write(beside, runs)
    for stored in runs if weights else []:
        _halve(stored.checkpoint, beside / f"{stored.run.id}.pt")
    table, _ = sources.tables(runs[0].run.data, "val")
    columns = ["Filename", *CLASSES, "Defect", "Video", "Sampled"]
    table[columns].to_parquet(beside / "validation.parquet", compression="zstd", index=False)
    provenance = json.dumps(_provenance(runs), indent=1) + "\n"
    (beside / "provenance.json").write_text(provenance, encoding="utf-8")
    atomic.put_folder(beside, folder)


def _halve(source: Path, target: Path) -> None:
    """A checkpoint with its floating-point weights in half precision."""
    from lib.training import predict  # torch, only here: the rest of this module reads scores

    checkpoint = predict.read_weights(source)
    checkpoint["method"] = {
        name: value.half() if value.is_floating_point() else value
        for name, value in checkpoint["method"].items()
    }
    predict.write_weights(checkpoint, target)


def _provenance(runs: list[Stored]) -> dict:
    """The machine, and how long the runs took on it, one thread each."""
    seconds: dict[str, float] = {}
    for stored in runs:
        study = stored.run.study
        seconds[study] = seconds.get(study, 0.0) + stored.record["total_seconds"]
    return {
        "processor": hardware.machine([]),
        "cores": hardware.cores(),
        "precision": runs[0].record["precision"],
        "versions": runs[0].record["versions"],
        "runs": len(runs),
        "core_minutes": {study: round(seconds[study] / 60, 1) for study in sorted(seconds)},
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
        frames = [results.measure([stored], "clean", resamples=0) for stored in pair]
        ours, theirs = (frame.set_index("metric")["value"] for frame in frames)
        row = {"run": run.id, "identical": pair[0].scores.equals(pair[1].scores)}
        for metric in TOLERANCE:
            row |= {f"{metric}_here": ours[metric], f"{metric}_reference": theirs[metric]}
            row[f"{metric}_difference"] = ours[metric] - theirs[metric]
        rows.append(row)
    if not rows:
        raise MissingRuns(f"no run of `{PROFILE}` is complete here: `make replicate` makes them.")
    return pd.DataFrame(rows)


def told(compared: pd.DataFrame) -> tuple[str, bool]:
    """What `compare` found, in words, and whether it is within `TOLERANCE`."""
    identical, within = compared["identical"].sum(), True
    lines = [f"{len(compared)} runs compared, {identical} identical to the last score."]
    for metric, (typical, mean) in TOLERANCE.items():
        gap = compared[f"{metric}_difference"]
        good = gap.abs().median() <= typical and abs(gap.mean()) <= mean
        within &= bool(good)
        lines.append(
            f"{names.METRIC_NAMES[metric]}: median difference {gap.abs().median():.3f} "
            f"(tolerance {typical}), mean {gap.mean():+.3f} (tolerance ±{mean}), "
            f"largest {gap.abs().max():.3f} ({compared['run'][gap.abs().idxmax()]}): "
            f"{'within' if good else 'OUTSIDE'}."
        )
    return "\n".join(lines), within
