"""LARS and AdamW, and the schedules of the learning rate and the momentum encoder.

What the papers leave open follows the authors' code (docs/study.md, Training).
"""

import math

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from lib.study.names import nearest

GROUP = ("params", "peak", "weight_decay", "name", "betas")  # keys of a parameter group


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1), as Otero et al. use it.

    For a parameter w of two or more dimensions, whatever its weight decay:

        u = grad + weight_decay * w
        m = momentum * m + trust * |w| / |u| * u
        w = w - lr * m

    so that a change of `lr` acts on the whole of m at once. No clipping and no epsilon: the ratio
    is 1 where w or u is zero. Biases and norms, of one dimension, follow plain momentum: u = grad
    and a ratio of 1.
    """

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.9, trust=1e-3):
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient; returns the loss of a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            matrices = [p for p in params if p.ndim > 1]
            vectors = [p for p in params if p.ndim <= 1]
            adapted = _adapted(matrices, group["weight_decay"], group["trust"])
            self._descend(group, vectors, [p.grad for p in vectors])
            self._descend(group, matrices, adapted)
        return loss

    def _descend(self, group: dict, params: list, updates: list) -> None:
        if not params:
            return
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates)
        torch._foreach_add_(params, buffers, alpha=-group["lr"])


def _adapted(params: list, weight_decay: float, trust: float) -> list:
    """Decayed gradients, each scaled to `trust` times the norm of its parameter."""
    if not params:
        return []
    updates = torch._foreach_add([p.grad for p in params], params, alpha=weight_decay)
    sizes = torch.stack(torch._foreach_norm(params))
    steps = torch.stack(torch._foreach_norm(updates))
    ratios = torch.where((sizes > 0) & (steps > 0), trust * sizes / steps, 1.0)
    torch._foreach_mul_(updates, list(ratios.unbind()))
    return updates


def build(groups: list[dict], name: str) -> Optimizer:
    """The optimiser called name, "lars" or "adamw", over parameter groups.

    A group has `params`, `peak` (its highest learning rate, scaled; `lr` starts there),
    `weight_decay`, `name`, and may have `betas`: AdamW's, (.9, .999) unless given, which LARS
    ignores. AdamW decays every parameter (Loshchilov and Hutter 2019). Raises ValueError for an
    unknown name or key, naming the nearest known one.
    """
    nearest(name, ("lars", "adamw"), "optimiser")
    for group in groups:
        for key in group:
            nearest(key, GROUP, "key of a parameter group")
    groups = [{**group, "params": list(group["params"]), "lr": group["peak"]} for group in groups]
    if name == "lars":
        return LARS([{k: v for k, v in group.items() if k != "betas"} for group in groups], lr=0.0)
    # On a GPU a fused AdamW unscales 16-bit gradients by itself, too late for DINO, which clips
    # them before.
    fused = all(p.device.type == "cpu" for group in groups for p in group["params"])
    return AdamW(groups, lr=0.0, betas=(0.9, 0.999), fused=fused)


def warmup_cosine(
    step: int, steps: int, warmup_steps: int, start: float, peak: float, final: float
) -> float:
    """Learning rate of update `step`, 0 to steps - 1, of `steps` updates.

    It rises linearly from `start` at step 0 to `peak` at step warmup_steps - 1, stays there for one
    step, then falls by half a cosine to `final` at step `steps`, which the last update, steps - 1,
    just misses. These are the corners of the authors' scheduler (Lightning Bolts'). Without warm-up
    it begins at `peak`. `start` may be above `peak`, as for the probe under LARS. Raises ValueError
    for a step outside 0 to steps or a warm-up that leaves no cosine.
    """
    if not 0 <= step <= steps:
        raise ValueError(f"step is {step}, expected 0 to {steps}")
    if not 0 <= warmup_steps < steps:
        taken = f"warm-up takes {warmup_steps} of {steps} steps"
        raise ValueError(f"{taken}: lower the warm-up epochs, or train longer")
    if step < warmup_steps:
        return start + (peak - start) * step / max(warmup_steps - 1, 1)
    angle = math.pi * (step - warmup_steps) / (steps - warmup_steps)
    return final + (peak - final) * (1 + math.cos(angle)) / 2


def cosine_tau(step: int, steps: int, start: float, end: float) -> float:
    """Momentum of the momentum encoder after update `step`, 0 to steps - 1.

    Half a cosine from `start` to `end`: BYOL's 1 - (1 - start) (cos(pi step / steps) + 1) / 2
    (Grill et al. 2020, section 3.3), which ends at 1.
    """
    return end - (end - start) * (math.cos(math.pi * step / steps) + 1) / 2


@torch.no_grad()
def momentum_update(online: nn.Module, target: nn.Module, tau: float) -> None:
    """target = tau * target + (1 - tau) * online, in place, over parameters.

    Buffers are left alone: BatchNorm's running statistics are the target's own, as in the authors'
    code. Raises ValueError where the parameters' shapes differ.
    """
    sources, targets = list(online.parameters()), list(target.parameters())
    if [p.shape for p in sources] != [p.shape for p in targets]:
        counts = f"online has {len(sources)} parameters and target {len(targets)}"
        raise ValueError(f"{counts}, or their shapes differ")
    torch._foreach_lerp_(targets, sources, 1 - tau)
