"""What the documentation says of the results: from the committed renderings of `claims` and
`table1`, and from the simulated studies that calibrate their intervals."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lib.analysis import calibration, claims, judgement, provenance, questions, results, wording
from lib.measures import metrics
from lib.measures.seeds import ENOUGH
from lib.publish import reference
from lib.publish.reference import PROFILE, committed
from lib.report import markup, style
from lib.study import grid, names
from lib.system import paths

CALIBRATION = paths.ROOT / "docs" / "calibration.csv"
SHARES = (0.01, 0.05, 0.45)  # of defects in training, in the READMEs' tables


def trained() -> dict[str, Any]:
    """Where the committed reference was trained, and in what time."""
    return json.loads((paths.REFERENCE / PROFILE / "provenance.json").read_text(encoding="utf-8"))


def words() -> dict[str, Any]:
    """What the templates of the results and of the READMEs call by name."""
    scored = reference.values("claims").fillna({"line": "", "note": "", "part": ""})
    by_claim = scored.set_index(["claim", "line", "protocol", "metric", "mae"]).sort_index()
    measured = reference.values("table1")
    f1 = measured[measured["metric"] == "f1"]
    cells = results.over_seeds(f1).set_index(["method", "backbone", "train_share"])
    images = provenance.of_runs([committed(grid.cells(PROFILE)[0])])
    facts = trained()

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
        "profile": PROFILE,
        "machine": facts,
        "minutes": sum(facts["core_minutes"].values()),
        "claims_table": reference.markdown("claims").strip(),
        "scores_table": reference.markdown("table1").strip(),
        "claim": claim,
        "claims": [_entry(one, scored) for one in (*claims.CLAIMS, *questions.QUESTIONS)],
        "chance": judgement.by_chance(scored),
        "calibration": _calibration(),
        "hangs_on": lambda by: [int(n) for n in judgement.disagreements(scored, by)],
        "change": lambda value, lower, higher: f"{abs(value):.2f} {lower if value < 0 else higher}",
        "state": _state,
        "n_seeds": int(measured["seed"].nunique()),
        "enough": ENOUGH,
        "reference": images,
        "always": metrics.always_defect_f1(images["defect_share"]),
        "vit": f1[(f1["backbone"] == "vit_tiny") & f1["method"].isin(names.TRAINED)]["health"],
        "differences": [_difference(backbone) for backbone in names.BACKBONES],
        "cuts": [f"{names.label(b)}, {names.share(s)}" for b in names.BACKBONES for s in SHARES],
        "largest_share": names.share(SHARES[-1]),
        "systems": systems(names.TRAINED),
        "floor": systems(["random"])[0],
        "spread": {metric: _spread(measured, metric) for metric in ("auroc", "f1")},
    }


def _spread(measured: pd.DataFrame, metric: str) -> str:
    """A row per system, a column per train share: the mean over seeds and their standard deviation,
    with how many of the runs are not healthy, if any."""
    rows, shares = measured[measured["metric"] == metric], sorted(measured["train_share"].unique())
    lines = []
    for system, own in rows.groupby(["method", "backbone"], sort=False):
        cells = (own[own["train_share"] == share] for share in shares)
        lines.append([*map(names.label, system), *map(_over_runs, cells)])
    head = ["Method", "Backbone", *map(names.share, shares)]
    return markup.markdown(head, ["---", "---", *["---:"] * len(shares)], lines)


def _over_runs(rows: pd.DataFrame) -> str:
    """`0.92 ± 0.01 (1†)`: mean, deviation where there are several seeds, runs with a mark."""
    text = f"{rows['value'].mean():.2f}"
    if len(rows) > 1:
        text += f" ± {rows['value'].std():.2f}"
    marks = rows["health"].map(style.MARKS)
    counts = [f"{(marks == mark).sum()}{mark}" for mark in ("†", "°") if (marks == mark).any()]
    return text + f" ({', '.join(counts)})" * bool(counts)


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
    return markup.markdown(head, ["---:"] * len(head), lines)


def _state(row: pd.Series, open_: str, unanswered: str) -> str:
    """`open_` for a claim whose interval crosses its limit, `unanswered` for one without answer."""
    words = dict.fromkeys(("across", "inconclusive"), open_) | {"not answerable": unanswered}
    return words.get(row["verdict"], "")


def _difference(backbone: str) -> str:
    """SimCLR minus the random backbone at the largest share, paired over videos."""
    chosen = {"backbones": (backbone,), "seeds": trained()["seeds"]}
    cells = (grid.cells(PROFILE, methods=[method], **chosen) for method in ("simclr", "random"))
    pair = [[committed(run) for run in runs if run.share == SHARES[-1]] for runs in cells]
    gaps = {name: results.difference(*pair, metric=name) for name in ("f1", "auroc")}
    values = [f"{wording.difference(gap)} in {names.METRIC_NAMES[n]}" for n, gap in gaps.items()]
    return f"{names.label(backbone)}: {' and '.join(values)}."
