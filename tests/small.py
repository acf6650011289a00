"""Small methods and batches that the tests of methods share."""

import torch

from lib import methods
from lib.study import grid, names

ROWS = [(m, b) for m in names.METHODS for b in names.BACKBONES if names.exists(m, b)]
SELF_SUPERVISED = [(m, b) for m, b in ROWS if m not in ("supervised", "random", "mae-released")]
LARS = {
    "optimiser": "lars",
    "lr": 0.2,
    "weight_decay": 1.5e-6,
    "warmup_start": 0.1,
    "probe_lr": 1e-3,
}


def build(
    method, backbone="resnet18", *, steps=9, steps_per_epoch=3, pos_weight=2.0, seed=1, **settings
):
    """A method of the profile `smoke` as it is built, some settings changed. Equal calls give equal
    weights."""
    run = grid.run("smoke", method, backbone, 0.45, seed).with_settings(**settings)
    torch.manual_seed(0)
    return methods.build(run, steps=steps, steps_per_epoch=steps_per_epoch, pos_weight=pos_weight)


def views(model, n=8, seed=0) -> list[torch.Tensor]:
    """As many views (n, 3, 32, 32) of noise as the method takes, in the method's precision."""
    generator = torch.Generator().manual_seed(seed)
    made = (
        torch.randn(n, 3, 32, 32, generator=generator)
        for _ in range(model.settings.views_per_image)
    )
    return [x.to(model.probe.weight.dtype) for x in made]


def batch(model, n=8, seed=0) -> tuple:
    """(views, labels, images) as `lib.training.batches.Batches` makes them, a third of the labels
    defects."""
    labels = (torch.arange(n) % 3 == 0).to(model.probe.weight.dtype)
    return views(model, n, seed), labels, torch.arange(n) + n * seed
