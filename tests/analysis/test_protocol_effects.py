"""Effects of a reading are paired differences: exactly zero between equal scores, a known shift
found as it is."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lib.analysis import board, claim_parts, protocol_effects, scoring
from lib.measures import bootstrap
from lib.study import names

B = 200
SYSTEMS = [(m, b) for b in names.BACKBONES for m in names.METHODS if names.exists(m, b)]


class Made(protocol_effects.Scores):
    """Scores (system, reading, metric) -> value, with the same noise for every system and reading,
    or its own."""

    def __init__(self, value, systems=SYSTEMS, noise=0.01, shared=True):
        self.value, self.systems, self.noise, self.shared = value, systems, noise, shared

    def draws(self, system, reading):
        def noise(name):
            key = [*map(ord, name), *([] if self.shared else map(ord, repr((system, reading))))]
            return np.r_[0, self.noise * np.random.default_rng(key).standard_normal(B)][None]

        return {
            name: self.value(system, reading, name) + noise(name)
            for name in protocol_effects.METRICS
        }


def flat(system, reading, name):
    return 0.6


def shifted(system, reading, name):
    """Augmented scores .1 lower, the online probe's .2 lower, MAE as released .3 lower."""
    evaluation, probe = reading
    return (
        0.9
        - 0.1 * (evaluation == "augmented")
        - 0.2 * (probe == "online")
        - 0.3 * (system[0] == "mae-released")
    )


def differences(measured):
    return measured[measured["effect"].isin([*protocol_effects.EFFECTS, "mae"])]


def test_equal_scores_differ_by_exactly_nothing():
    found = differences(protocol_effects.measure(Made(flat)))
    assert len(found) == 2 * (
        4 * (len(SYSTEMS) + 1) + 2
    )  # four differences, a mean each; MAE under two protocols
    assert (found[["value", "low", "high"]] == 0).all(axis=None)


def test_a_known_shift_is_found_with_its_sign():
    found = differences(protocol_effects.measure(Made(shifted)))
    expected = found["effect"].map(
        {"evaluation": -0.1, "probe": -0.2, "protocol": -0.3, "mae": 0.3}
    )
    for name in (
        "value",
        "low",
        "high",
    ):  # the noise is shared, so the difference of a pair has none
        np.testing.assert_allclose(found[name], expected, atol=1e-12)


def test_the_protocol_is_the_sum_of_evaluation_and_probe():
    found = protocol_effects.measure(
        Made(lambda s, r, n: len(s[0]) * 0.01 + len(r[0] + r[1] + s[1]) ** 2 * 0.001)
    )
    index = ["method", "backbone", "metric"]
    parts = {key: rows.set_index(index)["value"] for key, rows in found.groupby(["effect", "held"])}
    total = parts["evaluation", "online probe"] + parts["probe", "clean images"]
    pd.testing.assert_series_equal(total, parts["protocol", "nothing"], check_exact=False)


def test_only_the_papers_systems_are_in_the_mean():
    found = protocol_effects.measure(
        Made(lambda s, r, n: 0.5 + (s[0] in ("random", "mae-released")) * (r[1] == "online"))
    )
    assert protocol_effects.one(found, "probe", "clean images", "mean", "all", "f1")["value"] == 0
    assert (
        protocol_effects.one(found, "probe", "clean images", "random", "resnet18", "f1")["value"]
        == 1
    )
    assert (
        len(protocol_effects.papers(SYSTEMS))
        == len(protocol_effects.papers(SYSTEMS, "mae-released"))
        == 11
    )


def ranked(by_paper, noise=0.0):
    """Five systems of ResNet-18 whose F1 is .1, .2 ... under clean and `by_paper` under paper."""
    systems = [("supervised", "resnet18"), *((m, "resnet18") for m in claim_parts.JOINT)]
    clean = dict(zip(systems, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True))
    paper = dict(zip(systems, by_paper, strict=True))

    def value(system, reading, name):
        return (clean if reading == protocol_effects.PROTOCOL["clean"] else paper)[system]

    found = protocol_effects.order(Made(value, systems, noise, shared=False))
    counts = found[found["method"] == "all"].iloc[0]
    return counts[["rho", "pairs", "swapped", "told_apart"]], found.set_index("method")


