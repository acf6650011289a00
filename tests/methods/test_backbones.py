"""Backbones have the widths and the initialisation that they should have."""

import pytest
import torch
import torchvision

from lib.methods import backbones
from lib.study import grid


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
    net = backbones.vit_tiny(width, px, 16).eval()
    assert net.features == features and net(torch.randn(2, 3, px, px)).shape == (2, features)
    assert len(net.blocks) == 12 and net.blocks[0].attn.num_heads == 3


def test_vit_tiny_has_the_parameters_of_vit_tiny():
    assert count(backbones.vit_tiny(1.0, 224, 16)) == pytest.approx(5.5e6, rel=0.02)


def test_an_input_that_does_not_divide_into_patches_is_refused():
    with pytest.raises(ValueError, match="not a multiple"):
        backbones.vit_tiny(1.0, 70, 16)


def test_the_masked_encoder_has_fixed_positions():
    settings = grid.run("smoke", "mae", "vit_tiny", 0.45, 1).settings
    net = backbones.MaskedEncoder(settings, 32)
    assert not net.vit.pos_embed.requires_grad and net.vit.pos_embed.abs().sum() > 0
