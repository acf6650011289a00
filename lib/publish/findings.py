"""What the documentation says of the results: from the committed renderings of `claims` and
`table1`, and from the simulated studies that calibrate their intervals."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from lib.analysis import (
    calibration,
    claims,
    judgement,
    label_overflow,
    protocol_effects,
    provenance,
    questions,
    results,
    wording,
)
from lib.analysis.board import Board
from lib.analysis.claim_parts import JOINT
from lib.measures import metrics
from lib.measures.seeds import ENOUGH
from lib.publish import reference
from lib.publish.reference import PROFILE, committed
from lib.report import markup, style
from lib.study import grid, names
from lib.system import paths

CALIBRATION = paths.ROOT / "docs" / "calibration.csv"
SUBJECTS = {"mini": "simulated frames", "solar": "photographs of solar cells"}
SHARES = (0.01, 0.05, 0.45)  # of defects in training, in the READMEs' tables


def trained(profile: str = PROFILE) -> dict[str, Any]:
    """Where the committed reference of `profile` was trained, and in what time."""
    return reference.provenance(paths.REFERENCE / profile)


def words(profile: str = PROFILE) -> dict[str, Any]:
    """What the templates of the results and of the READMEs call by name."""
    scored = reference.values("claims", profile).fillna({"line": "", "note": "", "part": ""})
    by_claim = scored.set_index(["claim", "line", "protocol", "metric", "mae"]).sort_index()
    measured = reference.values("table1", profile)
    f1 = measured[measured["metric"] == "f1"]
    cells = results.over_seeds(f1).set_index(["method", "backbone", "train_share"])
    images = provenance.of_validation(committed(grid.cells(profile)[0]))
    protocols = reference.values("protocol", profile)
    facts = trained(profile)

    def cell(method: str, backbone: str, share: float) -> str:
        """F1 with the mark of its runs' worst health; a dash where the study has no such system."""
        if not names.exists(method, backbone):
            return "–"
        row = cells.loc[method, backbone, share]
        return f"{row['value']:.2f}{style.MARKS[row['health']]}"

    def systems(methods: Iterable[str]) -> list[list[str]]:
        cuts = [(b, s) for b in names.BACKBONES for s in SHARES]
        return [[names.label(m), *(cell(m, b, s) for b, s in cuts)] for m in methods]

    def claim(number: int, mae: str = "described", metric: str = "f1", line: str = "") -> pd.Series:
        return by_claim.loc[(number, line, "clean", metric, mae)]

    return {
        "profile": profile,
        "main": profile == PROFILE,
        "subject": SUBJECTS[profile],
        "picture": lambda name: reference.picture(name, profile).name,
        "machine": facts["machines"][0],
        "others": facts["machines"][1:],
        "minutes": lambda machine: sum(machine["core_minutes"].values()),
        "claims_table": reference.markdown("claims", profile).strip(),
        "scores_table": reference.markdown("table1", profile).strip(),
        "claim": claim,
        "claims": [_entry(one, scored) for one in (*claims.CLAIMS, *questions.QUESTIONS)],
        "chance": judgement.by_chance(scored),
        "calibration": _calibration(),
        "hangs_on": lambda by: [int(n) for n in judgement.disagreements(scored, by)],
        "change": lambda value, lower, higher: f"{abs(value):.2f} {lower if value < 0 else higher}",
        "estimate": wording.of_row,
        "verdict": judgement.words,
        "n_seeds": int(measured["seed"].nunique()),
        "enough": ENOUGH,
        "reference": images,
        "always": metrics.always_defect_f1(images["defect_share"]),
        "unhealthy": _unhealthy(f1),
        "tally": _tally(scored),
        "differences": [_difference(backbone, profile) for backbone in names.BACKBONES],
        "protocol_effects": _effects(protocols),
        "cuts": [f"{names.label(b)}, {names.share(s)}" for b in names.BACKBONES for s in SHARES],
        "largest_share": names.share(SHARES[-1]),
        "systems": systems(names.TRAINED),
        "floor": systems(["random"])[0],
        "learning": _learning(measured, profile),
        "without_labels": _without_labels(profile),
        "together": protocol_effects.one(protocols, "protocol", "nothing", "mean", "all", "auroc"),
        "spread": {metric: _spread(measured, metric) for metric in ("auroc", "f1")},
    }


def _learning(measured: pd.DataFrame, profile: str) -> dict[str, Any]:
    """At the largest share of defects in training, by AUROC as the mean over seeds: `systems`, of
    trained ones; the `best`, by its name, and its `score`; `floor`, of the untrained backbones,
    lower first. And train share -> how many systems `learned` (`Board.learned`)."""
    runs = grid.cells(profile, seeds=trained(profile)["seeds"])
    board = Board([committed(run) for run in runs], "clean")
    rows = measured[(measured["metric"] == "auroc") & (measured["train_share"] == SHARES[-1])]
    cells = results.over_seeds(rows).set_index(["method", "backbone"])
    trained_rows = cells[cells.index.isin(names.TRAINED, level="method")]
    best = trained_rows["value"].idxmax()
    return {
        "systems": trained_rows["value"],
        "learned": {
            share: sum(board.learned(*system, [share]) for system in board.systems(names.TRAINED))
            for share in board.shares
        },
        "best": " on ".join(map(names.label, best)),
        "score": trained_rows["value"].max(),
        "floor": sorted(cells.loc["random", "value"]),
    }


