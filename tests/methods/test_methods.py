"""What trains in each method and how: gradients, momentum networks, the optimiser's groups by name.
Backbones have the widths and the initialisation that they should have.

Losses are in test_losses.py, whole trainings in test_learning.py. Where lightly and the released
code of Otero et al. differ, the tests before those of the backbones show lightly's way and ours,
which is the released code's.
"""

import pytest
import torch
import torchvision
from lightly.models.modules.heads import DINOProjectionHead
from lightly.utils.lars import LARS as LightlyLARS
from lightly.utils.scheduler import cosine_schedule
from small import LARS, ROWS, batch, build, views
from timm.layers import Attention
from torch import nn

from lib.methods import backbones
from lib.methods.dino import Head
from lib.methods.optimisers import LARS as OurLARS
from lib.methods.optimisers import cosine_tau
from lib.study import grid

IMAGES = torch.arange(8)
both_backbones = pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny"])

SIMCLR_ADAPTED = {
    "backbone.conv1.weight",
    "backbone.layer1.0.conv1.weight",
    "backbone.layer1.0.conv2.weight",
    "backbone.layer1.1.conv1.weight",
    "backbone.layer1.1.conv2.weight",
    "backbone.layer2.0.conv1.weight",
    "backbone.layer2.0.conv2.weight",
    "backbone.layer2.0.downsample.0.weight",
    "backbone.layer2.1.conv1.weight",
    "backbone.layer2.1.conv2.weight",
    "backbone.layer3.0.conv1.weight",
    "backbone.layer3.0.conv2.weight",
    "backbone.layer3.0.downsample.0.weight",
    "backbone.layer3.1.conv1.weight",
    "backbone.layer3.1.conv2.weight",
    "backbone.layer4.0.conv1.weight",
    "backbone.layer4.0.conv2.weight",
    "backbone.layer4.0.downsample.0.weight",
    "backbone.layer4.1.conv1.weight",
    "backbone.layer4.1.conv2.weight",
    "projector.0.weight",
    "projector.2.weight",
    "probe.weight",
}


def adapted_by_lars(model) -> set[str]:
    """Names that one step of the method's LARS adapts and decays; every other one must move by rate
    times gradient."""
    optimiser = model.configure_optimizers()
    rates, decays = {"method": 0.3, "probe": 0.7}, {"method": 0.5, "probe": 0.0}
    expected, generator = {}, torch.Generator().manual_seed(5)
    groups = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    for group in optimiser.param_groups:
        assert (group["weight_decay"] > 0) == (group["name"] == "method")
        group |= {
            "lr": rates[group["name"]],
            "weight_decay": decays[group["name"]],
        }  # large enough to see
    for name, p in model.named_parameters():
        if p.requires_grad:
            rate, decay = rates[groups[id(p)]["name"]], decays[groups[id(p)]["name"]]
            p.grad = torch.randn(p.shape, generator=generator)
            w, update = p.detach().clone(), p.grad + decay * p.detach()
            expected[name] = (
                w - rate * 1e-3 * w.norm() / update.norm() * update,
                w - rate * p.grad,
            )
    optimiser.step()
    adapted = set()
    for name, (by_layer, plain) in expected.items():
        now = model.get_parameter(name).detach()
        if torch.allclose(now, by_layer, rtol=1e-5, atol=1e-7):
            adapted.add(name)
        else:
            torch.testing.assert_close(now, plain, msg=lambda text, name=name: f"{name}: {text}")
    return adapted


@both_backbones
@pytest.mark.parametrize("method", ["byol", "barlow", "simclr"])
def test_lars_adapts_and_decays_all_but_biases_and_norms_the_probe_without_decay_too(
    method, backbone
):
    model = build(method, backbone, **LARS)
    norms = tuple(
        f"{name}."
        for name, m in model.named_modules()
        if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm))
    )
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    adapted = adapted_by_lars(model)
    assert trained - adapted == {
        name for name in trained if name.endswith(".bias") or name.startswith(norms)
    }
    assert "probe.weight" in adapted
    if backbone == "vit_tiny":
        assert {
            "backbone.cls_token",
            "backbone.pos_embed",
            "backbone.patch_embed.proj.weight",
        } <= adapted


def test_simclrs_adapted_parameters_by_name():
    assert adapted_by_lars(build("simclr", **LARS)) == SIMCLR_ADAPTED


