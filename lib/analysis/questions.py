"""Two questions of ours that the paper leaves open, judged as its claims are.

They stand as 13 and 14 below its twelve claims, and need the results of `lib.store.measured`: their
judges raise MissingRuns without them.
"""

from lib.analysis import correlation, results
from lib.analysis.board import NotRun
from lib.analysis.claim_parts import Part, Reading
from lib.analysis.judgement import UNITS, VARIANTS, Claim
from lib.measures.representation import MEASURES
from lib.store import measured
from lib.study.names import PROTOCOLS, share


def measure_over_rankme(reading: Reading) -> dict:
    """How much better than RankMe the best label-free measure, named in the note, ranks."""
    board = reading.board
    other = next(row for row in VARIANTS.values() if row != reading.mae)
    wanted = [stored for stored in board.stored if stored.run.method != other]
    if not wanted:
        raise NotRun(f"nothing but {other} was trained")
    measures = {stored.run.id: measured.measures(stored) for stored in wanted}
    targets = [reading.metric]
    points = correlation.Points(wanted, measures, board.protocol, board.resamples, targets)
    correlations = correlation.correlate(points, scopes=[correlation.JUDGED])
    best = correlation.better_than_rankme(correlations, reading.metric)
    name = best.pop("measure")
    return best | {"note": f"best measure: {MEASURES[name].name}" if name else ""}


def reconstruction_over_probe(reading: Reading) -> list[Part]:
    """AUROC of MAE's reconstruction error minus that of its probe, both on plain images, a part a
    train share."""
    board, parts = reading.board, []
    (mae,), probe = reading.systems([reading.mae], "vit_tiny"), board.rule.probe
    for at in reading.shares():
        runs = board.system(*mae, at)
        errors = [
            view
            for stored in runs
            for view in measured.detected(stored)
            if (view.detector, view.setting) == ("reconstruction", "normals")
        ]
        own = board.draws((*mae, at), PROTOCOLS["clean"].table, probe)[0][reading.metric]
        gain = (
            results.natural_by_seed(errors, reading.metric, board.protocol, board.resamples) - own
        )
        parts.append(reading.part(share(at), gain, [mae], [at]))
    return parts


QUESTIONS = (
    Claim(
        13,
        "A label-free measure predicts F1 better than RankMe",
        "ours: rank correlation with the score, times the expected sign, − RankMe’s",
        "Points are resampled, because the methods and shares of one study are a sample. Intervals "
        "are corrected for the number of measures, so one better measure is enough.",
        "Better in one measure supports it; worse in all contradicts it.",
        unit=UNITS[1],
        judge=measure_over_rankme,
    ),
    Claim(
        14,
        "MAE detects better by reconstruction than by probe",
        "ours: AUROC of the reconstruction error − of the probe, plain images, each train share",
        "Both see the same plain images, whatever the protocol; the probe is the protocol’s. The "
        "two have no threshold in common, so AUROC alone is compared. Each share is a part.",
        "One share at which the probe is better contradicts it.",
        lines=lambda reading: {"": reconstruction_over_probe(reading)},
        metrics=("auroc",),
    ),
)
