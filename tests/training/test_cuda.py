"""Where a GPU is: views, trainings, resumes and measured rates are there what they are on a
processor."""

import numpy as np
import pandas as pd
import pytest
import torch
from small import ROWS

from lib.data import views
from lib.scheduling import throughput_probe
from lib.store import run_directory
from lib.store.stored import load
from lib.study import grid
from lib.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(autouse=True)
def on_the_gpu(monkeypatch):
    monkeypatch.delenv("DEVICE", raising=False)  # what a user may have forced


def small(method, backbone, **settings):
    return grid.run("smoke", method, backbone, 0.45, 7).with_settings(**settings)


def level(x):
    """Normalised views in units of [0, 1], on the processor."""
    return x.cpu() * torch.tensor(views.STD)[:, None, None]


@pytest.mark.parametrize("crop", [0.08, 1.0])
@pytest.mark.parametrize("side, px", [(96, 64), (48, 64), (256, 224)])
def test_views_on_a_gpu_are_those_on_a_processor(side, px, crop):
    n = 40
    pixels = torch.as_tensor(
        np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    )
    options = {"px": px, "crop": crop, "jitter": 0.8, "flip": 0.5, "seed": 3, "epoch": 2, "view": 1}
    here = views.augment(pixels, np.arange(n), **options)
    there = views.augment(pixels.cuda(), np.arange(n), **options)
    assert there.is_cuda and there.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(level(there), level(here), rtol=0, atol=1e-5)
    for flipped in (False, True):
        here, there = (views.evaluation(x, px, flipped) for x in (pixels, pixels.cuda()))
        torch.testing.assert_close(level(there), level(here), rtol=0, atol=1e-6)


def test_views_keep_their_precision_under_autocast_on_a_gpu():
    pixels = torch.as_tensor(
        np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8), device="cuda"
    )
    options = {
        "px": 32,
        "crop": 0.395,
        "jitter": 0.275,
        "flip": 0.5,
        "seed": 3,
        "epoch": 2,
        "view": 1,
    }
    plain = views.augment(pixels, np.arange(4), **options)
    with torch.autocast("cuda", torch.float16):
        assert torch.equal(views.augment(pixels, np.arange(4), **options), plain)


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # `random`, on purpose
@pytest.mark.parametrize("method, backbone", ROWS)
def test_every_system_trains_on_a_gpu_in_half_precision(store, method, backbone):
    run = small(method, backbone)
    train.train(run)
    assert run_directory.state(run) == ("complete", "")
    found = load(run)
    assert found.record["precision"] == "16-mixed"
    assert found.record["device"] == torch.cuda.get_device_name()
    assert len(found.history) == run.settings.epochs and np.isfinite(found.history["loss"]).all()
    assert np.isfinite(found.scores["logit"]).all()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("method, backbone", [("dino", "resnet18"), ("mae", "vit_tiny")])
def test_a_resumed_run_on_a_gpu_ends_as_an_uninterrupted_one(store, method, backbone):
    run = small(method, backbone, epochs=3, warmup_epochs=1)

    def interrupt(fraction, row):
        if fraction >= 0.5:  # in the second epoch
            raise Interrupted

    with pytest.raises(Interrupted):
        train.train(run, interrupt)
    assert (run_directory.folder(run).with_name(run.id + ".partial") / "checkpoint.ckpt").exists()
    train.train(run)
    resumed = load(run).history.drop(columns="seconds")
    run_directory.folder(run).rename(store / "resumed")
    train.train(run)
    whole = load(run).history.drop(columns="seconds")
    assert resumed["epoch"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(
        resumed[["loss"]], whole[["loss"]], rtol=1e-2
    )  # sums in any order, in 16 bits


@pytest.mark.parametrize("method, backbone", [("simclr", "resnet18"), ("mae", "vit_tiny")])
def test_rates_on_a_gpu_are_positive_and_for_the_batch_asked_for(monkeypatch, method, backbone):
    monkeypatch.setattr(throughput_probe, "SECONDS", {"cuda": 0.2})
    monkeypatch.setattr(throughput_probe, "PROBED", 64)
    run = small(method, backbone)
    found = throughput_probe.measure(run, 200)
    assert all(
        found[name] > 0
        for name in ("training", "clean", "augmented", "fitting", "weights", "memory")
    )
    assert (
        found["checkpoint"] > found["weights"]
        and found["batch"] == found["wanted"] == run.settings.batch
    )
