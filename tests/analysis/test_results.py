"""Stored scores, histories and points are read back from runs made here or from the committed
reference: held against the files and closed forms."""

import gc
import json
import re
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

import lib.analysis
from lib.analysis import curves as curves_module
from lib.analysis import provenance, results, scoring
from lib.analysis.curves import trend, width, within
from lib.data import sources, splits
from lib.measures import bootstrap, metrics
from lib.methods import backbones
from lib.store import committed, fingerprints, run_directory
from lib.store.stored import MissingRuns, Stored, load, require
from lib.study import grid, names
from lib.study.names import CLASSES
from lib.system import paths
from lib.training import train as train_module


@pytest.fixture
def trained(store, trained_run):
    """A run made here: the cheapest there is."""
    return trained_run(grid.run("smoke", "random", "resnet18", 0.45, 42))


def validation_scores(run, evaluation, probe):
    scores = load(run).scores
    return scores[
        (scores["split"] == "val")
        & (scores["evaluation"] == evaluation)
        & (scores["probe"] == probe)
    ]


def test_collect_has_a_row_per_run_share_evaluation_and_probe(trained):
    table = lib.analysis.collect("smoke")
    assert (
        len(table) == 6 * 3 * 2
    )  # one run; natural and five shares; three evaluations; two probes
    assert set(table["evaluation"]) == {"clean", "flip", "augmented"}
    one = table[
        (table["evaluation"] == "clean")
        & (table["probe"] == "online")
        & table["validation_share"].isna()
    ]
    rows = validation_scores(trained, "clean", "online")
    labels = scoring.validation(load(trained))[0].set_index("Filename").loc[rows["Filename"]]
    expected = metrics.scores(rows["Defect"], rows["logit"] > 0, labels[list(CLASSES)])
    for name, value in expected.items():
        assert one[name].item() == pytest.approx(value)


def test_the_two_protocols_reach_a_share_each_in_its_way(trained):
    weighted, sampled = (results.measure([trained], p, "imbalance") for p in ("clean", "paper"))
    for table in (weighted, sampled):
        assert set(table["validation_share"]) == {0.01, 0.02, 0.05, 0.15, 0.45}
        # A class whose one image is not drawn scores 0: resamples lie below.
        told = table[(table["metric"] != "f2ciw") & table["low"].notna()]
        # 1 % of the sampled images is one defect, 5 % are five: too few for an interval.
        without = set() if table is weighted else {0.01, 0.02, 0.05}
        assert set(told["validation_share"]) == {0.01, 0.02, 0.05, 0.15, 0.45} - without
        assert (told["low"] <= told["value"] + 1e-9).all() and (
            told["value"] <= told["high"] + 1e-9
        ).all()
    recall = weighted[weighted["metric"] == "recall"]["value"]
    assert np.ptp(recall) < 1e-9  # weights change precision, never recall
    auroc = weighted[weighted["metric"] == "auroc"]["value"]
    assert auroc.max() - auroc.min() < 1e-9


def test_subsampled_shares_are_those_of_the_sampler(trained):
    stored = load(trained)
    table, _ = scoring.validation(stored)
    drawn = scoring.draws(
        stored, evaluation="flip", probe="online", shares=[0.15], sampling="subsample", resamples=0
    )
    subset = splits.resample(table, 0.15, trained.data["seed"]).set_index("Filename")
    rows = (
        validation_scores(trained, "flip", "online")
        .set_index("Filename")["logit"]
        .loc[subset.index]
    )
    expected = metrics.scores(subset["Defect"], rows.to_numpy() > 0, subset[list(CLASSES)])
    assert drawn["f1"][0, 0] == pytest.approx(expected["f1"])


def test_facts_of_the_images_need_no_run(store):
    facts = provenance.of_data("smoke")
    assert (facts["n_training"], facts["n_validation"]) == (200, 200)
    assert "simulated" in facts["data"]
    assert not paths.RUNS.exists()


def test_notebooks_ask_for_facts_that_there_are(trained):
    known = {True: provenance.of_data("smoke"), False: provenance.of_runs([trained])}
    for book in paths.NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(book.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells)
        asked = set(re.findall(r"\bfacts\[[\"'](\w+)[\"']\]", source))
        assert asked <= set(known[book.stem == "data"]), book.name


def test_a_missing_run_names_the_command_that_makes_it(store):
    wanted = grid.runs("fig2", "smoke")
    with pytest.raises(
        MissingRuns, match=r"18 of 18 runs are missing .*`make fig2 PROFILE=smoke` makes them"
    ):
        require(wanted, "make fig2 PROFILE=smoke")
    with pytest.raises(MissingRuns, match=f"make run PROFILE=smoke ID={wanted[0].id}"):
        load(wanted[0])


