"""train(run) -> run directory: the only module with state, all of it on disk.

A run is prepared in `<id>.partial`, checkpointed at epoch ends, and renamed to `<id>` once its scores are written.
Randomness is a function of (seed, epoch, image, view), so a resumed run equals an uninterrupted one.
"""

import json
import logging
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback, Checkpoint

from lib import datasets, devices, methods, monitors, probes, rundir, views
from lib.study import Run

SHUFFLE = 1002  # the "view" whose random numbers order the images of an epoch
FIXED = 1024  # validation images behind the per-epoch metrics and RankMe (protocol.md, Metrics)
KEPT = ("torch", "torchvision", "timm", "lightly", "pytorch-lightning", "numpy", "scikit-learn")

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")  # advice that we do without

Progress = Callable[[float, dict], None]  # fraction of the run done, latest row of its history


def device() -> str:
    """The machine's "cuda" or "cpu", or what DEVICE forces."""
    asked = os.environ.get("DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("DEVICE=cuda, but torch finds no GPU here: unset DEVICE or install a CUDA build.")
    return asked


def precision() -> str:
    """Lightning's name for the precision: 16-bit mixed on a GPU [C], bf16 on CPUs that have it natively, else fp32.

    Emulated bf16 is tens of times slower than fp32.
    """
    if device() == "cuda":
        return "16-mixed"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"


class Order:
    """The order of the training images in each epoch, a function of (seed, epoch). Lightning calls `set_epoch`."""

    def __init__(self, rows: np.ndarray, seed: int):
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows[np.argsort(views.uniforms(self.seed, self.epoch, self.rows, SHUFFLE, 1)[:, 0])])


class Batches:
    """Batches of augmented views, made on the training device: ([views], labels, image ids).

    Several ranks cut each batch, the same as on one device, into shards that differ by at most one image.
    """

    def __init__(self, run: Run, split: datasets.Split, rows: np.ndarray, device: torch.device, place=devices.ALONE):
        self.run, self.split, self.device, self.place = run, split, device, place
        self.sampler = Order(rows, run.seed)
        self.batch = min(run.settings["batch"], len(rows))

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller, but a single image cannot be batch-normalised, and each rank
        needs one."""
        whole, rest = divmod(len(self.sampler.rows), self.batch)
        return whole + (rest >= max(2, self.place.ranks))

    def __iter__(self):
        run, order = self.run, np.fromiter(self.sampler, np.int64)
        for start in range(0, len(self) * self.batch, self.batch):  # slicing shortens the last
            rows = np.array_split(order[start : start + self.batch], self.place.ranks)[self.place.rank]
            pixels = torch.from_numpy(self.split.pixels[rows]).to(self.device)
            made = [
                views.augment(pixels, rows, px=run.px, crop=run.crop, jitter=run.jitter, flip=run.settings["flip"],
                              seed=run.seed, epoch=self.sampler.epoch, view=view)
                for view in range(run.settings["views_per_image"])
            ]  # fmt: skip
            yield made, torch.as_tensor(self.split.defect[rows], device=self.device), torch.as_tensor(rows)


class EpochEnd(Checkpoint):
    """At each epoch's end: validation metrics into the history, then the checkpoint, replaced in one step."""

    def __init__(self, run: Run, split: datasets.Split, path: Path):
        self.run, self.split, self.path = run, split, path
        shuffled = views.uniforms(0, views.EVALUATION, np.arange(len(split.table)), SHUFFLE, 1)[:, 0]
        self.rows = np.sort(np.argsort(shuffled)[:FIXED])

    def on_train_start(self, trainer: Trainer, method) -> None:
        self.since = time.time()

    def on_train_epoch_end(self, trainer: Trainer, method) -> None:
        epoch, every = trainer.current_epoch + 1, self.run.settings["validate_every"]
        if epoch % every == 0 or epoch == trainer.max_epochs:
            if trainer.is_global_zero:
                with trainer.precision_plugin.forward_context():
                    method.history[-1] |= self.validate(method)
            method.train()
        now, before = time.time(), method.history[-2]["seconds"] if len(method.history) > 1 else 0.0
        method.history[-1]["seconds"] = before + now - self.since  # of training, across interruptions
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
            "rankme": monitors.rankme(found),
        }


class Report(Callback):
    """Tells `progress` how far the run is after each batch."""

    def __init__(self, progress: Progress, steps: int):
        self.progress, self.steps = progress, steps

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_index) -> None:
        latest = method.history[-1] if method.history else {}
        self.progress(0.9 * trainer.global_step / self.steps, latest)  # scoring takes about a tenth


