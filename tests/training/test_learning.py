"""Small trainings by Lightning: schedules, momentum networks and frozen parts, step by step.

tau: Grill et al. 2020, section 3.3, ending at .999 and not 1. Warm-up and cosine: the corners of
Lightning Bolts' scheduler, which the released code of Otero et al. uses. Both count optimiser
steps, not batches.
"""

import math
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback, Trainer
from small import LARS, SELF_SUPERVISED, batch, build

from lib import methods
from lib.data import pixels
from lib.methods import base, optimisers
from lib.study import grid, names
from lib.training import train as train_module
from lib.training.train import EpochEnd

both_backbones = pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny"])


class Rates(Callback):
    """The learning rate of every group at each step of the optimiser, just before it."""

    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, method, optimizer):
        self.seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})


def train(model, batches, folder, *, epochs, callbacks=(), resume=None, accumulate=1):
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        precision="32-true",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=list(callbacks),
        accumulate_grad_batches=accumulate,
    )
    trainer.fit(model, batches, ckpt_path=resume, weights_only=False)
    return model


class Some:
    """The same `count` batches of four images in every epoch."""

    def __init__(self, model, count):
        self.batches = [batch(model, 4, seed) for seed in range(count)]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


@pytest.fixture
def updates(monkeypatch):
    """Of every update: tau, the momentum network's parameters before, the online network's, the
    momentum's after."""
    update, seen = optimisers.momentum_update, []

    def copies(module):
        return {name: p.detach().clone() for name, p in module.named_parameters()}

    def spy(online, momentum, tau):
        before, buffers = copies(momentum), [b.clone() for b in momentum.buffers()]
        update(online, momentum, tau)
        assert all(torch.equal(a, b) for a, b in zip(buffers, momentum.buffers(), strict=True))
        seen.append((tau, before, copies(online), copies(momentum)))

    monkeypatch.setattr(optimisers, "momentum_update", spy)
    return seen


def tau(step, steps):
    return 0.999 - (0.999 - 0.996) * (math.cos(math.pi * step / steps) + 1) / 2


def taus(updates):
    """One a step: the backbone's and its head's are the same."""
    both = [u[0] for u in updates]
    assert both[::2] == both[1::2]
    return both[::2]


@pytest.mark.parametrize("method", ["byol", "dino"])
def test_tau_at_the_first_the_middle_and_the_last_step(method, tmp_path, updates):
    model = build(method, steps=8, steps_per_epoch=4)
    train(model, Some(model, 4), tmp_path, epochs=2)
    seen = taus(updates)
    assert seen == pytest.approx([tau(k, 8) for k in range(8)], abs=1e-12)
    assert (seen[0], seen[4]) == (pytest.approx(0.996, abs=1e-12), pytest.approx(0.9975, abs=1e-12))
    assert 0.99885 < seen[7] < 0.999


@both_backbones
@pytest.mark.parametrize("method", ["byol", "dino"])
def test_every_momentum_parameter_moves_to_tau_old_plus_1_minus_tau_new(
    method, backbone, tmp_path, updates
):
    model = build(
        method,
        backbone,
        steps=2,
        steps_per_epoch=2,
        **({"frozen_epochs": 0} if method == "dino" else {}),
    )
    train(model, Some(model, 2), tmp_path, epochs=1)
    assert len(updates) == 4  # a backbone and a head, two steps
    for rate, before, online, after in updates:
        assert before.keys() == online.keys() == after.keys()
        for name, old in before.items():
            by_hand = rate * old.double() + (1 - rate) * online[name].double()
            torch.testing.assert_close(after[name].double(), by_hand, rtol=1e-6, atol=1e-9)
            assert not torch.equal(after[name], old), name
    held = {id(p) for group in model.configure_optimizers().param_groups for p in group["params"]}
    for _, momentum in model.momentum_pairs():
        assert all(p.grad is None and id(p) not in held for p in momentum.parameters())


