"""The committed tables give every run back as it was stored, one at a time; and one question, is it
current: which inputs changed, whatever they are inputs of."""

import json

import numpy as np
import pandas as pd
import pytest

from lib.store import committed, fingerprints, measured, run_directory
from lib.store.stored import Stored, require, with_reference_seeds
from lib.study import grid, profiles
from lib.system import paths

NAMES = ("Filename", "split", "evaluation", "probe")


def make(folder, method, columns, images, detectors=(), seed=42):
    """A run directory with random scores, a history of these columns, and perhaps measurements."""
    run = grid.run("smoke", method, "resnet18", 0.45, seed)
    path = folder / run.id
    path.mkdir(parents=True)
    rng = np.random.default_rng(len(images))
    scores = pd.DataFrame(
        {
            "Filename": images * 2,
            "split": ["train"] * len(images) + ["val"] * len(images),
            "evaluation": "clean",
            "view": np.int8(0),
            "probe": "converged",
            "logit": rng.normal(size=2 * len(images)).astype(np.float16),
            "Defect": np.int8(1),
        }
    )
    run_directory.write_scores(scores.astype(dict.fromkeys(NAMES, "category")), path)
    rng_history = {name: [0.1 + rng.random(), np.nan] for name in columns}
    pd.DataFrame({"epoch": [0, 1], **rng_history}).to_csv(path / "history.csv", index=False)
    (path / "run.json").write_text(json.dumps({"fingerprint": method, "inputs": {"a": 1}}))
    stored = Stored(run, path, "fresh")
    if detectors:
        table = pd.DataFrame({"Filename": images})
        for name in detectors:
            table[name] = rng.normal(size=len(images)).astype(np.float16)
        measured.write(table, {"fits": dict.fromkeys(detectors), "measures": {}}, stored)
    return stored


@pytest.fixture
def runs(tmp_path):
    """Three runs that differ in their columns, images and measurements; one metric is all blank."""
    fresh = tmp_path / "fresh"
    knn = ["knn, normals"]
    stored = [
        make(fresh, "simclr", ["loss", "embedding_std"], list("ba")),
        make(fresh, "supervised", ["loss"], [f"{i:03}.png" for i in range(300)], knn),
        make(fresh, "barlow", ["trivial_loss", "loss"], list("xyz"), [*knn, "forest, normals"]),
    ]
    empty = stored[0].history.assign(rankme=np.nan)
    empty.to_csv(stored[0].path / "history.csv", index=False)
    return [Stored(s.run, s.path, "fresh") for s in stored]


def test_every_run_comes_back_exactly(runs, tmp_path):
    (tmp_path / "reference").mkdir()
    committed.write(tmp_path / "reference", runs)
    for run in reversed(runs):
        back = Stored(run.run, tmp_path / "reference", "reference")
        assert back.record == run.record and back.measured == run.measured
        pd.testing.assert_frame_equal(back.history, run.history, check_exact=True)
        pd.testing.assert_frame_equal(back.scores, run.scores, check_exact=True)
        if run.measured:
            pd.testing.assert_frame_equal(back.detector_scores(), run.detector_scores())


@pytest.fixture
def five_seeds(tmp_path, monkeypatch):
    """A reference with SimCLR of seeds 42, 43, 44 and BYOL of 42 and 43; nothing was trained."""
    seeds = [("simclr", 42), ("simclr", 43), ("simclr", 44), ("byol", 42), ("byol", 43)]
    made = [make(tmp_path / "runs", m, ["loss"], list("ab"), seed=s) for m, s in seeds]
    (tmp_path / "reference" / "smoke").mkdir(parents=True)
    committed.write(tmp_path / "reference" / "smoke", made)
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(paths, "RUNS", tmp_path / "trained")
    profile = profiles.load("smoke") | {"reference_seeds": [42, 43, 44]}
    monkeypatch.setattr("lib.store.stored.profiles.load", lambda name: profile)
    monkeypatch.setattr("lib.store.stored.inputs", lambda run: {"a": 1})
    return [grid.run("smoke", method, "resnet18", 0.45, 42) for method in ("byol", "simclr")]


