"""Are the simulated frames hard enough, and learnable? The label-only criteria on which the
simulator was frozen.

    make simulator        (about 10 minutes on two cores; writes benchmarks/results/simulator.csv)

At the natural validation share of profile `mini`, ResNet-18, three seeds. No self-supervised run
enters.
"""

import sys

import numpy as np
import pandas as pd

from lib.analysis import scoring
from lib.data import pixels, sources, splits
from lib.measures import bootstrap
from lib.scheduling import plan
from lib.scheduling.job import Job
from lib.store.stored import load
from lib.study import grid, profiles
from lib.study.names import CLASSES
from lib.system import paths
from lib.training import probes

PROFILE, SEEDS, SHARES = "mini", (0, 1, 2), (0.45, 0.05, 0.01)
BINS = 8  # per colour channel


def histogram(pixels: np.ndarray) -> np.ndarray:
    """(n, BINS^3) square root, which suits a linear model, of the share of each image's pixels in
    each colour bin."""
    code = (pixels // (256 // BINS)).astype(np.int64) @ np.array([BINS * BINS, BINS, 1])
    counts = np.stack([np.bincount(c.ravel(), minlength=BINS**3) for c in code])
    return np.sqrt(counts / counts.sum(1, keepdims=True))


def colour_alone() -> dict[str, float]:
    """F1 and AUROC of the converged probe on colour histograms, fitted at 45 % defects."""
    data = profiles.load(PROFILE)["data"]
    train, val = pixels.load(data, "train"), pixels.load(data, "val")
    rows = splits.resample(train.table, 0.45, data["seed"]).index.to_numpy()
    probe = probes.converged(histogram(train.pixels[rows]), train.defect[rows].astype(int), rows, 0)
    logit = probe(histogram(np.asarray(val.pixels)))
    draws = bootstrap.resampled(logit, val.defect, None, None, np.ones((1, len(logit))), draws=0)
    return {name: float(draws[name][0, 0]) for name in ("f1", "auroc")}


def of(run: grid.Run, probe: str) -> dict[str, float]:
    """F1 and AUROC of a stored run on clean images."""
    draws = scoring.draws(
        load(run), evaluation="clean", probe=probe, shares=[None], sampling="weights", resamples=0
    )
    return {name: float(draws[name][0, 0]) for name in ("f1", "auroc")}


def main() -> int:
    supervised = {
        (p, s): grid.run(PROFILE, "supervised", "resnet18", p, s) for p in SHARES for s in SEEDS
    }
    random = [grid.run(PROFILE, "random", "resnet18", 0.45, s) for s in SEEDS]
    jobs = [Job(run) for run in (*supervised.values(), *random)]
    if status := plan.train([job for job in jobs if job.need()], plan.Request(PROFILE)):
        return status
    f1 = np.mean([of(supervised[0.45, s], "online")["f1"] for s in SEEDS])
    auroc = {p: np.mean([of(supervised[p, s], "online")["auroc"] for s in SEEDS]) for p in SHARES}
    table, _ = sources.tables(profiles.load(PROFILE)["data"], "val")
    rows = [
        ("colour histogram, F1", colour_alone()["f1"], "<", 0.70),
        (
            "random backbone, F1, mean of seeds",
            np.mean([of(r, "converged")["f1"] for r in random]),
            "<",
            0.82,
        ),
        ("supervised at 45 %, F1, mean of seeds", f1, ">", 0.88),
        ("supervised at 45 %, AUROC, mean of seeds", auroc[0.45], ">", 0.94),
        ("AUROC lost from 45 to 5 %, mean of seeds", auroc[0.45] - auroc[0.05], ">", 0.02),
        ("AUROC lost from 5 to 1 %, mean of seeds", auroc[0.05] - auroc[0.01], ">", 0.02),
        ("validation images of the rarest class", table[list(CLASSES)].sum().min(), ">", 29),
    ]
    criteria = pd.DataFrame(rows, columns=["criterion", "measured", "relation", "bound"]).round(4)
    criteria["met"] = np.where(
        criteria["relation"] == "<",
        criteria["measured"] < criteria["bound"],
        criteria["measured"] > criteria["bound"],
    )
    written = paths.ROOT / "benchmarks" / "results" / "simulator.csv"
    written.parent.mkdir(exist_ok=True)
    criteria.to_csv(written, index=False)
    print(criteria.to_string(index=False))
    return 0 if criteria["met"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
