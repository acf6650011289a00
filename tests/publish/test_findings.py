"""What the documentation says beside each claim: every note once; and how many
claims and runs got which answer."""

import pandas as pd

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
        ("clean", "f1", "ResNet-18", f"BYOL decides (4 parts). {shared}"),
        ("clean", "auroc", "ResNet-18", f"DINO decides (4 parts). {shared}"),
        ("paper", "f1", "ResNet-18", f"BYOL decides (4 parts). {shared}"),
    )
    assert found == [
        "clean F1 ResNet-18, paper F1 ResNet-18: BYOL decides (4 parts)",
        "Not above the untrained backbone: DINO on ViT-Tiny",
        "clean AUROC ResNet-18: DINO decides (4 parts)",
    ]
    assert entry(("clean", "f1", "", "")) == []


def test_a_claim_counts_with_the_answer_that_it_gets_on_f1():
    columns = ("claim", "line", "protocol", "metric", "mae", "verdict")
    rows = [
        (1, "", "clean", "f1", "described", "supported"),
        (1, "", "clean", "auroc", "described", "inconclusive"),
        (1, "", "clean", "f1", "released", "contradicted"),
        (1, "", "paper", "f1", "described", "contradicted"),
        (11, "ResNet-18", "clean", "f1", "described", "supported"),
        (11, "ViT-Tiny", "clean", "f1", "described", "inconclusive"),
        (12, "", "clean", "curves", "described", "inconclusive"),
        (13, "", "clean", "f1", "described", "supported"),  # a question of ours
    ]
    found = findings._tally(pd.DataFrame(rows, columns=columns))
    assert found == {
        "supported": ["1", "11 on ResNet-18"],
        "inconclusive": ["11 on ViT-Tiny", "12"],
    }


def test_every_marked_system_and_share_counts_on_its_backbone():
    rows = [
        ("simclr", "resnet18", 0.45, "healthy"),
        ("byol", "resnet18", 0.05, "healthy"),
        ("byol", "resnet18", 0.45, "healthy"),
        ("byol", "resnet18", 0.45, "collapsed"),  # of another seed
        ("random", "resnet18", 0.45, "collapsed"),  # not trained
        ("mae", "vit_tiny", 0.45, "no better than random"),
    ]
    columns = ["method", "backbone", "train_share", "health"]
    found = findings._unhealthy(pd.DataFrame(rows, columns=columns))
    assert found == {"ResNet-18": (1, 3), "ViT-Tiny": (1, 1)}


def test_the_simulated_studies_are_shown_as_measured():
    text = findings._calibration()
    rows = pd.read_csv(findings.CALIBRATION)
    assert text.count("\n") == 1 + len(rows) == 10
    for row in rows.itertuples():
        assert f"| {row.coverage:.3f} | {row.supported:.3f} | {row.contradicted:.3f} |" in text
