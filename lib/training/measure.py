"""What a trained network tells without a defect label: detectors' scores, label-free measures.

The job that trained a run calls this while the network and the features of its images are in
memory (`lib.training.train.ensure`). lib.store.measured keeps the answers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
import pandas as pd
import torch

from lib.data import pixels, splits, views
from lib.data.pixels import Split
from lib.measures import detectors, representation
from lib.methods.base import Method
from lib.methods.mae import MAE, MASKS, normalise_patches, patchify, random_mask
from lib.study.grid import Run
from lib.training import batches, predict, probes

# Training images at most that detectors are fitted on: the distances of Sewer-ML's half million
# images would take an hour.
BANK = 20_000
VIEWED, VIEWS = 256, 6  # validation images and augmented views of each behind lidar and alignment
FIRST_VIEW = 16  # these views' random numbers: beyond those of the augmented evaluation
MASKED = 4  # masks at least under which every patch is reconstructed
# Heat maps that are kept of the most anomalous normal images, and of the most and the least
# anomalous defects.
MAPS = 12


@dataclass
class Trained:
    """A trained network, and what is in memory when its training ends."""

    method: Method
    precision: str  # that it was trained in, in Lightning's words
    train: np.ndarray | None = None  # (n, d) clean features of its training images, where known
    val: np.ndarray | None = None  # (m, d) clean features of all validation images, where known


def measure(run: Run, trained: Trained) -> tuple[pd.DataFrame, dict]:
    """Scores of the validation images (rows) by "detector, setting" (columns), and their record.

    A score is the detector's minus its threshold, in standard deviations of the training scores, so
    it is a defect above 0, as a logit is. Settings: `normals`, fitted on the training images
    without a defect, which needs to know them; `unlabelled`, on the training subset as it is.
    Validation images reach neither detectors nor thresholds.
    """
    began, method = time.time(), trained.method
    training, validation = pixels.load(run.data, "train"), pixels.load(run.data, "val")
    subset = splits.resample(training.table, run.share, run.data["seed"]).index.to_numpy()
    rows = fitted_on(subset, run.seed)
    every, clean = np.arange(len(validation.table)), probes.clean(run.px)
    bank, features = trained.train, trained.val
    with predict.autocast(trained.precision):
        if bank is None or len(rows) < len(subset):
            bank = probes.features(method, training.pixels, rows, clean)
        if features is None:
            features = probes.features(method, validation.pixels, every, clean)
        fixed = batches.fixed(len(every))
        augmented = _augmented(method, run, validation, fixed[:VIEWED])
        errors, masks = (), None
        if isinstance(method, MAE):
            errors, masks = _reconstructed(method, training, rows, validation)
    table = training.table.loc[rows]
    of_normals, videos = table["Defect"].to_numpy() == 0, table["Video"].to_numpy()
    scores, fits = scored(bank, features, of_normals, videos, *(e.mean(1) for e in errors))
    scores.insert(0, "Filename", validation.table["Filename"].to_numpy())
    record = {
        "fitted_on": {"normals": int(of_normals.sum()), "unlabelled": len(rows)},
        "fits": fits,
        "measures": representation.measures(features[fixed], augmented),
        "measured_on": [len(fixed), *augmented.shape[:2]],
    }
    if masks is not None:
        record |= {"masks": len(masks), "maps": maps(errors[1], validation.table)}
    return scores, record | {"seconds": round(time.time() - began, 1)}


def fitted_on(rows: np.ndarray, seed: int) -> np.ndarray:
    """The rows of the training subset that detectors are fitted on: all, or `BANK` of them."""
    drawn = views.uniforms(seed, views.EVALUATION, rows, batches.SHUFFLE, 1)[:, 0]
    return rows[np.sort(np.argsort(drawn)[:BANK])]


def scored(
    bank: np.ndarray,
    features: np.ndarray,
    of_normals: np.ndarray,
    groups: np.ndarray,
    train_errors=None,
    errors=None,
) -> tuple[pd.DataFrame, dict]:
    """Standardised scores of `features` (m, d) by "detector, setting", and what each one fitted.

    `bank` (n, d) with `of_normals` (n,) and `groups` (n,), the videos; reconstruction errors (n,)
    and (m,) where there are any. An image's reconstruction needs no fit but the network's, so both
    settings differ in its threshold alone. A setting with fewer than two images is left out: a
    detector that was fitted on one image cannot be scored on another.
    """
    columns, fits = {}, {}

    def put(name: str, trained: np.ndarray, values: np.ndarray, facts: dict) -> None:
        threshold, spread = detectors.threshold(trained), float(trained.std()) or 1.0
        # Only collapsed features, whose spread is nearly 0, leave the range of half precision.
        columns[name] = probes.halved((values - threshold) / spread)
        fits[name] = {"threshold": threshold, "spread": spread, **facts}

    for setting, chosen in (("normals", of_normals), ("unlabelled", np.ones_like(of_normals))):
        if chosen.sum() < 2:
            continue
        for name, fit in detectors.DETECTORS.items():
            fitted = fit(bank[chosen])
            trained = detectors.held_out(fit, bank[chosen], groups[chosen])
            put(f"{name}, {setting}", trained, fitted.score(features), fitted.facts)
        if errors is not None:
            put(f"reconstruction, {setting}", train_errors[chosen], errors, {})
    return pd.DataFrame(columns), fits


def _augmented(method, run, split: Split, rows: np.ndarray) -> np.ndarray:
    """(len(rows), VIEWS, d) features of random training views of these images."""
    drawn = [probes.augmented(run, FIRST_VIEW + number) for number in range(VIEWS)]
    return np.stack([probes.features(method, split.pixels, rows, view) for view in drawn], axis=1)


# What a masked autoencoder fails to reconstruct


def fixed_masks(patches: int, ratio: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Kept (1, 1 + kept) and masked (1, masked) positions that mask every patch `MASKED` times."""
    masks, hidden = [], np.zeros(patches, int)
    for number in count():
        u = views.uniforms(0, views.EVALUATION, np.array([number]), MASKS, patches)
        masks.append(random_mask(torch.from_numpy(u), ratio))
        hidden[masks[-1][1][0].numpy() - 1] += 1
        if hidden.min() >= MASKED:
            return masks


