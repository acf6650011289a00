"""The bar over runs: relative costs, time left, plain lines without a terminal."""

import sys
import time

from tqdm import tqdm

from lib.study.grid import Run

# Network passes per image and view of one training step, forward and backward = 1; momentum
# networks only go forward.
PASSES = {
    "supervised": 1.0,
    "byol": 2.7,
    "barlow": 2.0,
    "simclr": 2.0,
    "dino": 2.7,
    "mae": 1.0,
    "mae-released": 0.3,
    "random": 0.3,
}
START_UP = 4.0  # seconds until a fresh worker has imported torch and Lightning
PATIENCE = 600.0  # seconds after which the pace is told even if little is done: of GPU-days, 0.3 % are hours


def cost(run: Run) -> float:
    """Relative time of a run, in forward and backward passes of 64 px images; of Sewer-ML's
    training table, where nothing is simulated. It orders runs and fills the bar; hours come from
    lib.scheduling.estimate."""
    normals = 0.528 * (run.data["train"] or 1.0) * run.data["fraction"]  # Sewer-ML's natural share
    images = normals / (1 - (0.472 if run.share is None else run.share))
    validation = run.data["val"] or 0.125
    scoring = validation * (1.5 + run.settings.views_per_image) / 3 + images / 3
    passes = PASSES.get(run.method, float(run.settings.views_per_image))  # of an added method
    return (images * run.settings.epochs * passes + scoring) * (run.px / 64) ** 2


def duration(seconds: float) -> str:
    """Seconds in the unit in which one would say them."""
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds > 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min"


class Bar:
    """One bar over all runs with time left; plain lines where the output is not a terminal."""

    def __init__(self, todo: list[Run]):
        self.total, self.count, self.done, self.finished = sum(map(cost, todo)), len(todo), 0.0, 0
        self.before = (
            0.0  # of what is done: by an earlier process, which says nothing about the pace
        )
        self.started, self.told = time.time(), 0.0
        self.bar = (
            tqdm(total=100, bar_format="{desc} |{bar}| {n:.0f} % {postfix}")
            if sys.stderr.isatty()
            else None
        )

    def advance(self, amount: float) -> None:
        self.done += amount
        self.show()

    def left(self) -> str:
        spent, done = time.time() - self.started, self.done - self.before
        if done <= 0 or spent < START_UP or (done < 0.003 * self.total and spent < PATIENCE):
            return "measuring the pace"
        return f"{duration(max(0.0, self.total - self.done) / done * spent)} left"

    def show(self, note: str = "") -> None:
        percent = min(100.0, 100 * self.done / max(self.total, 1e-9))
        if self.bar is not None:
            self.bar.n = percent
            self.bar.set_description_str(f"{self.finished}/{self.count} runs", refresh=False)
            self.bar.set_postfix_str(self.left())
        elif note or time.time() - self.told > 60:
            self.told = time.time()
            print(
                f"{self.finished}/{self.count} runs, {percent:.0f} %, {self.left()} {note}".rstrip(),
                flush=True,
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