class Interrupted(Exception):
    pass


class Stop(Callback):
    """Interrupts the third epoch before its third batch."""

    def on_train_batch_start(self, trainer, method, data, batch_index):
        if trainer.current_epoch == 2 and batch_index == 2:
            raise Interrupted


def accumulated(path, callbacks=(), resume=None):
    """BYOL in 3 epochs of 3 batches, two a step: 2 steps an epoch, the second of a single batch.
    Checkpoints in `path`.

    Returns the method and, even of an interrupted training, its rates.
    """
    settings = LARS | {"epochs": 3, "warmup_epochs": 1, "validate_every": 1}
    model, rates = build("byol", steps=6, steps_per_epoch=2, **settings), Rates()
    end = EpochEnd(model.run, SimpleNamespace(table=range(8)), path)
    batches, callbacks = Some(model, 3), [end, rates, *callbacks]
    with suppress(Interrupted):
        train(
            model, batches, path.parent, epochs=3, callbacks=callbacks, resume=resume, accumulate=2
        )
    return model, rates.seen


def test_accumulated_batches_make_one_step_of_rate_and_tau_and_a_resumed_run_goes_on(
    tmp_path, updates, monkeypatch
):
    monkeypatch.setattr(EpochEnd, "validate", lambda self, method: {})
    whole, rates = accumulated(tmp_path / "whole")
    whole_taus = taus(updates)
    assert whole_taus == pytest.approx([tau(k, 6) for k in range(6)], abs=1e-12)
    expected = [rate(k, 6, 2, 0.1 / 8, 0.2 / 8, 1e-6) for k in range(6)]
    assert [row["method"] for row in rates] == pytest.approx(expected, abs=1e-12)
    updates.clear()
    _, begun = accumulated(tmp_path / "begun", [Stop()])
    assert taus(updates) == whole_taus[:5] and begun == rates[:5]  # one step into the last epoch
    updates.clear()
    resumed, rest = accumulated(
        tmp_path / "rest", resume=tmp_path / "begun"
    )  # from the end of the epoch before
    assert taus(updates) == whole_taus[4:] and rest == rates[4:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert [row["step"] for row in resumed.history] == [2, 4, 6]


def rate(step, steps, warmup, start, peak, final):
    if step < warmup:
        return start + step * (peak - start) / (warmup - 1)
    return final + (peak - final) / 2 * (1 + math.cos((step - warmup) / (steps - warmup) * math.pi))


@pytest.mark.parametrize(
    "method, settings, corners",
    [
        # at step 0, the last of warm-up and the first of the cosine; per 256 images, and the batch
        # has 32
        (
            "simclr",
            LARS | {"lr": 0.3, "warmup_start": 0.15},
            {"method": (0.15, 0.3), "probe": (0.15, 1e-3)},
        ),  # down
        ("dino", {"probe_lr": 1e-3}, {"method": (3e-5, 5e-4), "probe": (3e-5, 1e-3)}),
        ("supervised", {"probe_lr": 1e-3}, {"method": (3e-5, 5e-4), "probe": (3e-5, 5e-4)}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rates_at_the_corners_of_warm_up_and_cosine(method, settings, corners, tmp_path):
    model, rates = build(method, steps=9, steps_per_epoch=3, warmup_epochs=1, **settings), Rates()
    train(model, Some(model, 3), tmp_path, epochs=3, callbacks=[rates])
    for name, (start, peak) in corners.items():
        seen = [row[name] for row in rates.seen]
        assert len(seen) == 9
        assert seen[0] == pytest.approx(start / 8) and seen[2:4] == pytest.approx([peak / 8] * 2)
        assert seen[1] == pytest.approx((start + peak) / 16)
        assert seen[6] == pytest.approx((peak / 8 + 1e-6) / 2)  # half of the cosine
        last = 1e-6 + (peak / 8 - 1e-6) * (1 + math.cos(math.pi * 5 / 6)) / 2  # a step before 1e-6
        assert seen[8] == pytest.approx(last)
        assert [row[f"lr_{name}"] for row in model.history] == seen[2::3]


@both_backbones
def test_dinos_prototypes_keep_still_in_epoch_0_and_move_in_epoch_1(backbone, tmp_path):
    model = build("dino", backbone, steps=4, steps_per_epoch=2, weight_decay=0.1)
    assert model.settings.frozen_epochs == 1 and model.settings.optimiser == "adamw"
    first, rest, snapshots = (
        dict(model.head.prototypes.named_parameters()),
        dict(model.head.mlp.named_parameters()),
        [],
    )

    class Snapshot(Callback):
        def on_train_batch_end(self, *arguments):
            snapshots.append(
                [{n: p.detach().clone() for n, p in part.items()} for part in (first, rest)]
            )

    start = [{n: p.detach().clone() for n, p in part.items()} for part in (first, rest)]
    train(model, Some(model, 2), tmp_path, epochs=2, callbacks=[Snapshot()])
    assert len(first) == 2  # direction and length
    for step, (prototypes, mlp) in enumerate(snapshots):
        for name, value in prototypes.items():
            assert torch.equal(value, start[0][name]) == (step < 2), (step, name)
        assert all(not torch.equal(value, start[1][name]) for name, value in mlp.items())


@pytest.mark.parametrize("method, backbone", SELF_SUPERVISED)
def test_a_training_without_the_probes_loss_gives_the_same_weights_to_the_bit(
    method, backbone, tmp_path, monkeypatch
):
    def weights():
        model = build(method, backbone, steps=3, steps_per_epoch=3)
        train(model, Some(model, 3), tmp_path, epochs=1)
        return model.state_dict()

    start, probed = build(method, backbone).state_dict(), weights()
    off = SimpleNamespace(
        binary_cross_entropy_with_logits=lambda logits, targets, pos_weight: 0 * logits.sum()
    )
    monkeypatch.setattr(base, "F", off)
    alone = weights()
    assert not torch.equal(probed["probe.weight"], start["probe.weight"])
    assert torch.equal(alone["probe.weight"], start["probe.weight"])
    moved = 0
    for name in (name for name in start if not name.startswith("probe.")):
        assert torch.equal(probed[name], alone[name]), name
        moved += not torch.equal(probed[name], start[name])
    assert moved > 50


@pytest.mark.filterwarnings("ignore:Found .* in eval mode")  # `random`, on purpose
@pytest.mark.parametrize("method, backbone", [("mae-released", "vit_tiny"), ("random", "resnet18")])
def test_what_is_not_trained_ends_as_initialised_but_for_the_probe(method, backbone, tmp_path):
    model = build(method, backbone, steps=4, steps_per_epoch=2)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, Some(model, 2), tmp_path, epochs=2)
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, start[name])
    }
    assert changed == {"probe.weight", "probe.bias"}


def test_a_run_is_built_for_all_its_steps_and_weights_defects_by_n_neg_over_n_pos(
    workspace, monkeypatch
):
    class Built(Exception):
        pass

    def capture(run, **options):
        raise Built(options)

    table = pd.DataFrame({"Defect": [1] * 100 + [0] * 60, **dict.fromkeys(names.CLASSES, 0)})
    table.loc[:99, "RB"] = 1
    monkeypatch.setattr(
        pixels, "load", lambda data, split: pixels.Split(table, np.zeros((160, 48, 48, 3)), True)
    )
    monkeypatch.setattr(methods, "build", capture)
    run = grid.run("smoke", "byol", "resnet18", 0.2, 1).with_settings(epochs=4, batch=32)
    with pytest.raises(Built) as caught:
        train_module.train(run)
    # 60 normals and a quarter as many defects: 75 images, 2 whole batches of 32 and one of 11
    assert caught.value.args == ({"steps": 12, "steps_per_epoch": 3, "pos_weight": 4.0},)
