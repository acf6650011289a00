"""F1 of every system under one protocol, with paired bootstrap draws."""

from collections.abc import Iterable
from itertools import product

import numpy as np

from lib.analysis import results
from lib.measures import metrics, seeds
from lib.store.stored import Stored, load
from lib.study import names, profiles, protocols
from lib.study.grid import Run
from lib.study.names import BACKBONES
from lib.system.errors import DataError

Draws = np.ndarray  # (1 + B,): the estimate, then its bootstrap draws


class NotRun(LookupError):
    """A claim needs a system that was not trained."""


class Board:
    """F1 of every system under one protocol: estimates and paired bootstrap draws, averaged over
    seeds.

    Where there are several seeds, each draw also resamples the seeds, the same ones for every
    system.
    """

    def __init__(self, wanted: list[Run], protocol: str, resamples: int | None = None):
        self.rule = protocols.PROTOCOLS[names.nearest(protocol, protocols.PROTOCOLS, "protocol")]
        self.stored = [load(run) for run in wanted]
        if not self.stored:
            raise NotRun("no run is there to judge a claim by")
        profile = profiles.load(wanted[0].profile)
        self.resamples = profile["draws"] if resamples is None else resamples
        self.validation_shares = profile["validation_shares"]
        self.seed_weight = seeds.weights({s.run.seed for s in self.stored}, self.resamples)
        self._cells: dict[tuple, list[dict[str, Draws]]] = {}

    def system(self, method: str, backbone: str, share: float) -> list[Stored]:
        """The runs of one cell of the grid, one a seed. Raises NotRun where a seed lacks it."""
        found = [
            s
            for s in self.stored
            if (s.run.method, s.run.backbone, s.run.share) == (method, backbone, share)
        ]
        if len(found) != len(self.seed_weight):
            raise NotRun(f"{method} on {backbone} at {share:.0%}")
        return found

    def cell(self, method: str, backbone: str, share: float) -> dict[str, Draws]:
        """Threshold metric -> draws, at the natural validation share."""
        return self._read(method, backbone, share, self.rule.table, [None])[0]

    def ends(self, method: str, backbone: str, share: float) -> list[dict[str, Draws]]:
        """The same at the smallest and at the largest of the profile's validation shares."""
        shares = [self.validation_shares[0], self.validation_shares[-1]]
        return self._read(method, backbone, share, self.rule.imbalance, shares)

    def _read(self, method, backbone, share, evaluation, shares) -> list[dict[str, Draws]]:
        key = (method, backbone, share, *shares)
        if key not in self._cells:
            means = [
                {name: np.zeros(1 + self.resamples) for name in metrics.METRICS} for _ in shares
            ]
            for stored in self.system(method, backbone, share):
                try:
                    found = results.draws(
                        stored,
                        evaluation=evaluation,
                        probe=self.rule.probe,
                        shares=shares,
                        sampling=self.rule.sampling,
                        resamples=self.resamples,
                        ranked=False,
                    )
                except DataError as reason:  # a small validation table cannot reach the share
                    raise NotRun(f"in validation, {reason}") from None
                for i, name in product(range(len(shares)), found):
                    means[i][name] += self.seed_weight[stored.run.seed] * found[name][i]
            self._cells[key] = means
        return self._cells[key]

    def f1(
        self, methods: str | Iterable[str], backbones: str | Iterable[str], shares: Iterable[float]
    ) -> Draws:
        """Mean F1 over these systems and train shares, at the natural validation share; MAE counts
        on ViT-Tiny only."""
        methods = [methods] if isinstance(methods, str) else methods
        backbones = [backbones] if isinstance(backbones, str) else backbones
        cells = [
            self.cell(*c)["f1"] for c in product(methods, backbones, shares) if names.exists(*c[:2])
        ]
        return np.mean(cells, axis=0)

    def rival(self, method: str, other: str, shares: Iterable[float]) -> Draws:
        """F1 of `method` minus that of `other`, averaged over the backbones that both have, and
        over `shares`."""
        both = [b for b in BACKBONES if names.exists(method, b) and names.exists(other, b)]
        return self.f1(method, both, shares) - self.f1(other, both, shares)
