"""The committed reference: renewed from complete runs, and compared with fresh ones. On the machine
that made it, equal pins give equal scores; elsewhere another order of sums, or another precision,
moves a run as another seed does. So a run made here is compared with the spread of its reference
over seeds."""

import io
import json
import shutil
from dataclasses import replace
from math import nan, sqrt
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lib.analysis import results, wording
from lib.data import sources
from lib.publish import notebooks
from lib.store import committed as tables
from lib.store import measured, run_directory
from lib.store.stored import MissingRuns, Stored, find, load, reference
from lib.study import artefacts, names, profiles
from lib.study.grid import Run, cells, runs
from lib.study.names import CLASSES
from lib.system import atomic, hardware, paths

PROFILE = "mini"  # with the ablations and the walkthrough, and all of its pictures
PICTURES = {"solar": ("claims", "fig2")}  # of other profiles; none that shows photographs
RENDERED = "figures.parquet"  # what every artefact of a profile shows, as text
PROVENANCE = "provenance.json"
LABELS = ("Filename", *CLASSES, "Defect", "Class", "Group", "Video", "Sampled")  # that are kept
METRICS = ("f1", "auroc")  # that are compared
LEVEL = 0.95  # of the prediction interval of one more run
RARE = 1e-3  # a number of runs outside it that is less probable counts as a difference


def committed(run: Run) -> Stored:
    """The run as committed, whatever was trained here since."""
    return Stored(run, paths.REFERENCE / run.profile, "reference")


def wanted(profile: str) -> list[Run]:
    """Every run of the reference: the grid with each reference seed, and of `mini` the ablations
    with the profile's seeds and the walkthrough's networks."""
    grid = cells(profile, seeds=profiles.load(profile)["reference_seeds"])
    if profile != PROFILE:
        return grid
    ablations = [run for study in ("augmentation", "resolution") for run in cells(profile, study)]
    return grid + ablations + runs("walkthrough")


def shown(profile: str) -> list[str]:
    """The artefacts that the reference of `profile` is rendered as: those of which it holds every
    run, and of `mini` those that read images alone."""
    held = set(wanted(profile))
    needs = {name: set(runs(name, profile)) for name in artefacts.of_profile(profile)}
    return [n for n, needed in needs.items() if needed <= held and (needed or profile == PROFILE)]


def renew(profile: str) -> None:
    """Replace the results of `profile` in results/reference, and its pictures in figures/. What was
    not trained here is kept where it is current. The walkthrough's networks are moved: their run
    directories are deleted, and their committed weights, in half precision, are read from then on.
    Raises MissingRuns, and NotebookError where a rendering fails; then the results stay as they
    are."""
    every = wanted(profile)
    absent = [run for run in every if not find(run)]
    seeds = ",".join(map(str, profiles.load(profile)["reference_seeds"]))
    if absent:
        commands = f"`make replicate PROFILE={profile}` and `make table1 PROFILE={profile}"
        what = f"{len(absent)} runs are missing or stale ({absent[0].id} ...)"
        raise MissingRuns(f"{what}: {commands} SEEDS={seeds}` make them.")
    networks = [run for run in every if run.profile != profile]
    grid = [run for run in every if run.study == "grid" and run not in networks]
    measured.require(grid, f"make detectors PROFILE={profile} SEEDS={seeds}")
    if not all(load(run).is_committed for run in networks):
        write([load(run) for run in networks], paths.REFERENCE / "walkthrough", weights=True)
        for run in networks:
            shutil.rmtree(run_directory.folder(run), ignore_errors=True)
    if notebooks.render(shown(profile), profile, jobs=hardware.cores()):
        raise notebooks.NotebookError("a notebook failed: see above.")
    own = [load(run) for run in every if run.profile == profile]
    write(own, paths.REFERENCE / profile)
    write_renderings(paths.FIGURES / profile, profile)


