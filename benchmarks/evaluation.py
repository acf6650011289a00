"""(d) Evaluation: every train share by every validation share, from stored scores and by passing
images again."""

import time

import numpy as np
import pandas as pd
import torch

from benchmarks import measure
from lib import methods
from lib.analysis import scoring
from lib.data import pixels, splits
from lib.measures import metrics
from lib.store.stored import Stored
from lib.study import grid, names, profiles
from lib.study.grid import Run
from lib.system import hardware, paths, torch_device
from lib.training import probes

PROFILE, METHOD, BACKBONE, SEED = "mini", "simclr", "resnet18", 42
ROUNDS = 3
RULE = names.PROTOCOLS["paper"]  # subsampled shares, as a model would be run on


def from_scores(system: list[Run]) -> float:
    """Seconds of all pairs from the scores that the committed reference stores, read anew."""
    scoring.forget()
    began = time.perf_counter()
    for run in system:
        stored = Stored(run, paths.REFERENCE / run.profile, "reference")
        scoring.draws(
            stored,
            evaluation=RULE.imbalance,
            probe=RULE.probe,
            sampling=RULE.sampling,
            shares=profiles.load(run.profile)["validation_shares"],
            resamples=0,
        )
    return time.perf_counter() - began


def by_passes(system: list[Run], split: pixels.Split, shares: list[float]) -> float:
    """Seconds of all pairs when the images of each are passed through its model.

    The pairs of one training are passed; those of the others take the same and are counted, not
    passed.
    """
    run = system[-1]
    method = methods.build(run, steps=2, steps_per_epoch=1, pos_weight=1.0).to(
        memory_format=torch.channels_last
    )
    method = method.to(torch_device.device())
    began = time.perf_counter()
    for share in shares:
        rows = splits.resample(split.table, share, run.data["seed"]).index.to_numpy()
        features = probes.features(method, split.pixels, rows, probes.clean(run.px))
        metrics.scores(split.defect[rows], probes.online(method)(features) > 0, None)
    measure.synchronise()
    return (time.perf_counter() - began) * len(system)


def main(profile: str = PROFILE, rounds: int = ROUNDS) -> pd.DataFrame:
    """Measure, and write the part `evaluation` of benchmarks/results/measured.csv."""
    shares = profiles.load(profile)["validation_shares"]
    system = grid.cells(profile, methods=[METHOD], backbones=(BACKBONE,), seeds=[SEED])
    pixels.prepare(system[0].data, hardware.cores())
    split = pixels.load(system[0].data, "val")
    pairs = f"s for {len(system) * len(shares)} pairs"
    seconds = measure.alternate(
        {
            "ours, from stored scores": lambda: from_scores(system),
            "passes on every pair": lambda: by_passes(system, split, shares),
        },
        rounds,
    )
    return measure.write(
        "evaluation", measure.compare(seconds, "ours, from stored scores", pairs, np.asarray)
    )
