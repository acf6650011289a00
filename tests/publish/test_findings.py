"""What the documentation says beside each claim: every note once, and a word for what is open."""

import pandas as pd
import pytest

from lib.analysis import claims
from lib.publish import findings


def entry(*rows):
    """The entry of claim 11 from rows (protocol, metric, line, note), all with MAE as described but
    for one that must not count."""
    told = [dict(zip(("protocol", "metric", "line", "note"), row, strict=True)) for row in rows]
    told = [row | {"claim": 11, "mae": "described"} for row in told]
    told.append(told[0] | {"mae": "released", "note": "unheard"})
    return findings._entry(claims.CLAIMS[10], pd.DataFrame(told))["notes"]


def test_a_note_that_holds_everywhere_stands_once_and_others_with_their_places():
    shared = "not above the untrained backbone: DINO on ViT-Tiny"
    found = entry(
        ("clean", "f1", "ResNet-18", f"weakest of 4: BYOL. {shared}"),
        ("clean", "auroc", "ResNet-18", f"weakest of 4: DINO. {shared}"),
        ("paper", "f1", "ResNet-18", f"weakest of 4: BYOL. {shared}"),
    )
    assert found == [
        "clean F1 ResNet-18, paper F1 ResNet-18: weakest of 4: BYOL",
        "Not above the untrained backbone: DINO on ViT-Tiny",
        "clean AUROC ResNet-18: weakest of 4: DINO",
    ]
    assert entry(("clean", "f1", "", "")) == []


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("supported", ""),
        ("above", ""),
        ("inconclusive", "open"),
        ("across", "open"),
        ("not answerable", "none"),
    ],
)
def test_only_what_is_open_is_qualified(verdict, words):
    assert findings._state(pd.Series({"verdict": verdict}), "open", "none") == words


def test_the_simulated_studies_are_shown_as_measured():
    text = findings._calibration()
    rows = pd.read_csv(findings.CALIBRATION)
    assert text.count("\n") == 1 + len(rows) == 10
    for row in rows.itertuples():
        assert f"| {row.coverage:.3f} | {row.supported:.3f} | {row.contradicted:.3f} |" in text
