"""(d) Evaluation: every train share by every validation share, from stored scores and by passing images again."""

import time

import numpy as np
import pandas as pd
import torch

from benchmarks import measure
from lib import datasets, methods, metrics, paths, probes, runs, study, trainers, workers
from lib.study import Run

PROFILE, METHOD, BACKBONE, SEED = "mini", "simclr", "resnet18", 42
ROUNDS = 3
RULE = study.PROTOCOLS["paper"]  # subsampled shares, as a model would be run on


def from_scores(system: list[Run]) -> float:
    """Seconds of all pairs from the scores that the committed reference stores, read anew."""
    began = time.perf_counter()
    for run in system:
        stored = runs.Stored(run, paths.REFERENCE / run.profile / run.id, "reference")
        runs.draws(
            stored, evaluation=RULE.imbalance, probe=RULE.probe, sampling=RULE.sampling,
            shares=study.profile(run.profile)["validation_shares"], resamples=0,
        )  # fmt: skip
    return time.perf_counter() - began


def by_passes(system: list[Run], split: datasets.Split, shares: list[float]) -> float:
    """Seconds of all pairs when the images of each are passed through its model.

    The pairs of one training are passed; those of the others take the same and are counted, not passed.
    """
    run = system[-1]
    method = methods.build(run, steps=2, steps_per_epoch=1, pos_weight=1.0).to(memory_format=torch.channels_last)
    method = method.to(trainers.device())
    began = time.perf_counter()
    for share in shares:
        rows = datasets.resample(split.table, share, run.data["seed"]).index.to_numpy()
        found = probes.features(method, split.pixels, rows, probes.clean(run.px))
        metrics.scores(split.defect[rows], probes.online(method)(found) > 0, None)
    measure.synchronise()
    return (time.perf_counter() - began) * len(system)


def main(profile: str = PROFILE, rounds: int = ROUNDS) -> pd.DataFrame:
    """Measure, and write benchmarks/results/evaluation.csv."""
    shares = study.profile(profile)["validation_shares"]
    system = study.grid(profile, methods=[METHOD], backbones=(BACKBONE,), seeds=[SEED])
    datasets.prepare(system[0].data, workers.cores())
    split = datasets.load(system[0].data, "val")
    pairs = f"s for {len(system) * len(shares)} pairs"
    taken = measure.alternate(
        {
            "ours, from stored scores": lambda: from_scores(system),
            "passes on every pair": lambda: by_passes(system, split, shares),
        },
        rounds,
    )
    return measure.write("evaluation", measure.compare(taken, "ours, from stored scores", pairs, np.asarray))
