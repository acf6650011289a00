"""How a claim is judged: by parts that must lie on the claimed side of their limits.

A part is a statistic with draws over seeds and validation videos. With `seeds.ENOUGH` seeds or
more, a claim is supported if the 95 % interval of every part lies on the claimed side; contradicted
if that of any lies on the other, at the level 1 - .05 / k of Bonferroni's correction for k parts;
inconclusive otherwise. Requiring every part (an intersection-union test, Berger 1982) needs no
correction. With fewer seeds there is no verdict: the spread over runs is unknown, so it is only
said where the part that decides lies in these runs.

A part that rests on a system that did not learn (lib.analysis.board.Board.learned) decides nothing.
Where the others do not contradict the claim, it is not answerable.

    scored = judgement.score({"clean": Board(runs, "clean")}, claims.CLAIMS)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from lib.analysis import wording
from lib.analysis.board import Board, NotRun
from lib.analysis.claim_parts import LEVEL, PLACES, Part, Reading, called
from lib.measures import seeds

VARIANTS = {"described": "mae", "released": "mae-released"}  # the rows that may stand for MAE
SCORES = ("f1", "auroc")  # what a claim is read on
UNITS = ("difference in score", "correlation or difference")  # of a statistic
CURVES = "curves"  # in place of a metric, where a claim is of curves over epochs
VERDICTS = ("supported", "contradicted", "inconclusive")
OPEN = ("not answerable", "not run")
SHARED = "All use the same networks, so they are not independent."  # verdicts read together


@dataclass(frozen=True)
class Claim:
    """A claim and what decides it: `lines(reading)` gives name -> parts, a verdict for each line. A
    claim with a rule of its own has `judge(reading)`, which gives columns of `rows`, instead.

    `why` says why the statistic tests the claim, `turns` what would change the verdict, `limits`
    the values of the statistic at which the verdict changes, `unit` one of `UNITS`, `metrics`
    what it is read on.
    """

    number: int
    text: str
    statistic: str
    why: str
    turns: str
    lines: Callable[[Reading], dict[str, list[Part]]] | None = None
    limits: tuple[float, ...] = (0.0,)
    unit: str = UNITS[0]
    metrics: tuple[str, ...] = SCORES
    note: Callable[[Reading, Part], str] | None = None
    judge: Callable[[Reading], dict] | None = None


def verdict(parts: Sequence[Part]) -> str:
    """Of `VERDICTS`, or "not answerable", by the rule above, as if seeds were enough."""
    able = [one for one in parts if not one.weak]
    corrected = 1 - (1 - LEVEL) / len(parts)
    if any(one.place(corrected) not in (one.claimed, PLACES[2]) for one in able):
        return VERDICTS[1]
    if len(able) < len(parts):
        return OPEN[0]
    return VERDICTS[0] if all(one.place() == one.claimed for one in able) else VERDICTS[2]


def judged(parts: Sequence[Part], n_seeds: int) -> tuple[Part, str]:
    """The part to print, and the verdict; with too few seeds its place instead. It is the part that
    decides: if contradicted, the one furthest on the wrong side, else the one whose interval is
    least on the claimed side."""
    word = verdict(parts)
    end = 1 if word == VERDICTS[1] else 0
    printed = min([one for one in parts if not one.weak] or parts, key=lambda p: p.margins()[end])
    return printed, printed.place() if n_seeds < seeds.ENOUGH and word in VERDICTS else word


def rows(claim: Claim, reading: Reading) -> list[dict]:
    """One row per line of the claim: line; value, low, high, limit and claimed side of the part
    that is printed; verdict, part (its name), parts (all of them), note."""
    empty = dict.fromkeys(("value", "low", "high", "limit"), np.nan)
    row = {"line": "", **empty, "claimed": "", "verdict": "not run"}
    row |= {"part": "", "parts": "", "note": ""}
    try:
        if claim.judge:
            return [row | claim.judge(reading)]
        return [row | _row(claim, reading, *line) for line in claim.lines(reading).items()]
    except NotRun as reason:
        return [row | {"note": str(reason)}]


def _row(claim: Claim, reading: Reading, line: str, parts: list[Part]) -> dict:
    printed, word = judged(parts, len(reading.board.seeds))
    low, high = printed.ends()
    weak = dict.fromkeys(system for one in parts for system in one.weak)
    notes = [f"{printed.name} decides ({len(parts)} parts)"] * (len(parts) > 1)
    notes += [f"not above the untrained backbone: {called(weak)}"] * bool(weak)
    notes += [claim.note(reading, printed)] if claim.note else []
    return {
        "line": line,
        "value": printed.value,
        "low": low,
        "high": high,
        "limit": printed.limit,
        "claimed": printed.claimed,
        "verdict": word,
        "part": printed.name,
        "parts": "; ".join(map(_said, parts)) if len(parts) > 1 else "",
        "note": ". ".join(filter(None, notes)),
    }


def _said(one: Part) -> str:
    estimate = wording.estimate(one.value, *one.ends())
    return f"{one.name} {estimate}{' (not learned)' * bool(one.weak)}"


def score(boards: dict[str, Board], claims: Iterable[Claim]) -> pd.DataFrame:
    """A row per claim, line, protocol, variant of MAE and metric: the claim and its `rows`."""
    found, cases = [], product(claims, boards.items(), VARIANTS.items())
    for claim, (protocol, board), (variant, mae) in cases:
        about = {"claim": claim.number, "text": claim.text, "statistic": claim.statistic}
        limits = " ".join(map("{:g}".format, claim.limits))
        about |= {"unit": claim.unit, "limits": limits, "protocol": protocol}
        for metric in claim.metrics:
            where = about | {"mae": variant, "metric": metric, "seeds": len(board.seeds)}
            found += [where | row for row in rows(claim, Reading(board, metric, mae))]
    return pd.DataFrame(found)


def words(row: pd.Series | dict) -> str:
    """A verdict as it is printed: a place with the limit, and that it is one of these runs."""
    if row["verdict"] == OPEN[0]:
        return "not answerable here"
    if row["verdict"] not in PLACES:
        return row["verdict"]
    limit = "zero" if row["limit"] == 0 else wording.minus("{:g}")(row["limit"])
    return f"{row['verdict']} {limit}{wording.here(0)}"


def disagreements(scored: pd.DataFrame, by: str) -> list[int]:
    """Claims whose verdict depends on `by`, "protocol", "mae" or "metric", all else equal."""
    others = {"line", "protocol", "mae", "metric"} - {by}
    decided = scored[~scored["verdict"].isin(OPEN)]
    counts = decided.groupby(["claim", *sorted(others)])["verdict"].nunique()
    return sorted(counts[counts > 1].index.get_level_values("claim").unique())


def distinct(scored: pd.DataFrame) -> pd.DataFrame:
    """The rows with a verdict or a place: one instead of two where both readings of MAE print the
    same, and one for all protocols where a claim is about curves, which no protocol reads."""
    decided = scored[~scored["verdict"].isin(OPEN)]
    decided = decided.assign(protocol=decided["protocol"].mask(decided["metric"] == CURVES, ""))
    printed = [wording.of_row(row) for row in decided.to_dict("records")]
    same = ["claim", "line", "protocol", "metric", "printed", "verdict"]
    return decided.assign(printed=printed).drop_duplicates(same).drop(columns="printed")


def by_chance(scored: pd.DataFrame) -> str:
    """How many verdicts are read together, and how many would fall by chance were nothing true."""
    decided = distinct(scored)
    n, expected = len(decided), (1 - LEVEL) * len(decided)
    if decided["verdict"].isin(PLACES).any():
        outside = (decided["verdict"] != PLACES[2]).sum()
        lie = "lies" if outside == 1 else "lie"
        return (
            f"{outside} of {n} intervals {lie} on one side of the limit. If every statistic were "
            f"at its limit and seeds did not differ, chance would give about {expected:.1f}; as "
            f"seeds differ, it gives more. {SHARED}"
        )
    told = decided["verdict"].isin(VERDICTS[:2]).sum()
    return (
        f"{told} of {n} verdicts are “supported” or “contradicted”. If every statistic were at its "
        f"limit, chance would give about {expected:.1f}. {SHARED}"
    )
