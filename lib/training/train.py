"""One run, from pixels to a run directory. All of its state is on disk.

`ensure(run)` does whatever a run lacks. A run is prepared in `<id>.partial`, checkpointed at the
end of each epoch, and renamed to `<id>` once its scores are written. Randomness is a function of
(seed, epoch, image, view), so a resumed run equals an uninterrupted one.
"""

import functools
import logging
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lib import methods
from lib.data import pixels, splits
from lib.data.pixels import Split
from lib.measures import health, representation
from lib.store import fingerprints, measured, run_directory
from lib.store.stored import Stored
from lib.study.grid import Run
from lib.system import atomic, ranks, torch_device
from lib.system.errors import DataError
from lib.training import batches, measure, predict, probes
from lib.training.measure import Trained

FILES = ("history.csv", "scores.parquet", "checkpoint.pt")  # whose checksums a record holds
# Packages whose versions a record names.
PACKAGES = (
    *("torch", "torchvision", "timm", "lightly", "pytorch-lightning"),
    *("numpy", "numba", "scikit-learn"),
)

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")  # hints on speed

Progress = Callable[[float, dict], None]  # fraction of the run done, latest row of its history


class EpochEnd(Checkpoint):
    """At each epoch's end: validation metrics into the history, then a new checkpoint, at once."""

    def __init__(self, run: Run, split: Split, path: Path):
        self.run, self.split, self.path = run, split, path
        self.rows = batches.fixed(len(split.table))

    def on_train_start(self, trainer: Trainer, method) -> None:
        self.since = time.time()

    def on_train_epoch_end(self, trainer: Trainer, method) -> None:
        # Seconds of training, across interruptions, without validation and checkpoints.
        before = method.history[-2]["seconds"] if len(method.history) > 1 else 0.0
        method.history[-1]["seconds"] = before + time.time() - self.since
        epoch, every = trainer.current_epoch + 1, self.run.settings.validate_every
        if epoch % every == 0 or epoch == trainer.max_epochs:
            if trainer.is_global_zero:
                with trainer.precision_plugin.forward_context():
                    method.history[-1] |= self.validate(method)
            method.train()
        if trainer.is_global_zero:
            atomic.put(self.path, trainer.save_checkpoint)
        else:
            trainer.save_checkpoint(self.path)  # writes nothing, and waits until it is written
        self.since = time.time()

    def validate(self, method) -> dict:
        """F1 and loss of the online probe, and RankMe, on the fixed clean validation images."""
        features = probes.features(method, self.split.pixels, self.rows, probes.clean(self.run.px))
        defect = self.split.defect[self.rows] == 1
        decided = probes.online(method)(features) > 0
        both = (decided & defect).sum()
        row = {
            "val_f1": 2 * both / max(decided.sum() + defect.sum(), 1),
            "val_recall": both / max(defect.sum(), 1),
            "val_precision": both / max(decided.sum(), 1),
            "rankme": representation.rankme(features),
        }
        return {name: float(value) for name, value in row.items()}  # a checkpoint's plain values


class Checkpoints(TorchCheckpointIO):
    """Writes a checkpoint to its path; Lightning would write it to TMPDIR, and move it."""

    def save_checkpoint(self, checkpoint: dict, path: Path, storage_options=None) -> None:
        predict.write_weights(checkpoint, Path(path))


class Report(Callback):
    """Passes to `progress`, after each batch, the fraction of the run that is done, and the latest
    row of its history (empty in the first epoch) with two entries more: `epochs`, how many are
    done, and `step_loss`, the batch's loss, a tensor."""

    def __init__(self, progress: Progress, steps: int):
        self.progress, self.steps = progress, steps

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_index) -> None:
        latest = dict(method.history[-1]) if method.history else {}
        latest["epochs"] = trainer.max_epochs * trainer.global_step / self.steps
        latest["step_loss"] = method.step_loss
        self.progress(0.9 * trainer.global_step / self.steps, latest)  # scoring takes about a tenth


