"""What every method shares: a backbone, the online linear probe on its detached features,
schedules, monitoring; and what stands on a backbone: projectors and predictors, momentum copies,
products in float32."""

import copy
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import nn

from lib.measures import representation
from lib.methods import backbones, optimisers
from lib.system import ranks

RANKME_BATCHES = 16  # most training batches an epoch whose RankMe is taken: an SVD each


@dataclass
class Step:
    """What a method makes of one whole batch: its loss, and per view the embeddings (n, e) and the
    backbone's features (n, d).

    `trivial` is the loss that a network whose output ignores its input has on this batch; None
    where that is not a single number. `Method.step` adds the features.
    """

    loss: torch.Tensor
    embeddings: list[torch.Tensor] = field(default_factory=list)
    trivial: float | torch.Tensor | None = None
    features: list[torch.Tensor] = field(default_factory=list)


class Method(LightningModule):
    """A backbone trained by `loss`, and an online probe, which trains it too only where
    `probe_reaches_backbone`.

    `steps` is the number of optimiser steps of the whole training, `steps_per_epoch` of one epoch,
    `pos_weight` n_neg / n_pos of the training subset. A batch is (views, labels, images): per view
    (n, 3, px, px), (n,) 0/1, (n,) ids of the images. Where several devices share a batch, each
    passes its shard through the backbone, whose batch normalisation sees all of it, and `gather`
    makes the whole batch of what a loss mixes: features, errors.

    A module that a method calls `momentum_<name>` follows its module <name> by an exponential
    moving average.
    """

    probe_reaches_backbone = False
    gather = staticmethod(ranks.gather)

    def __init__(self, run, *, steps: int, steps_per_epoch: int, pos_weight: float):
        super().__init__()
        self.run, self.settings = run, run.settings
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self.backbone = ranks.synchronised(self.make_backbone())
        self.probe = nn.Linear(self.backbone.features, 1)
        self.register_buffer("pos_weight", torch.tensor(float(pos_weight)))
        self.history: list[dict] = []
        self._sums: dict[str, list] = defaultdict(list)

    def make_backbone(self) -> nn.Module:
        return backbones.build(self.run.backbone, self.settings, self.run.px)

    def loss(self, *features: torch.Tensor) -> Step:
        """The method's equation: of the features (n, d) of each view, then, where there is a
        momentum backbone, of that one's features of each view."""
        raise NotImplementedError

    def step(self, views: list[torch.Tensor], images: torch.Tensor) -> Step:
        """The loss of a batch of views of `images` (n,), with the features that it was taken of."""
        features = [self.gather(self.backbone(x)) for x in views]
        momentum = []
        if hasattr(self, "momentum_backbone"):
            with torch.no_grad():
                momentum = [self.gather(self.momentum_backbone(x)) for x in views]
        step = self.loss(*features, *momentum)
        step.features = features
        return step

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(online, momentum) modules."""
        return [
            (getattr(self, name.removeprefix("momentum_")), module)
            for name, module in self.named_children()
            if name.startswith("momentum_")
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (n, d) of images (n, 3, px, px)."""
        return self.backbone(x)

    # Training

    def training_step(self, batch, batch_index: int) -> torch.Tensor:
        views, labels, images = batch
        step, labels = self.step(views, images), self.gather(labels)
        features = torch.cat(step.features)
        seen = features if self.probe_reaches_backbone else features.detach()
        logits, targets = self.probe(seen)[:, 0].float(), labels.repeat(len(step.features))
        probe_loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.pos_weight)
        self._watch(step, logits.detach(), targets, probe_loss.detach(), batch_index)
        return step.loss + probe_loss

    def configure_optimizers(self):
        """Groups: the method's own parameters, and the probe with its own rate and no decay
        (docs/study.md, Training)."""
        s, scale = self.settings, self.settings.batch / 256
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        main = {
            "name": "method",
            "params": [p for name, p in trained if not name.startswith("probe.")],
            "peak": s.lr * scale,
            "weight_decay": s.weight_decay,
        }
        probe = {"name": "probe", "params": list(self.probe.parameters())}
        if self.probe_reaches_backbone:
            probe |= {"peak": main["peak"], "weight_decay": main["weight_decay"]}
        else:  # betas: the released code's, for the probe of self-supervised methods
            probe |= {"peak": s.probe_lr * scale, "weight_decay": 0.0, "betas": (0.9, 0.0)}
        return optimisers.build([g for g in (main, probe) if g["params"]], s.optimiser)

    def on_train_batch_start(self, batch, batch_index: int) -> None:
        s, scale = self.settings, self.settings.batch / 256
        warmup, start = s.warmup_epochs * self.steps_per_epoch, s.warmup_start * scale
        for group in self.optimizers().param_groups:
            group["lr"] = optimisers.warmup_cosine(
                self.global_step, self.steps, warmup, start, group["peak"], s.final_lr
            )

    def optimizer_step(self, *arguments, **options) -> None:
        """The optimiser's update, then the momentum networks': once a step, however many batches it
        accumulates."""
        step = self.global_step  # of this update; Lightning counts it afterwards
        super().optimizer_step(*arguments, **options)
        for online, momentum in self.momentum_pairs():
            s = self.settings
            tau = optimisers.cosine_tau(step, self.steps, s.tau_start, s.tau_end)
            optimisers.momentum_update(online, momentum, tau)

    # Monitoring

    @property
    def step_loss(self) -> torch.Tensor:
        """The loss of the latest batch; the history holds its mean over an epoch."""
        return self._sums["loss"][-1]

    def _watch(self, step: Step, logits, targets, probe_loss, batch_index: int) -> None:
        sums, decided = self._sums, logits > 0
        sums["loss"].append(probe_loss if self.probe_reaches_backbone else step.loss.detach())
        if step.trivial is not None:
            sums["trivial_loss"].append(step.trivial)
        sums["probe_loss"].append(probe_loss)
        defects = targets == 1
        counts = [(decided & defects).sum(), decided.sum(), defects.sum()]
        sums["counts"].append(torch.stack(counts))
        for name, vectors in (("feature", step.features), ("embedding", step.embeddings)):
            for v in vectors:
                mean, std = representation.sphere_statistics(v.detach())
                sums[f"{name}_mean"].append(mean)
                sums[f"{name}_std"].append(std)
        if batch_index % math.ceil(self.steps_per_epoch / RANKME_BATCHES) == 0:
            finite = [f.detach() for f in step.features if f.isfinite().all()]
            measured = [representation.rankme(f, eps=1e-6) for f in finite]
            sums["rankme_batch"] += measured or [float("nan")]

    def on_train_epoch_end(self) -> None:
        sums = {
            name: torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in values])
            for name, values in self._sums.items()
        }
        both, decided, defects = sums.pop("counts").sum(0).tolist()
        row = {"epoch": self.current_epoch, "step": self.global_step}
        row |= {f"lr_{g['name']}": g["lr"] for g in self.optimizers().param_groups}
        row |= {name: float(values.mean()) for name, values in sums.items()}
        row["train_f1"] = 2 * both / (decided + defects) if decided + defects else 0.0
        self.history.append(row)
        self._sums.clear()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.history = checkpoint["history"]


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
