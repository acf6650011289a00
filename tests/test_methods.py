"""Losses against naive versions written from the papers; masks and schedules at their corners."""

import pytest
import torch
import torch.nn.functional as F

from lib import methods, study
from lib.methods.byol import byol_loss
from lib.methods.dino import Head, dino_loss
from lib.methods.mae import normalise_patches, patchify, random_mask

VIEWS = [torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(2)]
IMAGES = torch.arange(8)


def build(method, backbone="resnet18", **settings):
    run = study.run("smoke", method, backbone, 0.45, 1)
    run.settings.update(settings)
    torch.manual_seed(0)
    return methods.build(run, steps=9, steps_per_epoch=3, pos_weight=1.0).train()


def test_simclr_is_the_mean_cross_entropy_of_the_partner_among_all_others():
    model = build("simclr")
    step = model.loss(VIEWS, IMAGES)
    z = F.normalize(torch.cat(step.embeddings), dim=1)
    total = 0.0
    for i in range(16):
        j = (i + 8) % 16
        others = torch.stack([z[i] @ z[k] / 0.2 for k in range(16) if k != i])
        total = total - (z[i] @ z[j] / 0.2) + others.logsumexp(0)
    torch.testing.assert_close(step.loss, total / 16)


def test_barlow_twins_is_the_distance_of_the_cross_correlation_from_the_identity():
    step = build("barlow").loss(VIEWS, IMAGES)
    a, b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in step.embeddings)
    c = sum(torch.outer(x, y) for x, y in zip(a, b, strict=True)) / 8
    diagonal = torch.eye(len(c), dtype=torch.bool)
    expected = 0.024 * ((1 - c[diagonal]).square().sum() + 0.0051 * c[~diagonal].square().sum())
    torch.testing.assert_close(step.loss, expected, rtol=1e-4, atol=1e-6)


def test_byols_loss_is_the_squared_distance_of_unit_vectors():
    p, z = torch.randn(6, 5), torch.randn(6, 5)
    squared = (F.normalize(p) - F.normalize(z)).square().sum(1).mean()
    torch.testing.assert_close(byol_loss(p, z), squared)
    assert byol_loss(p, 3 * p) < 1e-6 and byol_loss(p, -p) > 4 - 1e-6


def test_byol_averages_its_two_directions():
    model = build("byol")
    step = model.loss(VIEWS, IMAGES)
    p = [model.predictor(z) for z in step.embeddings]
    t = [model.momentum_projector(model.momentum_backbone(x)) for x in VIEWS]
    expected = (byol_loss(p[0], t[1]) + byol_loss(p[1], t[0])) / 2
    torch.testing.assert_close(step.loss, expected, rtol=1e-4, atol=1e-5)


def test_dinos_loss_is_the_cross_entropy_of_different_views():
    student, teacher = ([torch.randn(4, 7) for _ in range(2)] for _ in range(2))
    centre = torch.randn(1, 7)
    expected = 0.0
    for i, j in ((0, 1), (1, 0)):
        for t, s in zip(teacher[i], student[j], strict=True):
            q = torch.exp((t - centre[0]) / 0.05)
            p = torch.exp(s / 0.1)
            expected = expected - (q / q.sum() * torch.log(p / p.sum())).sum() / 8
    torch.testing.assert_close(dino_loss(student, teacher, centre, 0.1, 0.05), expected)


def test_dinos_centre_temperature_and_frozen_prototypes():
    model = build("dino", teacher_warmup_epochs=15, teacher_temperature_start=0.04, teacher_temperature=0.07)
    temperatures = [model.teacher_temperature(e) for e in (0, 7, 14, 30)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    before = torch.cat([model.momentum_head(model.momentum_backbone(x)) for x in VIEWS]).mean(0)
    model.loss(VIEWS, IMAGES).loss.backward()
    torch.testing.assert_close(model.centre[0], 0.1 * before, rtol=1e-3, atol=1e-5)
    model.on_before_optimizer_step(None)  # epoch 0: prototypes keep still
    assert all(p.grad is None for p in model.head.prototypes.parameters())
    assert all(p.grad.norm() <= 1 + 1e-4 for p in model.backbone.parameters() if p.grad is not None)


def test_dinos_head_normalises_its_bottleneck_and_trains_its_scale():
    head = Head(5, 16, 8, 11)
    h = torch.randn(3, 5)
    prototypes = F.normalize(head.prototypes.parametrizations.weight.original1, dim=1)
    torch.testing.assert_close(head(h), F.normalize(head.mlp(h), dim=1) @ prototypes.T)
    head(h).sum().backward()
    assert head.prototypes.parametrizations.weight.original0.grad.abs().sum() > 0


def test_patches_are_rows_of_pixels_with_unit_variance():
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float).reshape(2, 3, 4, 6)
    patches = patchify(x, 2)
    assert patches.shape == (2, 6, 12)
    torch.testing.assert_close(patches[1, 4], x[1, :, 2:4, 2:4].permute(1, 2, 0).flatten())
    normal = normalise_patches(torch.randn(2, 6, 48) * 7 + 3)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.var(-1), torch.ones(2, 6), atol=1e-4, rtol=0)


