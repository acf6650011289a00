"""One training on several devices of a host: a process each, which sees its shard of every batch.

A process is a rank and finds its place where torchrun writes it: RANK, LOCAL_RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT. Without WORLD_SIZE, or with 1, it is alone and nothing here does
anything.

Why gradients equal those of one device, whatever the sizes of the shards: losses are taken of
gathered features, so every one of R ranks finds the same loss L, that of the whole batch. A
collective's backward sums over ranks; what a rank's shard then receives is the gradient of the sum
of all losses, R L. DDP's mean over ranks divides by R. Parameters behind the gather (projectors,
probe) have the gradient of L on every rank, and a mean of equal ones is the same.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class Place(NamedTuple):
    """A rank, 0 to ranks - 1; rank 0 decides, writes and scores for all."""

    rank: int
    ranks: int


ALONE = Place(0, 1)


def place() -> Place:
    """This process's, from its environment. Raises ValueError for ranks on more than one host."""
    rank, ranks = (
        int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1))
    )
    local = int(os.environ.get("LOCAL_RANK", rank))
    if ranks > 1 and local != rank:
        raise ValueError(
            f"RANK={rank} with LOCAL_RANK={local}: a run trains on one host, start all its ranks "
            "there."
        )
    return Place(rank, ranks) if ranks > 1 else ALONE


def join(device: str) -> None:
    """Meet the other ranks, this one on its own GPU if `device` is "cuda". A process that trains
    several runs in turn gives each a MASTER_PORT of its own: ranks leave at different times."""
    if place().ranks > 1:
        if device == "cuda":
            torch.cuda.set_device(place().rank)
        dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method="env://")


def leave() -> None:
    """Part from the other ranks; all of them call it. After an error none does, since others may
    wait in a collective: who started the ranks ends them."""
    if dist.is_initialized():
        dist.destroy_process_group()


def agree(decide: Callable):
    """What `decide()` returns on rank 0, which alone calls it, on every rank."""
    decision = [decide() if place().rank == 0 else None]
    if dist.is_initialized():
        dist.broadcast_object_list(decision, src=0)
    return decision[0]


class Started(LightningEnvironment):
    """Ranks that run already, whatever scheduler started them. Lightning's own would take
    WORLD_SIZE from the process's environment in the end, and the next run would train alone."""

    def teardown(self) -> None:
        pass


def options(ranks: int) -> dict:
    """The options of Lightning's Trainer that spread a training."""
    if ranks == 1:
        return {"devices": 1, "plugins": [Started()]}
    return {"devices": ranks, "strategy": DDPStrategy(), "plugins": [Started()]}


class _Stack(torch.autograd.Function):
    """Tensors of one shape, (...) on each rank -> (ranks, ...) on all. Torch has the same in
    torch.distributed.nn.functional, but deprecates it."""

    @staticmethod
    def forward(context, x: torch.Tensor) -> torch.Tensor:
        rows = [
            torch.empty_like(x, memory_format=torch.contiguous_format)
            for _ in range(dist.get_world_size())
        ]
        dist.all_gather(rows, x.contiguous())
        return torch.stack(rows)

    @staticmethod
    @once_differentiable
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed[dist.get_rank()]


def gather(x: torch.Tensor) -> torch.Tensor:
    """Rows (n_r, ...) of rank r -> those of all ranks (sum of n_r, ...), in their order,
    differentiable; x when alone. Shards may differ in size: they travel padded to the largest."""
    if not dist.is_initialized():
        return x
    sizes = _Stack.apply(torch.tensor(len(x), device=x.device)).tolist()
    padded = F.pad(x, (0, 0) * (x.ndim - 1) + (0, max(sizes) - len(x)))
    return torch.cat(
        [rows[:size] for rows, size in zip(_Stack.apply(padded).unbind(), sizes, strict=True)]
    )


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation (n, c, ...) by the statistics of all ranks. Torch's own refuses CPU
    tensors. A rank's mean, variance and count are pooled as in Chan et al. 1979, without the
    cancellation of sums of squares."""

    def _check_input_dim(self, x: torch.Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"input has shape {tuple(x.shape)}, expected (n, c, ...)")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        self._check_input_dim(x)
        exact = x.to(
            torch.promote_types(x.dtype, torch.float32)
        )  # 16 bits are too few for statistics
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(exact, axes, correction=0)
        count = mean.new_tensor([x.numel() / x.shape[1]])
        means, variances, counts = _Stack.apply(torch.cat([mean, variance, count])).split(
            [len(mean)] * 2 + [1], dim=1
        )
        share = counts / counts.sum()
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        self._track(mean, variance, counts.sum())
        scale = self.weight * (variance + self.eps).rsqrt()
        shape = [1, -1] + [1] * (x.ndim - 2)
        return (exact * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, variance: torch.Tensor, count: torch.Tensor) -> None:
        """Move the running statistics; the variance is unbiased, as torch's."""
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


def synchronised(network: nn.Module) -> nn.Module:
    """`network` itself; where this process has others beside it, with its batch normalisations
    replaced. Names, parameters and buffers stay, so that a checkpoint fits any number of
    devices."""
    for name, norm in list(network.named_modules()) if dist.is_initialized() else ():
        if isinstance(norm, _BatchNorm):
            like = {"device": norm.weight.device, "dtype": norm.weight.dtype}
            twin = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum, **like)
            twin.weight, twin.bias = norm.weight, norm.bias
            twin.load_state_dict(norm.state_dict())
            network.set_submodule(name, twin)
    return network
