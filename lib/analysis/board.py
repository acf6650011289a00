"""The metrics of every cell of the grid, with paired bootstrap draws, averaged over seeds."""

from collections.abc import Iterable
from itertools import product

import numpy as np

from lib.analysis import results
from lib.measures import bootstrap
from lib.store.stored import Stored, load
from lib.study import names, profiles
from lib.study.grid import Run
from lib.study.names import BACKBONES
from lib.system.errors import DataError

Draws = np.ndarray  # (1 + B,): the estimate, then its bootstrap draws
Cell = tuple[str, str, float]  # method, backbone, train share


class NotRun(LookupError):
    """A claim needs a system that was not trained."""


class Board:
    """Stored runs by cell of the grid, read by one protocol unless asked otherwise.

    Values are means over seeds. Where there are several seeds, each draw also resamples the seeds,
    the same ones for every cell. `resamples` None is the number that the profile asks for. Raises
    NotRun for no runs.
    """

    def __init__(self, wanted: list[Run | Stored], protocol: str, resamples: int | None = None):
        self.protocol, self.rule = protocol, names.protocol(protocol)
        self.stored = [load(run) for run in wanted]
        if not self.stored:
            raise NotRun("no run is there to judge a claim by")
        profile = profiles.load(self.stored[0].run.profile)
        self.resamples = profile["draws"] if resamples is None else resamples
        self.validation_shares = profile["validation_shares"]
        self.seed_weight = bootstrap.seed_weights({s.run.seed for s in self.stored}, self.resamples)
        self._draws: dict[tuple, list[dict[str, Draws]]] = {}

    @property
    def cells(self) -> list[Cell]:
        """The cells that runs belong to, in the order of the runs."""
        runs = (stored.run for stored in self.stored)
        return list(dict.fromkeys((run.method, run.backbone, run.share) for run in runs))

    def system(self, method: str, backbone: str, share: float) -> list[Stored]:
        """The runs of one cell of the grid, one a seed. Raises NotRun where a seed lacks it."""
        cell = (method, backbone, share)
        runs = [s for s in self.stored if (s.run.method, s.run.backbone, s.run.share) == cell]
        if len(runs) != len(self.seed_weight):
            raise NotRun(f"{method} on {backbone} at {share:.0%}")
        return runs

    def mean(self, runs: list[Stored], values: Iterable[Draws | float]) -> Draws:
        """The mean over seeds, (1 + B,), of one value or (1 + B,) draws a run of one cell."""
        total = np.zeros(1 + self.resamples)
        for stored, value in zip(runs, values, strict=True):
            weight = self.seed_weight[stored.run.seed]
            # A seed that a draw leaves out must not count, not even an infinite value or nan.
            total += np.multiply(weight, value, out=np.zeros_like(total), where=weight > 0)
        return total

    def draws(
        self,
        cell: Cell,
        evaluation: str = "",
        probe: str = "",
        shares: Iterable[float | None] = (None,),
        ranked: bool = False,
    ) -> list[dict[str, Draws]]:
        """Metric -> draws of a cell, one dict a validation share; None is the natural share.

        `evaluation` and `probe` are those of the protocol's Table 1 where they are left out.
        Without `ranked`, AUROC and AP are nan, which is ten times faster. Raises NotRun where a
        small validation table cannot reach a share.
        """
        reading = {"evaluation": evaluation or self.rule.table, "probe": probe or self.rule.probe}
        key = (cell, *reading.values(), *shares, ranked)
        if key not in self._draws:
            options = reading | {"sampling": self.rule.sampling, "resamples": self.resamples}
            runs = self.system(*cell)
            try:
                each = [results.draws(s, **options, shares=shares, ranked=ranked) for s in runs]
            except DataError as reason:
                raise NotRun(f"in validation, {reason}") from None
            self._draws[key] = [
                {name: self.mean(runs, [values[name][i] for values in each]) for name in each[0]}
                for i in range(len(each[0]["f1"]))
            ]
        return self._draws[key]

    def cell(self, method: str, backbone: str, share: float) -> dict[str, Draws]:
        """Threshold metric -> draws, at the natural validation share."""
        return self.draws((method, backbone, share))[0]

    def ends(self, method: str, backbone: str, share: float) -> list[dict[str, Draws]]:
        """Threshold metric -> draws, at the smallest and at the largest validation share."""
        shares = min(self.validation_shares), max(self.validation_shares)
        return self.draws((method, backbone, share), self.rule.imbalance, shares=shares)

    def f1(
        self, methods: str | Iterable[str], backbones: str | Iterable[str], shares: Iterable[float]
    ) -> Draws:
        """Mean F1 over these systems and train shares, at the natural validation share; MAE counts
        on ViT-Tiny only."""
        methods = [methods] if isinstance(methods, str) else methods
        backbones = [backbones] if isinstance(backbones, str) else backbones
        cells = [c for c in product(methods, backbones, shares) if names.exists(*c[:2])]
        return np.mean([self.cell(*cell)["f1"] for cell in cells], axis=0)

    def rival(self, method: str, other: str, shares: Iterable[float]) -> Draws:
        """F1 of `method` minus `other`, averaged over the backbones that both have and `shares`."""
        both = [b for b in BACKBONES if names.exists(method, b) and names.exists(other, b)]
        return self.f1(method, both, shares) - self.f1(other, both, shares)
