"""The scorecard of the opening page: verdicts, readings and counts, each beside its figure."""

import re

import pytest
from report_files import png, write_claims

from lib.publish.entries import ALT
from lib.publish.pages import write
from lib.publish.verdicts import EVIDENCE, groups
from lib.report import scorecard
from lib.study import artefacts


def test_one_reading_where_both_agree_and_each_where_they_do_not(rendered):
    (card,) = groups(rendered / "figures" / "smoke" / "claims.csv")
    columns = [(column["name"], column["metric"]) for column in card["columns"]]
    assert columns == [(name, metric) for name in ("clean", "paper") for metric in ("F1", "AUROC")]
    first, second, last = card["rows"]

    def cell(verdict, estimate, note=""):
        reading = {"variant": "", "note": note, "estimate": estimate}
        return [{"verdict": verdict, "words": verdict, "readings": [reading]}]

    assert first["cells"] == [
        cell("supported", "+0.10 [+0.05, +0.15]"),
        cell("inconclusive", "+0.01 [−0.05, +0.06]"),
        cell("contradicted", "−0.20 [−0.30, −0.10]"),
        [],
    ]
    clean, *others = second["cells"]
    assert [(c["verdict"], [s["variant"] for s in c["readings"]]) for c in clean] == [
        ("contradicted", ["MAE as described"]),
        ("inconclusive", ["MAE as released"]),
    ]
    assert others == [[], [], []]
    assert last["cells"][0] == cell("not run", "", "dino was not trained")


def test_counts_name_claims_whose_verdict_hangs_on_mae(rendered):
    (card,) = groups(rendered / "figures" / "smoke" / "claims.csv")
    counts = [column["counts"] for column in card["columns"]]
    split = "1 where it depends on how MAE is read"
    assert counts == [f"1 supported, 1 not run, {split}", "1 inconclusive", "1 contradicted", ""]


def test_places_of_these_runs_say_so_and_lines_stand_apart(workspace):
    write_claims(
        workspace,
        {"claim": 8, "verdict": "below", "limit": "-0.05", "limits": "-0.05", "seeds": 1},
        {"claim": 11, "line": "ResNet-18", "verdict": "above", "seeds": 1},
        {"claim": 11, "line": "ViT-Tiny", "verdict": "not answerable", "seeds": 1},
    )
    (card,) = groups(workspace / "claims.csv")
    rows = [(row["text"], row["cells"][0][0]["words"]) for row in card["rows"]]
    assert rows == [
        ("A claim", "below −0.05 in these runs"),
        ("A claim (ResNet-18)", "above zero in these runs"),
        ("A claim (ViT-Tiny)", "not answerable here"),
    ]
    assert groups(workspace / "claims.csv")[0]["chance"].startswith("2 of 2 intervals lie")
    assert groups(workspace / "none.csv") == []


def test_one_verdict_with_two_estimates_is_one_pill(workspace):
    write_claims(workspace, {}, {"mae": "released", "value": "0.2"})
    ((cell,),) = (row["cells"][0] for row in groups(workspace / "claims.csv")[0]["rows"])
    assert [reading["estimate"] for reading in cell["readings"]] == [
        "+0.10 [+0.05, +0.15]",
        "+0.20 [+0.05, +0.15]",
    ]


def test_two_readings_that_were_not_run_keep_both_reasons(workspace):
    absent = {"verdict": "not run", "value": "", "low": "", "high": ""}
    write_claims(workspace, absent | {"note": "a"}, absent | {"mae": "released", "note": "b"})
    ((cell,),) = (row["cells"][0] for row in groups(workspace / "claims.csv")[0]["rows"])
    assert cell["readings"] == [{"variant": "", "estimate": "", "note": "a; b"}]


def test_questions_of_ours_are_counted_apart_and_every_claim_leads_to_its_figure(rendered):
    figures = rendered / "figures" / "smoke"
    numbers = [1, 3, 5, 13, 14]
    write_claims(figures, *({"claim": n, "statistic": "ours: a − b"} for n in numbers))
    theirs, ours = groups(figures / "claims.csv")
    assert [(g["ours"], g["columns"][0]["counts"]) for g in (theirs, ours)] == [
        (False, "3 supported"),
        (True, "2 supported"),
    ]
    evidence = [row["evidence"] for group in (theirs, ours) for row in group["rows"]]
    assert evidence == ["table1", "fig10", "fig5", "labelfree", "detectors"]
    png(figures / "fig5.png", (60, 40))
    page = write("smoke").read_text()
    claims, _, questions = page.partition("Questions of our own")
    assert '<a href="table1.html">Table 1</a>' in claims
    assert '<a href="fig5.html">Figure 5</a>' in claims
    assert "fig10.html" not in page  # not rendered, so there is nothing to lead to
    assert questions.count("supported</span>") == 2


def test_evidence_and_texts_are_of_artefacts_that_exist():
    assert set(EVIDENCE.values()) <= set(artefacts.ARTEFACTS)
    assert list(ALT) == list(artefacts.ARTEFACTS)


def test_pills_carry_a_word_and_a_class(report):
    page = (report / "index.html").read_text()
    pills = re.findall(r'<span class="pill ([\w-]+)">([\w ]+)</span>', page)
    assert [word for _, word in pills] == [
        "supported",
        "inconclusive",
        "contradicted",
        "contradicted",
        "inconclusive",
        "not run",
    ]
    assert all(word.replace(" ", "-") == name for name, word in pills)
    style = (report / "style.css").read_text()
    assert all(f".{name.replace(' ', '-')} {{" in style for name in scorecard.SHORT)
    assert "verdicts are “supported” or “contradicted”" in page


def test_a_scorecard_that_was_not_rendered_is_named(rendered):
    (rendered / "figures" / "smoke" / "claims.csv").unlink()
    assert "make claims PROFILE=smoke" in write("smoke").read_text().split("<h2")[1]


def test_a_foreign_scorecard_is_refused(workspace):
    (workspace / "claims.csv").write_text("claim,text\n1,A\n")
    with pytest.raises(
        ValueError, match=r"lacks the columns claimed, high, limit, limits, line.*make claims"
    ):
        groups(workspace / "claims.csv")
    write_claims(workspace, {"verdict": "suported"})
    with pytest.raises(ValueError, match="did you mean 'supported'"):
        groups(workspace / "claims.csv")