@both_backbones
def test_dino_clips_each_parameter_of_the_backbone_and_nothing_else(backbone):
    model = build("dino", backbone, frozen_epochs=0)
    (1e3 * model.step(views(model), IMAGES).loss).backward()
    before = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.on_before_optimizer_step(None)
    norms = {name: g.square().sum().sqrt() for name, g in before.items()}
    assert sum(norm > 1 for name, norm in norms.items() if name.startswith("backbone.")) > 10
    assert any(norm > 1 for name, norm in norms.items() if name.startswith("head."))
    for name, gradient in before.items():
        clipped = name.startswith("backbone.") and norms[name] > 1
        expected = gradient / norms[name] if clipped else gradient
        torch.testing.assert_close(
            model.get_parameter(name).grad, expected, rtol=1e-5 if clipped else 0, atol=0
        )


@pytest.mark.parametrize("method", ["byol", "dino"])
def test_a_momentum_networks_running_statistics_are_its_own(method):
    model = build(method)
    with torch.no_grad():
        model.momentum_backbone.conv1.weight.mul_(1.5)  # unlike the online network
    x = views(model)
    online, momentum = model.backbone, model.momentum_backbone
    model.step(x, IMAGES)
    for network in (online, momentum):
        mean = torch.zeros_like(network.bn1.running_mean)
        for v in x:  # one pass a view, in order
            mean = 0.9 * mean + 0.1 * network.conv1(v).mean((0, 2, 3))
        torch.testing.assert_close(network.bn1.running_mean, mean.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        momentum.bn1.running_mean, 1.5 * online.bn1.running_mean, rtol=1e-4, atol=1e-6
    )


def test_mae_as_released_has_a_gradient_in_its_probe_alone_and_trains_it_on_masked_images():
    model = build("mae-released", "vit_tiny")
    model.training_step(batch(model), 0).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        "probe.weight",
        "probe.bias",
    }
    masked = model.step(views(model), IMAGES).features[0]
    keep, _ = model.mask(IMAGES, "cpu")
    torch.testing.assert_close(masked, model.backbone.encode(views(model)[0], idx_keep=keep)[:, 0])
    assert (masked - model.backbone(views(model)[0])).abs().mean() > 1e-3


def test_random_keeps_its_batch_norm_as_initialised():
    model = build("random")
    before = {n: b.clone() for n, b in model.backbone.named_buffers()}
    model.step(views(model), IMAGES)
    assert all(torch.equal(b, before[n]) for n, b in model.backbone.named_buffers())


@pytest.mark.parametrize("method, backbone", ROWS)
def test_optimiser_groups_hold_every_trained_parameter_once(method, backbone):
    model = build(method, backbone)
    *own, probe = model.configure_optimizers().param_groups
    assert [id(p) for p in probe["params"]] == [id(model.probe.weight), id(model.probe.bias)]
    held = [id(p) for group in (*own, probe) for p in group["params"]]
    assert len(held) == len(set(held)) and set(held) == {
        id(p) for p in model.parameters() if p.requires_grad
    }
    s, scale = model.settings, 32 / 256
    for group in own:
        assert (group["peak"], group["weight_decay"]) == (
            pytest.approx(s.lr * scale),
            s.weight_decay,
        )
    if method == "supervised":  # its probe is part of the network
        assert (probe["peak"], probe["weight_decay"]) == (own[0]["peak"], own[0]["weight_decay"])
    else:
        assert (probe["peak"], probe["weight_decay"]) == (pytest.approx(s.probe_lr * scale), 0)
        assert probe["betas"] == (0.9, 0.0)


def test_all_methods_start_from_the_same_backbone():
    first, second = build("random"), build("byol")
    for p, q in zip(first.backbone.parameters(), second.backbone.parameters(), strict=True):
        torch.testing.assert_close(p, q)


# Where lightly differs from the released code


def test_lightlys_lars_drops_the_trust_ratio_without_decay_ours_does_not():
    steps = []
    for lars in (LightlyLARS, OurLARS):
        p = nn.Parameter(torch.tensor([[3.0, 4.0]]))
        p.grad = torch.tensor([[0.0, 2.0]])
        lars([p], lr=1.0, weight_decay=0.0, momentum=0.9).step()
        steps.append((torch.tensor([[3.0, 4.0]]) - p.detach()).norm().item())
    assert steps == pytest.approx(
        [2.0, 0.005], rel=1e-3
    )  # the gradient's norm; 1e-3 times the weights'


