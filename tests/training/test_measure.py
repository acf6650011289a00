"""What is measured on trained networks: kept in their run directories, known when stale, read as a
probe's scores are. The converged probe is a balanced logistic regression at its optimum, and
evaluations are as the protocol has them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from lib.analysis import results, scoring
from lib.data import pixels, views
from lib.data.pixels import Split
from lib.measures import metrics
from lib.scheduling import job, local
from lib.scheduling.job import Job
from lib.store import fingerprints, measured, run_directory
from lib.store.stored import MissingRuns, load
from lib.study import grid, names, profiles
from lib.study.names import CLASSES
from lib.system import paths
from lib.training import measure, predict, probes, train


@pytest.fixture(scope="module")
def run(shared_workspace, shared_data):
    """A masked autoencoder of a profile that takes seconds, with its measurements."""
    run = grid.run("smoke", "mae", "vit_tiny", 0.45, 42)
    train.ensure(run)
    return run


@pytest.fixture
def sample():
    """Features of 50 training images, 20 of them defects, in 10 videos, and of 30 new ones."""
    rng = np.random.default_rng(0)
    of_normals = np.arange(50) < 30
    bank = rng.normal(size=(50, 6)) + np.where(of_normals, 0, 3)[:, None]
    return (
        bank.astype(np.float32),
        rng.normal(1, 2, size=(30, 6)).astype(np.float32),
        of_normals,
        np.arange(50) % 10,
    )


# Scores and thresholds


def test_thresholds_never_see_validation(sample):
    bank, features, of_normals, groups = sample
    errors = np.linspace(0, 1, 50), np.linspace(0, 2, 30)
    scores, fits = measure.scored(bank, features, of_normals, groups, *errors)
    others, same = measure.scored(
        bank, 5 * features[::-1] + 9, of_normals, groups, errors[0], 7 - errors[1]
    )
    assert fits == same
    assert not np.allclose(scores, others)


def test_thresholds_are_those_of_the_settings_training_images(sample):
    """Other defects in training leave the fits of `normals` as they are, and change all of
    `unlabelled`."""
    bank, features, of_normals, groups = sample
    _, fits = measure.scored(bank, features, of_normals, groups)
    moved = np.where(of_normals[:, None], bank, -4 * bank)
    _, changed = measure.scored(moved, features, of_normals, groups)
    assert [name for name in fits if fits[name] == changed[name]] == [
        name for name in fits if "normals" in name
    ]


def test_a_score_is_above_0_where_the_detectors_is_above_its_threshold(sample):
    bank, features, of_normals, groups = sample
    errors = np.linspace(0, 1, 50), np.linspace(0, 2, 30)
    scores, fits = measure.scored(bank, features, of_normals, groups, *errors)
    for setting, rows in (("normals", of_normals), ("unlabelled", slice(None))):
        name = f"reconstruction, {setting}"
        assert fits[name]["threshold"] == np.quantile(errors[0][rows], 0.95)
        np.testing.assert_array_equal(scores[name] > 0, errors[1] > fits[name]["threshold"])
        assert (np.diff(scores[name].astype(float)) > 0).all()  # half precision keeps the order


def test_a_setting_with_one_image_is_left_out(sample):
    """One normal image among the training images: no detector can be fitted on normals and tested
    on another one."""
    bank, features, _, groups = sample
    scores, fits = measure.scored(bank, features, np.arange(len(bank)) == 0, groups)
    assert list(fits) == list(scores) and all("unlabelled" in name for name in fits)


def test_a_large_bank_is_drawn_the_same_way_every_time(monkeypatch):
    monkeypatch.setattr(measure, "BANK", 10)
    rows = np.arange(100, 140)
    drawn = measure.fitted_on(rows, 42)
    assert len(drawn) == 10 and set(drawn) < set(rows) and (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, measure.fitted_on(rows, 42))
    assert set(drawn) != set(measure.fitted_on(rows, 43))


# Reconstruction


@pytest.mark.parametrize("patches", [4, 16, 196])
def test_every_patch_is_masked_four_times_and_no_mask_is_spent_in_vain(patches):
    masks = measure.fixed_masks(patches, 0.75)
    hidden = sum(np.bincount(masked[0].numpy() - 1, minlength=patches) for _, masked in masks)
    assert hidden.min() == measure.MASKED == 4
    for keep, masked in masks:
        assert (
            sorted([*keep[0].tolist(), *masked[0].tolist()]) == list(range(patches + 1))
            and keep[0, 0] == 0
        )
    last = np.bincount(masks[-1][1][0].numpy() - 1, minlength=patches)
    assert (hidden - last).min() == 3


def test_patch_errors_are_the_loss_of_each_patch_averaged_over_its_masks(run):
    method, _ = predict.restore(run)
    validation = pixels.load(run.data, "val")
    masks, rows = measure.fixed_masks(4, 0.75), np.arange(3)
    found = measure.patch_errors(method, masks, validation.pixels, rows, probes.clean(run.px))
    x = probes.clean(run.px)(torch.from_numpy(validation.pixels[rows]), rows)
    patch = method.settings.patch
    total, hidden = np.zeros((3, 4)), np.zeros(4)
    for keep, masked in masks:
        with torch.no_grad():
            tokens = method.backbone.encode(x, idx_keep=keep.expand(3, -1))
            predicted = method.decoder(tokens, keep.expand(3, -1)).numpy()
        for p in masked[0].numpy() - 1:
            top, left = p // 2 * patch, p % 2 * patch
            target = (
                x[:, :, top : top + patch, left : left + patch]
                .permute(0, 2, 3, 1)
                .reshape(3, -1)
                .double()
                .numpy()
            )
            target = (target - target.mean(1, keepdims=True)) / np.sqrt(
                target.var(1, ddof=1, keepdims=True) + 1e-6
            )
            total[:, p] += ((predicted[:, p] - target) ** 2).mean(1)
            hidden[p] += 1
    np.testing.assert_allclose(found, total / hidden, rtol=1e-4)


def test_heat_maps_are_kept_of_both_ends(monkeypatch):
    monkeypatch.setattr(measure, "MAPS", 1)
    table = pd.DataFrame({"Filename": list("abcdef"), "Defect": [0, 0, 0, 1, 1, 1]})
    found = measure.maps(np.array([1, 3, 2, 5, 4, 6.0])[:, None] * [[0.5, 1.5]], table)
    assert found == {"b": [1.5, 4.5], "e": [2.0, 6.0], "f": [3.0, 9.0]}


# The store


def test_scores_of_a_detector_are_measured_as_a_probes(run):
    views = {(v.detector, v.setting): v for v in measured.detected(run)}
    assert len(views) == 10
    view = views["reconstruction", "normals"]
    found = results.measure([view], "clean", resamples=0).set_index("metric")["value"]
    table, _ = scoring.validation(view)
    kept = view.detector_scores().set_index("Filename").loc[table["Filename"]]
    score, defect = kept["reconstruction, normals"].astype(float), table["Defect"]
    assert found["auroc"] == pytest.approx(roc_auc_score(defect, score), abs=1e-6)
    assert found["f1"] == pytest.approx(f1_score(defect, score > 0), abs=1e-6)
    assert found["recall"] == pytest.approx(recall_score(defect, score > 0), abs=1e-6)


@pytest.mark.parametrize("protocol", names.PROTOCOLS)
def test_every_share_and_protocol_reads_them(run, protocol):
    found = results.measure([measured.detected(run)[0]], protocol, "imbalance", resamples=0)
    view, rule = measured.detected(run)[0], names.protocol(protocol)
    for evaluation in (rule.table, rule.imbalance):
        logit, rows = scoring.aligned(view, evaluation, rule.probe)
        read = dict(zip(rows["Filename"], logit, strict=True))
        assert read == view.scores.set_index("Filename")["logit"].to_dict() and len(read) > 100
    shares = found[found["metric"] == "f1"]["validation_share"]
    assert list(shares) == profiles.load("smoke")["validation_shares"]
    assert found[found["metric"].isin(metrics.METRICS)]["value"].notna().all()


def test_a_detector_shares_the_verdict_of_its_run(run):
    assert results.health(measured.detected(run)) == results.health([load(run)])


def test_the_difference_from_the_probe_is_paired(run):
    view = measured.detected(run)[0]
    assert results.difference([view], [view], "auroc") == pytest.approx(
        {"estimate": 0, "low": 0, "high": 0, "p": 1, "seeds": 1}
    )
    found = results.difference([view], [run], "auroc")
    own, probes_own = (
        results.measure([one], resamples=0).set_index("metric")["value"]["auroc"]
        for one in (view, run)
    )
    assert (
        found["estimate"] == pytest.approx(own - probes_own)
        and found["low"] <= found["estimate"] <= found["high"]
    )


def test_the_record_names_what_it_was_made_from(run):
    record = measured.record(run)
    assert record["fitted_on"]["normals"] < record["fitted_on"]["unlabelled"]
    assert measured.measures(run)["rankme"] > 1
    assert measured.state(load(run)) == ("complete", "")
    assert {len(errors) for errors in record["maps"].values()} == {4}


def changed_record(stored, **inputs):
    """Rewrite measured.json with other inputs."""
    record = stored.measured
    record["inputs"] |= inputs
    (stored.path / "measured.json").write_text(json.dumps(record))


def test_measurements_do_not_make_a_run_stale_nor_outlive_it(run):
    stored = load(run)
    assert stored.origin == "fresh"
    changed_record(stored, run="another training")
    try:
        assert run_directory.state(run) == ("complete", "")
        assert measured.state(stored) == ("stale", "changed since: run")
        with pytest.raises(
            MissingRuns, match=r"are stale \(changed since: run\): `make detectors PROFILE=smoke`"
        ):
            measured.record(run)
        with pytest.raises(MissingRuns, match=r"1 of 1 runs lack .*`make detectors`"):
            measured.require([run], "make detectors")
        assert Job(run).need() == "measurement" and job.status(run)[0] == "unmeasured"
    finally:
        changed_record(stored, **measured.inputs(stored))
    assert Job(run).need() == ""


def test_a_change_of_the_detectors_makes_measurements_stale(run, monkeypatch):
    stored, before = load(run), measured.inputs(load(run))
    syntax = fingerprints.syntax
    monkeypatch.setattr(
        fingerprints, "syntax", lambda path: "new" if path.stem == "detectors" else syntax(path)
    )
    assert (
        measured.state(stored) == ("stale", "changed since: lib/measures/detectors.py")
        and measured.inputs(load(run)) != before
    )


def files(run):
    return {f.name: f.read_bytes() for f in run_directory.folder(run).iterdir()}


def test_only_the_measurement_is_done_again_from_the_weights_and_gives_the_same(run, monkeypatch):
    """The network in memory, as the training leaves it, and the one restored from its weights
    answer alike; in this process, and in one of the scheduler's."""
    before, record = files(run), measured.record(run)
    monkeypatch.setenv("WORKSPACE", str(paths.RUNS.parent))
    monkeypatch.setattr(train, "train", None)  # calling it would fail
    for do in (train.ensure, lambda run: local.Pool(1, []).train([Job(run)])):
        (load(run).path / "measured.json").unlink()
        assert Job(run).need() == "measurement"
        assert not do(run)
        after = files(run)
        assert {**measured.record(run), "seconds": 0} == {**record, "seconds": 0}
        assert after.keys() == before.keys()
        assert {name for name in after if after[name] != before[name]} <= {"measured.json"}


