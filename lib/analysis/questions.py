"""Two questions of ours that the paper leaves open, judged as its claims are.

They stand as 13 and 14 below its twelve claims, and need the results of `lib.store.measured`: their
judges raise MissingRuns without them.
"""

from lib.analysis import claims, correlation, results, wording
from lib.analysis.board import Board, NotRun
from lib.analysis.claims import Claim
from lib.store import measured


def measure_over_rankme(board: Board, mae: str) -> dict:
    """How much better than RankMe the best label-free measure, named in the note, ranks by F1."""
    other = next(row for row in claims.VARIANTS.values() if row != mae)
    wanted = [s.run for s in board.stored if s.run.method != other]
    measures = {run.id: measured.measures(run) for run in wanted}
    points = correlation.Points(wanted, measures, board.protocol, board.resamples)
    correlations = correlation.correlate(points, scopes=[correlation.JUDGED], targets=["f1"])
    best = correlation.better_than_rankme(correlations)
    return best | {"note": best.pop("measure")}


def reconstruction_over_probe(board: Board, mae: str) -> dict:
    """AUROC of MAE's reconstruction error minus that of its probe, paired over seeds and videos."""
    runs = [s for s in board.stored if s.run.method == mae]
    if not runs:
        raise NotRun(f"{mae} was not trained")
    errors = [
        view
        for stored in runs
        for view in measured.detected(stored)
        if (view.detector, view.setting) == ("reconstruction", "normals")
    ]
    gain = results.difference(errors, runs, "auroc", board.protocol)
    verdict = wording.verdict(gain["low"], gain["high"])
    return claims.verdict_row(gain["estimate"], gain["low"], gain["high"], verdict)


QUESTIONS = (
    Claim(
        13,
        "A label-free measure predicts F1 better than RankMe",
        "ours: rank correlation with F1, of the expected sign, − RankMe’s; corrected for all tried",
        measure_over_rankme,
    ),
    Claim(
        14,
        "MAE detects better by reconstruction than by probe",
        "ours: AUROC(reconstruction error) − AUROC(probe), mean over train shares",
        reconstruction_over_probe,
    ),
)