def test_lightlys_dino_head_has_gelu_and_fixed_scales_ours_relu_and_trained_ones():
    def activations(head):
        return [type(m) for m in head.modules() if isinstance(m, (nn.ReLU, nn.GELU))]

    with pytest.warns(FutureWarning, match="weight_norm"):
        theirs = DINOProjectionHead(8, 16, 4, 11)
    ours = Head(8, 16, 4, 11)
    assert (
        activations(theirs) == [nn.GELU, nn.GELU] and not theirs.last_layer.weight_g.requires_grad
    )
    assert (
        activations(ours) == [nn.ReLU, nn.ReLU]
        and ours.prototypes.parametrizations.weight.original0.requires_grad
    )


def test_lightlys_tau_ends_on_the_last_step_ours_just_after_it():
    assert cosine_schedule(99, 100, 0.996, 0.999) == 0.999
    assert cosine_tau(99, 100, 0.996, 0.999) < 0.999 == cosine_tau(100, 100, 0.996, 0.999)


def of_vit(width):
    """Settings of ViT-Tiny at full depth."""
    return grid.run("paper", "simclr", "vit_tiny", 0.45, 42).with_settings(width=width).settings


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("width, features", [(1.0, 512), (0.5, 256), (0.25, 128)])
def test_resnet_features(width, features):
    net = backbones.resnet18(width).eval()
    assert net.features == features and net(torch.randn(2, 3, 64, 64)).shape == (2, features)


def test_full_width_resnet_is_torchvisions():
    ours, theirs = backbones.resnet18(1.0), torchvision.models.resnet18()
    theirs.fc = torch.nn.Identity()
    assert {n: p.shape for n, p in ours.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }


def test_half_width_is_initialised_as_full_width_is():
    torch.manual_seed(0)
    net = backbones.resnet18(0.5)
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name


def test_two_updates_of_running_statistics_equal_one_of_larger_momentum():
    twice, once = backbones.resnet18(0.25, bn_updates=1), backbones.resnet18(0.25, bn_updates=2)
    once.load_state_dict(twice.state_dict())
    x = torch.randn(8, 3, 32, 32)
    twice.train()(x), twice(x), once.train()(x)
    torch.testing.assert_close(twice.layer4[1].bn2.running_var, once.layer4[1].bn2.running_var)


@pytest.mark.parametrize("width, px, features", [(1.0, 64, 192), (0.5, 96, 96)])
def test_vit_features(width, px, features):
    net = backbones.vit_tiny(of_vit(width), px).eval()
    assert net.features == features and net(torch.randn(2, 3, px, px)).shape == (2, features)
    assert len(net.blocks) == 12 and net.blocks[0].attn.num_heads == 3


def test_vit_tiny_has_the_parameters_of_vit_tiny():
    assert count(backbones.vit_tiny(of_vit(1.0), 224)) == pytest.approx(5.5e6, rel=0.02)


def test_an_input_that_does_not_divide_into_patches_is_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        backbones.vit_tiny(of_vit(1.0), 70)


def test_the_masked_encoder_has_fixed_positions():
    settings = grid.run("smoke", "mae", "vit_tiny", 0.45, 1).settings
    net = backbones.MaskedEncoder(settings, 32)
    assert not net.vit.pos_embed.requires_grad and net.vit.pos_embed.abs().sum() > 0


@pytest.mark.parametrize("precision, fused", [("bf16-mixed", False), ("32-true", True)])
def test_attention_in_three_steps_is_taken_in_bf16_on_a_cpu_and_equals_the_fused_one(
    precision, fused, monkeypatch
):
    monkeypatch.setenv("PRECISION", precision)
    monkeypatch.setenv("DEVICE", "cpu")
    model = build("mae", "vit_tiny")
    attention = [m for m in model.modules() if isinstance(m, Attention)]
    depth = len(model.backbone.vit.blocks) + model.settings.decoder_depth
    assert [m.fused_attn for m in attention] == depth * [fused]
    tokens = torch.randn(4, 5, attention[0].qkv.in_features)
    outputs = []
    for attention[0].fused_attn in (True, False):
        outputs.append(attention[0](tokens))
    torch.testing.assert_close(*outputs)