def test_a_current_run_is_left_alone_and_another_rank_measures_nothing(run, monkeypatch):
    before = files(run)
    with monkeypatch.context() as patch:
        patch.setattr(train, "train", None)
        patch.setattr(measure, "measure", None)
        train.ensure(run)
        changed_record(load(run), run="another training")
        patch.setenv("WORLD_SIZE", "2")
        patch.setenv("RANK", "1")
        patch.setenv("LOCAL_RANK", "1")
        train.ensure(run)
    changed_record(load(run), **measured.inputs(load(run)))
    (load(run).path / "measured.json").write_bytes(before["measured.json"])
    assert files(run) == before


def test_a_run_that_is_trained_again_is_measured_again(run):
    before = files(run)
    train.ensure(run, again=True)
    after = files(run)
    assert before.keys() == after.keys()
    assert after["measured.parquet"] == before["measured.parquet"]
    assert after["run.json"] != before["run.json"]  # its seconds


def test_an_ablation_is_trained_and_not_measured(shared_workspace):
    ablation = grid.cells("smoke", "resolution")[0]
    train.ensure(ablation)
    assert load(ablation).measured is None
    assert Job(ablation).need() == ""


ALONE = np.arange(400)  # each image a group of its own


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    defect = (np.arange(400) < 60).astype(int)
    return rng.normal(size=(400, 12)) * 5 + 3 + 4.0 * defect[:, None] * (np.arange(12) == 2), defect


