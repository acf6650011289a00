"""The metrics of every cell of the grid, with paired bootstrap draws, one row per seed.

board = Board(grid.runs("claims", "mini"), "clean")
f1 = board.draws(("simclr", "resnet18", 0.45))[0]["f1"]
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import product

import numpy as np

from lib.analysis import results, scoring
from lib.store.stored import Stored, load
from lib.study import names, profiles
from lib.study.grid import Run
from lib.study.names import BACKBONES
from lib.system.errors import DataError

Draws = np.ndarray  # (S, 1 + B), one row per seed: the estimate, then its bootstrap draws
System = tuple[str, str]  # method, backbone
Cell = tuple[str, str, float]  # method, backbone, train share


class NotRun(LookupError):
    """A claim needs what was not trained."""


class Board:
    """Stored runs by cell of the grid, read by one protocol unless asked otherwise.

    Every cell has a row of draws for each of the `seeds`, the same resamples of videos for all.
    `resamples` None is the number that the profile asks for. Raises NotRun for no runs.
    """

    def __init__(self, wanted: list[Run | Stored], protocol: str, resamples: int | None = None):
        self.protocol, self.rule = protocol, names.protocol(protocol)
        self.stored = [load(run) for run in wanted]
        if not self.stored:
            raise NotRun("no run is there to judge a claim by")
        profile = profiles.load(self.stored[0].run.profile)
        self.resamples = profile["draws"] if resamples is None else resamples
        self.validation_shares = profile["validation_shares"]
        self.seeds = sorted({stored.run.seed for stored in self.stored})
        self._runs: dict[Cell, list[Stored]] = {}  # of each the runs, in the order of the seeds
        for stored in self.stored:
            run = stored.run
            self._runs.setdefault((run.method, run.backbone, run.share), []).append(stored)
        for runs in self._runs.values():
            runs.sort(key=lambda stored: stored.run.seed)
        self._draws: dict[tuple, list[dict[str, Draws]]] = {}
        self._learned: dict[tuple, bool] = {}

    @property
    def cells(self) -> list[Cell]:
        """The cells that runs belong to, in the order of the runs."""
        return list(self._runs)

    @property
    def shares(self) -> list[float]:
        """The train shares, ascending."""
        return sorted({share for _, _, share in self.cells})

    def systems(self, methods: Iterable[str]) -> list[System]:
        """Every (method, backbone) at hand, in the order of `methods`."""
        trained = {cell[:2] for cell in self.cells}
        return [system for system in product(methods, BACKBONES) if system in trained]

    def system(self, method: str, backbone: str, share: float) -> list[Stored]:
        """The runs of one cell of the grid, one per seed. Raises NotRun where a seed lacks it."""
        runs = self._runs.get((method, backbone, share), [])
        if len(runs) != len(self.seeds):
            name = f"{names.label(method)} on {names.label(backbone)}"
            raise NotRun(f"{name} at {names.share(share)}: not trained with every seed")
        return runs

    def draws(
        self,
        cell: Cell,
        evaluation: str = "",
        probe: str = "",
        shares: Iterable[float | None] = (None,),
        ranked: Collection[str] = ("auroc",),
    ) -> list[dict[str, Draws]]:
        """Metric -> draws of a cell, one dict a validation share; None is the natural share.

        `evaluation` and `probe` are those of the protocol's Table 1 where they are left out. Of the
        metrics without a threshold, those that `ranked` does not name are nan. Raises NotRun where
        a small validation table cannot reach a share.
        """
        reading = {"evaluation": evaluation or self.rule.table, "probe": probe or self.rule.probe}
        key = (cell, *reading.values(), *shares, *ranked)
        if key not in self._draws:
            options = {"sampling": self.rule.sampling, "resamples": self.resamples}
            options |= reading | {"shares": shares, "ranked": ranked}
            try:
                each = [scoring.draws(stored, **options) for stored in self.system(*cell)]
            except DataError as reason:
                raise NotRun(f"in validation, {reason}") from None
            self._draws[key] = [
                {name: np.stack([values[name][i] for values in each]) for name in each[0]}
                for i in range(len(each[0]["f1"]))
            ]
        return self._draws[key]

    def learned(self, method: str, backbone: str, shares: Sequence[float]) -> bool:
        """Whether the backbone learned: the AUROC of its converged probe on plain images, averaged
        over these train shares, lies above that of the backbone as initialised, at 95 %.

        True also for methods whose encoder is never trained, where there is no run of the untrained
        backbone to compare with, and where images are too few for an interval.
        """
        key = (method, backbone, *shares)
        if method in names.UNTRAINED or ("random", backbone) not in self.systems(["random"]):
            return True
        if key not in self._learned:
            ours, floors = (
                [self.system(name, backbone, share) for share in shares]
                for name in (method, "random")
            )
            self._learned[key] = results.learned(ours, floors, self.resamples)
        return self._learned[key]
