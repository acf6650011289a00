"""The committed reference is whole, small, and readable without any data."""

import json

import pandas as pd
import pytest

from lib.publish import reference
from lib.store import fingerprints, run_directory
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
        made = json.loads((paths.REFERENCE / run.profile / run.id / "run.json").read_text())[
            "inputs"
        ]
        now = fingerprints.inputs(run)
        changed = [name for name in now if made.get(name) != now[name]]
        assert not changed, (
            f"{run.id}: {changed} changed since; `make replicate && make reference` renews it"
        )


def test_the_reference_is_small():
    size = sum(f.stat().st_size for f in paths.REFERENCE.rglob("*") if f.is_file())
    assert size < 10.5e6, (
        f"{size / 1e6:.1f} MB, expected under 10.5 MB, of which frozen results are 2.3"
    )


def test_an_incomplete_study_is_no_reference(nothing_here):
    with pytest.raises(MissingRuns, match="`make replicate` and `make walkthrough` make them"):
        reference.renew()


def test_a_figure_of_every_artefact_is_committed():
    for name in artefacts.drawn():
        assert (paths.REFERENCE_FIGURES / f"{name}.png").stat().st_size > 10_000


def compared(f1, auroc, identical=False):
    """What `reference.compare` returns, for given differences a run."""
    rows = {"run": [f"run{i}" for i in range(len(f1))], "identical": identical}
    return pd.DataFrame(rows | {"f1_difference": f1, "auroc_difference": auroc})


def test_a_reference_equals_itself(nothing_here, monkeypatch):
    monkeypatch.setattr(run_directory, "state", lambda run: ("complete", ""))
    monkeypatch.setattr(run_directory, "folder", lambda run: paths.REFERENCE / run.profile / run.id)
    monkeypatch.setattr(grid, "cells", lambda profile, _grid=grid.cells: _grid(profile)[::20])
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