def test_a_half_written_record_is_no_run(trained):
    record = run_directory.folder(trained) / "run.json"
    record.write_text(record.read_text()[:100])
    assert run_directory.state(trained)[0] == "missing"


def test_an_interval_is_drawn_of_the_metrics_that_are_asked_for(trained):
    every, some = (
        results.measure([trained], resamples=20, ranked=ranked)
        for ranked in (bootstrap.RANKED, ["auroc"])
    )
    without = some["metric"].isin(["ap", "recall_at_5"])
    pd.testing.assert_series_equal(every["value"], some["value"])
    pd.testing.assert_frame_equal(every[~without], some[~without])
    assert some.loc[without, ["low", "high"]].isna().all(axis=None) and without.sum() == 2


def test_the_reference_stands_in_only_for_an_identical_run(trained, store, monkeypatch):
    reference = store / "reference"
    monkeypatch.setattr(paths, "REFERENCE", reference)
    fresh = results.measure([trained], "clean")
    (reference / "smoke").mkdir(parents=True)
    committed.write(reference / "smoke", [load(trained)])
    shutil.rmtree(run_directory.folder(trained))
    table, _ = sources.tables(trained.data, "val")
    table.to_parquet(reference / "smoke" / "validation.parquet")
    monkeypatch.setattr(paths, "DATA", store / "no data")  # a fresh clone: nothing drawn yet
    stored = load(trained)
    assert stored.origin == "reference"
    pd.testing.assert_frame_equal(
        fresh.drop(columns="origin"), results.measure([trained], "clean").drop(columns="origin")
    )
    assert provenance.of_runs([trained])["reference"] == 1
    stored.record["inputs"]["settings"] = "another"
    committed.write(reference / "smoke", [stored])
    with pytest.raises(MissingRuns):
        load(trained)


def test_always_defect_bounds_f2ciw_by_the_classes_present(trained):
    stored = load(trained)
    table, _ = scoring.validation(stored)
    always = metrics.scores(table["Defect"], np.ones(len(table)), table[list(CLASSES)])
    assert results.f2ciw_maximum(trained) == pytest.approx(always["f2ciw"])


def test_ablations_say_what_was_varied_and_the_grid_keeps_its_columns(trained, trained_run):
    ablation = grid.run(
        "smoke", "supervised", "vit_tiny", None, 42, study="resolution", px=32, crop=1.0, jitter=0.0
    )
    trained_run(ablation)
    varied, plain = (results.measure([run], resamples=0) for run in (ablation, trained))
    assert set(varied.columns) - set(plain.columns) == {"px", "crop", "jitter"}
    assert (varied[["px", "crop", "jitter"]] == [32, 1.0, 0.0]).all(axis=None)


@pytest.fixture
def beside_random(trained):
    """A function that makes a SimCLR run whose scores are the random backbone's with `shift` added
    to its defects."""
    floor = load(trained)

    def make(shift, health="healthy", seed=42):
        run = grid.run("smoke", "simclr", "resnet18", 0.45, seed)
        path = run_directory.folder(run)
        path.mkdir(exist_ok=True)
        run_directory.write_scores(
            floor.scores.assign(logit=floor.scores["logit"] + shift * floor.scores["Defect"]), path
        )
        (path / "run.json").write_text(json.dumps(floor.record | {"health": health}))
        return Stored(run, path, "fresh")

    return make


@pytest.mark.parametrize(
    "shift, verdict", [(0, "no better than random"), (-3, "no better than random"), (30, "healthy")]
)
def test_a_run_has_to_beat_the_random_backbone_to_be_healthy(beside_random, shift, verdict):
    stored = beside_random(shift)
    assert results.health([stored]) == {stored.run.id: verdict}


def test_a_collapse_is_told_first_and_the_random_backbone_is_its_own_floor(beside_random, trained):
    runs = beside_random(30, "collapsed"), load(trained)
    assert [*results.health(runs).values()] == ["collapsed", "healthy"]


def test_the_seeds_of_a_system_are_judged_by_their_mean(beside_random, trained):
    """A mean that learned bears no mark because one of its seeds, alone, did not."""
    twin = replace(trained, seed=43)
    shutil.copytree(run_directory.folder(trained), run_directory.folder(twin))
    record = load(trained).record | {"inputs": fingerprints.inputs(twin)}
    (run_directory.folder(twin) / "run.json").write_text(json.dumps(record))
    strong, weak = beside_random(30), beside_random(0, seed=43)
    assert [*results.health([weak]).values()] == ["no better than random"]
    assert [*results.health([strong, weak]).values()] == ["healthy"] * 2
    dead = beside_random(0, "collapsed", seed=43)
    assert [*results.health([strong, dead]).values()] == ["healthy", "collapsed"]
    facts = provenance.of_runs([strong, dead])
    assert facts["marks"] == {"collapsed": 1} and facts["health"]["healthy"] == 1


