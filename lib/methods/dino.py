"""DINO (Caron et al. 2021), with two global crops."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from lib.methods.base import Method, Step, mlp, momentum_copy


def dino_loss(student, teacher, centre, student_temperature, teacher_temperature) -> torch.Tensor:
    """H(P_t, P_s) = -P_t log P_s over the pairs of different views, equation 2 and algorithm 1.

    `student`, `teacher`: per view (n, K) logits; `centre` (1, K). The teacher's are centred and
    sharpened.
    """
    log_p = [F.log_softmax(s / student_temperature, dim=1) for s in student]
    q = [F.softmax((t - centre) / teacher_temperature, dim=1).detach() for t in teacher]
    return -((q[0] * log_p[1]).sum(1).mean() + (q[1] * log_p[0]).sum(1).mean()) / 2


class Head(nn.Module):
    """Three layers, an l2-normalised bottleneck, weight-normalised prototypes of trained scale."""

    def __init__(self, features: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        self.mlp = mlp(features, hidden, hidden, bottleneck, norm=False)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = weight_norm(nn.Linear(bottleneck, prototypes, bias=False))
        nn.init.ones_(self.prototypes.parametrizations.weight.original0)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """(n, features) -> (n, prototypes) logits."""
        return self.prototypes(F.normalize(self.mlp(h), dim=1))


class DINO(Method):
    """A student matches the centred, sharpened output of its momentum teacher on the other view."""

    def __init__(self, run, **options):
        super().__init__(run, **options)
        s = self.settings
        self.head = Head(self.backbone.features, s.hidden, s.bottleneck, s.prototypes)
        self.momentum_backbone = momentum_copy(self.backbone)
        self.momentum_head = momentum_copy(self.head)
        self.register_buffer("centre", torch.zeros(1, s.prototypes))

    def teacher_temperature(self, epoch: int) -> float:
        """Linear from start to end over the warm-up epochs, both included."""
        s = self.settings
        if epoch >= s.teacher_warmup_epochs - 1:
            return s.teacher_temperature
        start, end = s.teacher_temperature_start, s.teacher_temperature
        return start + (end - start) * epoch / (s.teacher_warmup_epochs - 1)

    def loss(self, h1, h2, m1, m2) -> Step:
        s, student = self.settings, [self.head(h1), self.head(h2)]
        with torch.no_grad():
            teacher = [self.momentum_head(m).float() for m in (m1, m2)]
        temperatures = s.student_temperature, self.teacher_temperature(self.current_epoch)
        loss = dino_loss([x.float() for x in student], teacher, self.centre, *temperatures)
        mean = torch.cat(teacher).mean(0, keepdim=True)
        self.centre.mul_(s.centre_momentum).add_(mean, alpha=1 - s.centre_momentum)
        return Step(loss, student, trivial=math.log(s.prototypes))  # every prototype as likely

    def on_before_optimizer_step(self, optimizer) -> None:
        for p in self.backbone.parameters():  # each parameter by itself, as the released code clips
            if p.grad is not None:
                p.grad.mul_((self.settings.clip / (p.grad.norm() + 1e-6)).clamp(max=1))
        if self.current_epoch < self.settings.frozen_epochs:
            for p in self.head.prototypes.parameters():
                p.grad = None
