"""What three habits of the released code do to the results, measured on stored scores
(docs/study.md, quirks 1 to 3). The fourth is estimated in `lib.analysis.label_overflow`.

A reading is an (evaluation, probe) of the same trained backbones, so an effect is a paired
difference over the same images, seeds and resamples of videos (lib.measures.seeds). Everything is
at the natural validation share.

    scores = protocol_effects.Scores(grid.runs("protocol", "mini"))
    effects, order = protocol_effects.measure(scores), protocol_effects.order(scores)
    print(*protocol_effects.sentences(effects, order), sep="\\n")
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import combinations

import numpy as np
import pandas as pd

from lib.analysis import wording
from lib.analysis.board import Board, Draws
from lib.analysis.judgement import VARIANTS
from lib.measures import correlation, seeds
from lib.store.stored import Stored
from lib.study import names
from lib.study.grid import Run
from lib.study.names import BACKBONES, NOT_IN_PAPER, label

METRICS = ("f1", "auroc")
System = tuple[str, str]  # method, backbone
Reading = tuple[str, str]  # evaluation, probe
PROTOCOL: dict[str, Reading] = {
    name: (rule.table, rule.probe) for name, rule in sorted(names.PROTOCOLS.items())
}
# effect -> what is held fixed -> the two readings whose difference it is. The sum of the second and
# the third is the last: augmented online - clean online + clean online - clean converged.
EFFECTS: dict[str, dict[str, tuple[Reading, Reading]]] = {
    "evaluation": {
        f"{probe} probe": (("augmented", probe), ("clean", probe))
        for probe in ("converged", "online")
    },
    "probe": {"clean images": (("clean", "online"), ("clean", "converged"))},
    "protocol": {"nothing": (PROTOCOL["paper"], PROTOCOL["clean"])},
}
KEYS = ("effect", "held", "method", "backbone", "metric")
DONE = {
    "evaluation": "Scoring augmented instead of plain images",
    "probe": "Reading the online instead of the converged probe",
    "protocol": "Both together, reading protocol paper instead of clean,",
}


class Scores:
    """F1 and AUROC of every system under any reading, averaged over train shares.

    `systems` are the (method, backbone) of `wanted`, in its order.
    """

    def __init__(self, wanted: list[Run | Stored], resamples: int | None = None):
        self.board = Board(wanted, "clean", resamples)
        self.systems: list[System] = list(dict.fromkeys(cell[:2] for cell in self.board.cells))
        self.shares = sorted({share for _, _, share in self.board.cells})

    def draws(self, system: System, reading: Reading) -> dict[str, Draws]:
        """metric -> (S, 1 + B): by seed the estimate, then its bootstrap draws."""
        options = {"evaluation": reading[0], "probe": reading[1]}
        cells = [self.board.draws((*system, share), **options)[0] for share in self.shares]
        return {name: sum(cell[name] * (1 / len(cells)) for cell in cells) for name in METRICS}


def papers(systems: Iterable[System], mae: str = "mae") -> list[System]:
    """Those of `systems` that the paper has; MAE is the row `mae`, as described or as released."""
    left_out = {*NOT_IN_PAPER, "mae"} - {mae}
    return [system for system in systems if system[0] not in left_out]


# Effects


def measure(scores: Scores) -> pd.DataFrame:
    """A row per effect, what is held fixed, system and metric: value, low, high (95 % interval).

    Effects: those of `EFFECTS`, with a row `mean` over the paper's systems; `mae`, MAE as described
    minus as released under each protocol; `level`, the score itself under each protocol. What was
    not trained has no row.
    """
    rows: list[dict] = []
    for effect, readings in EFFECTS.items():
        for held, pair in readings.items():
            sides = [{s: scores.draws(s, reading) for s in scores.systems} for reading in pair]
            rows += paired(effect, held, *sides)
    nothing = dict.fromkeys(METRICS, 0.0)
    for protocol, reading in PROTOCOL.items():
        levels = {system: scores.draws(system, reading) for system in scores.systems}
        described, released = ((row, "vit_tiny") for row in VARIANTS.values())
        if described in levels and released in levels:
            rows += _differences("mae", protocol, described, levels[described], levels[released])
        for system, level in levels.items():
            rows += _differences("level", protocol, system, level, nothing)
    return pd.DataFrame(rows)


def paired(
    effect: str, held: str, ours: dict[System, dict], theirs: dict[System, dict]
) -> Iterator[dict]:
    """The rows of one effect, `ours` minus `theirs`, both system -> metric -> draws: a row per
    system and metric, then those of the mean over the paper's systems."""
    for system in ours:
        yield from _differences(effect, held, system, ours[system], theirs[system])
    if among := papers(ours):
        means = [
            {name: np.mean([side[system][name] for system in among], axis=0) for name in METRICS}
            for side in (ours, theirs)
        ]
        yield from _differences(effect, held, ("mean", "all"), *means)


def _differences(effect: str, held: str, system: System, ours: dict, theirs: dict) -> Iterator:
    """A row per metric of one paired difference."""
    for name in METRICS:
        difference = ours[name] - theirs[name]
        low, high = seeds.interval(difference)
        row = dict(zip(KEYS, (effect, held, *system, name), strict=True))
        value = float(difference[:, 0].mean())
        yield row | {"value": value, "low": float(low), "high": float(high)}


def one(
    effects: pd.DataFrame, effect: str, held: str, method: str, backbone: str, metric: str
) -> pd.Series:
    """The row of one effect. Raises KeyError where it was not measured."""
    place = dict(zip(KEYS, (effect, held, method, backbone, metric), strict=True))
    rows = effects[np.logical_and.reduce([effects[name] == value for name, value in place.items()])]
    if len(rows) != 1:
        raise KeyError(f"{len(rows)} rows of {place}, expected one")
    return rows.iloc[0]


# The order of systems


def order(scores: Scores) -> pd.DataFrame:
    """How both protocols rank the paper's systems of a backbone by mean F1, with either MAE.

    Columns mae, method, backbone, rho, pairs, swapped, told_apart, rank_clean, rank_paper. A row
    per system has its ranks (1 is best). A row of the method `all` has Spearman's correlation of
    the two rankings, the number of pairs, of those that change places, and of those whose
    difference has a 95 % interval on opposite sides of zero: the others are near ties. No row where
    fewer than two systems are ranked.
    """
    rows = []
    for variant, mae in VARIANTS.items():
        for backbone in BACKBONES:
            systems = papers([s for s in scores.systems if s[1] == backbone], mae)
            if len(systems) < 2 or (variant == "released" and (mae, backbone) not in systems):
                continue
            f1 = {
                name: np.stack([scores.draws(system, reading)["f1"] for system in systems])
                for name, reading in PROTOCOL.items()
            }
            which = {"mae": variant, "method": "all", "backbone": backbone}
            means = {name: values[..., 0].mean(axis=1) for name, values in f1.items()}
            rho, _, _ = correlation.spearman(means["clean"], means["paper"], draws=0)
            rows.append(which | {"rho": rho} | _swaps(f1["clean"], f1["paper"]))
            for i, (method, _) in enumerate(systems):
                ranks = {f"rank_{p}": (v > v[i]).sum() + 1.0 for p, v in means.items()}
                rows.append(which | {"method": method} | ranks)
    columns = ("mae", "method", "backbone", "rho", "pairs", "swapped", "told_apart")
    return pd.DataFrame(rows, columns=[*columns, *(f"rank_{name}" for name in PROTOCOL)])


def _swaps(clean: np.ndarray, paper: np.ndarray) -> dict[str, int]:
    """Pairs of systems by F1 (systems, S, 1 + B): all, those that change places, those told
    apart."""
    pairs = list(combinations(range(len(clean)), 2))
    first, second = np.transpose(pairs)
    gaps = [f1[first] - f1[second] for f1 in (clean, paper)]
    signs = [gap[..., 0].mean(axis=1) for gap in gaps]
    (low, high), (low_paper, high_paper) = map(seeds.interval, gaps)
    apart = ((low > 0) & (high_paper < 0)) | ((high < 0) & (low_paper > 0))
    swapped = int((signs[0] * signs[1] < 0).sum())
    return {"pairs": len(pairs), "swapped": swapped, "told_apart": int(apart.sum())}