def write_renderings(folder: Path, profile: str) -> None:
    """The artefacts of the reference of `profile` from `folder`: its pictures into figures/, their
    CSV and Markdown into `RENDERED`, a row per artefact: `artefact`, `csv`, and `markdown`, ""
    where it has none."""
    paths.REFERENCE_FIGURES.mkdir(exist_ok=True)
    rows = []
    for name in shown(profile):
        if profile == PROFILE or name in PICTURES.get(profile, ()):
            shutil.copyfile(folder / f"{name}.png", picture(name, profile))
        table, text = folder / f"{name}.csv", folder / f"{name}.md"
        markdown = text.read_text(encoding="utf-8") if text.exists() else ""
        rows.append((name, table.read_text(encoding="utf-8"), markdown))
    frame = pd.DataFrame(rows, columns=["artefact", "csv", "markdown"])
    smallest = {"compression": "zstd", "compression_level": 19}
    path = paths.REFERENCE / profile / RENDERED
    atomic.put(path, lambda beside: frame.to_parquet(beside, **smallest))


def picture(artefact: str, profile: str = PROFILE) -> Path:
    """The committed picture of the artefact."""
    name = artefact if profile == PROFILE else f"{profile}-{artefact}"
    return paths.REFERENCE_FIGURES / f"{name}.png"


def values(artefact: str, profile: str = PROFILE) -> pd.DataFrame:
    """The numbers that the committed rendering of the artefact shows. Raises KeyError for an
    artefact that has none."""
    return read_values(io.StringIO(_rendered(artefact, profile, "csv")))


def markdown(artefact: str, profile: str = PROFILE) -> str:
    """The committed rendering of the artefact in Markdown, "" if it is no table."""
    return _rendered(artefact, profile, "markdown")


def read_values(file: Path | io.StringIO) -> pd.DataFrame:
    """The CSV of a rendered artefact; only empty cells are nan, as "none" is a name."""
    return pd.read_csv(file, keep_default_na=False, na_values=[""])


def _rendered(artefact: str, profile: str, column: str) -> str:
    rendered = pd.read_parquet(paths.REFERENCE / profile / RENDERED)
    return rendered.set_index("artefact").at[artefact, column]


def write(runs: list[Stored], folder: Path, weights: bool = False) -> None:
    """The tables of these runs, of one profile, into `folder`, which appears when complete;
    `weights` only of small networks that were trained."""
    table, _ = sources.tables(runs[0].run.data, "val")
    labels = table[[name for name in LABELS if name in table]]
    made = _provenance(runs, provenance(folder)["machines"])
    with atomic.new_folder(folder, replace=True) as beside:
        tables.write(beside, runs)
        for stored in [s for s in runs if weights and s.run.method in names.TRAINED]:
            _halve(stored.checkpoint, beside / f"{stored.run.id}.pt")
        labels.to_parquet(beside / "validation.parquet", compression="zstd", index=False)
        text = json.dumps(made, indent=1) + "\n"
        (beside / PROVENANCE).write_text(text, encoding="utf-8")


def provenance(folder: Path) -> dict:
    """Where the reference in `folder` was trained, and in what time; on no machine if there is none
    yet."""
    return atomic.read_json(folder / PROVENANCE) or {"machines": []}


def _halve(source: Path, target: Path) -> None:
    """A checkpoint with its floating-point weights in half precision."""
    from lib.training import predict  # torch, only here: the rest of this module reads scores

    checkpoint = predict.read_weights(source)
    for name, value in checkpoint["method"].items():
        checkpoint["method"][name] = value.half() if value.is_floating_point() else value
    predict.write_weights(checkpoint, target)


def _provenance(runs: list[Stored], before: list[dict]) -> dict:
    """Seeds, versions, and the machines on which the runs were made, that with most of them first:
    one a precision, as records name no processor. Runs that were committed keep theirs, which is
    among those of `before`; the others were made on this one."""
    known = {machine["precision"]: machine for machine in before}
    machines = []
    for precision in {stored.record["precision"]: None for stored in runs}:
        own = [stored for stored in runs if stored.record["precision"] == precision]
        machine = {"processor": hardware.machine([]), "cores": hardware.cores()}
        if all(stored.is_committed for stored in own):
            machine = {name: known[precision][name] for name in machine}
        machines.append(machine | {"precision": precision} | _took(own))
    return {
        "seeds": sorted({stored.run.seed for stored in runs}),
        "versions": runs[0].record["versions"],
        "machines": sorted(machines, key=lambda machine: -machine["runs"]),
    }