def test_masks_keep_the_cls_token_and_a_quarter_of_the_patches():
    keep, masked = random_mask(torch.rand(5, 16), 0.75)
    assert keep.shape == (5, 5) and masked.shape == (5, 12)
    assert (keep[:, 0] == 0).all() and (masked > 0).all()
    assert torch.cat([keep, masked], 1).sort(1).values.equal(torch.arange(17).expand(5, -1))


def test_mae_reconstructs_masked_patches_only():
    model = build("mae", "vit_tiny")
    keep, masked = random_mask(torch.rand(8, 4), 0.75)
    model.mask = lambda images, device: (keep, masked)
    x = VIEWS[0].clone().requires_grad_()
    step = model.loss([x], IMAGES)
    prediction = model.decoder(model.backbone.encode(x, idx_keep=keep), keep)
    target = normalise_patches(patchify(x, 16))
    naive = sum((prediction[i, j - 1] - target[i, j - 1]).square().mean() for i in range(8) for j in masked[i]) / 24
    torch.testing.assert_close(step.loss, naive)
    prediction.retain_grad()
    (prediction - target).square().mean(-1).gather(1, masked - 1).mean().backward()
    visible = torch.ones(8, 4, dtype=torch.bool).scatter(1, masked - 1, False)
    assert prediction.grad[visible].abs().sum() == 0 and prediction.grad[~visible].abs().sum() > 0


def test_the_encoder_never_sees_masked_patches():
    model = build("mae", "vit_tiny").eval()
    keep = torch.tensor([[0, 2]]).repeat(8, 1)
    other = VIEWS[0].clone()
    other[:, :, :16, :16] = 9.0  # patch 1, masked
    other[:, :, 16:, :] = -9.0  # patches 3 and 4, masked
    torch.testing.assert_close(
        model.backbone.encode(VIEWS[0], idx_keep=keep), model.backbone.encode(other, idx_keep=keep)
    )


def test_mae_as_released_trains_nothing_but_its_probe_on_masked_images():
    model = build("mae-released", "vit_tiny")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"probe.weight", "probe.bias"}
    masked = model.loss(VIEWS[:1], IMAGES).features[0]
    assert (masked - model.backbone(VIEWS[0])).abs().mean() > 1e-3


def test_random_keeps_its_batch_norm_as_initialised():
    model = build("random")
    before = {n: b.clone() for n, b in model.backbone.named_buffers()}
    model.loss(VIEWS[:1], IMAGES)
    assert all(torch.equal(b, before[n]) for n, b in model.backbone.named_buffers())


@pytest.mark.parametrize("method, backbone", [("simclr", "resnet18"), ("dino", "vit_tiny"), ("mae", "vit_tiny")])
def test_optimiser_groups_hold_every_trained_parameter_once(method, backbone):
    model = build(method, backbone)
    own, probe = model.configure_optimizers().param_groups
    assert [id(p) for p in probe["params"]] == [id(model.probe.weight), id(model.probe.bias)]
    assert probe["weight_decay"] == 0 and probe["betas"] == (0.9, 0.0)
    held = {id(p) for p in own["params"]} | {id(p) for p in probe["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    assert own["peak"] == pytest.approx(model.settings["lr"] * 32 / 256)


def test_all_methods_start_from_the_same_backbone():
    first, second = build("random"), build("byol")
    for p, q in zip(first.backbone.parameters(), second.backbone.parameters(), strict=True):
        torch.testing.assert_close(p, q)
