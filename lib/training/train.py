"""train(run) -> run directory: the only module with state, all of it on disk.

A run is prepared in `<id>.partial`, checkpointed at epoch ends, and renamed to `<id>` once its
scores are written. Randomness is a function of (seed, epoch, image, view), so a resumed run equals
an uninterrupted one.
"""

import json
import logging
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint

from lib import methods
from lib.data import splits, views
from lib.data.pixels import Split, load
from lib.measures import representation
from lib.measures.health import verdict
from lib.store import fingerprints, run_directory
from lib.study.grid import Run
from lib.system import ranks, torch_device
from lib.training import probes
from lib.training.batches import FIXED, SHUFFLE, Batches

KEPT = ("torch", "torchvision", "timm", "lightly", "pytorch-lightning", "numpy", "scikit-learn")

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings(
    "ignore", module="pytorch_lightning|lightning_fabric"
)  # advice that we do without

Progress = Callable[[float, dict], None]  # fraction of the run done, latest row of its history


class EpochEnd(Checkpoint):
    """At each epoch's end: validation metrics into the history, then the checkpoint, replaced in
    one step."""

    def __init__(self, run: Run, split: Split, path: Path):
        self.run, self.split, self.path = run, split, path
        shuffled = views.uniforms(0, views.EVALUATION, np.arange(len(split.table)), SHUFFLE, 1)[
            :, 0
        ]
        self.rows = np.sort(np.argsort(shuffled)[:FIXED])

    def on_train_start(self, trainer: Trainer, method) -> None:
        self.since = time.time()

    def on_train_epoch_end(self, trainer: Trainer, method) -> None:
        epoch, every = trainer.current_epoch + 1, self.run.settings.validate_every
        if epoch % every == 0 or epoch == trainer.max_epochs:
            if trainer.is_global_zero:
                with trainer.precision_plugin.forward_context():
                    method.history[-1] |= self.validate(method)
            method.train()
        now, before = time.time(), method.history[-2]["seconds"] if len(method.history) > 1 else 0.0
        method.history[-1]["seconds"] = (
            before + now - self.since
        )  # of training, across interruptions
        self.since = now
        beside = self.path.with_suffix(".writing")
        trainer.save_checkpoint(beside)  # every rank waits here until it is written
        if trainer.is_global_zero:
            beside.replace(self.path)

    def validate(self, method) -> dict:
        """F1 and loss of the online probe, and RankMe, on the fixed clean validation images."""
        found = probes.features(method, self.split.pixels, self.rows, probes.clean(self.run.px))
        defect = self.split.defect[self.rows] == 1
        decided = probes.online(method)(found) > 0
        both = (decided & defect).sum()
        return {
            "val_f1": 2 * both / max(decided.sum() + defect.sum(), 1),
            "val_recall": both / max(defect.sum(), 1),
            "val_precision": both / max(decided.sum(), 1),
            "rankme": representation.rankme(found),
        }


class Report(Callback):
    """Tells `progress` how far the run is after each batch."""

    def __init__(self, progress: Progress, steps: int):
        self.progress, self.steps = progress, steps

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_index) -> None:
        latest = method.history[-1] if method.history else {}
        self.progress(0.9 * trainer.global_step / self.steps, latest)  # scoring takes about a tenth


