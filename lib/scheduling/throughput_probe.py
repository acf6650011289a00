"""The probe: how fast a system trains and scores here, from a few steps on random pixels. Steps are
those of lib.training.train: Lightning, device, precision, optimiser, augmentation. What a step
reads from disk is not in it, nor is the start of a process. Imports torch, in its own process."""

import gc
import time
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback

from lib import methods
from lib.data import pixels
from lib.study.grid import Run
from lib.system import torch_device
from lib.training import probes
from lib.training.batches import Batches

WARM = {"cuda": 4, "cpu": 1}  # steps that are not counted: libraries load, algorithms are chosen
SECONDS = {"cuda": 2.0, "cpu": 2.0}  # of counted steps, two at least
STEPS = 100  # counted at most
CPU_PIXELS = 8 * 224**2  # of a batch on a CPU, where 256 images of 224 px take minutes a step
# Bytes a pixel of 256 images in a forward pass that keeps nothing: ResNet-18 at 224 px, 2.9 GB.
BYTES_PER_PIXEL = 230
PROBED = 2048  # rows on which the converged probe is fitted


@dataclass(frozen=True)
class Rates:
    """What one system does on this machine, one process of as many as train at once."""

    training: float  # images/s through optimiser steps, all views of an image as one
    clean: float  # images/s through the backbone, resized
    augmented: float  # images/s through the backbone, one random view each
    fitting: float  # rows/s of the converged probe's fit
    weights: int  # bytes of the network
    checkpoint: int  # bytes of the network and the state of its optimiser
    batch: int  # images a step in the probe
    # Images a step in training: more than `batch` where the GPU's memory did not hold them, or
    # where a processor would take minutes.
    wanted: int
    memory: int  # bytes of a step of `wanted` images: network, gradients, optimiser, activations


@dataclass(frozen=True)
class _Repeated:
    """Cached pixels of as many images as one likes: a few, repeated."""

    images: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows % len(self.images)]


class _Clock(Callback):
    """The time at each step's end, its kernels finished; stops once enough is measured. `kept` are
    the bytes that the first forward pass, which is not counted, keeps for the backward pass."""

    def __init__(self, device: str):
        self.warm, self.seconds, self.device, self.ends = WARM[device], SECONDS[device], device, []
        self.kept, self.watched = {}, ExitStack()

    def _keep(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_leaf or not tensor.requires_grad:  # parameters are there anyway
            storage = tensor.untyped_storage()
            self.kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def on_train_batch_start(self, trainer, method, batch, batch_index) -> None:
        if batch_index == 0:
            hooks = torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)
            self.watched.enter_context(hooks)

    def on_exception(self, trainer, method, exception) -> None:
        self.watched.close()

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_index) -> None:
        self.watched.close()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        counted = self.ends[self.warm - 1 :]
        trainer.should_stop = len(counted) > 2 and counted[-1] - counted[0] > self.seconds

    def step(self) -> float:
        """Seconds from one step's end to the next, the median."""
        return float(np.median(np.diff(self.ends[self.warm - 1 :])))


def measure(run: Run, rows: int) -> dict:
    """The `Rates` of the run's system as a dict, when it trains on `rows` images. The batch is
    halved until the GPU's memory holds it. Raises ValueError if two are too many."""
    device = torch_device.device()
    wanted = min(run.settings.batch, rows)
    batch = wanted if device == "cuda" else max(2, min(wanted, CPU_PIXELS // run.px**2))
    while True:
        try:
            return asdict(_measure(run, rows, batch, wanted, device))
        except torch.OutOfMemoryError:
            if batch < 4:
                what = f"{run.id}: the memory of {torch.cuda.get_device_name()} cannot hold two "
                raise ValueError(f"{what}images of {run.px} px.") from None
        batch //= 2
        gc.collect()  # what the failed step held
        torch.cuda.empty_cache()


def _measure(run: Run, rows: int, batch: int, wanted: int, device: str) -> Rates:
    images, side = np.arange((WARM[device] + STEPS) * batch), run.data["cache"]
    table = pd.DataFrame({"Defect": (images % 2).astype(np.int8)})
    noise = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    split = pixels.Split(table, _Repeated(noise), False)
    probed = run.with_settings(batch=batch)
    batches = Batches(probed, split, images, torch.device(device))
    steps = -(-rows // wanted)  # an epoch, which decides how often RankMe is taken
    method = methods.build(probed, steps=10 * len(batches), steps_per_epoch=steps, pos_weight=1.0)
    clock = _Clock(device)
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = Trainer(
        max_epochs=1,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision=torch_device.precision(),
        callbacks=[clock],
        **dict.fromkeys(off, False),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on noise, a schedule of a few steps may warn
        trainer.fit(method.to(memory_format=torch.channels_last), batches)
    weights = _bytes(method.state_dict().values())
    states = trainer.optimizers[0].state.values()
    checkpoint = weights + _bytes(value for state in states for value in state.values())
    gradients = _bytes(p for p in method.parameters() if p.requires_grad)
    forward = BYTES_PER_PIXEL * run.px**2 * probes.BATCH
    kept = max(sum(clock.kept.values()) * wanted // batch, forward)
    method.to(device)
    with trainer.precision_plugin.forward_context():
        features = partial(probes.features, method, split.pixels, images[:batch])
        clean = batch / _seconds(partial(features, probes.clean(run.px)))
        augmented = batch / _seconds(partial(features, probes.augmented(probed, 0)))
    fitting, memory = _fitting(method.backbone.features), checkpoint + gradients + kept
    rates = batch / clock.step(), clean, augmented, fitting
    return Rates(*rates, weights, checkpoint, batch, wanted, memory)


def _seconds(call, least: float = 0.5) -> float:
    """Seconds of a call that ends with its numbers on the CPU: the median, a first one apart."""
    call()
    taken = []
    while sum(taken) < least or len(taken) < 2:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def _bytes(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


@lru_cache
def _fitting(features: int) -> float:
    """Rows/s of the converged probe's cross-validation and fit on noise of that many features."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((PROBED, features), dtype=np.float32)
    defect = rng.integers(0, 2, PROBED)
    began = time.perf_counter()
    probes.converged(noise, defect, np.arange(PROBED), 0)
    return PROBED / (time.perf_counter() - began)