def joined(effects: pd.DataFrame, order: pd.DataFrame) -> pd.DataFrame:
    """Both tables as the one that is saved: a value of `order` becomes a row of the effect
    `order`, with the row that stands for MAE as what is held fixed."""
    blocks = [effects]
    for _, block in order.groupby(["mae", "backbone"], sort=False):
        rows = block.melt(["mae", "method", "backbone"], var_name="metric")
        of_one_system = rows["metric"].str.startswith("rank_")
        rows = rows[of_one_system == (rows["method"] != "all")]
        blocks.append(rows.rename(columns={"mae": "held"}).assign(effect="order"))
    return pd.concat(blocks, ignore_index=True)


def split(saved: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The effects and the order out of a table that `joined` made."""
    is_order = saved["effect"] == "order"
    keys = ["held", "method", "backbone"]
    order = saved[is_order].pivot(index=keys, columns="metric", values="value").reset_index()
    return saved[~is_order], order.rename(columns={"held": "mae"})


# Sentences


def sentences(effects: pd.DataFrame, order: pd.DataFrame) -> list[str]:
    """A sentence an effect (mean over the paper's systems), a backbone's order, and on MAE: what
    was measured, never a verdict."""
    found = []
    for effect, readings in EFFECTS.items():
        for held in readings:
            with suppress(KeyError):
                found.append(_effect_sentence(effects, effect, held))
    found = found or ["None of the paper’s systems is here: there is no mean."]
    return [*found, *_order_sentences(order), _mae_sentence(effects)]


def _effect_sentence(effects: pd.DataFrame, effect: str, held: str) -> str:
    f1, auroc = (one(effects, effect, held, "mean", "all", name) for name in METRICS)
    systems = effects[(effects["effect"] == effect) & (effects["held"] == held)]
    systems = systems[~systems["method"].isin([*NOT_IN_PAPER, "mean"])]
    changes = []
    for metric, name, row in zip(METRICS, ("F1", "AUROC"), (f1, auroc), strict=True):
        words = f"raises {name}", f"lowers {name}", f"has no clear effect on {name}"
        own = systems[systems["metric"] == metric]
        changes.append(
            f"{wording.verdict(row['low'], row['high'], *words)}, {wording.of_row(row)} (clearly "
            f"higher in {(own['low'] > 0).sum()}, clearly lower in {(own['high'] < 0).sum()} of "
            f"{len(own)} system{'s' * (len(own) > 1)})"
        )
    fixed = "" if held == "nothing" else f" ({held})"
    is_threshold = bool(f1["low"] > 0 and auroc["high"] < 0)
    return (
        f"{DONE[effect]}{fixed} {', and '.join(changes)}"
        + ": the threshold moves, the ranking of images does not improve" * is_threshold
        + "."
    )


def _order_sentences(order: pd.DataFrame) -> list[str]:
    rows = order[(order["mae"] == "described") & (order["method"] == "all")]
    return [
        f"On {label(row.backbone)}, the protocols order {row.swapped:.0f} of {row.pairs:.0f} pairs "
        f"of systems oppositely by F1, {row.told_apart:.0f} of them with intervals on opposite "
        f"sides of zero (Spearman’s rho of the rankings {wording.PLAIN(row.rho)})."
        for row in rows.itertuples()
    ]


def _mae_sentence(effects: pd.DataFrame) -> str:
    parts = []
    try:
        for protocol in PROTOCOL:
            rows = [one(effects, "mae", protocol, "mae", "vit_tiny", name) for name in METRICS]
            f1, auroc = map(wording.of_row, rows)
            parts.append(f"{f1} in F1 and {auroc} in AUROC under {protocol}")
    except KeyError:
        return "MAE as described is not compared with MAE as released: that takes both rows."
    return f"MAE as described minus MAE as released: {'; '.join(parts)}."
