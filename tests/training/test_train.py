"""Training: resumable to the bit, isolated from the probe, faithful to the schedule."""

import itertools
import multiprocessing
import os
import signal
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib import methods
from lib.analysis import scoring
from lib.data import pixels, splits
from lib.data.views import uniforms
from lib.methods.mae import random_mask
from lib.store import fingerprints, run_directory
from lib.store.stored import load
from lib.study import grid, names
from lib.system import paths
from lib.training import probes
from lib.training import train as train_module

torch.set_num_threads(1)


def small(method, backbone="resnet18", **settings):
    """A smoke run of three epochs."""
    run = grid.run("smoke", method, backbone, 0.45, 7)
    return run.with_settings(**{"epochs": 3, "warmup_epochs": 1} | settings)


def train_and_die(run, folders, at):
    """In a process of its own: train until `at` of the run is done, then die as by `kill -9`."""
    paths.DATA, paths.RUNS = folders

    def progress(fraction, row):
        if fraction >= at:
            os.kill(os.getpid(), signal.SIGKILL)

    train_module.train(run, progress)


def weights(run):
    return torch.load(run_directory.folder(run) / "checkpoint.pt", weights_only=True)["method"]


@pytest.mark.parametrize(
    "run, at",
    [
        (
            small("dino"),
            0.5,
        ),  # momentum encoder, centre, batch norm, AdamW; killed in the second epoch
        (
            small("byol", "vit_tiny", optimiser="lars", lr=0.2),
            0.85,
        ),  # LARS momentum; killed in the last epoch
        (small("mae", "vit_tiny"), 0.05),  # masks; killed in the first epoch
    ],
    ids=lambda value: getattr(value, "method", value),
)
def test_a_killed_run_ends_as_an_uninterrupted_one(store, run, at):
    child = multiprocessing.get_context("spawn").Process(
        target=train_and_die, args=(run, (paths.DATA, paths.RUNS), at)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert run_directory.state(run)[0] == "missing"  # nothing partial counts

    resumed_from = run_directory.folder(run).with_name(run.id + ".partial") / "checkpoint.ckpt"
    assert resumed_from.exists() == (at > 0.3)
    train_module.train(run)
    first, scores, history = weights(run), load(run).scores, load(run).history
    run_directory.folder(run).rename(store / "resumed")
    train_module.train(run)
    second = weights(run)
    assert all(torch.equal(first[k], second[k]) for k in second)
    pd.testing.assert_frame_equal(scores, load(run).scores, check_exact=True)
    assert history["epoch"].tolist() == [0, 1, 2]
    ours = history.drop(columns="seconds")
    pd.testing.assert_frame_equal(ours, load(run).history.drop(columns="seconds"), check_exact=True)


@pytest.fixture
def simclr(store, trained_run):
    return load(trained_run(small("simclr")))


def test_a_run_holds_all_that_tables_need(simclr):
    scores = simclr.scores
    n = len(scoring.validation(simclr)[0])
    views = (
        scores[scores["split"] == "val"]
        .groupby(["evaluation", "view", "probe"], observed=True)
        .size()
    )
    expected = {
        (e, v, p)
        for e, v in [("clean", 0), ("flip", 0), ("augmented", 0), ("augmented", 1)]
        for p in ("online", "converged")
    }
    assert set(views.index) == expected and (views == n).all()
    assert np.isfinite(scores["logit"]).all()
    table = scoring.validation(simclr)[0].set_index("Filename")["Defect"]
    val = scores[scores["split"] == "val"]
    assert (val["Defect"].to_numpy() == table[val["Filename"]].to_numpy()).all()
    record = simclr.record
    assert record["run"] == simclr.run.resolved()
    assert record["counts"] == {"normal": record["counts"]["normal"], "defect": 86}
    assert {"loss", "rankme", "feature_std", "embedding_std", "val_f1", "train_f1"} <= set(
        simclr.history
    )


def test_seconds_are_those_of_training_without_validation(store, monkeypatch):
    clock = itertools.count()
    validate = train_module.EpochEnd.validate

    def slow(callback, method):
        nonlocal clock
        clock = itertools.count(next(clock) + 1000)
        return validate(callback, method)

    monkeypatch.setattr(train_module.EpochEnd, "validate", slow)
    monkeypatch.setattr(train_module, "time", SimpleNamespace(time=lambda: next(clock)))
    run = small("random", validate_every=1)
    train_module.train(run)
    record = load(run).record
    assert record["total_seconds"] > 3000 and record["seconds"] == 3  # a tick of the clock an epoch
    images = 3 * sum(record["counts"].values())
    assert record["images_per_second"] == pytest.approx(images / 3, abs=0.1)


def test_half_of_the_flipped_evaluation_differs_from_the_clean_one(simclr):
    scores = simclr.scores.query("split == 'val' and probe == 'converged'")
    clean, flip = (scores[scores["evaluation"] == e]["logit"].to_numpy() for e in ("clean", "flip"))
    assert 0.3 < (clean != flip).mean() < 0.7


def test_a_change_of_settings_or_code_makes_a_run_stale(simclr, monkeypatch):
    run = simclr.run
    assert run_directory.state(run) == ("complete", "")
    assert run_directory.state(run.with_settings(temperature=0.5))[0] == "stale"
    syntax = fingerprints.syntax
    monkeypatch.setattr(
        fingerprints, "syntax", lambda path: "changed" if path.stem == "byol" else syntax(path)
    )
    assert run_directory.state(run)[0] == "complete"  # BYOL's file is not SimCLR's
    monkeypatch.setattr(
        fingerprints, "syntax", lambda path: "changed" if path.stem == "simclr" else syntax(path)
    )
    assert run_directory.state(run) == ("stale", "changed since: lib/methods/simclr.py")


def test_as_released_both_probes_are_trained_on_masked_images_and_read_on_whole_ones(store):
    run = small("mae-released", "vit_tiny")
    train_module.train(run)
    model = methods.build(run, steps=18, steps_per_epoch=6, pos_weight=1.0).eval()
    model.load_state_dict(weights(run))
    train, val = pixels.load(run.data, "train"), pixels.load(run.data, "val")
    subset = splits.resample(train.table, run.share, run.data["seed"])
    rows, clean = subset.index.to_numpy(), probes.clean(run.px)
    model.mask = lambda images, device: random_mask(
        torch.as_tensor(uniforms(run.seed, 3, images, 1000, 4)), run.settings.mask
    )  # of the epoch after the last
    with torch.autocast("cpu", enabled=load(run).record["precision"] == "bf16-mixed"):
        masked = probes.features(model, train.pixels, rows, clean, model.masked_features)
        whole = probes.features(model, val.pixels, np.arange(len(val.table)), clean)
    defect, videos = subset["Defect"].to_numpy(), subset["Video"].to_numpy()
    expected = probes.converged(masked, defect, videos, run.seed)(whole)
    scores = load(run).scores.query(
        "split == 'val' and evaluation == 'clean' and probe == 'converged'"
    )
    np.testing.assert_allclose(
        scores["logit"], expected, rtol=1e-3, atol=1e-5
    )  # stored in half precision


def build(method, backbone, **options):
    run = small(method, backbone)
    torch.manual_seed(0)
    return methods.build(run, **({"steps": 9, "steps_per_epoch": 3, "pos_weight": 2.0} | options))


ROWS = [(m, b) for m in names.METHODS for b in names.BACKBONES if names.exists(m, b)]


@pytest.mark.parametrize("method, backbone", ROWS)
def test_the_probe_never_reaches_the_backbone_but_in_the_baseline(method, backbone):
    model, alone = build(method, backbone).train(), build(method, backbone).train()
    views, images = (
        [torch.randn(8, 3, 32, 32) for _ in range(model.settings.views_per_image)],
        torch.arange(8),
    )
    own = alone.step(views, images).loss
    if own.requires_grad:
        own.backward()
    model._watch = lambda *_: None
    model.training_step((views, torch.tensor([0.0, 1] * 4), images), 0).backward()
    assert model.probe.weight.grad.abs().sum() > 0
    with_probe = [p.grad for p in model.backbone.parameters()]
    without = [p.grad for p in alone.backbone.parameters()]
    if method == "supervised":
        assert all(g is None for g in without)
        assert sum(g.abs().sum() for g in with_probe) > 0
    elif method in ("random", "mae-released"):
        assert all(g is None for g in with_probe)
    else:
        assert sum(g.abs().sum() for g in without if g is not None) > 0
        for ours, theirs in zip(with_probe, without, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("method", ["byol", "dino"])
def test_nothing_reaches_the_momentum_encoder_but_its_average(method):
    model = build(method, "resnet18").train()
    model.step([torch.randn(8, 3, 32, 32) for _ in range(2)], torch.arange(8)).loss.backward()
    for _, momentum in model.momentum_pairs():
        assert all(p.grad is None and not p.requires_grad for p in momentum.parameters())


def test_training_images_are_the_subset_and_never_validation(simclr):
    run = simclr.run
    train = pixels.load(run.data, "train")
    val = pixels.load(run.data, "val")
    assert not set(train.table["Filename"]) & set(val.table["Filename"])
    assert not set(train.table["Video"]) & set(val.table["Video"])
    hashes = {bytes(p.tobytes()) for p in np.asarray(train.pixels)}
    assert not hashes & {bytes(p.tobytes()) for p in np.asarray(val.pixels)}


@pytest.mark.parametrize(
    ("normal", "defect", "expected"),
    [
        (276_410, 226_154, 0.99977),  # 45 % of half of Sewer-ML's training table; true: 1.2222
        (552_820, 487_309, 0.99952),  # all of it; true: 1.1344
        (276_410, 48_778, 276_410 / 48_778),  # 15 % stays within float16's range
        (65_504, 65_504, 1.0),
        (276_410, 65_519, 276_410 / 65_519),
        (276_410, 65_520, 1 - (276_410 + 65_520) / 2**31),
    ],
)
def test_the_released_codes_pos_weight_overflows_above_65504_defects(normal, defect, expected):
    """Executed on Sewer-ML's counts with the released code, commit 27d9b36, on x86."""
    found = splits.pos_weight(normal, defect, overflow=True)
    assert found == pytest.approx(expected, abs=5e-6)
    assert splits.pos_weight(normal, defect) == normal / defect
    labels = torch.ones(defect, dtype=torch.float16)
    assert labels.sum().isinf() == (found != normal / defect)
