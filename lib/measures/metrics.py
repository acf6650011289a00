"""Metrics of a binary defect detector.

Every metric is a function of weighted counts, so a validation share is a row of weights and a
resample a row of group counts: neither copies or redraws an image.
"""

import numpy as np

from lib.study.names import CLASSES

# Class-importance weights (CIW): the economic severity of each class, in the order of `CLASSES`
# (Haurum and Moeslund 2021, Sewer-ML).
IMPORTANCE = np.array([
    1.0000, 0.5518, 0.2896, 0.1622, 0.6419, 0.1847, 0.3559, 0.3131, 0.0811,
    0.2275, 0.2477, 0.0901, 0.4167, 0.4167, 0.9009, 0.3829, 0.4396,
])  # fmt: skip
CIW = dict(zip(CLASSES, IMPORTANCE.tolist(), strict=True))

METRICS = ("f1", "f2ciw", "f1_normal", "precision", "recall", "auroc", "ap", "recall_at_5")


def scores(defect, predicted, classes) -> dict[str, float]:
    """Metrics of one set of decisions.

    defect (n,) and predicted (n,) hold 0 or 1; classes (n, 17) holds 0 or 1 in the order of
    `CLASSES`, or is None for data without class columns, where `f2ciw` is nan. Returns `f1`,
    `precision` and `recall` of the defect class, `f1_normal`, the F1 of the normal class, and
    `f2ciw` (Haurum and Moeslund 2021, for a binary detector): a predicted defect counts as
    predicting exactly the image's classes, a predicted normal as none; F2 per class, averaged with
    the weights `CIW`. All in [0, 1]; 0 / 0 is 0, so a class without images scores 0. Raises
    ValueError for shapes that differ or values other than 0 and 1.
    """
    defect = checked_binary("defect", defect)
    predicted = checked_binary("predicted", predicted, (defect.size,))
    columns = counted(defect, predicted, checked_classes(classes, defect.size))
    cells = np.array([column.sum() for column in columns], float)
    return {name: float(value) for name, value in from_counts(cells).items()}


def share_weights(defect, share: float | None) -> np.ndarray:
    """Weights (n,) that give the images in defect (n,) a share of defects, as protocol `clean`.

    Every normal weighs 1 and every defect n0 share / ((1 - share) n1): exact at any share, above 1
    where a share larger than the natural one asks for it. `share` None, the natural share, weighs
    every image 1. Raises ValueError for a share outside (0, 1), or where one label is absent.
    """
    defect = checked_binary("defect", defect)
    if share is None:
        return np.ones(defect.size)
    if not 0 < share < 1:
        expected = "a fraction between 0 and 1, or None for the natural share"
        raise ValueError(f"share is {share}, expected {expected}")
    defects = int(defect.sum())
    normals = defect.size - defects
    if not defects or not normals:
        needed = f"a share of {share} needs normal and defect images"
        raise ValueError(f"{needed}, found {normals} and {defects}")
    return np.where(defect, normals * share / ((1 - share) * defects), 1.0)


def always_defect_f1(share: float) -> float:
    """F1 of calling every image a defect, at a share of defects: the precision; recall is 1."""
    return 2 * share / (1 + share)


def f2ciw_maximum(classes, weights) -> float:
    """F2CIW of always "defect", the most a detector can reach: the importance of the classes
    (n, 17) that occur with a positive weight (n,) over that of all 17. It sees no false alarm, and
    an absent class scores 0. nan where `classes` is None."""
    if classes is None:
        return float("nan")
    present = checked_classes(classes, len(classes))[np.asarray(weights) > 0]
    return float(IMPORTANCE @ present.any(axis=0) / IMPORTANCE.sum())


def counted(defect, predicted, classes) -> list[np.ndarray]:
    """Columns (n,) that sum to tp, fp, fn, tn, then images found and images of each class."""
    decisions = [d & p for p in (predicted, ~predicted) for d in (defect, ~defect)]
    by_class = [] if classes is None else [*(classes & predicted[:, None]).T, *classes.T]
    return decisions + by_class


def from_counts(cells: np.ndarray) -> dict[str, np.ndarray]:
    """Threshold metrics (...) of summed cells (..., 4 or 38)."""
    tp, fp, fn, tn = np.moveaxis(cells[..., :4], -1, 0)
    f2ciw = np.full(tp.shape, np.nan)
    if cells.shape[-1] > 4:
        found, images = np.split(cells[..., 4:], 2, axis=-1)
        # F-beta = (1 + beta^2) tp / ((1 + beta^2) tp + beta^2 fn + fp); no class has fp here
        f2ciw = ratio(5 * found, found + 4 * images) @ IMPORTANCE / IMPORTANCE.sum()
    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "f2ciw": f2ciw,
        "f1_normal": ratio(2 * tn, 2 * tn + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
    }


def ratio(a, b) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.shape(b)), where=b > 0)


def checked_binary(name: str, values, shape: tuple[int, ...] | None = None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 if shape is None else values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}, expected {shape or '(n,)'}")
    other = values[(values != 0) & (values != 1)]
    if other.size:
        expected = "0 or 1 (a logit is a defect where above 0)"
        raise ValueError(f"{name} holds {other[0]}, expected {expected}")
    return values == 1


def checked_classes(classes, n: int) -> np.ndarray | None:
    return None if classes is None else checked_binary("classes", classes, (n, len(CLASSES)))