def ensure(run: Run, progress: Progress | None = None, again: bool = False) -> None:
    """Train and measure `run` where it is missing or stale, or `again`, else measure it if needed.

    The caller holds the run's lock. Every rank of a run on several devices calls this, all with the
    same `again`. Raises what `train` raises.
    """
    grid = run.study == "grid"  # ablations are not measured, and keep no weights
    if again or run_directory.state(run)[0] != "complete":
        train(run, progress, then=functools.partial(_measure, run) if grid else None)
    elif grid and ranks.place().rank == 0:
        remeasure(run)


def remeasure(run: Run) -> None:
    """Measure a run of the grid from its stored weights, unless its measurement is current."""
    stored = Stored(run, run_directory.folder(run), "fresh")
    if measured.state(stored)[0] != "complete":
        method, _ = predict.restore(stored)
        method.to(torch_device.device(), memory_format=torch.channels_last)
        _measure(run, Trained(method, stored.record["precision"]))


def _measure(run: Run, trained: Trained) -> None:
    stored = Stored(run, run_directory.folder(run), "fresh")
    measured.write(*measure.measure(run, trained), stored)


def train(
    run: Run,
    progress: Progress | None = None,
    store: Path | None = None,
    then: Callable[[Trained], None] | None = None,
) -> Path:
    """Train, score and store `run`, or resume a checkpoint of its fingerprint; returns its folder.

    `store` is where run directories lie, the profile's own unless given. `then` is called when the
    run is stored, with what is still in memory. The caller holds the run's lock
    (`lib.store.run_directory.lock`). Raises DataError for data that are not what they should be.

    Every rank of a run on several devices (`lib.system.ranks`) calls this. Rank 0 alone writes and
    scores; the others return when the training is done.
    """
    final = store / run.id if store else run_directory.folder(run)
    partial = final.with_name(final.name + ".partial")
    checkpoint = partial / "checkpoint.ckpt"
    began, place, device = time.time(), ranks.place(), torch_device.device()
    ranks.join(device)
    precision, resume = ranks.agree(lambda: _begin(run, partial, checkpoint))
    training, validation = pixels.load(run.data, "train"), pixels.load(run.data, "val")
    subset = splits.resample(training.table, run.share, run.data["seed"])
    rows, defects = subset.index.to_numpy(), int(subset["Defect"].sum())
    counts = {"normal": len(subset) - defects, "defect": defects}

    epoch = batches.Batches(run, training, rows, torch.device(device), place)
    steps = len(epoch) * run.settings.epochs
    torch.manual_seed(run.seed)
    balance = splits.pos_weight(**counts, overflow=run.settings.labels_overflow)
    method = methods.build(run, steps=steps, steps_per_epoch=len(epoch), pos_weight=balance)
    method = method.to(memory_format=torch.channels_last)
    reports = [Report(progress, steps)] if progress else []
    spread = ranks.options(place.ranks)
    spread["plugins"].append(Checkpoints())
    trainer = Trainer(
        max_epochs=run.settings.epochs,
        accelerator="gpu" if device == "cuda" else "cpu",
        precision=precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **spread,
        num_sanity_val_steps=0,
        default_root_dir=partial,
        callbacks=[EpochEnd(run, validation, checkpoint), *reports],
    )
    trainer.fit(method, epoch, ckpt_path=checkpoint if resume else None, weights_only=True)
    ranks.leave()
    if place.rank > 0:
        return final

    method.to(device)
    trained = Trained(method, precision)
    with trainer.precision_plugin.forward_context():
        scores, probe = _score(run, trained, training, rows, validation)
        rankme = representation.rankme(trained.val[batches.fixed(len(validation.table))])
    history = pd.DataFrame(method.history)
    history.to_csv(partial / "history.csv", index=False, encoding="utf-8")
    run_directory.write_scores(scores, partial)
    weights = {"method": method.state_dict(), "converged": probe.state()}
    predict.write_weights(weights if run.study == "grid" else {}, partial / "checkpoint.pt")
    record = _record(run, precision, counts, history, rankme) | {
        "rankme_images": min(batches.FIXED, len(validation.table)),
        "devices": place.ranks,
        "probe_strength": probe.strength,
        "total_seconds": round(time.time() - began, 1),
        "files": {name: atomic.checksum(partial / name) for name in FILES},
    }
    atomic.put_json(partial / "run.json", record)
    atomic.put_folder(partial, final)
    # Last: a kill before the renaming must find what to go on from.
    for name in run_directory.RESUME_FILES:
        (final / name).unlink(missing_ok=True)
    if then:
        then(trained)
    if progress:
        progress(1.0, method.history[-1])
    return final