def test_the_converged_probe_is_at_the_optimum_of_the_weighted_loss(problem):
    features, defect = problem
    probe = probes.converged(features, defect, ALONE, 0)
    weight = torch.tensor(probe.weight, requires_grad=True)
    bias = torch.tensor(probe.bias, requires_grad=True)
    z = torch.tensor((features - features.mean(0)) / features.std(0))
    balance = torch.where(torch.tensor(defect) == 1, 400 / (2 * 60), 400 / (2 * 340))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        z @ weight + bias, torch.tensor(defect).double(), weight=balance, reduction="sum"
    )
    (probe.strength * loss + weight.square().sum() / 2).backward()
    assert weight.grad.abs().max() < 1e-3 and bias.grad.abs() < 1e-3


def test_its_logits_are_those_of_scikit_learn(problem):
    features, defect = problem
    probe = probes.converged(features, defect, ALONE, 0)
    z = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression(
        C=probe.strength, class_weight="balanced", tol=1e-8, max_iter=1000
    ).fit(z, defect)
    np.testing.assert_allclose(probe(features), model.decision_function(z), atol=1e-3)


def test_features_without_information_get_a_strong_penalty_and_informative_ones_do_not(problem):
    features, defect = problem
    noise = probes.converged(np.random.default_rng(1).normal(size=(400, 40)), defect, ALONE, 0)
    assert noise.strength < probes.converged(features, defect, ALONE, 0).strength