def train(run: Run, progress: Progress | None = None, store: Path | None = None) -> Path:
    """Train, score and store `run`; resume where a checkpoint of the same fingerprint lies. Returns
    its folder.

    `store` is where run directories lie, the profile's own unless given. The caller holds the run's
    lock (`lib.store.run_directory.lock`). Raises DataError for data that are not what they should
    be.

    Every rank of a run on several devices (`lib.system.ranks`) calls this. Rank 0 alone writes and
    scores; the others return when the training is done.
    """
    final = store / run.id if store else run_directory.folder(run)
    partial = final.with_name(final.name + ".partial")
    checkpoint = partial / "checkpoint.ckpt"
    began, place = time.time(), ranks.place()
    ranks.join(torch_device.device())
    chosen, resume = ranks.agree(lambda: (_begin(run, partial), checkpoint.exists()))
    training, validation = load(run.data, "train"), load(run.data, "val")
    subset = splits.resample(training.table, run.share, run.data["seed"])
    rows = subset.index.to_numpy()
    defects = int(subset["Defect"].sum())
    counts = {"normal": len(rows) - defects, "defect": defects}

    batches = Batches(run, training, rows, torch.device(torch_device.device()), place)
    steps = len(batches) * run.settings.epochs
    torch.manual_seed(run.seed)
    pos_weight = counts["normal"] / max(counts["defect"], 1)
    method = methods.build(run, steps=steps, steps_per_epoch=len(batches), pos_weight=pos_weight)
    method = method.to(memory_format=torch.channels_last)
    trainer = Trainer(
        max_epochs=run.settings.epochs,
        accelerator="gpu" if torch_device.device() == "cuda" else "cpu",
        precision=chosen,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **ranks.options(place.ranks),
        num_sanity_val_steps=0,
        default_root_dir=partial,
        callbacks=[
            EpochEnd(run, validation, checkpoint),
            *([Report(progress, steps)] if progress else []),
        ],
    )
    trainer.fit(method, batches, ckpt_path=checkpoint if resume else None, weights_only=False)
    ranks.leave()
    if place.rank > 0:
        return final

    method.to(torch_device.device())
    scores, probe, rankme = _score(run, method, trainer, training, rows, validation)
    history = pd.DataFrame(method.history)
    history.to_csv(partial / "history.csv", index=False)
    run_directory.write_scores(scores, partial)
    weights = (
        {"method": method.state_dict(), "converged": vars(probe)} if run.study == "grid" else {}
    )
    torch.save(weights, partial / "checkpoint.pt")
    record = _record(run, chosen, counts, history, rankme, min(FIXED, len(validation.table)))
    record |= {"devices": place.ranks, "probe_strength": probe.strength}
    record["total_seconds"] = round(time.time() - began, 1)
    (partial / "run.json").write_text(json.dumps(record, indent=1))
    _replace(partial, final)
    for name in (
        checkpoint.name,
        "begun.json",
    ):  # last: a kill before the rename must find what to go on from
        (final / name).unlink()
    if progress:
        progress(1.0, method.history[-1])
    return final


def _begin(run: Run, partial: Path) -> str:
    """Make or adopt the partial folder; returns the precision, which a resumed run keeps."""
    fingerprint = fingerprints.fingerprint(run)
    with suppress(FileNotFoundError, json.JSONDecodeError):
        begun = json.loads((partial / "begun.json").read_text())
        if begun["fingerprint"] == fingerprint:
            return begun["precision"]
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    begun = {"fingerprint": fingerprint, "precision": torch_device.precision()}
    beside = partial / "begun.writing"
    beside.write_text(json.dumps(begun))
    beside.replace(partial / "begun.json")
    return begun["precision"]


def _score(run, method, trainer, training, rows, validation):
    """Every score row of the run, the converged probe, and RankMe of the fixed validation
    images."""
    with trainer.precision_plugin.forward_context():
        whole = fitted = probes.features(method, training.pixels, rows, probes.clean(run.px))
        if (
            run.method == "mae-released"
        ):  # its probes are trained on masked images, then read on whole ones
            encode = method.masked_features
            fitted = probes.features(method, training.pixels, rows, probes.clean(run.px), encode)
        defect = training.defect[rows].astype(int)
        probe = probes.converged(fitted, defect, run.seed)
        both = {"online": probes.online(method), "converged": probe}
        subset = training.table.loc[rows]
        found = [
            probes.rows_of(subset, "train", "clean", 0, {k: p(whole) for k, p in both.items()})
        ]
        rankme = float("nan")
        for evaluation, view, features in probes.evaluations(method, run, validation):
            if evaluation == "clean":
                rankme = representation.rankme(features[trainer.checkpoint_callbacks[0].rows])
            logits = {k: p(features) for k, p in both.items()}
            found.append(probes.rows_of(validation.table, "val", evaluation, view, logits))
    scores = pd.concat(found, ignore_index=True)
    return (
        scores.astype({c: "category" for c in ("Filename", "split", "evaluation", "probe")}),
        probe,
        rankme,
    )


def _record(
    run: Run, chosen: str, counts: dict, history: pd.DataFrame, rankme: float, images: int
) -> dict:
    last = history.iloc[-1]
    health = verdict(
        history["loss"].tolist(), last.get("embedding_std"), rankme, last.get("trivial_loss")
    )
    return {
        "run": run.resolved(),
        "fingerprint": fingerprints.fingerprint(run),
        "inputs": fingerprints.inputs(run),
        "health": health,
        "rankme": rankme,
        "rankme_images": images,
        "counts": counts,
        "seconds": round(float(history["seconds"].iloc[-1]), 1),
        "images_per_second": round(
            sum(counts.values()) * len(history) / float(history["seconds"].iloc[-1]), 1
        ),
        "precision": chosen,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name()
        if torch_device.device() == "cuda"
        else platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in KEPT},
    }


def _replace(partial: Path, final: Path) -> None:
    """Rename into place; a stale run is moved aside first and deleted last."""
    aside = final.with_name(final.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.rename(aside)
    partial.rename(final)
    shutil.rmtree(aside, ignore_errors=True)
