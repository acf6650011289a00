"""The bar over runs: their relative costs, what is done of each, and the time left."""

import time

from lib.study.grid import Run
from lib.system.progress import Bar, duration

# Network passes per image and view of one training step, forward and backward = 1; momentum
# networks only go forward.
PASSES = {"supervised": 1.0, "byol": 2.7, "barlow": 2.0, "simclr": 2.0, "dino": 2.7, "mae": 1.0}
PASSES |= {"mae-released": 0.3, "random": 0.3}
START_UP = 4.0  # seconds until a fresh process trains
PATIENCE = 600.0  # seconds after which the time left is shown even if less than 0.3 % is done


def cost(run: Run) -> float:
    """Relative cost of a run, to sort the queue and to weight the bar: passes of 64 px images,
    forward and backward, as a share of Sewer-ML's training table where nothing is simulated."""
    normals = 0.528 * (run.data["train"] or 1.0) * run.data["fraction"]  # Sewer-ML's natural share
    images = normals / (1 - (0.472 if run.share is None else run.share))
    validation = run.data["val"] or 0.125
    scoring = validation * (1.5 + run.settings.views_per_image) / 3 + images / 3
    passes = PASSES.get(run.method, float(run.settings.views_per_image))  # of an added method
    return (images * run.settings.epochs * passes + scoring) * (run.px / 64) ** 2


class Runs(Bar):
    """One bar over all runs. `fractions` holds what is done of each run; `earlier` the part that
    another process had done before, which says nothing about the pace of this one."""

    def __init__(self, runs: list[Run]):
        super().__init__()
        self.costs = {run: cost(run) for run in runs}
        self.fractions: dict[Run, float] = {}
        self.earlier: dict[Run, float] = {}
        self.ended: set[Run] = set()

    def advance(self, run: Run, fraction: float, resumed: bool = False) -> None:
        """`fraction` of `run` is done; where it `resumed`, the first one counts as done earlier."""
        if resumed and run not in self.fractions:
            self.earlier[run] = fraction
        self.fractions[run] = fraction
        self.show()

    def restart(self, run: Run) -> None:
        """`run` will be trained again from its last checkpoint."""
        self.fractions.pop(run, None)
        self.earlier.pop(run, None)

    def finish(self, run: Run, outcome: str) -> None:
        """`run` has ended; `outcome` is "done" or "failed"."""
        self.ended.add(run)
        self.fractions[run] = 1.0
        self.show(f"{run.id} {outcome}")

    def _done(self, fractions: dict[Run, float]) -> float:
        """The share of all runs, by cost, that these fractions are."""
        total = max(sum(self.costs.values()), 1e-9)
        return sum(fraction * self.costs[run] for run, fraction in fractions.items()) / total

    @property
    def share(self) -> float:
        """What is done of all runs, by cost."""
        return self._done(self.fractions)

    def left(self) -> str:
        """The time left, in words, once the pace is known."""
        spent, done = time.monotonic() - self.started, self.share - self._done(self.earlier)
        if done <= 0 or spent < START_UP or (done < 0.003 and spent < PATIENCE):
            return "measuring the pace"
        return f"{duration(max(0.0, 1 - self.share) / done * spent)} left"

    def show(self, note: str = "") -> None:
        self.draw(self.share, f"{len(self.ended)}/{len(self.costs)} runs", self.left(), note)