@torch.inference_mode()
def patch_errors(
    method: MAE, masks: list, pixels: np.ndarray, rows: np.ndarray, view: Callable
) -> np.ndarray:
    """(len(rows), patches) mean squared error of normalised pixels over masks that hide a patch."""
    errors = []
    for start in range(0, len(rows), probes.BATCH):
        batch = rows[start : start + probes.BATCH]
        x = view(torch.from_numpy(pixels[batch]).to(method.device), batch)
        target = normalise_patches(patchify(x, method.settings.patch))
        total, hidden = target.new_zeros(target.shape[:2]), target.new_zeros(target.shape[1])
        for keep, masked in masks:
            keep, place = keep.to(x.device).expand(len(x), -1), masked[0].to(x.device) - 1
            prediction = method.decoder(method.backbone.encode(x, idx_keep=keep), keep)
            total[:, place] += (prediction.float() - target).square().mean(-1)[:, place]
            hidden[place] += 1
        errors.append((total / hidden).cpu().numpy())
    # what is not finite, of a diverged network, becomes 0, as its features do
    return np.nan_to_num(np.concatenate(errors), posinf=0.0, neginf=0.0)


def _reconstructed(method: MAE, training: Split, rows: np.ndarray, validation: Split):
    """Patch errors of the training images `rows` and of every validation image; the masks."""
    patches = (method.run.px // method.settings.patch) ** 2
    masks, view = fixed_masks(patches, method.settings.mask), probes.clean(method.run.px)
    parts = ((training, rows), (validation, np.arange(len(validation.table))))
    errors = [patch_errors(method, masks, split.pixels, chosen, view) for split, chosen in parts]
    return errors, masks


def maps(errors: np.ndarray, table: pd.DataFrame) -> dict[str, list[float]]:
    """Filename -> its patches' errors, row by row, of the `MAPS` images at either end."""
    order = np.argsort(-errors.mean(1), kind="stable")
    defect = table["Defect"].to_numpy()[order] == 1
    chosen = np.concatenate([order[~defect][:MAPS], order[defect][:MAPS], order[defect][-MAPS:]])
    return {
        table["Filename"].iloc[i]: [round(float(e), 3) for e in errors[i]]
        for i in np.unique(chosen)
    }
