"""Detectors without labels, measured as the probe is: by train share, and where they err.

measured = detectors.measure(runs, "clean")
reduced = results.over_seeds(measured, detectors.KEYS)
"""

import numpy as np
import pandas as pd

from lib.analysis import results, scoring
from lib.store import stored
from lib.store.measured import Detected, Stored, detected
from lib.study.grid import Run

NAMES = {
    "probe": "Probe, with labels",
    "knn": "kNN",
    "mahalanobis": "Mahalanobis",
    "pca": "PCA residual",
    "forest": "Isolation forest",
    "reconstruction": "Reconstruction",
}
KEYS = ("method", "backbone", "train_share", "detector", "setting", "metric")  # of one value
ENDS = ("Most anomalous normals", "Most anomalous defects", "Least anomalous defects")


def measure(runs: list[Run | Stored], protocol: str, resamples: int | None = None) -> pd.DataFrame:
    """`results.measure` of every run's probe and detectors at the natural validation share, with
    the columns detector and setting; of the metrics without a threshold, AUROC alone has intervals.

    The probe's setting is "labels". A detector reads the plain image whatever the protocol.
    """
    views = [view for run in runs for view in (stored.load(run), *detected(run))]
    rows = results.measure(views, protocol, resamples=resamples, ranked=["auroc"])
    of = [
        (view.detector, view.setting) if isinstance(view, Detected) else ("probe", "labels")
        for view in views
    ]
    detector, setting = np.repeat(of, len(rows) // len(views), axis=0).T
    return rows.assign(detector=detector, setting=setting)


def columns(reduced: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The rows of one setting and of the probe, by printed names, in the order of `NAMES`."""
    rows = reduced[reduced["setting"].isin((setting, "labels"))]
    rows = rows.sort_values("detector", key=lambda n: n.map(list(NAMES).index), kind="stable")
    return rows.assign(detector=rows["detector"].map(NAMES))


def ends(view: Detected, n: int) -> pd.DataFrame:
    """`n` validation images of each of `ENDS`: the table's columns, run, detector, End, score."""
    table, _ = scoring.validation(view)
    scores = view.scores.drop_duplicates("Filename").set_index("Filename")["logit"].astype(float)
    ranked = table.assign(score=table["Filename"].map(scores))
    ranked = ranked.sort_values("score", ascending=False, kind="stable")
    normals, defects = (ranked[ranked["Defect"] == kind] for kind in (0, 1))
    parts = zip(ENDS, (normals.head(n), defects.head(n), defects.tail(n)[::-1]), strict=True)
    images = pd.concat([part.assign(End=end) for end, part in parts], ignore_index=True)
    return images.assign(run=view.run.id, detector=view.detector)