def test_an_online_probe_that_diverged_marks_what_is_read_by_it_alone(beside_random):
    stored = beside_random(30)
    stored.record["online_probe"] = "diverged"
    assert [*results.health([stored]).values()] == ["healthy"]
    assert [*results.health([stored], "online").values()] == ["diverged"]


def test_without_a_random_backbone_the_verdict_of_the_training_stands(beside_random, trained):
    stored = beside_random(0)
    (run_directory.folder(trained) / "run.json").unlink()
    assert [*results.health([stored]).values()] == ["healthy"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The cheapest run with a history."""
    run = grid.run("smoke", "random", "resnet18", 0.45, 42)
    return Stored(run, train_module.train(run, store=tmp_path_factory.mktemp("runs")), "fresh")


def test_curves_hold_every_known_value_and_count_completed_epochs(stored):
    found = curves_module.curves([stored])
    assert set(found["metric"]) == {
        "rankme_batch",
        "rankme",
        "feature_mean",
        "feature_std",
    }  # it has no embeddings
    assert found["epoch"].tolist() == [1] * len(found)
    for metric, value in found.set_index("metric")["value"].items():
        assert value == stored.history[metric].iloc[-1]
    assert found["run"].eq(stored.run.id).all()


def test_points_by_split_and_protocol(stored):
    train = stored.scores[
        (stored.scores["split"] == "train") & (stored.scores["probe"] == "converged")
    ]
    f1 = {
        ("clean", "train"): f1_score(train["Defect"], train["logit"] > 0),
        ("paper", "train"): stored.history["train_f1"].iloc[-1],
        **{
            (p, "val"): results.measure([stored], p, resamples=0)
            .set_index("metric")
            .at["f1", "value"]
            for p in names.PROTOCOLS
        },
    }
    for (protocol, split), expected in f1.items():
        row = curves_module.points([stored], protocol, split).iloc[0]
        assert row["f1"] == pytest.approx(expected)
        assert row["rescaled"] == pytest.approx(
            stored.record["rankme"] / 128
        )  # 200 images, 512 x 0.25 features


@pytest.mark.parametrize("backbone", names.BACKBONES)
@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_width_is_that_of_the_backbone(profile, backbone):
    run = grid.run(profile, "supervised", backbone, 0.45, 42)
    assert width(run) == backbones.build(backbone, run.settings, run.px).features


def test_within_groups():
    groups = {"byol": (1, 2, 3), "dino": (3, 2, 1), "mae": (2, 2, 2)}
    points = pd.DataFrame(
        [
            {"method": m, "rescaled": i, "f1": y}
            for m, ys in groups.items()
            for i, y in enumerate(ys)
        ]
        + [{"method": "alone", "rescaled": 0, "f1": 0}]
    )
    np.testing.assert_allclose(within(points, "method"), [1, -1, np.nan, np.nan])


def test_trend_is_the_mean_over_runs():
    curves = {"a": (1, 2, 3), "b": (4, 5, 6), "c": (3, 2, 1), "d": (1, 2, 4)}
    found = pd.DataFrame(
        [
            {"run": run, "backbone": "resnet18", "metric": "rankme", "epoch": e, "value": v}
            for run, values in curves.items()
            for e, v in enumerate(values)
        ]
    )
    assert trend(found)["resnet18", "rankme"] == pytest.approx((1 + 1 - 1 + 1) / 4)
    assert np.isnan(trend(found[found["epoch"] == 0]).item())


@pytest.mark.parametrize(
    "wrong, near",
    [("f11", "f1"), ("F1", "f1"), ("f2-ciw", "f2ciw"), ("precison", "precision"), ("auc", "auroc")],
)
def test_an_unknown_metric_is_refused(wrong, near):
    reduced = pd.DataFrame({"metric": ["f1"], "value": [0.5]})
    with pytest.raises(ValueError, match=f"unknown metric '{wrong}': did you mean '{near}'"):
        results.measured_metrics(reduced, ["f1", wrong])
    with pytest.raises(ValueError, match="metrics names f1 more than once"):
        results.measured_metrics(reduced, ["f1", "f1"])
    assert results.measured_metrics(reduced, ["f2ciw", "f1"]) == ["f1"]


def test_no_table_of_scores_stays_in_memory_once_it_is_read(trained, monkeypatch):
    """In `paper`, those of one run take 90 MB, and a figure reads 70 runs."""
    read, tables = pq.read_table, []

    def remembered(*arguments, **options):
        table = read(*arguments, **options)
        tables.append(weakref.ref(table))
        return table

    scoring.forget()
    monkeypatch.setattr(pq, "read_table", remembered)
    stored = load(trained)
    assert results.measure([stored], "clean")["value"].notna().any()
    gc.collect()
    assert tables and not [table for table in tables if table() is not None]
