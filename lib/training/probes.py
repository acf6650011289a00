"""Logits for every image, evaluation and probe: what all tables and figures are made from.

The online probe is part of the method. The converged probe is fitted here, to convergence, on
frozen features.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from lib.data import views
from lib.data.pixels import Split

BATCH = 256
FLIPS = 1001  # the "view" of `uniforms` for flips of evaluation images; lib.methods.mae uses 1000
STRENGTHS = np.logspace(-4, 1, 6)  # C, inverse of the l2 penalty; features are standardised
FOLDS = 3


@dataclass
class Probe:
    """logit = ((feature - mean) / std) weight + bias; weight (d,)."""

    mean: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    bias: float
    strength: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n, d) -> (n,) logits."""
        return (features - self.mean) / self.std @ self.weight + self.bias

    def state(self) -> dict[str, torch.Tensor | float]:
        """What a checkpoint holds of it: plain tensors and numbers."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("mean", "std", "weight")}
        return arrays | {"bias": self.bias, "strength": self.strength}

    @classmethod
    def of(cls, state: dict[str, torch.Tensor | float]) -> "Probe":
        """The probe of a checkpoint, in single precision."""
        values = {k: v.float().numpy() if torch.is_tensor(v) else v for k, v in state.items()}
        return cls(**values)


def converged(features: np.ndarray, defect: np.ndarray, groups: np.ndarray, seed: int) -> Probe:
    """Logistic regression with class weights n_neg / n_pos, fitted to convergence on (n, d)
    features of images with 0/1 labels `defect` (n,).

    Its l2 penalty has the least class-balanced log loss in a stratified cross-validation of the
    training subset, in folds of whole `groups` (n,): images of one video are too alike to
    lie on both sides of a fold.
    """
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-8, std, 1.0)  # a dead feature stays zero
    z = (features - mean) / std
    loss = np.zeros(len(STRENGTHS))
    for train, test in _folds(defect, groups, seed):
        positive = defect[test] == 1
        weight = np.where(positive, (~positive).sum() / positive.sum(), 1.0)
        for i, strength in enumerate(STRENGTHS):
            model = _fit(z[train], defect[train], strength)
            loss[i] += log_loss(
                defect[test],
                model.predict_proba(z[test])[:, 1],
                sample_weight=weight,
                labels=[0, 1],
            )
    # Without folds (one group holds all defects) losses stay 0: the strongest penalty.
    best = STRENGTHS[int(np.argmin(loss))]
    model = _fit(z, defect, best)
    return Probe(mean, std, model.coef_[0], float(model.intercept_[0]), float(best))


def _folds(defect: np.ndarray, groups: np.ndarray, seed: int) -> list[tuple]:
    """(train, test) positions of each fold that has images of both kinds on both sides; whole
    groups, where they hold more than one image."""
    count = min(FOLDS, len(np.unique(groups[defect == 1])))
    if count < 2:
        return []
    single = len(np.unique(groups)) == len(groups)
    kind = StratifiedKFold if single else StratifiedGroupKFold
    parts = kind(count, shuffle=True, random_state=seed)
    parts = parts.split(defect, defect, None if single else groups)
    return [fold for fold in parts if all(np.ptp(defect[side]) for side in fold)]


def _fit(z: np.ndarray, defect: np.ndarray, strength: float) -> LogisticRegression:
    with warnings.catch_warnings():
        # Of a separable fold at the weakest penalty, which is never chosen.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Of a Hessian without enough digits: scikit-learn then takes L-BFGS to the same optimum.
        warnings.simplefilter("ignore", LinAlgWarning)
        model = LogisticRegression(
            C=strength, class_weight="balanced", solver="newton-cholesky", max_iter=200
        )
        return model.fit(z, defect)


@torch.inference_mode()
def features(method, pixels: np.ndarray, rows: np.ndarray, view, encode=None) -> np.ndarray:
    """(len(rows), d) float32 features of cached images; `view(pixels, rows)` makes the network's
    input of a batch.

    `encode(x, rows)` replaces the method's own forward pass where given.

    A diverged network's features carry no information: what is not finite becomes 0, and the run's
    health says so.
    """
    method.eval()
    outputs = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        x = view(torch.from_numpy(pixels[batch]).to(method.device), batch)
        outputs.append((encode(x, batch) if encode else method(x)).float().cpu().numpy())
    return np.nan_to_num(np.concatenate(outputs), posinf=0.0, neginf=0.0)


def clean(px: int, flipped: bool = False):
    """The `clean` evaluation: resize only. `flipped` mirrors the images, too."""
    return lambda pixels, rows: views.evaluation(pixels, px, flipped=flipped)


def augmented(run, view: int, epoch: int = views.EVALUATION):
    """One random training view of each image in an epoch; by default the `augmented` evaluation."""
    return lambda pixels, rows: views.augment(
        pixels,
        rows,
        px=run.px,
        crop=run.crop,
        jitter=run.jitter,
        flip=run.settings.flip,
        seed=run.seed,
        epoch=epoch,
        view=view,
    )


def evaluations(method, run, split: Split):
    """Yield (evaluation, view, features (n, d)) of every image of a validation split.

    `flip` mirrors each image with the training probability; only those that change are passed
    through again. Ablations (docs/study.md) read `clean` and `augmented` alone.
    """
    rows = np.arange(len(split.table))
    plain = features(method, split.pixels, rows, clean(run.px))
    yield "clean", 0, plain
    if run.study == "grid":
        drawn = views.uniforms(run.seed, views.EVALUATION, rows, FLIPS, 1)[:, 0]
        flipped, mirrored = drawn < run.settings.flip, plain.copy()
        view = clean(run.px, flipped=True)
        mirrored[flipped] = features(method, split.pixels, rows[flipped], view)
        yield "flip", 0, mirrored
    for view in range(run.settings.views_per_image):
        yield "augmented", view, features(method, split.pixels, rows, augmented(run, view))


def online(method) -> Probe:
    """The online probe as numbers."""
    weight = method.probe.weight[0].detach().float().cpu().numpy()
    return Probe(np.float32(0), np.float32(1), weight, method.probe.bias.item(), float("nan"))


def rows_of(
    table: pd.DataFrame, split: str, evaluation: str, view: int, logits: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Score rows of one evaluation: Filename, split, evaluation, view, probe, logit, Defect.

    Half precision keeps a logit to 1 part in 2,048 and its sign, in half the space. A diverged
    probe's logits are cut to its range, and 0 where they are no number: the run's health says so.
    """
    halves = {probe: halved(logit) for probe, logit in logits.items()}
    return pd.concat(
        pd.DataFrame(
            {
                "Filename": table["Filename"].to_numpy(),
                "split": split,
                "evaluation": evaluation,
                "view": np.int8(view),
                "probe": probe,
                "logit": half,
                "Defect": table["Defect"].to_numpy(np.int8),
            }
        )
        for probe, half in halves.items()
    )


def halved(values: np.ndarray) -> np.ndarray:
    """(n,) values in half precision, all of them finite: cut to its range, 0 where not a number."""
    largest = float(np.finfo(np.float16).max)
    return np.nan_to_num(values, nan=0.0).clip(-largest, largest).astype(np.float16)
