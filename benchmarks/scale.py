"""The profile `paper` on the whole of Sewer-ML, on paper: what is decoded, cached, read and stored,
and the hours at a rate that somebody states. Nothing is measured here.

    python -m benchmarks.scale      # the two tables of docs/sewer-ml.md

Counts are those of the archive as published, `lib.scheduling.estimate.work` says what a run does,
and `lib.scheduling.progress.cost` how systems compare.
"""

from collections.abc import Iterable, Sequence
from math import floor

from lib.data.check import PUBLISHED
from lib.report.markup import markdown
from lib.scheduling import estimate
from lib.scheduling.progress import cost
from lib.study import grid
from lib.study.grid import Run

PARTS = {"grid": "Grid", "augmentation": "Figure 3", "resolution": "Table 2"}
DECODING = 0.0106  # seconds a core takes for a PNG of the archive's size: docs/sewer-ml.md
RATES = 300, 1000, 3000  # images/s, to read a rate of one's own between; none was measured
GPUS = 1, 8, 64


def rows(run: Run) -> int:
    """Training images of a run: all normals, and as many defects as its share takes."""
    total, normal, defect = (int(n * run.data["fraction"]) for n in PUBLISHED["train"])
    if run.share is None:
        return total
    drawn = floor(normal * run.share / (1 - run.share) + 1e-9)
    if drawn > defect:  # fewer normals, then
        return defect + floor(defect * (1 - run.share) / run.share + 1e-9)
    return normal + drawn


def caches(runs: Iterable[Run]) -> dict[tuple, int]:
    """(fraction, side) of each cache -> its images; validation is always read whole."""
    images = {}
    for run in runs:
        side, fraction = run.data["cache"], run.data["fraction"]
        images["train", fraction, side] = int(PUBLISHED["train"][0] * fraction)
        images["val", 1.0, side] = PUBLISHED["val"][0]
    return images


def pixels(images: dict[tuple, int]) -> int:
    """Bytes of these caches."""
    return sum(3 * side**2 * many for (_, _, side), many in images.items())


def at_once(runs: Sequence[Run]) -> int:
    """Bytes of pixels that the disk must hold at least, with a turn for each pair of caches."""
    return max(pixels(caches([run])) for run in runs)


def passes(run: Run) -> float:
    """What a run costs in images of 224 px, each forward and backward once, as supervised ResNet-18
    or ViT-Tiny take them."""
    return cost(run) * PUBLISHED["train"][0] * (64 / 224) ** 2


def wall(runs: Iterable[Run], gpus: int, rate: float) -> float:
    """Hours until all are trained, one run per GPU, longest first, at `rate` images of 224 px a
    second and GPU."""
    return estimate.wall([passes(run) / rate / 3600 for run in runs], gpus)


def amounts(title: str, runs: Sequence[Run]) -> list[str]:
    """A row of the first table: runs, images through optimiser steps, passes, decoding, caches, the
    most at once, pixels read, scores stored."""
    work = [estimate.work(run, rows(run), PUBLISHED["val"][0]) for run in runs]
    read = sum(w.passed * 3 * run.data["cache"] ** 2 for run, w in zip(runs, work, strict=True))
    decoded = sum(caches(runs).values())
    return [
        title,
        f"{len(runs)}",
        f"{sum(w.training for w in work) / 1e9:.2f}",
        f"{sum(map(passes, runs)) / 1e9:.2f}",
        f"{decoded / 1e6:.2f} ({decoded * DECODING / 3600:.1f})",
        f"{pixels(caches(runs)) / 1e9:,.0f}",
        f"{at_once(runs) / 1e9:,.0f}",
        f"{read / 1e12:,.0f}",
        f"{sum(w.scores for w in work) * estimate.SCORE / 1e9:.2f}",
    ]


def tables() -> tuple[str, str]:
    """The amounts of each part of the study and of all, and the hours of the grid and of all by
    number of GPUs and rate, in Markdown."""
    parts = {study: grid.cells("paper", study) for study in PARTS}
    parts["all"] = [run for runs in parts.values() for run in runs]
    head = "part", "runs", "images (10^9)", "passes (10^9)", "decoded, 10^6 (core-hours)"
    head += "caches, GB", "at once at least, GB", "read, TB", "scores, GB"
    first = markdown(head, [amounts(PARTS.get(part, part), runs) for part, runs in parts.items()])
    columns = [(which, rate) for which in ("grid", "all") for rate in RATES]
    hours = [
        [f"{gpus}", *(f"{wall(parts[which], gpus, rate):,.0f}" for which, rate in columns)]
        for gpus in GPUS
    ]
    return first, markdown(["GPUs", *(f"{which}, {rate:,}/s" for which, rate in columns)], hours)


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
