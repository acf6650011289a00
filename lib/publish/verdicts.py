"""The scorecard as the report's opening page shows it: the paper's claims, then our questions."""

from collections import Counter
from pathlib import Path

import pandas as pd

from lib.analysis import claims, judgement, wording
from lib.report import scorecard
from lib.study.names import METRIC_NAMES, PROTOCOLS

# The artefact that shows what decides a claim, where it is not Table 1.
EVIDENCE = {3: "fig10", 5: "fig5", 12: "fig6", 13: "labelfree", 14: "detectors"}


def groups(file: Path) -> list[dict]:
    """The scorecard in `file`: the paper's claims, then our own questions, each with its rows (a
    cell per protocol and metric) and its columns (how many got which verdict), and how many
    verdicts of both chance would give. A group without rows is left out, and there is none where
    there is no file."""
    if not file.exists():
        return []
    card = scorecard.Scorecard(scorecard.read(file))
    protocols = [name for name in ("clean", "paper") if name in card.protocols]
    columns = [(name, metric) for name in protocols for metric in judgement.SCORES]
    parts, numbered = {False: [], True: []}, list(enumerate(columns))
    for number, line, text, statistic in card.claims():
        title = f"{text} ({line})" if line else text
        row = {"number": number, "text": title, "statistic": statistic.removeprefix("ours: ")}
        row["evidence"] = EVIDENCE.get(number, "table1")
        row["cells"] = [_cell(card.readings(number, line, *column)) for column in columns]
        parts[number > len(claims.CLAIMS)].append(row)
    chance = {"chance": judgement.by_chance(card.scored)}
    return [
        chance | {"ours": ours, "rows": own, "columns": [_column(own, i, *c) for i, c in numbered]}
        for ours, own in parts.items()
        if own
    ]


def _column(rows: list[dict], i: int, name: str, metric: str) -> dict:
    """Protocol and metric number `i`, with how many of the rows got which verdict, in words."""
    split = "where it depends on how MAE is read"
    cells = filter(None, (row["cells"][i] for row in rows))
    counts = Counter(cell[0]["verdict"] if len(cell) == 1 else split for cell in cells)
    told = [f"{counts[word]} {word}" for word in (*scorecard.SHORT, split) if counts[word]]
    facts = {"name": name, "metric": METRIC_NAMES[metric], "probe": PROTOCOLS[name].probe}
    return facts | {"counts": ", ".join(told)}


def _cell(readings: list[pd.Series]) -> list[dict]:
    """Verdicts, each with what was measured, with true minus signs; readings of MAE are named where
    they differ."""
    verdicts: dict[tuple, list[dict]] = {}
    for row in readings:
        estimate = wording.of_row(row).strip("–")
        variant = f"MAE as {row['mae']}" * (len(readings) > 1)
        reading = {"variant": variant, "estimate": estimate, "note": row["note"]}
        verdicts.setdefault((row["verdict"], judgement.words(row)), []).append(reading)
    return [{"verdict": v, "words": w, "readings": own} for (v, w), own in verdicts.items()]