def test_without_a_choice_every_seed_of_which_the_reference_holds_all_runs_is_shown(five_seeds):
    simclr = five_seeds[1]
    assert [run.seed for run in with_reference_seeds([simclr])] == [42, 43, 44]
    both = require(five_seeds, "make table1")
    assert [(run.method, run.seed) for run in both] == [
        *[("byol", 42), ("byol", 43)],
        *[("simclr", 42), ("simclr", 43)],
    ]
    assert require([simclr], "make table1", [42]) == [simclr]


@pytest.mark.parametrize("trained, shown", [([42], [42]), ([42, 44], [42, 44])])
def test_runs_that_were_trained_here_stand_alone_until_their_twins_are(
    trained, shown, five_seeds, monkeypatch
):
    monkeypatch.setattr(
        run_directory, "state", lambda run: ("complete" if run.seed in trained else "missing", "")
    )
    for chosen in (five_seeds, five_seeds[:1]):
        assert sorted({run.seed for run in with_reference_seeds(chosen)}) == shown


def test_where_some_runs_were_trained_here_and_some_not_no_seed_is_added(five_seeds, monkeypatch):
    monkeypatch.setattr(
        run_directory, "state", lambda run: ("complete" if run.method == "byol" else "missing", "")
    )
    assert with_reference_seeds(five_seeds) == five_seeds


def test_a_detector_has_one_score_for_each_image(runs):
    first, *_ = measured.detected(runs[2])
    assert list(first.scores["Filename"]) == list("xyz")
    assert list(first.scores["logit"]) == list(runs[2].detector_scores()["knn, normals"])


def test_tables_that_were_written_again_are_read_again(runs, tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    committed.write(folder, runs[:1])
    first, second = (Stored(run.run, folder, "reference") for run in runs[:2])
    assert first.record and second.record is None
    committed.write(folder, runs[1:])
    assert Stored(runs[0].run, folder, "reference").record is None
    pd.testing.assert_frame_equal(Stored(second.run, folder, "reference").scores, runs[1].scores)


def test_one_run_is_read_without_the_others(runs, tmp_path, monkeypatch):
    folder = tmp_path / "reference"
    folder.mkdir()
    committed.write(folder, runs)
    groups = []
    read = committed.pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        committed.pq.ParquetFile,
        "read_row_group",
        lambda self, i, **options: groups.append(i) or read(self, i, **options),
    )
    assert len(Stored(runs[1].run, folder, "reference").scores) == 600
    assert groups == [1]


def test_an_ablations_training_scores_are_not_committed(runs, tmp_path):
    ablation = grid.cells("smoke", "resolution")[0]
    stored = Stored(ablation, runs[1].path, "fresh")
    folder = tmp_path / "reference"
    folder.mkdir()
    committed.write(folder, [stored])
    back = Stored(ablation, folder, "reference").scores
    expected = stored.scores.query("split == 'val'").reset_index(drop=True)
    pd.testing.assert_frame_equal(back, expected, check_exact=True, check_categorical=False)


def test_training_scores_of_the_online_probe_are_not_committed(runs, tmp_path):
    """No figure reads them, and in `mini` they would be a tenth of the reference."""
    run = runs[0]
    online = run.scores.assign(probe=run.scores["probe"].cat.rename_categories(["online"]))
    both = pd.concat([run.scores.astype({"probe": str}), online.astype({"probe": str})])
    run_directory.write_scores(both.astype(dict.fromkeys(NAMES, "category")), run.path)
    folder = tmp_path / "reference"
    folder.mkdir()
    committed.write(folder, [Stored(run.run, run.path, "fresh")])
    back = Stored(run.run, folder, "reference").scores
    counts = back.astype(dict.fromkeys(NAMES, str)).value_counts(["split", "probe"]).to_dict()
    assert counts == {("train", "converged"): 2, ("val", "converged"): 2, ("val", "online"): 2}


def test_a_folder_without_tables_holds_no_run(runs, tmp_path):
    absent = Stored(runs[0].run, tmp_path / "nothing", "reference")
    assert absent.record is None and absent.measured is None


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
