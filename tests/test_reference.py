"""The committed reference is whole, small, readable without any data, and the source of every number in the README."""

import json

import pytest

from lib import paths, reference, runs, study


@pytest.fixture
def nothing_here(workspace):
    """A fresh clone: no data, no runs; only what is committed."""
    return workspace


def test_every_run_of_the_grid_is_committed_and_stands_in_for_a_missing_one(nothing_here):
    for run in study.grid(reference.PROFILE):
        stored = runs.load(run)
        assert stored.origin == "reference"
        assert stored.record["run"] == json.loads(json.dumps(run.resolved()))


def test_the_reference_was_made_by_the_code_as_it_is():
    for run in study.grid(reference.PROFILE):
        made = json.loads((paths.REFERENCE / reference.PROFILE / run.id / "run.json").read_text())["inputs"]
        now = runs.inputs(run)
        changed = [name for name in now if made.get(name) != now[name]]
        assert not changed, f"{run.id}: {changed} changed since; `make replicate && make reference` renews it"


def test_the_reference_is_small():
    size = sum(f.stat().st_size for f in paths.REFERENCE.rglob("*") if f.is_file())
    assert size < 8e6, f"{size / 1e6:.1f} MB, expected under 8 MB"


def test_the_readmes_numbers_are_those_of_the_reference(nothing_here):
    text = reference.README.read_text()
    assert reference.filled(text) == text, "`make reference` renews the README's generated parts"


def test_a_readme_without_its_places_is_refused():
    with pytest.raises(ValueError, match="0 places for 'results'"):
        reference.filled("no places")


def test_an_incomplete_study_is_no_reference(nothing_here):
    with pytest.raises(runs.MissingRuns, match="make replicate first"):
        reference.renew()


def test_a_figure_of_every_artefact_is_committed():
    for name in study.artefacts():
        assert (paths.REFERENCE_FIGURES / f"{name}.png").stat().st_size > 10_000
