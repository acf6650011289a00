"""Two questions that the paper leaves open, judged as its claims are, from stored runs. Knows no
torch.

They are ours, not the paper's, and stand as 13 and 14 below its twelve claims.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from lib.analysis import claims, correlation, results
from lib.analysis.board import Board, NotRun
from lib.store.measured import detected, measures


@dataclass(frozen=True)
class Question:
    """A question and what decides it: `judge(board, protocol, mae)` gives value, low, high and
    verdict."""

    number: int
    text: str
    statistic: str
    judge: Callable[[Board, str, str], dict]


def measure_over_rankme(board: Board, protocol: str, mae: str) -> dict:
    """Of the label-free measure that decides: how much better than RankMe it ranks systems and
    train shares by F1."""
    other = next(row for row in claims.VARIANTS.values() if row != mae)
    wanted = [s.run for s in board.stored if s.run.method != other]
    points = correlation.Points(
        wanted, {run.id: measures(run) for run in wanted}, protocol, board.resamples
    )
    measured = correlation.correlate(points, scopes=[correlation.JUDGED], targets=["f1"])
    found = correlation.better_than_rankme(measured)
    return found | {"note": found.pop("measure")}


def reconstruction_over_probe(board: Board, protocol: str, mae: str) -> dict:
    """AUROC of MAE's reconstruction error minus that of its probe, paired over seeds and videos."""
    own = [s for s in board.stored if s.run.method == mae]
    if not own:
        raise NotRun(f"{mae} was not trained")
    views = [
        v
        for s in own
        for v in detected(s)
        if (v.detector, v.setting) == ("reconstruction", "normals")
    ]
    gain = results.difference(views, own, "auroc", protocol)
    found = (
        "supported" if gain["low"] > 0 else "contradicted" if gain["high"] < 0 else "inconclusive"
    )
    return {
        "value": gain["estimate"],
        "low": gain["low"],
        "high": gain["high"],
        "verdict": found,
        "note": "",
    }


QUESTIONS = (
    Question(
        13,
        "A label-free measure predicts F1 better than RankMe",
        "ours: rank correlation with F1, of the expected sign, − RankMe’s; corrected for all tried",
        measure_over_rankme,
    ),
    Question(
        14,
        "MAE detects better by reconstruction than by probe",
        "ours: AUROC(reconstruction error) − AUROC(probe), mean over train shares",
        reconstruction_over_probe,
    ),
)


def score(boards: dict[str, Board]) -> pd.DataFrame:
    """Rows as those of `claims.score`. Raises MissingRuns where measurements are missing."""
    return pd.DataFrame(
        [
            {
                "claim": question.number,
                "text": question.text,
                "protocol": protocol,
                "mae": variant,
                "statistic": question.statistic,
            }
            | _judged(question, board, protocol, row)
            for question in QUESTIONS
            for protocol, board in boards.items()
            for variant, row in claims.VARIANTS.items()
        ]
    )


def _judged(question: Question, board: Board, protocol: str, mae: str) -> dict:
    try:
        return question.judge(board, protocol, mae)
    except NotRun as reason:
        return claims.not_run(reason)