def _begin(run: Run, partial: Path, checkpoint: Path) -> tuple[str, bool]:
    """Make the partial folder, or keep that of an interrupted run; returns the precision, which a
    resumed run keeps, and whether there is a checkpoint to resume from. The folder is made anew
    where the checkpoint is damaged or the run's fingerprint has changed."""
    fingerprint = fingerprints.fingerprint(run)
    begun = atomic.read_json(partial / "begun.json") or {}
    if checkpoint.exists():
        try:
            if not {"state_dict", "history"} <= predict.read_weights(checkpoint).keys():
                raise DataError(f"{checkpoint} is not of a training.")
        except DataError as error:
            print(f"warning: {error} The run begins again.", file=sys.stderr, flush=True)
            begun = {}
    if begun.get("fingerprint") != fingerprint:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        begun = {"fingerprint": fingerprint, "precision": torch_device.precision()}
        atomic.put_json(partial / "begun.json", begun)
    return begun["precision"], checkpoint.exists()


def _score(run, trained: Trained, training: Split, rows: np.ndarray, validation: Split):
    """Every score row of the run and the converged probe; `trained` keeps the clean features."""
    method, clean = trained.method, probes.clean(run.px)
    trained.train = fitted = probes.features(method, training.pixels, rows, clean)
    if run.method == "mae-released":  # its probes are fitted on masked images, read on whole ones
        encode = method.masked_features
        fitted = probes.features(method, training.pixels, rows, clean, encode)
    groups = training.table["Video"].to_numpy()[rows]
    converged = probes.converged(fitted, training.defect[rows].astype(int), groups, run.seed)
    both = {"online": probes.online(method), "converged": converged}

    def scored(table: pd.DataFrame, split: str, evaluation: str, view: int, features: np.ndarray):
        logits = {name: probe(features) for name, probe in both.items()}
        return probes.rows_of(table, split, evaluation, view, logits)

    tables = [scored(training.table.loc[rows], "train", "clean", 0, trained.train)]
    for evaluation, view, features in probes.evaluations(method, run, validation):
        if evaluation == "clean":
            trained.val = features
        tables.append(scored(validation.table, "val", evaluation, view, features))
    names = ("Filename", "split", "evaluation", "probe")
    return pd.concat(tables, ignore_index=True).astype(dict.fromkeys(names, "category")), converged


def _record(run: Run, precision: str, counts: dict, history: pd.DataFrame, rankme: float) -> dict:
    last, seconds = history.iloc[-1], float(history["seconds"].iloc[-1])
    losses = history["loss"].tolist()
    processor = platform.processor() or platform.machine()
    on_gpu = torch_device.device() == "cuda"
    return {
        "run": run.resolved(),
        "fingerprint": fingerprints.fingerprint(run),
        "inputs": fingerprints.inputs(run),
        "health": health.verdict(
            losses, last.get("embedding_std"), rankme, last.get("trivial_loss")
        ),
        "online_probe": health.of_probe(history["probe_loss"].tolist()),
        "rankme": rankme,
        "counts": counts,
        "seconds": round(seconds, 1),
        "images_per_second": round(sum(counts.values()) * len(history) / seconds, 1),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if on_gpu else processor,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }
