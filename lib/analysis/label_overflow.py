"""What the overflow of pos_weight does to the threshold of 0, estimated on stored scores
(docs/study.md, quirk 4).

Minimising a cross-entropy whose positives weigh w gives logits log w + log(p / (1 - p)). A wrong
weight w' moves them all by log(w' / w): the threshold moves, and the order of images stays. That is
exact for a probe which is well specified and fitted to convergence on fixed features, and an
estimate for networks that learn under the loss: what the weight does to their features is left out.

    effects = label_overflow.measure(grid.runs("protocol", "mini"))
    print(label_overflow.sentence(effects))
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lib.analysis import protocol_effects, wording
from lib.analysis.protocol_effects import Reading, Scores
from lib.data import splits
from lib.store.stored import Stored, load
from lib.study.grid import Run

EFFECT = "overflow"
HELD: dict[str, Reading] = {
    "augmented images": ("augmented", "online"),
    "clean images": ("clean", "online"),
}
NORMAL = 276_410  # normal images of Sewer-ML that every train share keeps: half of its table


def shift(share: float) -> float:
    """What the overflow adds to every logit at this train share of Sewer-ML; 0 where there is
    none."""
    counts = NORMAL, int(NORMAL * share / (1 - share))
    return log(splits.pos_weight(*counts, overflow=True) / splits.pos_weight(*counts))


@dataclass(frozen=True)
class Shifted(Stored):
    """A stored run, with `by` added to every logit."""

    by: float

    def score_table(self) -> pa.Table:
        """That of the run, in double precision."""
        table = super().score_table()
        moved = pc.add(table["logit"].cast(pa.float64()), self.by)
        return table.set_column(table.column_names.index("logit"), "logit", moved)


def measure(wanted: Iterable[Run | Stored], resamples: int | None = None) -> pd.DataFrame:
    """Rows as of `protocol_effects.measure`: F1 and AUROC of the online probe with the overflow
    minus without, over the train shares that overflow at Sewer-ML's size. Empty where none does.

    A supervised network's online probe is its classifier. Runs that were trained with the overflow
    (`labels_overflow`, and enough defects) are moved back, others forth.
    """
    touched = [stored for stored in map(load, wanted) if shift(stored.run.share)]
    if not touched:
        return pd.DataFrame(columns=[*protocol_effects.KEYS, "value", "low", "high"])
    sides = [
        Scores([_read(one, with_it) for one in touched], resamples) for with_it in (True, False)
    ]
    rows: list[dict] = []
    for held, reading in HELD.items():
        both = [{s: side.draws(s, reading) for s in side.systems} for side in sides]
        rows += protocol_effects.paired(EFFECT, held, *both)
    return pd.DataFrame(rows)


def _read(stored: Stored, overflowed: bool) -> Stored:
    """The run as if it was trained with, or without, the overflow."""
    run, counts = stored.run, stored.record["counts"]
    already = run.settings.labels_overflow and counts["defect"] >= splits.INFINITE
    if already == overflowed:
        return stored
    by = shift(run.share) if overflowed else -shift(run.share)
    return Shifted(run, stored.path, stored.origin, by)


def sentence(effects: pd.DataFrame) -> str:
    """What the overflow does to F1, mean over the paper's systems, or that it was not estimated."""
    changes = []
    for held in HELD:
        try:
            row = protocol_effects.one(effects, EFFECT, held, "mean", "all", "f1")
        except KeyError:
            return "The effect of pos_weight’s overflow is not estimated on these runs."
        words = "raises F1", "lowers F1", "has no clear effect on F1"
        words = wording.verdict(row["low"], row["high"], *words)
        changes.append(f"{words} on {held}, {wording.of_row(row)}")
    return (
        "The overflow of pos_weight at Sewer-ML’s size, which at 45 % of defects moves every logit "
        f"of the online probe by {wording.SIGNED(shift(0.45))}, {' and '.join(changes)} "
        "(estimated; the ranking of images does not change)."
    )