def _unhealthy(measured: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Backbone -> how many of its trained systems, each at each share, are marked in the tables
    (lib.report.captions.marked), and of how many."""
    own = measured[measured["method"].isin(names.TRAINED)]
    cells = own.groupby(["backbone", "method", "train_share"])["health"].agg(results.worst)
    marked = (cells != "healthy").groupby("backbone")
    return {names.label(b): (marked.sum()[b], marked.size()[b]) for b in names.BACKBONES}


def _tally(scored: pd.DataFrame) -> dict[str, list[str]]:
    """Verdict -> the paper's claims that got it, on F1 (or curves), protocol `clean`, MAE as
    described. Where the lines of a claim got several, each is named."""
    own = scored[(scored["protocol"] == "clean") & (scored["mae"] == "described")]
    own = own[(own["metric"] != "auroc") & (own["claim"] <= len(claims.CLAIMS))]
    several = own.groupby("claim")["verdict"].transform("nunique") > 1
    named = own["claim"].astype(str) + np.where(several, " on " + own["line"], "")
    return {word: [*dict.fromkeys(claims_of)] for word, claims_of in named.groupby(own["verdict"])}


def _without_labels(profile: str) -> dict[float, dict[str, float]]:
    """Train share -> mean AUROC over self-supervised systems of a Mahalanobis distance that was
    fitted without a label (`distance`) and of the `probe` with labels; and of that distance over
    the backbones as initialised (`untrained`)."""
    rows = reference.values("detectors-shares", profile)
    rows = rows[rows["metric"] == "auroc"].set_index(["detector", "setting", "method"])
    kinds = {
        "distance": ("mahalanobis", "unlabelled", [*JOINT, "mae"]),
        "probe": ("probe", "labels", [*JOINT, "mae"]),
        "untrained": ("mahalanobis", "unlabelled", ["random"]),
    }
    means = {
        name: rows.loc[(detector, setting, methods), :].groupby("train_share")["value"].mean()
        for name, (detector, setting, methods) in kinds.items()
    }
    return pd.DataFrame(means).to_dict("index")


def agreement(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """How alike two references, as of `words`, order the trained systems at the largest share:
    Spearman's `rho` of their AUROC, over `n` systems."""
    systems = [words["learning"]["systems"] for words in (one, other)]
    pair = pd.concat(systems, axis=1, join="inner")
    return {"rho": pair.corr("spearman").iloc[0, 1], "n": len(pair)}


def _spread(measured: pd.DataFrame, metric: str) -> str:
    """A row per system, a column per train share: the mean over seeds and their standard deviation,
    with the marks."""
    rows, shares = measured[measured["metric"] == metric], sorted(measured["train_share"].unique())
    lines = []
    for system, own in rows.groupby(["method", "backbone"], sort=False):
        cells = (own[own["train_share"] == share] for share in shares)
        lines.append([*map(names.label, system), *map(_over_runs, cells)])
    head = ["Method", "Backbone", *map(names.share, shares)]
    return markup.markdown(head, lines, 2)


def _over_runs(rows: pd.DataFrame) -> str:
    """`0.92 ± 0.01° (1†)`: mean, deviation if there are several seeds, ° if the mean bears it,
    and how many runs collapsed or diverged."""
    text = f"{rows['value'].mean():.2f}"
    if len(rows) > 1:
        text += f" ± {rows['value'].std():.2f}"
    marks = list(rows["health"].map(style.MARKS))
    dead = marks.count("†")
    return text + "°" * ("°" in marks) + f" ({dead}†)" * bool(dead)


def _entry(claim: judgement.Claim, scored: pd.DataFrame) -> dict[str, Any]:
    """A claim and the notes on its answers, with MAE as described: each once, with where it holds
    unless that is everywhere."""
    own = scored[(scored["claim"] == claim.number) & (scored["mae"] == "described")]
    holds: dict[str, list[str]] = {}
    for row in own.to_dict("records"):
        where = row["protocol"], names.METRIC_NAMES.get(row["metric"]), row["line"]
        for note in filter(None, row["note"].split(". ")):
            holds.setdefault(note, []).append(" ".join(filter(None, where)))
    notes = [
        note[0].upper() + note[1:] if len(places) == len(own) else f"{', '.join(places)}: {note}"
        for note, places in holds.items()
    ]
    return {"claim": claim, "notes": notes}


def _calibration() -> str:
    """The simulated studies, a row per number of seeds and noise."""
    head = ["seeds", "noise of runs / sampling error", "coverage of 95 % intervals"]
    head += ["“supported”, one part", f"“contradicted”, {calibration.PARTS} parts"]
    forms = {"seeds": "{:.0f}", "noise": "{:g}"}
    forms |= dict.fromkeys(("coverage", "supported", "contradicted"), "{:.3f}")
    rows = pd.read_csv(CALIBRATION).to_dict("records")
    lines = [[form.format(row[name]) for name, form in forms.items()] for row in rows]
    return markup.markdown(head, lines, 0)


def _effects(measured: pd.DataFrame) -> list[str]:
    """A sentence for each thing that the released protocol does to the scores."""
    sentences = protocol_effects.sentences(*protocol_effects.split(measured))
    return [*sentences, label_overflow.sentence(measured)]


def _difference(backbone: str, profile: str) -> str:
    """SimCLR minus the random backbone at the largest share, paired over videos."""
    chosen = {"backbones": (backbone,), "seeds": trained(profile)["seeds"]}
    cells = (grid.cells(profile, methods=[method], **chosen) for method in ("simclr", "random"))
    pair = [[committed(run) for run in runs if run.share == SHARES[-1]] for runs in cells]
    gaps = {name: results.difference(*pair, metric=name) for name in ("f1", "auroc")}
    values = [f"{wording.difference(gap)} in {names.METRIC_NAMES[n]}" for n, gap in gaps.items()]
    return f"{names.label(backbone)}: {' and '.join(values)}."