def test_a_reversed_order_swaps_every_pair():
    order, found = ranked((0.5, 0.4, 0.3, 0.2, 0.1), noise=1e-3)
    assert order.to_dict() == {"rho": -1, "pairs": 10, "swapped": 10, "told_apart": 10}
    assert set(found["mae"]) == {"described"} and set(found["backbone"]) == {"resnet18"}
    assert list(found.loc["supervised", ["rank_clean", "rank_paper"]]) == [5, 1]


def test_the_same_order_swaps_none_whatever_the_level():
    order, _ = ranked((0.5, 0.6, 0.7, 0.8, 0.9), noise=1e-3)
    assert order.to_dict() == {"rho": 1, "pairs": 10, "swapped": 0, "told_apart": 0}


def test_a_near_tie_that_swaps_is_not_told_apart():
    order, _ = ranked((0.1, 0.2, 0.3, 0.5 + 1e-6, 0.5), noise=1e-2)
    assert (order["swapped"], order["told_apart"]) == (1, 0)


def test_the_order_is_given_with_either_row_as_mae():
    found = protocol_effects.order(Made(shifted))
    ranks = found[found["rank_clean"].notna() & (found["backbone"] == "vit_tiny")]
    assert {
        mae: set(rows["method"]) - set(claim_parts.JOINT) for mae, rows in ranks.groupby("mae")
    } == {
        "described": {"supervised", "mae"},
        "released": {"supervised", "mae-released"},
    }
    assert found[found["mae"] == "released"]["backbone"].unique() == ["vit_tiny"]


def test_effects_and_order_come_back_from_the_table_that_is_saved():
    scores = Made(shifted, noise=1e-3)
    effects, order = protocol_effects.measure(scores), protocol_effects.order(scores)
    saved = protocol_effects.joined(effects, order)
    assert list(saved.columns) == list(effects.columns)
    kept, found = protocol_effects.split(saved)
    pd.testing.assert_frame_equal(kept, effects)
    keys = ["mae", "method", "backbone"]
    columns = [*keys, *sorted(set(order) - set(keys))]
    tables = [t[columns].sort_values(keys, ignore_index=True) for t in (found, order)]
    pd.testing.assert_frame_equal(*tables, check_dtype=False, check_names=False)


# Sentences


def sentences(scores):
    return protocol_effects.sentences(
        protocol_effects.measure(scores), protocol_effects.order(scores)
    )


def test_f1_that_rises_while_auroc_falls_is_a_threshold():
    def value(system, reading, name):
        return 0.5 + 0.1 * (reading[0] == "augmented") * (1 if name == "f1" else -1)

    told = sentences(Made(value))
    assert told[0].startswith(
        "Scoring augmented instead of plain images (converged probe) raises F1, "
        "+0.10 [+0.10, +0.10]"
    )
    assert (
        "the threshold moves" in told[0]
        and "(clearly higher in 11, clearly lower in 0 of 11 systems)" in told[0]
    )
    assert not any("threshold" in one for one in sentences(Made(shifted)))


def test_an_interval_across_zero_leaves_it_open():
    told = sentences(Made(flat, shared=False))
    assert all("has no clear effect on F1" in one for one in told[:4])


def test_what_was_not_trained_is_said_not_to_be_there():
    scores = Made(flat, [("random", "resnet18")])
    found = protocol_effects.measure(scores)
    assert set(found["method"]) == {"random"}
    assert sentences(scores) == [
        "None of the paper’s systems is here: there is no mean.",
        "MAE as described is not compared with MAE as released: that takes both rows.",
    ]
    with pytest.raises(KeyError, match="0 rows of"):
        protocol_effects.one(found, "probe", "clean images", "mean", "all", "f1")


