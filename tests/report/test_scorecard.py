"""The scorecard shows every claim on F1 and on AUROC, a released MAE only where it differs, and
names what was not run."""

import itertools

import cards
import numpy as np
import pandas as pd
import pytest

from lib.analysis import claims, judgement, questions
from lib.report import scorecard

JUDGED = ["value", "low", "high", "verdict"]


@pytest.fixture
def scored():
    return cards.card(lambda n, p, m: (n, p, m) == (1, "clean", "f1"), auroc=0.01)


def texts(card):
    return [text.get_text() for text in card.draw().axes[0].texts]


def test_each_claim_is_read_on_both_metrics_side_by_side(scored):
    card = scorecard.Scorecard(scored)
    assert card.header()[3:] == ["F1, `clean`", "AUROC, `clean`", "F1, `paper`", "AUROC, `paper`"]
    assert card.lines()[0][3:5] == [
        "supported, +0.10 [+0.00, +0.20]",
        "inconclusive, +0.11 [+0.00, +0.20]",
    ]
    fig = card.draw()
    assert {"F1", "AUROC"} <= {text.get_text() for text in fig.axes[0].texts}
    forests = fig.axes[0].child_axes
    points = [
        sorted(line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o")
        for ax in forests
    ]
    assert points == [
        pytest.approx([0.1, 0.1, 0.2, 0.2]),
        pytest.approx([0.11, 0.11, 0.21, 0.21]),
    ]


def test_a_released_mae_is_shown_only_where_it_differs(scored):
    card = scorecard.Scorecard(scored)
    assert "released" not in card.markdown()
    released = (scored["claim"] == 2) & (scored["mae"] == "released")
    scored.loc[released & (scored["metric"] == "f1"), "value"] = 0.15
    first, second = scorecard.Scorecard(scored).lines()
    assert "released" not in " ".join(first)
    assert (
        second[3]
        == "inconclusive, +0.20 [+0.00, +0.40]; as released: inconclusive, +0.15 [+0.00, +0.40]"
    )
    assert "released" not in second[4]
    assert all(
        len(line.split(" & ")) == 7 for line in card.latex().splitlines() if line.endswith(r"\\")
    )


def test_few_seeds_are_told_in_words_without_a_verdict(scored):
    scored["verdict"] = np.where(scored["claim"] == 1, "above", "not answerable")
    card = scorecard.Scorecard(scored)
    first, second = card.lines()
    assert first[3] == "above zero in these runs, +0.10 [+0.00, +0.20]"
    assert second[3].startswith("not answerable here, +0.20")
    drawn = texts(card)
    assert drawn.count("above") == drawn.count("no answer") == 4
    assert not {"supported", "contradicted", "inconclusive"} & set(drawn)


def test_a_claim_of_one_metric_leaves_the_other_open(scored):
    one = scored[(scored["claim"] == 1) | (scored["metric"] == "f1")]
    card = scorecard.Scorecard(one)
    assert card.lines()[1][3:] == ["inconclusive, +0.20 [+0.00, +0.40]", "–"] * 2
    assert texts(card).count("–") == 2
    curves = one.replace({"metric": {"f1": judgement.CURVES}})
    assert scorecard.Scorecard(curves).lines()[1][4] == "–"


def test_lines_of_a_claim_are_rows_of_their_own(scored):
    lines = [scored.assign(line=name) for name in ("ResNet-18", "ViT-Tiny")]
    card = scorecard.Scorecard(pd.concat(lines, ignore_index=True))
    assert [(line[0], line[1]) for line in card.lines()] == [
        ("1", "claim 1 (ResNet-18)"),
        ("1", "claim 1 (ViT-Tiny)"),
        ("2", "claim 2 (ResNet-18)"),
        ("2", "claim 2 (ViT-Tiny)"),
    ]


def test_claims_that_were_not_run_are_one_line(scored):
    scored.loc[scored["claim"] == 2, JUDGED] = [*[np.nan] * 3, "not run"]
    card = scorecard.Scorecard(scored)
    assert [line[0] for line in card.lines()] == ["1"]
    assert card.markdown().endswith("\n\nClaims not run: 2. The CSV says why.")
    assert len(card.claims()) == 2  # for the report
    assert "Claims not run: 2. The CSV says why." in texts(card) and "2" not in texts(card)
    scored["verdict"] = "not run"
    assert "Claims not run: 1, 2." in scorecard.Scorecard(scored).markdown()
    assert scorecard.Scorecard(scored).draw().axes


def test_a_claim_that_ran_under_one_protocol_keeps_its_row(scored):
    paper = (scored["claim"] == 2) & (scored["protocol"] == "paper")
    scored.loc[paper, JUDGED] = [*[np.nan] * 3, "not run"]
    card = scorecard.Scorecard(scored)
    assert [line[0] for line in card.lines()] == ["1", "2"] and not card.not_run()


def test_values_of_unlike_units_share_no_axis(scored):
    scored.loc[scored["claim"] == 1, ["unit", "value", "high"]] = judgement.UNITS[1], 0.9, 1.6
    card = scorecard.Scorecard(scored)
    assert [(unit, [c[0] for c in own]) for unit, own in card.blocks()] == [
        (judgement.UNITS[0], [2]),
        (judgement.UNITS[1], [1]),
    ]
    assert [line[0] for line in card.lines()] == ["1", "2"]  # as text in the claims' order
    forests = card.draw().axes[0].child_axes
    assert [ax.get_xlabel().split(",")[0] for ax in forests] == [
        *["Difference in score"] * 2,
        *["Correlation or difference"] * 2,
    ]
    ends = [ax.get_xlim()[1] for ax in forests]
    assert ends[0] == ends[1] < 0.5 and ends[2] == ends[3] > 1.6  # both metrics are alike


def test_an_interval_that_decides_nothing_does_not_stretch_the_axis(scored):
    open_ = (scored["claim"] == 2) & (scored["protocol"] == "paper") & (scored["metric"] == "f1")
    scored.loc[open_, ["verdict", "low", "high"]] = "not answerable", -5.0, 7.0
    f1, auroc = scorecard.Scorecard(scored).draw().axes[0].child_axes
    assert f1.get_xlim() == auroc.get_xlim() and f1.get_xlim()[1] < 0.5
    arrows = [
        [line.get_marker() for line in ax.lines if line.get_marker() in "<>"] for ax in (f1, auroc)
    ]
    assert arrows == [["<", ">"], []]
    scored["verdict"] = "inconclusive"
    (low, high), *_ = (
        ax.get_xlim() for ax in scorecard.Scorecard(scored).draw().axes[0].child_axes
    )
    assert low < -5 and high > 7


CLAIMS = [*claims.CLAIMS, *questions.QUESTIONS]


@pytest.mark.parametrize("pair", list(itertools.pairwise(CLAIMS)))
def test_no_text_is_cut_or_overlaps_another(scored, pair):
    """With the words of the claims, and the longest verdicts."""
    for number, claim in enumerate(pair, start=1):
        words = {"text": claim.text, "statistic": claim.statistic}
        scored.loc[scored["claim"] == number, list(words)] = list(words.values())
    scored["verdict"] = np.where(scored["mae"] == "released", "contradicted", "inconclusive")
    fig = scorecard.Scorecard(scored).draw()
    fig.draw_without_rendering()
    page = fig.bbox
    boxes = [text.get_window_extent() for text in fig.axes[0].texts if text.get_text()]
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 for box in boxes)
    for i, one in enumerate(boxes):
        assert not any(one.overlaps(other) for other in boxes[i + 1 :])
