"""What every method shares: a backbone, the online linear probe on its detached features,
schedules, monitoring."""

from collections import defaultdict
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import nn

from lib.measures import representation, sphere
from lib.methods import backbones, optimisers
from lib.system import ranks

RANKME_BATCHES = 16  # training batches an epoch whose RankMe is taken: an SVD each


@dataclass
class Step:
    """What a method makes of one whole batch: its loss, and per view the features (n, d) and
    embeddings (n, e).

    `trivial` is the loss on this batch of a network whose output ignores its input; None where that
    is no one number.
    """

    loss: torch.Tensor
    features: list[torch.Tensor]
    embeddings: list[torch.Tensor] = field(default_factory=list)
    trivial: float | torch.Tensor | None = None


class Method(LightningModule):
    """A backbone trained by `loss(views)`, watched by an online probe that never reaches it.

    `steps` is the number of optimiser steps of the whole training, `steps_per_epoch` of one epoch,
    `pos_weight` n_neg / n_pos of the training subset. A batch is (views, labels, images): per view
    (n, 3, px, px), (n,) 0/1, (n,) ids of the images. Where several devices share a batch, each
    passes its shard through the backbone, whose batch normalisation sees all of it, and `gather`
    makes the whole batch of what a loss mixes: features, errors.
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

    def loss(self, views: list[torch.Tensor], images: torch.Tensor) -> Step:
        """The method's own loss on a batch of views of `images` (n,)."""
        raise NotImplementedError

    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """(online, momentum) modules; the second follows the first by an exponential moving
        average."""
        return []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features (n, d) of images (n, 3, px, px)."""
        return self.backbone(x)

    def full_precision(self):
        """Context in which products of a loss, too, are taken in float32: autocast would round them
        again."""
        return torch.autocast(self.device.type, enabled=False)

    # Training

    def training_step(self, batch, batch_index: int) -> torch.Tensor:
        views, labels, images = batch
        step, labels = self.loss(views, images), self.gather(labels)
        features = torch.cat(step.features)
        logits = self.probe(features if self.probe_reaches_backbone else features.detach())[
            :, 0
        ].float()
        targets = labels.repeat(len(step.features))
        probe_loss = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.pos_weight)
        self._watch(step, logits.detach(), targets, probe_loss.detach(), batch_index)
        return step.loss + probe_loss

    def configure_optimizers(self):
        """Groups: the method's own parameters, and the probe with its own rate and no decay
        (docs/study.md, Training)."""
        s, scale = self.settings, self.settings["batch"] / 256
        probe = list(self.probe.parameters())
        own = [
            p for n, p in self.named_parameters() if not n.startswith("probe.") and p.requires_grad
        ]
        main = {
            "name": "method",
            "params": own,
            "peak": s["lr"] * scale,
            "weight_decay": s["weight_decay"],
        }
        head = {
            "name": "probe",
            "params": probe,
            "peak": s["probe_lr"] * scale,
            "weight_decay": 0.0,
        }
        if self.probe_reaches_backbone:
            head |= {"peak": main["peak"], "weight_decay": main["weight_decay"]}
        else:
            head["betas"] = (
                0.9,
                0.0,
            )  # as the released code has it for the probe of self-supervised methods
        return optimisers.build([g for g in (main, head) if g["params"]], s["optimiser"])

    def on_train_batch_start(self, batch, batch_index: int) -> None:
        s, scale = self.settings, self.settings["batch"] / 256
        warmup = s["warmup_epochs"] * self.steps_per_epoch
        for group in self.optimizers().param_groups:
            group["lr"] = optimisers.warmup_cosine(
                self.global_step,
                self.steps,
                warmup,
                s["warmup_start"] * scale,
                group["peak"],
                s["final_lr"],
            )

    def optimizer_step(self, *arguments, **options) -> None:
        """The optimiser's update, then the momentum networks': once a step, however many batches it
        accumulates."""
        step = self.global_step  # of this update; Lightning counts it afterwards
        super().optimizer_step(*arguments, **options)
        pairs = self.momentum_pairs()
        if pairs:
            tau = optimisers.cosine_tau(
                step, self.steps, self.settings["tau_start"], self.settings["tau_end"]
            )
            for online, momentum in pairs:
                optimisers.momentum_update(online, momentum, tau)

    # Monitoring

    def _watch(self, step: Step, logits, targets, probe_loss, batch_index: int) -> None:
        sums, decided = self._sums, logits > 0
        sums["loss"].append(probe_loss if self.probe_reaches_backbone else step.loss.detach())
        if step.trivial is not None:
            sums["trivial_loss"].append(step.trivial)
        sums["probe_loss"].append(probe_loss)
        sums["counts"].append(
            torch.stack([(decided & (targets == 1)).sum(), decided.sum(), (targets == 1).sum()])
        )
        for name, vectors in (("feature", step.features), ("embedding", step.embeddings)):
            for v in vectors:
                mean, std = sphere.sphere_statistics(v.detach())
                sums[f"{name}_mean"].append(mean)
                sums[f"{name}_std"].append(std)
        if batch_index % max(1, self.steps_per_epoch // RANKME_BATCHES) == 0:
            finite = [f.detach() for f in step.features if f.isfinite().all()]
            sums["rankme_batch"] += [representation.rankme(f, eps=1e-6) for f in finite] or [
                float("nan")
            ]

    def on_train_epoch_end(self) -> None:
        sums = {
            k: torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in v])
            for k, v in self._sums.items()
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