def test_the_penalty_is_chosen_on_groups_that_the_fold_has_not_seen():
    """Eight images a group, alike but for noise, and a label that only the group decides: folds
    that split groups would reward a probe that knows them by heart."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 8)
    features = rng.normal(size=(30, 20))[groups] + 0.05 * rng.normal(size=(240, 20))
    defect = (rng.permutation(30) < 10).astype(int)[groups]
    for fitted, held in probes._folds(defect, groups, 0):
        assert not set(groups[fitted]) & set(groups[held])
        assert np.ptp(defect[fitted]) == np.ptp(defect[held]) == 1
    whole, split = (probes.converged(features, defect, g, 0) for g in (groups, np.arange(240)))
    assert whole.strength < split.strength


def test_defects_of_one_group_alone_get_the_strongest_penalty(problem):
    features, defect = problem
    probe = probes.converged(features, defect, np.where(defect == 1, 0, ALONE + 1), 0)
    assert probe.strength == probes.STRENGTHS[0]


def test_dead_features_and_a_single_defect_do_no_harm():
    features = np.random.default_rng(0).normal(size=(50, 4))
    features[:, 1] = 2.0
    defect = (np.arange(50) == 7).astype(int)
    logits = probes.converged(features, defect, np.arange(50), 0)(features)
    assert np.isfinite(logits).all() and logits[7] > np.median(logits)


def test_a_diverged_networks_features_become_zero():
    class Broken(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, x):
            return torch.full((len(x), 3), float("nan"))

    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    assert (probes.features(Broken(), pixels, np.arange(5), probes.clean(8)) == 0).all()


class Flat(torch.nn.Module):
    """A network whose features are its input's pixels."""

    device = torch.device("cpu")

    def forward(self, x):
        return x.flatten(1)


def noise(normals, defects, side=24):
    """A split of random frames, normals first."""
    table = pd.DataFrame(
        0, index=range(normals + defects), columns=["Filename", *CLASSES, "Defect"]
    )
    table.loc[normals:, ["RB", "Defect"]] = 1
    pixels = np.random.default_rng(0).integers(
        0, 256, (normals + defects, side, side, 3), dtype=np.uint8
    )
    return Split(table.assign(Filename=[f"{i}.png" for i in table.index]), pixels, True)


def test_clean_is_the_whole_image_resized_flip_mirrors_some_and_augmented_changes_all():
    split, run = noise(40, 0), grid.run("smoke", "simclr", "resnet18", 0.45, 1)
    whole = torch.as_tensor(split.pixels).permute(0, 3, 1, 2).float() / 255
    resized = torch.nn.functional.interpolate(
        whole, (run.px, run.px), mode="bilinear", antialias=True
    )
    plain, mirrored = (views.normalise(x).flatten(1).numpy() for x in (resized, resized.flip(3)))
    found = {
        (name, view): features for name, view, features in probes.evaluations(Flat(), run, split)
    }
    assert list(found) == [("clean", 0), ("flip", 0), ("augmented", 0), ("augmented", 1)]
    np.testing.assert_allclose(found["clean", 0], plain, atol=1e-4)
    turned = np.isclose(found["flip", 0], mirrored, atol=1e-4).all(1)
    np.testing.assert_allclose(found["flip", 0][~turned], plain[~turned], atol=1e-4)
    assert 0 < turned.sum() < 40
    first, second = found["augmented", 0], found["augmented", 1]
    for a, b in ((first, plain), (first, mirrored), (second, plain), (first, second)):
        assert (np.abs(a - b).mean(1) > 0.05).all()