# From stored scores

NAMES = [f"{i}.png" for i in range(8)]
DEFECT = np.repeat([1, 0], 4)
PERFECT = np.where(DEFECT, 1.0, -1.0)


@dataclass(eq=False)
class StoredHere:
    """What readings ask of a stored run."""

    run: SimpleNamespace
    scores: pd.DataFrame
    written: int = 0
    origin: str = "fresh"

    def score_table(self):
        return pa.Table.from_pandas(self.scores)


def stored(share, seed, augmented):
    """A run whose scores are perfect but for the online probe on augmented images: two views with
    these logits."""
    views = [("clean", 0), ("augmented", 0), ("augmented", 1)]
    frames = [
        pd.DataFrame(
            {
                "Filename": NAMES,
                "split": "val",
                "evaluation": evaluation,
                "probe": probe,
                "view": view,
                "logit": augmented if (evaluation, probe) == ("augmented", "online") else PERFECT,
            }
        )
        for probe in ("online", "converged")
        for evaluation, view in views
    ]
    run = SimpleNamespace(
        id="made", method="simclr", backbone="resnet18", share=share, seed=seed, data={"seed": 0}
    )
    run.profile = "mini"
    return StoredHere(run, pd.concat(frames))


@pytest.fixture
def scores(monkeypatch):
    """A function that makes Scores of runs (share, seed, logits), of eight images."""
    monkeypatch.setattr(bootstrap, "FEWEST", 1)
    table = pd.DataFrame({"Filename": NAMES, "Defect": DEFECT, "Video": NAMES, "Sampled": True})
    monkeypatch.setattr(scoring, "_validation", lambda data, folder: (table, True))
    for remembered in (scoring._columns, scoring._weights):
        remembered.cache_clear()
    monkeypatch.setattr(board, "load", lambda run: run)

    def make(*cells):
        return protocol_effects.Scores([stored(*cell) for cell in cells], resamples=50)

    return make


def test_half_the_defects_missed_under_augmentation_cost_a_third_of_f1(scores):
    missed = np.where(
        np.arange(8) < 2, -2.0, PERFECT
    )  # recall 1 / 2 at precision 1: F1 2 / 3; below every normal
    found = protocol_effects.measure(scores((0.01, 42, missed)))
    cell = ("simclr", "resnet18")
    assert protocol_effects.one(found, "evaluation", "online probe", *cell, "f1")[
        "value"
    ] == pytest.approx(-1 / 3)
    assert protocol_effects.one(found, "evaluation", "online probe", *cell, "auroc")[
        "value"
    ] == pytest.approx(-1 / 2)
    assert protocol_effects.one(found, "protocol", "nothing", *cell, "f1")[
        "value"
    ] == pytest.approx(-1 / 3)
    untouched = protocol_effects.one(found, "evaluation", "converged probe", *cell, "f1")
    assert (untouched[["value", "low", "high"]] == 0).all()


@pytest.mark.parametrize("many", [2, 3])
def test_shares_and_seeds_weigh_the_same(scores, many):
    missed = np.where(np.arange(8) < 2, -2.0, PERFECT)
    one_in_four = [
        (share, seed, missed if (share, seed) == (0.01, 0) else PERFECT)
        for share in (0.01, 0.45)
        for seed in range(many)
    ]
    made = scores(*one_in_four)
    assert (made.shares, made.systems) == ([0.01, 0.45], [("simclr", "resnet18")])
    found = protocol_effects.one(
        protocol_effects.measure(made), "evaluation", "online probe", "simclr", "resnet18", "f1"
    )
    assert found["value"] == pytest.approx(-1 / 3 / 2 / many)
    assert found["low"] < found["value"] < found["high"]
    assert (found["high"] > 0) == (many == 3)  # one seed of three: their spread is in the interval
