"""ResNet-18 and ViT-Tiny without classification heads; MAE's masked encoder and its decoder."""

import timm
import torch
from lightly.models.modules import MaskedVisionTransformerDecoderTIMM, MaskedVisionTransformerTIMM
from timm.layers import Attention
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from lib.study.settings import MAE, Settings
from lib.system import torch_device


def resnet18(width: float, bn_updates: int = 1) -> nn.Module:
    """torchvision's ResNet-18, its channels times `width`: (n, 3, h, w) -> (n, 512 width).

    `bn_updates` passes of one batch move a running average as one pass of a larger momentum does:
    1 - (1 - .1)^bn_updates. The released code makes two.
    """
    net = ResNet(BasicBlock, [2, 2, 2, 2])
    if width != 1:
        stem, *stages = (round(c * width) for c in (64, 64, 128, 256, 512))
        net.inplanes = stem
        net.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        net.bn1 = nn.BatchNorm2d(stem)
        for i, channels in enumerate(stages, start=1):
            layer = net._make_layer(BasicBlock, channels, 2, stride=1 if i == 1 else 2)
            setattr(net, f"layer{i}", layer)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    net.features = net.fc.in_features if width == 1 else stages[-1]
    net.fc = nn.Identity()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1 - (1 - module.momentum) ** bn_updates
    return net


def vit_tiny(settings: Settings, px: int, heads: int = 3) -> nn.Module:
    """timm's ViT-Tiny: (n, 3, px, px) -> the cls token (n, 192 width)."""
    patch = settings.patch
    if px % patch:
        raise ValueError(f"ViT-Tiny cuts {patch} px patches: {px} px is not a multiple.")
    net = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=px,
        patch_size=patch,
        embed_dim=round(192 * settings.width),
        depth=settings.depth,
        num_heads=heads,
        num_classes=0,
        global_pool="token",
    )
    net.features = net.embed_dim
    return quick_attention(net)


def quick_attention(net: nn.Module) -> nn.Module:
    """`net`, whose attention computes softmax(q k^T / sqrt(d)) v in three steps where torch's fused
    kernel is slow: on a CPU in bf16, at 37 tokens, its backward pass takes 14 times as long."""
    if torch_device.device() == "cpu" and torch_device.precision() == "bf16-mixed":
        for module in net.modules():
            if isinstance(module, Attention):
                module.fused_attn = False
    return net


def build(backbone: str, settings: Settings, px: int) -> nn.Module:
    """The backbone of a Run; `.features` is the width of its output."""
    if backbone == "resnet18":
        return resnet18(settings.width, settings.bn_updates)
    return vit_tiny(settings, px)


class MaskedEncoder(MaskedVisionTransformerTIMM):
    """ViT-Tiny that can leave patches out; positions and initialisation are MAE's."""

    def __init__(self, settings: MAE, px: int):
        super().__init__(vit_tiny(settings, px, settings.heads))
        self.features = self.vit.features


class Decoder(nn.Module):
    """MAE's: tokens of the visible patches -> pixels of every patch (n, patches, 3 patch^2)."""

    def __init__(self, settings: MAE, px: int, features: int):
        super().__init__()
        width, patch = settings.decoder_width, settings.patch
        self.embed = nn.Linear(features, width)
        sizes = (px // patch) ** 2, width, settings.decoder_depth, settings.decoder_heads
        self.blocks = quick_attention(
            MaskedVisionTransformerDecoderTIMM(*sizes, norm_layer=nn.LayerNorm)
        )
        self.predict = nn.Linear(width, 3 * patch**2)
        for layer in (self.embed, self.predict):  # as lightly's blocks start
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """`tokens` (n, kept, features) of positions `keep` (n, kept); the cls token's is 0."""
        length = self.blocks.sequence_length
        sequence = self.blocks.mask_token.to(tokens.dtype).repeat(len(tokens), length, 1)
        embedded = self.embed(tokens)
        index = keep[:, :, None].expand(-1, -1, embedded.shape[-1])
        decoded = self.blocks(sequence.to(embedded.dtype).scatter(1, index, embedded))
        return self.predict(decoded[:, 1:])
