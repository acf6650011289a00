"""Stored scores read by a rule: logits of the validation images become metrics and their draws."""

import json
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lib.data import sources, splits
from lib.data.labels import class_labels
from lib.measures import bootstrap, metrics
from lib.store import committed
from lib.store.measured import Detected, detector_scores
from lib.store.stored import MissingRuns, Stored
from lib.study import names, profiles
from lib.system import paths


@lru_cache(maxsize=4)
def _validation(data: str, folder: Path) -> tuple[pd.DataFrame, bool]:
    copy = folder / "validation.parquet"
    if not copy.exists():
        return sources.tables(json.loads(data), "val")
    with committed.reading(copy):
        table = pd.read_parquet(copy)
    return table, bool((table["Video"] != table["Filename"]).any())


def validation(stored: Stored) -> tuple[pd.DataFrame, bool]:
    """The validation table (classes, Defect, Video, Sampled) behind a stored run, and whether its
    videos are known.

    A run of the reference has a copy of the table beside it; other tables come from the data.
    """
    return _validation(*_table(stored))


def _table(stored: Stored) -> tuple[str, Path]:
    """What `_validation` reads the table of a stored run by."""
    folder = paths.REFERENCE / stored.run.profile if stored.origin == "reference" else Path("")
    return json.dumps(stored.run.data, sort_keys=True), folder


def aligned(stored: Stored, evaluation: str, probe: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Logits (n,) of the validation images, and their n rows of `validation(stored)`.

    There is one entry per image and view. Raises MissingRuns where the run has no such scores, or
    scored images that the table lacks.
    """
    logit, order = _reading(stored, evaluation, probe)
    return logit, validation(stored)[0].iloc[order]


def _reading(stored: Stored, evaluation: str, probe: str) -> tuple[np.ndarray, np.ndarray]:
    """`aligned`, with the numbers (n,) of the rows in the table."""
    kind = () if isinstance(stored, Detected) else (evaluation, probe)
    logit, order = _readings(stored, stored.written).get(kind, ((), ()))
    if not len(logit):
        raise MissingRuns(f"{stored.run.id} holds no {evaluation} scores of the {probe} probe.")
    if (order < 0).any():
        lacking = f"{(order < 0).sum()} images that the validation table lacks"
        command = f"make run PROFILE={stored.run.profile} ID={stored.run.id} FORCE=1"
        raise MissingRuns(f"{stored.run.id} scored {lacking}: `{command}` trains it again.")
    return logit, order


@lru_cache(maxsize=1024)
def _readings(stored: Stored, written: int) -> dict[tuple[str, str], tuple]:
    """(evaluation, probe) -> logits (n,) of the validation images and the numbers of their rows; of
    a detector, which has one score for all, () -> these.

    `written`, the time of the record, is part of the cache's key: a run that was trained again is
    read again.
    """
    if isinstance(stored, Detected):
        order = _detected(stored.trained, written, *_table(stored))
        return {(): (stored.logit, order)}
    scores, index = stored.score_table(), _columns(*_table(stored))[0]
    (split, kinds), (evaluation, evaluations), (probe, probes), (image, images) = (
        _coded(scores[name]) for name in ("split", "evaluation", "probe", "Filename")
    )
    number = index.get_indexer(images).astype(np.int32)[image]
    logits, of_val = scores["logit"].to_numpy(), (kinds == "val")[split]
    found = {}
    for (i, one), (j, other) in product(enumerate(evaluations), enumerate(probes)):
        rows = of_val & (evaluation == i) & (probe == j)
        if rows.any():
            found[one, other] = logits[rows], number[rows]
    return found


@lru_cache(maxsize=1)  # the detectors of one run are read one after another
def _detected(stored: Stored, written: int, data: str, folder: Path) -> np.ndarray:
    """(n,) the numbers of the rows that the detectors of a run have scored."""
    images = detector_scores(stored, written)["Filename"].to_numpy(object)
    return _columns(data, folder)[0].get_indexer(images).astype(np.int32)


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (n,) of the values, and the values."""
    is_coded = pa.types.is_dictionary(column.type)
    whole = (column if is_coded else column.dictionary_encode()).unify_dictionaries()
    one = whole.combine_chunks()
    return one.indices.to_numpy(), one.dictionary.to_numpy(zero_copy_only=False)


@lru_cache(maxsize=64)
def _weights(data: str, folder: Path, share: float | None, sampling: str) -> np.ndarray:
    """(n,) weights of the validation images at a share; None is the natural share."""
    table, _ = _validation(data, folder)
    if share is None:
        return table["Sampled"].to_numpy(float)
    if sampling == "weights":
        return metrics.share_weights(table["Defect"].to_numpy(), share)
    subset = splits.resample(table, share, json.loads(data)["seed"])
    return table.index.isin(subset.index).astype(float)


def draws(
    stored: Stored,
    *,
    evaluation: str,
    probe: str,
    shares: Iterable[float | None],
    sampling: str,
    resamples: int,
    ranked: Collection[str] = bootstrap.RANKED,
) -> dict[str, np.ndarray]:
    """Metric -> (shares, 1 + resamples): the estimate, then its bootstrap draws over videos
    (images where videos are unknown). Callers share the arrays and leave them as they are.

    Of AUROC, AP and the recall at 5 % false alarms, those that `ranked` does not name are nan,
    which is faster. Two runs scored on the same images get the same draws, so their difference is
    paired.
    """
    reading = (evaluation, probe, tuple(shares), sampling, resamples, tuple(ranked))
    return _draws(stored, stored.written, *reading)


def forget() -> None:
    """Let the next readings be made anew: every call above remembers them within a process."""
    for remembered in (_readings, _draws):
        remembered.cache_clear()


@lru_cache(maxsize=2048)
def _draws(stored, written, evaluation, probe, shares, sampling, resamples, ranked):
    logit, order = _reading(stored, evaluation, probe)
    defect, classes, video = (
        None if column is None else column[order] for column in _columns(*_table(stored))[1:]
    )
    weights = np.stack([_weights(*_table(stored), share, sampling)[order] for share in shares])
    options = {"draws": resamples, "ranked": ranked}
    return bootstrap.resampled(logit, defect, classes, video, weights, **options)


@lru_cache(maxsize=4)
def _columns(data: str, folder: Path) -> tuple[pd.Index, np.ndarray, np.ndarray | None, np.ndarray]:
    """Names (n,), Defect (n,), classes (n, 17) or None, and the number (n,) of the video, of the
    validation images."""
    table, _ = _validation(data, folder)
    video, _ = pd.factorize(table["Video"], sort=True)
    names_of = pd.Index(table["Filename"].astype(object))
    return names_of, table["Defect"].to_numpy(), class_labels(table), video


def natural(
    stored: Stored,
    protocol: str,
    resamples: int | None = None,
    ranked: Collection[str] = bootstrap.RANKED,
) -> dict[str, np.ndarray]:
    """Metric -> (1 + resamples,), as `protocol` reads Table 1: at the natural validation share.

    `resamples` None is the number that the run's profile asks for; `ranked` is that of `draws`.
    """
    rule = names.protocol(protocol)
    if resamples is None:
        resamples = profiles.load(stored.run.profile)["draws"]
    reading = {"evaluation": rule.table, "probe": rule.probe, "sampling": rule.sampling}
    by_share = draws(stored, **reading, shares=[None], resamples=resamples, ranked=ranked)
    return {metric: values[0] for metric, values in by_share.items()}
