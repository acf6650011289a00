"""One question, is it current: which inputs changed, whatever they are inputs of."""

import pytest

from lib.store import fingerprints
from lib.study import grid
from lib.system import paths


@pytest.mark.parametrize(
    ("then", "now", "changed"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, []),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ["b"]),
        ({"a": 1}, {"a": 1, "b": None}, ["b"]),  # a new input, whatever its value
        ({"a": 1, "gone": 2}, {"a": 1}, []),  # nothing depends on it any more
    ],
)
def test_changes_name_the_inputs_that_differ(then, now, changed):
    assert fingerprints.changes(then, now) == changed
    status, why = fingerprints.state({"inputs": then}, now, "absent")
    assert status == ("stale" if changed else "complete")
    assert why == (f"changed since: {', '.join(changed)}" if changed else "")


def test_without_a_record_the_reason_is_the_callers():
    assert fingerprints.state(None, {"a": 1}, "not measured") == ("missing", "not measured")


def test_a_digest_knows_the_value_and_not_the_order_of_its_keys():
    assert fingerprints.digest({"a": 1, "b": [2]}) == fingerprints.digest({"b": [2], "a": 1})
    assert fingerprints.digest({"a": 1}) != fingerprints.digest({"a": 2})
    assert fingerprints.digest("text") == fingerprints.digest(b"text")
    assert len(fingerprints.digest([])) == 16


def test_a_run_depends_on_its_settings_its_data_and_the_sources_that_decide_it():
    run = grid.run("smoke", "byol", "resnet18", 0.45, 42)
    inputs = fingerprints.inputs(run)
    files = {name for name in inputs if name.startswith("lib/")}
    assert set(inputs) - files == {"settings", "data"}
    assert {"lib/methods/byol.py", "lib/training/train.py", "lib/data/views.py"} <= files
    assert not files & {"lib/methods/simclr.py", "lib/training/measure.py"}
    assert all((paths.ROOT / name).exists() for name in files)
