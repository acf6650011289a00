"""Detectors without labels, measured as the probe is: by train share, and where they err.

measured = detectors.measure(runs, "clean")
reduced = results.over_seeds(measured, detectors.KEYS)
"""

import pandas as pd

from lib.analysis import readings, results
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
    the columns detector and setting.

    The probe's setting is "labels". A detector reads the plain image whatever the protocol.
    """
    parts = []
    for run in runs:
        for view in (stored.load(run), *detected(run)):
            detector, setting = "probe", "labels"
            if isinstance(view, Detected):
                detector, setting = view.detector, view.setting
            rows = results.measure([view], protocol, resamples=resamples)
            parts.append(rows.assign(detector=detector, setting=setting))
    return pd.concat(parts, ignore_index=True)


def columns(reduced: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The rows of one setting and of the probe, by printed names; NaN where a system has none."""
    rows = reduced[reduced["setting"].isin((setting, "labels"))]
    present = set(rows["detector"])
    places = rows[["method", "backbone"]].drop_duplicates()
    places = places.merge(pd.Series([n for n in NAMES if n in present], name="detector"), "cross")
    places = places.merge(pd.Series(rows["metric"].unique(), name="metric"), "cross")
    places = places.merge(rows, "left", on=["method", "backbone", "detector", "metric"])
    health = places["health"].fillna("healthy")
    return places.assign(detector=places["detector"].map(NAMES), health=health)


def ends(view: Detected, n: int) -> pd.DataFrame:
    """`n` validation images of each of `ENDS`: the table's columns, run, detector, End, score."""
    table, _ = readings.validation(view)
    scores = view.scores.drop_duplicates("Filename").set_index("Filename")["logit"].astype(float)
    ranked = table.assign(score=table["Filename"].map(scores))
    ranked = ranked.sort_values("score", ascending=False, kind="stable")
    normals, defects = (ranked[ranked["Defect"] == kind] for kind in (0, 1))
    parts = zip(ENDS, (normals.head(n), defects.head(n), defects.tail(n)[::-1]), strict=True)
    images = pd.concat([part.assign(End=end) for end, part in parts], ignore_index=True)
    return images.assign(run=view.run.id, detector=view.detector)
