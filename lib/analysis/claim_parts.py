"""What a claim consists of, parts, and what they are made from, a board read on one metric."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lib.analysis import wording
from lib.analysis.board import Board, Draws, NotRun, System
from lib.measures import seeds
from lib.study.names import UNTRAINED, label

JOINT = ("byol", "barlow", "simclr", "dino")
PLACES = ("above", "below", "across")  # where an interval lies of a limit
LEVEL = 0.95


class Part(NamedTuple):
    """A statistic, and what the claim says of it: `above` its limit, or below."""

    name: str
    draws: Draws
    weak: tuple[System, ...] = ()  # it rests on these, which did not learn
    limit: float = 0.0
    above: bool = True
    most: float = np.inf  # the largest size that such a statistic can have

    @property
    def value(self) -> float:
        return float(self.draws[:, 0].mean())

    @property
    def claimed(self) -> str:
        """Of `PLACES`, the one that the claim asks for."""
        return PLACES[0] if self.above else PLACES[1]

    def ends(self, level: float = LEVEL) -> tuple[float, float]:
        low, high = np.clip(seeds.interval(self.draws, level), -self.most, self.most)
        return float(low), float(high)

    def margins(self) -> tuple[float, float]:
        """Distances of the interval's two ends from the limit, positive on the claimed side; of the
        value where there is no interval."""
        side, ends = 1 if self.above else -1, self.ends()
        ends = (self.value, self.value) if np.isnan(ends).any() else ends
        low, high = sorted(side * (end - self.limit) for end in ends)
        return low, high

    def place(self, level: float = LEVEL) -> str:
        """Of `PLACES`, that of the interval at this level; across where there is none."""
        low, high = self.ends(level)
        return wording.verdict(low - self.limit, high - self.limit, *PLACES)


def called(systems: Iterable[System]) -> str:
    """`DINO on ViT-Tiny, MAE on ViT-Tiny`."""
    return ", ".join(" on ".join(map(label, system)) for system in systems)


@dataclass(frozen=True)
class Reading:
    """What a claim is judged by: a board, a metric, and the row that stands for MAE.

    A score is that metric at the natural validation share.
    """

    board: Board
    metric: str
    mae: str

    @property
    def ssl(self) -> tuple[str, ...]:
        """The paper's self-supervised methods."""
        return (*JOINT, self.mae)

    def shares(self, low: float = 0.0, high: float = 1.0) -> list[float]:
        """The train shares at hand from `low` to `high`. Raises NotRun for none."""
        if found := [share for share in self.board.shares if low <= share <= high]:
            return found
        wanted = f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"
        raise NotRun(f"no train share of {wanted} was trained")

    def systems(self, methods: Iterable[str], backbone: str = "") -> list[System]:
        """Every (method, backbone) of these methods at hand, on one backbone if it is named.
        Raises NotRun for none."""
        methods = list(methods)
        found = [s for s in self.board.systems(methods) if backbone in ("", s[1])]
        if not found:
            where = f" on {label(backbone)}" if backbone else ""
            raise NotRun(f"{', '.join(map(label, methods))}{where}: not trained")
        return found

    def learned(self, systems: Iterable[System], shares: Sequence[float]) -> list[System]:
        """Those of the systems that learned (`Board.learned`) at these train shares."""
        return [system for system in systems if self.board.learned(*system, shares)]

    def score(self, systems: Iterable[System], shares: Iterable[float]) -> Draws:
        """The mean score of these systems over these train shares."""
        cells = [(*system, at) for system in systems for at in shares]
        return np.mean([self.board.draws(cell)[0][self.metric] for cell in cells], axis=0)

    def part(self, name: str, draws: Draws, rests_on, shares: Sequence[float], **side) -> Part:
        """A part that rests on these systems at these train shares; `side` is its limit, above."""
        rests_on = list(dict.fromkeys(rests_on))
        learned = set(self.learned(rests_on, shares))
        return Part(name, draws, tuple(s for s in rests_on if s not in learned), **side)

    def lead(self, name: str, system: System, other: System, shares: Sequence[float]) -> Part:
        """A system's score minus another's, as a part of that name."""
        gap = self.score([system], shares) - self.score([other], shares)
        return self.part(name, gap, [system, other], shares)

    def over_mean(
        self, system: System, others: Iterable[System], shares: Sequence[float]
    ) -> tuple[Draws, list[System]]:
        """A system's score minus the mean of the others (`learned_or_all`), and what that rests on.
        Raises NotRun for no others."""
        others = [other for other in others if other != system]
        if not others:
            raise NotRun(f"{called([system])} has no rival at hand")
        among = self.learned_or_all(others, shares)
        return self.score([system], shares) - self.score(among, shares), [system, *among]

    def averaged(self) -> tuple[list[System], str]:
        """The systems that a mean over the paper's systems is of, at the largest train share
        (`learned_or_all`), and a note on those left out."""
        systems, shares = self.systems(("supervised", *self.ssl)), self.shares()[-1:]
        among = self.learned_or_all(systems, shares)
        left = called(system for system in systems if system not in among)
        return among, f"mean without {left}: not above the untrained backbone" * bool(left)

    def learned_or_all(self, systems: list[System], shares: Sequence[float]) -> list[System]:
        """Those of the systems that learned, where they are half or more; else all, so that what
        rests on their mean is not answerable: it would speak for systems that are not in it.
        Methods whose encoder is never trained are left out of the count."""
        among = self.learned(systems, shares)
        trained, learned = ([s for s in some if s[0] not in UNTRAINED] for some in (systems, among))
        return among if learned and 2 * len(learned) >= len(trained) else systems