def _took(runs: list[Stored]) -> dict:
    """Core-minutes of a replication with one seed: of several seeds' times the quickest, as other
    work slowed the rest."""
    rows = [(s.run.cell.id, s.run.study, s.record["total_seconds"]) for s in runs]
    took = pd.DataFrame(rows, columns=["run", "study", "seconds"])
    quickest = took.groupby(["study", "run"])["seconds"].min()
    minutes = quickest.groupby("study").sum() / 60
    return {
        "seeds": sorted({stored.run.seed for stored in runs}),
        "runs": len(quickest),
        "core_minutes": minutes.round(1).to_dict(),
    }


def compare(profile: str) -> pd.DataFrame:
    """A row per metric and run that is complete here and whose system and share the reference has:
    converged probe, natural share. Raises MissingRuns where nothing can be compared.

    `here` is the value of the run; `mean`, `low` and `high` are those of its reference over seeds:
    the prediction interval of one more run, t with S - 1 degrees of freedom. `identical`: every
    stored score equals that of the committed run of this seed.
    """
    rows, seeds = [], profiles.load(profile)["reference_seeds"]
    here = cells(profile, seeds=run_directory.seeds(profile))
    for run in (run for run in here if run_directory.state(run)[0] == "complete"):
        twins = [twin for s in seeds if (twin := reference(replace(run, seed=s)))]
        if not twins:
            continue
        ours, *theirs = (_values(stored) for stored in (load(run), *twins))
        same = [t for t in twins if t.run.seed == run.seed]
        identical = bool(same) and tables.kept_scores(load(run)).equals(same[0].scores)
        for metric in METRICS:
            values = np.array([values[metric] for values in theirs])
            mean, n, reach = values.mean(), len(values), nan
            if n > 1:
                t = stats.t.ppf((1 + LEVEL) / 2, n - 1)
                reach = t * values.std(ddof=1) * sqrt(1 + 1 / n)
            row = {"run": run.id, "metric": metric, "identical": identical, "seeds": n}
            row |= {"here": ours[metric], "mean": mean, "low": mean - reach, "high": mean + reach}
            rows.append(row)
    if not rows:
        command = f"`make replicate PROFILE={profile}` makes them"
        raise MissingRuns(f"no run of `{profile}` can be compared: {command}.")
    return pd.DataFrame(rows)


def _values(stored: Stored) -> dict[str, float]:
    frame = results.measure([stored], "clean", resamples=0)
    return frame.set_index("metric")["value"].to_dict()


def summary(compared: pd.DataFrame) -> tuple[str, bool]:
    """What `compare` found, in words, and whether chance can explain, in each metric, how many runs
    lie outside their interval (at a probability of at least `RARE`)."""
    identical = int(compared.drop_duplicates("run")["identical"].sum())
    lines = [f"{compared['run'].nunique()} runs compared, {identical} identical in every score."]
    within = True
    for metric, rows in compared.groupby("metric", sort=False):
        gap = rows["here"] - rows["mean"]
        far = (rows["here"] < rows["low"]) | (rows["here"] > rows["high"])
        judged, count = int(rows["low"].notna().sum()), int(far.sum())
        chance = stats.binom.sf(count - 1, judged, 1 - LEVEL)
        within &= bool(chance >= RARE)
        largest = gap.abs().idxmax()
        lines.append(
            f"{names.METRIC_NAMES[metric]}: {count} of {judged} runs outside the "
            f"{100 * LEVEL:.0f} % interval of one more seed, {judged * (1 - LEVEL):.0f} expected "
            f"(mean difference {wording.FINE(gap.mean())}, largest {wording.FINE(gap[largest])}: "
            f"{rows.at[largest, 'run']}): {'within' if chance >= RARE else 'OUTSIDE'}."
        )
    return "\n".join(lines), within
