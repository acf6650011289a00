"""(b) Training step: ours end to end, the model alone, and lightly's reference, by method and
backbone."""

import time
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback

from benchmarks import inputs, measure, reference
from lib import methods
from lib.data import splits
from lib.data.pixels import Split
from lib.methods import optimisers
from lib.scheduling.throughput_probe import WARM
from lib.study import grid
from lib.study.grid import Run
from lib.system import hardware, torch_device
from lib.training import probes
from lib.training.batches import Batches

SHARE, SEED = 0.45, 42  # of the runs: the largest training subset
ROUNDS, TURN = 5, 0.8  # seconds a competitor measures in a round, roughly
SMALL = 16  # images a step at the paper's size on a CPU


def systems(profile: str) -> list[Run]:
    """Every method and backbone of the study, once."""
    return [run for run in grid.cells(profile, seeds=[SEED]) if run.share == SHARE]


class _Ends(Callback):
    """Stops the training after so many steps, and has when each was over."""

    def __init__(self, steps: int):
        self.steps, self.ends = steps, []

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_index) -> None:
        measure.synchronise()
        self.ends.append(time.perf_counter())
        trainer.should_stop = len(self.ends) >= self.steps


class System:
    """One method of the study with the images it trains on, and its ways to take a step."""

    def __init__(self, run: Run, split: Split):
        rows = splits.resample(split.table, run.share, run.data["seed"])
        self.run, self.split, self.rows = run, split, rows.index.to_numpy()
        self.precision, self.device, self.defects = (
            torch_device.precision(),
            torch_device.device(),
            rows["Defect"].sum(),
        )
        an_epoch = -(-len(self.rows) // run.settings.batch)
        torch.manual_seed(run.seed)
        self.method = methods.build(
            run,
            steps=an_epoch * run.settings.epochs,
            steps_per_epoch=an_epoch,
            pos_weight=(len(rows) - self.defects) / max(self.defects, 1),
        ).to(memory_format=torch.channels_last)
        self.model = ModelAlone(self)

    def batches(self, steps: int) -> Batches:
        rows = np.resize(self.rows, steps * self.run.settings.batch)
        return Batches(self.run, self.split, rows, torch.device(self.device))

    def ours(self, steps: int) -> float:
        """Seconds from one step's end to the next as lib.training.train takes them, the first ones
        not counted."""
        warm = WARM[self.device]
        clock = _Ends(warm + steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a schedule cut short may warn
            trainer = Trainer(
                max_epochs=1,
                accelerator="gpu" if self.device == "cuda" else "cpu",
                devices=1,
                precision=self.precision,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
                num_sanity_val_steps=0,
                callbacks=[clock],
            )
            trainer.fit(self.method, self.batches(warm + steps))
        return (clock.ends[-1] - clock.ends[warm - 1]) / steps

    def alone(self, steps: int) -> float:
        """Seconds a step of the model alone."""
        self.method.to(self.device).train()
        return measure.paced(self.model.step, steps, WARM[self.device])

    def forward(self, times: int) -> float:
        """Seconds an image in a forward pass of a fixed evaluation batch."""
        self.method.to(self.device).eval()
        pixels = torch.from_numpy(self.split.pixels[: probes.BATCH].copy()).to(self.device)
        x = probes.clean(self.run.px)(pixels, np.arange(len(pixels)))
        with torch.inference_mode(), self.model.arithmetic.context():
            return measure.paced(lambda: self.method(x), times, WARM[self.device]) / len(x)


class ModelAlone:
    """Forward, backward and update of a method and its probe on one fixed batch of views already on
    the device.

    No input, no augmentation, no Lightning, no monitoring: the least that the step can take.
    """

    def __init__(self, system: System):
        self.method = system.method.to(system.device).train()
        self.batch = next(iter(system.batches(1)))
        self.arithmetic = measure.Arithmetic(system.precision)
        self.optimiser = self.method.configure_optimizers()

    def step(self) -> None:
        method, (views, labels, images) = self.method, self.batch
        with self.arithmetic.context():
            step = method.step(views, images)
            features = torch.cat(step.features)
            logits = method.probe(features if method.probe_reaches_backbone else features.detach())[
                :, 0
            ].float()
            targets = labels.repeat(len(step.features))
            loss = step.loss + F.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=method.pos_weight
            )
        self.arithmetic.descend(loss, self.optimiser, method.on_before_optimizer_step)
        for online, momentum in method.momentum_pairs():
            optimisers.momentum_update(online, momentum, 0.99)  # any: it costs the same


def competitors(system: System, files: list[Path], labels: np.ndarray, turn: float) -> dict:
    """Name -> one turn, seconds a step. lightly has no reference of the rows that are ours."""
    run = system.run
    many = measure.often_enough(system.alone(2), turn)
    turns = {"ours": partial(system.ours, many), "model alone": partial(system.alone, many)}
    if run.method in reference.MODULES:
        processes = 0 if system.device == "cpu" else hardware.cores()
        for precision in dict.fromkeys([system.precision, "32-true"]):
            name = "lightly" if precision == system.precision else "lightly, 32-true"
            rival = reference.Training(run, files, labels, precision, processes)
            turns[name] = partial(measure.paced, rival.step, many, WARM[system.device])
    return turns


def measured(run: Run, split: Split, files: list[Path], rounds: int, turn: float) -> pd.DataFrame:
    """A row per competitor, in ms a step."""
    system = System(run, split)
    shown = np.resize(
        system.rows, max(len(system.rows), 4 * run.settings.batch)
    )  # an epoch of whole batches
    rivals = competitors(system, [files[i] for i in shown], split.defect[shown], turn)
    seconds = measure.alternate(rivals, rounds)
    rows = measure.compare(seconds, "ours", "ms a step", lambda s: 1e3 * s)
    place = {
        "method": run.method,
        "backbone": run.backbone,
        "px": run.px,
        "batch": run.settings.batch,
    }
    for i, (name, value) in enumerate(place.items()):
        rows.insert(i, name, value)
    rows["precision"] = [
        "32-true" if "32-true" in name else system.precision for name in rows["measured"]
    ]
    return rows


def main(profile: str = "mini", rounds: int = ROUNDS, turn: float = TURN) -> pd.DataFrame:
    """Measure every system of the profile, and write the part `steps` of
    benchmarks/results/measured.csv (at the paper's size: `steps-224`)."""
    tables = []
    with TemporaryDirectory() as folder:
        split, files = inputs.split_of(profile, Path(folder)), inputs.files(profile)
        for run in systems(profile):
            if profile == "paper" and torch_device.device() == "cpu":
                run = run.with_settings(batch=SMALL)
            tables.append(measured(run, split, files, rounds, turn))
            print(f"{run.method}, {run.backbone}: {summary(tables[-1])}", flush=True)
    return measure.write(
        "steps" if profile == "mini" else "steps-224", pd.concat(tables, ignore_index=True)
    )


def summary(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} {ms:.0f} ms" for name, ms in zip(rows["measured"], rows["median"], strict=True)
    )