def train(run: Run, progress: Progress | None = None, store: Path | None = None) -> Path:
    """Train, score and store `run`; resume where a checkpoint of the same fingerprint lies. Returns its folder.

    `store` is where run directories lie, the profile's own unless given. The caller holds the run's lock
    (`lib.rundir.lock`). Raises DataError for data that are not what they should be.

    Every rank of a run on several devices (`lib.devices`) calls this. Rank 0 alone writes and scores; the others return
    when the training is done.
    """
    final = store / run.id if store else rundir.folder(run)
    partial = final.with_name(final.name + ".partial")
    checkpoint = partial / "checkpoint.ckpt"
    began, place = time.time(), devices.place()
    devices.join(device())
    chosen, resume = devices.agree(lambda: (_begin(run, partial), checkpoint.exists()))
    training, validation = datasets.load(run.data, "train"), datasets.load(run.data, "val")
    subset = datasets.resample(training.table, run.share, run.data["seed"])
    rows = subset.index.to_numpy()
    defects = int(subset["Defect"].sum())
    counts = {"normal": len(rows) - defects, "defect": defects}

    batches = Batches(run, training, rows, torch.device(device()), place)
    steps = len(batches) * run.settings["epochs"]
    torch.manual_seed(run.seed)
    pos_weight = counts["normal"] / max(counts["defect"], 1)
    method = methods.build(run, steps=steps, steps_per_epoch=len(batches), pos_weight=pos_weight)
    method = method.to(memory_format=torch.channels_last)
    trainer = Trainer(
        max_epochs=run.settings["epochs"], accelerator="gpu" if device() == "cuda" else "cpu", precision=chosen,
        logger=False, enable_progress_bar=False, enable_model_summary=False, **devices.options(place.ranks),
        num_sanity_val_steps=0, default_root_dir=partial,
        callbacks=[EpochEnd(run, validation, checkpoint), *([Report(progress, steps)] if progress else [])],
    )  # fmt: skip
    trainer.fit(method, batches, ckpt_path=checkpoint if resume else None, weights_only=False)
    devices.leave()
    if place.rank > 0:
        return final

    method.to(device())
    scores, probe, rankme = _score(run, method, trainer, training, rows, validation)
    history = pd.DataFrame(method.history)
    history.to_csv(partial / "history.csv", index=False)
    rundir.write_scores(scores, partial)
    weights = {"method": method.state_dict(), "converged": vars(probe)} if run.study == "grid" else {}
    torch.save(weights, partial / "checkpoint.pt")
    record = _record(run, chosen, counts, history, rankme, min(FIXED, len(validation.table)))
    record |= {"devices": place.ranks, "probe_strength": probe.strength}
    record["total_seconds"] = round(time.time() - began, 1)
    (partial / "run.json").write_text(json.dumps(record, indent=1))
    _replace(partial, final)
    for name in (checkpoint.name, "begun.json"):  # last: a kill before the rename must find what to go on from
        (final / name).unlink()
    if progress:
        progress(1.0, method.history[-1])
    return final


def _begin(run: Run, partial: Path) -> str:
    """Make or adopt the partial folder; returns the precision, which a resumed run keeps."""
    fingerprint = rundir.fingerprint(run)
    with suppress(FileNotFoundError, json.JSONDecodeError):
        begun = json.loads((partial / "begun.json").read_text())
        if begun["fingerprint"] == fingerprint:
            return begun["precision"]
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    begun = {"fingerprint": fingerprint, "precision": precision()}
    beside = partial / "begun.writing"
    beside.write_text(json.dumps(begun))
    beside.replace(partial / "begun.json")
    return begun["precision"]


def _score(run, method, trainer, training, rows, validation):
    """Every score row of the run, the converged probe, and RankMe of the fixed validation images."""
    with trainer.precision_plugin.forward_context():
        whole = fitted = probes.features(method, training.pixels, rows, probes.clean(run.px))
        if run.method == "mae-released":  # its probes are trained on masked images, then read on whole ones
            encode = method.masked_features
            fitted = probes.features(method, training.pixels, rows, probes.clean(run.px), encode)
        defect = training.defect[rows].astype(int)
        probe = probes.converged(fitted, defect, run.seed)
        both = {"online": probes.online(method), "converged": probe}
        subset = training.table.loc[rows]
        found = [probes.rows_of(subset, "train", "clean", 0, {k: p(whole) for k, p in both.items()})]
        rankme = float("nan")
        for evaluation, view, features in probes.evaluations(method, run, validation):
            if evaluation == "clean":
                rankme = monitors.rankme(features[trainer.checkpoint_callbacks[0].rows])
            logits = {k: p(features) for k, p in both.items()}
            found.append(probes.rows_of(validation.table, "val", evaluation, view, logits))
    scores = pd.concat(found, ignore_index=True)
    return scores.astype({c: "category" for c in ("Filename", "split", "evaluation", "probe")}), probe, rankme


def _record(run: Run, chosen: str, counts: dict, history: pd.DataFrame, rankme: float, images: int) -> dict:
    last = history.iloc[-1]
    health = monitors.health(history["loss"].tolist(), last.get("embedding_std"), rankme, last.get("trivial_loss"))
    return {
        "run": run.resolved(), "fingerprint": rundir.fingerprint(run), "inputs": rundir.inputs(run),
        "health": health, "rankme": rankme, "rankme_images": images,
        "counts": counts, "seconds": round(float(history["seconds"].iloc[-1]), 1),
        "images_per_second": round(sum(counts.values()) * len(history) / float(history["seconds"].iloc[-1]), 1),
        "precision": chosen, "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device() == "cuda" else platform.processor() or platform.machine(),
        "python": platform.python_version(), "versions": {name: version(name) for name in KEPT},
    }  # fmt: skip


def _replace(partial: Path, final: Path) -> None:
    """Rename into place; a stale run is moved aside first and deleted last."""
    aside = final.with_name(final.name + ".old")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.rename(aside)
    partial.rename(final)
    shutil.rmtree(aside, ignore_errors=True)
