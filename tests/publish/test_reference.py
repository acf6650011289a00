"""The committed reference is whole, small, and readable without any data."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lib.publish import reference
from lib.scheduling import plan
from lib.store import fingerprints, measured, run_directory
from lib.store.stored import MissingRuns, load
from lib.study import artefacts, grid, profiles
from lib.system import paths


@pytest.fixture
def nothing_here(workspace):
    """A fresh clone: no data, no runs; only what is committed."""
    return workspace


def test_every_run_is_committed_and_stands_in_for_a_missing_one(nothing_here):
    for run in reference.wanted("mini"):
        stored = load(run)
        assert stored.origin == "reference"
        assert stored.record["run"] == json.loads(json.dumps(run.resolved()))


@pytest.mark.parametrize("profile", ["mini", "solar"])
def test_the_reference_was_made_by_the_code_as_it_is(profile):
    if profile == "solar":  # its identity is that of the photographs
        pytest.importorskip("elpv_dataset", reason="elpv-dataset is not installed: make solar")
    for run in reference.wanted(profile):
        stored = reference.committed(run)
        changed = fingerprints.changes(stored.record["inputs"], fingerprints.inputs(run))
        if stored.measured:
            changed += fingerprints.changes(stored.measured["inputs"], measured.inputs(stored))
        assert not changed, (
            f"{run.id}: {changed} changed since; `make replicate PROFILE={profile}` and "
            f"`make reference PROFILE={profile}` renew it"
        )


def test_runs_of_two_precisions_name_two_machines(monkeypatch):
    """The committed runs keep their machine; those added on another are said to be of that."""
    monkeypatch.setattr(reference.hardware, "machine", lambda gpus: "AMD EPYC")
    monkeypatch.setattr(reference.hardware, "cores", lambda: 8)

    def stored(seed, precision, minutes, share=0.05, committed=False):
        run = next(run for run in grid.cells("mini", seeds=[seed]) if run.share == share)
        record = {"precision": precision, "versions": {}, "total_seconds": 60 * minutes}
        return SimpleNamespace(run=run, record=record, is_committed=committed)

    runs = [stored(45, "32-true", 9), stored(46, "32-true", 7)]
    runs += [stored(42, "bf16-mixed", 3, at, committed=True) for at in (0.05, 0.45)]
    runs += [stored(43, "bf16-mixed", 2, committed=True)]
    before = [{"precision": "bf16-mixed", "processor": "Intel Xeon", "cores": 2}]
    provenance = reference._provenance(runs, before)
    assert provenance["seeds"] == [42, 43, 45, 46]
    intel, amd = provenance["machines"]
    assert (intel["processor"], intel["cores"], intel["runs"]) == ("Intel Xeon", 2, 2)
    assert (intel["seeds"], intel["core_minutes"]) == ([42, 43], {"grid": 5.0})
    assert (amd["processor"], amd["cores"], amd["runs"]) == ("AMD EPYC", 8, 1)
    assert (amd["seeds"], amd["core_minutes"]) == ([45, 46], {"grid": 7.0})


def test_the_reference_is_small():
    """However many profiles and seeds it holds: so much a run beside what all runs share, and
    weights of two networks."""
    folders = [table.parent for table in paths.REFERENCE.glob("*/runs.parquet")]
    assert {folder.name for folder in folders} >= {"mini", "walkthrough"}
    for folder in folders:
        sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        weights = sum(size for name, size in sizes.items() if name.endswith(".pt"))
        runs = pq.read_metadata(folder / "runs.parquet").num_rows
        assert len(sizes) <= 8
        assert weights == 0 or (folder.name == "walkthrough" and weights < 4e6)
        assert sum(sizes.values()) - weights < 60e3 + 70e3 * runs, folder.name


@pytest.mark.parametrize("profile", ["mini", "solar"])
def test_an_incomplete_study_is_no_reference(nothing_here, monkeypatch, profile):
    """The commands that are named make all of it, and ablations with one seed alone."""
    wanted = reference.wanted(profile)
    monkeypatch.setattr(reference, "find", lambda run: run.study != "grid")
    seeds = profiles.load(profile)["reference_seeds"]
    given = ",".join(map(str, seeds))
    command = f"`make table1 PROFILE={profile} SEEDS={given}` make them"
    with pytest.raises(MissingRuns, match=f"`make replicate PROFILE={profile}` and {command}"):
        reference.renew(profile)
    made = plan.Request(profile).runs() + grid.runs("table1", profile, seeds=seeds)
    assert set(wanted) <= set(made)


def test_a_figure_of_every_artefact_is_committed():
    for name in artefacts.of_profile("mini"):
        assert reference.picture(name).stat().st_size > 10_000
        assert len(reference.values(name)) > 0
    tables = [f"table{i}" for i in range(1, 6)] + ["claims"]
    assert {name for name in artefacts.of_profile("mini") if reference.markdown(name)} == set(
        tables
    )


def test_of_the_solar_cells_everything_is_committed_but_what_shows_photographs_or_ablations():
    shown = reference.shown("solar")
    ours = {"table1", "claims", "protocol", "labelfree", "detectors", "fig2", "fig10"}
    assert ours <= set(shown)
    assert not {"table2", "table5", "fig1", "fig3", "walkthrough"} & set(shown)
    for name in shown:
        assert len(reference.values(name, "solar")) > 0
    pictures = {path.name for path in paths.REFERENCE_FIGURES.glob("solar-*")}
    assert pictures == {"solar-claims.png", "solar-fig2.png"}


def test_renderings_are_kept_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(paths, "REFERENCE_FIGURES", tmp_path / "figures")
    for profile in ("mini", "solar"):
        (tmp_path / "reference" / profile).mkdir(parents=True)
        for name in artefacts.of_profile("mini"):
            (tmp_path / f"{name}.png").write_bytes(f"{profile} {name}".encode())
            (tmp_path / f"{name}.csv").write_text(f"artefact,probe,value\n{name},none,\n")
        (tmp_path / "table1.md").write_text(f"| {profile} |\n")
        reference.write_renderings(tmp_path, profile)
    assert (tmp_path / "figures" / "fig2.png").read_bytes() == b"mini fig2"
    assert (tmp_path / "figures" / "solar-fig2.png").read_bytes() == b"solar fig2"
    assert reference.markdown("table1") == "| mini |\n" and reference.markdown("fig2") == ""
    assert reference.markdown("table1", "solar") == "| solar |\n"
    (row,) = reference.values("fig2").to_dict("records")
    assert (row["artefact"], row["probe"]) == ("fig2", "none") and pd.isna(row["value"])
    with pytest.raises(KeyError, match="fig11"):
        reference.values("fig11")


def compared(here, low=0.6, high=0.8, identical=False):
    """What `reference.compare` returns for values `here` of one metric."""
    rows = {"run": [f"run{i}" for i in range(len(here))], "metric": "f1", "identical": identical}
    return pd.DataFrame(rows | {"seeds": 3, "here": here, "mean": 0.7, "low": low, "high": high})


def test_a_reference_equals_itself(nothing_here, monkeypatch):
    complete = SimpleNamespace(state=lambda run: ("complete", ""), seeds=lambda name: [42])
    monkeypatch.setattr(reference, "run_directory", complete)
    monkeypatch.setattr(reference, "load", reference.committed)
    monkeypatch.setattr(
        reference, "cells", lambda profile, seeds: grid.cells(profile, seeds=seeds)[::20]
    )
    text, within = reference.summary(reference.compare("mini"))
    assert within
    assert "4 runs compared, 4 identical" in text


def test_the_interval_is_that_of_one_more_run(monkeypatch):
    """Values 0, 1, 2: mean 1, deviation 1, and t(2) = 4.303 at 95 %."""
    run = grid.run("smoke", "simclr", "resnet18", 0.45, 42)
    profile = profiles.load("smoke") | {"reference_seeds": [0, 1, 2]}
    monkeypatch.setattr(reference, "profiles", SimpleNamespace(load=lambda name: profile))
    monkeypatch.setattr(reference, "cells", lambda name, seeds: [run])
    directory = SimpleNamespace(state=lambda r: ("complete",), seeds=lambda name: [42])
    monkeypatch.setattr(reference, "run_directory", directory)
    made = {s: SimpleNamespace(run=replace(run, seed=s), scores=None) for s in (0, 1, 2, 42)}
    monkeypatch.setattr(reference, "reference", lambda run: made[run.seed])
    monkeypatch.setattr(reference, "load", lambda run: made[run.seed])
    monkeypatch.setattr(
        reference, "_values", lambda stored: dict.fromkeys(reference.METRICS, stored.run.seed % 41)
    )
    row = reference.compare("smoke").iloc[0]
    assert (row["here"], row["mean"]) == (1, 1)
    assert row["high"] - row["mean"] == pytest.approx(4.303 * (4 / 3) ** 0.5, abs=1e-3)


def test_chance_leaves_some_runs_outside_but_not_many():
    assert reference.summary(compared([0.7] * 17 + [0.5] * 3))[1]
    text, within = reference.summary(compared([0.7] * 13 + [0.5] * 7))
    assert not within
    assert "F1: 7 of 20 runs outside the 95 % interval of one more seed, 1 expected" in text


def test_one_seed_alone_judges_nothing():
    text, within = reference.summary(compared([0.9] * 9, low=math.nan, high=math.nan))
    assert within and "0 of 0 runs" in text


def test_every_seed_that_was_trained_here_is_found(workspace):
    """Runs of SEEDS=43,44 were left out."""
    for name in (
        "byol-vit_tiny-d05-s43",
        "simclr-resnet18-d01-s7",
        "simclr-resnet18-d01-s9.partial",
    ):
        (paths.RUNS / "mini" / name).mkdir(parents=True)
    assert run_directory.seeds("mini") == [7, 43]


def test_nothing_to_compare_names_the_command(nothing_here):
    with pytest.raises(MissingRuns, match="make replicate"):
        reference.compare("mini")
