"""The committed reference is whole, small, and readable without any data."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from lib.publish import reference
from lib.store import fingerprints, measured
from lib.store.stored import MissingRuns, load
from lib.study import artefacts, grid
from lib.system import paths


@pytest.fixture
def nothing_here(workspace):
    """A fresh clone: no data, no runs; only what is committed."""
    return workspace


def test_every_run_is_committed_and_stands_in_for_a_missing_one(nothing_here):
    for run in reference.wanted():
        stored = load(run)
        assert stored.origin == "reference"
        assert stored.record["run"] == json.loads(json.dumps(run.resolved()))


def test_the_reference_was_made_by_the_code_as_it_is():
    for run in reference.wanted():
        stored = reference.committed(run)
        changed = fingerprints.changes(stored.record["inputs"], fingerprints.inputs(run))
        if stored.measured:
            changed += fingerprints.changes(stored.measured["inputs"], measured.inputs(stored))
        assert not changed, (
            f"{run.id}: {changed} changed since; `make replicate && make reference` renews it"
        )


def test_the_reference_is_small():
    files = [f for f in paths.REFERENCE.rglob("*") if f.is_file()]
    size = sum(f.stat().st_size for f in files)
    assert size < 8.5e6, f"{size / 1e6:.1f} MB, expected under 8.5 MB, of which weights are 3.0"
    assert len(files) <= 20


def test_an_incomplete_study_is_no_reference(nothing_here):
    with pytest.raises(MissingRuns, match="`make replicate` and `make walkthrough` make them"):
        reference.renew()


def test_a_figure_of_every_artefact_is_committed():
    for name in artefacts.drawn():
        assert (paths.REFERENCE_FIGURES / f"{name}.png").stat().st_size > 10_000
        assert len(reference.values(name)) > 0
    tables = [f"table{i}" for i in range(1, 6)] + ["claims"]
    assert {name for name in artefacts.drawn() if reference.markdown(name)} == set(tables)


def test_renderings_are_kept_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "RENDERED", tmp_path / "figures.parquet")
    monkeypatch.setattr(paths, "REFERENCE_FIGURES", tmp_path / "figures")
    for name in artefacts.drawn():
        (tmp_path / f"{name}.png").write_bytes(name.encode())
        (tmp_path / f"{name}.csv").write_text(f"artefact,probe,value\n{name},none,\n")
    (tmp_path / "table1.md").write_text("| a |\n")
    reference.write_renderings(tmp_path)
    assert (tmp_path / "figures" / "fig2.png").read_bytes() == b"fig2"
    assert reference.markdown("table1") == "| a |\n" and reference.markdown("fig2") == ""
    (row,) = reference.values("fig2").to_dict("records")
    assert (row["artefact"], row["probe"]) == ("fig2", "none") and pd.isna(row["value"])
    with pytest.raises(KeyError, match="fig11"):
        reference.values("fig11")


def compared(f1, auroc, identical=False):
    """What `reference.compare` returns, for given differences a run."""
    rows = {"run": [f"run{i}" for i in range(len(f1))], "identical": identical}
    return pd.DataFrame(rows | {"f1_difference": f1, "auroc_difference": auroc})


def test_a_reference_equals_itself(nothing_here, monkeypatch):
    complete = SimpleNamespace(state=lambda run: ("complete", ""))
    monkeypatch.setattr(reference, "run_directory", complete)
    monkeypatch.setattr(reference, "load", reference.committed)
    monkeypatch.setattr(reference, "cells", lambda profile: grid.cells(profile)[::20])
    text, within = reference.told(reference.compare())
    assert within
    assert "4 runs compared, 4 identical" in text


def test_single_runs_may_differ_but_not_all_of_them():
    far = [0.14] + [0.0] * 9
    assert reference.told(compared(far, far))[1]
    text, within = reference.told(compared([0.1] * 10, [0.0] * 10))
    assert not within
    assert "F1: median difference 0.100" in text and "OUTSIDE" in text
    assert not reference.told(compared([0.0] * 10, [-0.02] * 10))[
        1
    ]  # a shift of every run, small as it is


def test_nothing_to_compare_names_the_command(nothing_here):
    with pytest.raises(MissingRuns, match="make replicate"):
        reference.compare()
