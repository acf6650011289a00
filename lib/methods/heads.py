"""What stands on a backbone: projectors and predictors, momentum copies, products in float32."""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn


def mlp(*widths: int, norm: bool = True) -> nn.Sequential:
    """(n, widths[0]) -> (n, widths[-1]): linear layers with batch norm and ReLU between them,
    nothing after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers.append(nn.Linear(inputs, outputs))
        layers += [nn.BatchNorm1d(outputs), nn.ReLU()] if norm else [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that no gradient reaches; it follows `module` by a moving average."""
    return copy.deepcopy(module).requires_grad_(False)


def in_float32(loss: Callable, *tensors: torch.Tensor) -> torch.Tensor:
    """loss(*tensors) of tensors in float32, whose products autocast would round again."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return loss(*(x.float() for x in tensors))
