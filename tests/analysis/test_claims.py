"""Claims are decided by the rule that lib.analysis.judgement states: each can come out either way,
or undecided, or not answerable; one or two seeds give no verdict."""

import zlib
from types import SimpleNamespace

import cards
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.analysis import association, claims, judgement, questions, scoring
from lib.analysis import board as board_module
from lib.analysis.board import Board, NotRun
from lib.analysis.claim_parts import JOINT, Part, Reading, called
from lib.store import measured as measured_module
from lib.study import names
from lib.system.errors import DataError

B = 100
SHARES = (0.01, 0.02, 0.05, 0.15, 0.45)
METHODS = ("supervised", *JOINT, "mae", "mae-released", "random")
CELLS = [(m, b, s) for m in METHODS for b in names.BACKBONES if names.exists(m, b) for s in SHARES]


class Made(Board):
    """A board with given scores, value(method, backbone, share), the same on every metric, and runs
    that spread by `noise`. Every system learned but those that `weak` names."""

    def __init__(
        self,
        value,
        noise=0.002,
        seeds=(1, 2, 3),
        cells=CELLS,
        weak=(),
        rankme=lambda *cell: 1.0,
        curve=None,
        protocol="clean",
    ):
        self.value, self.noise, self.weak, self.curve = value, noise, weak, curve
        self.seeds, self.resamples, self.protocol = list(seeds), B, protocol
        self.rule, self.validation_shares = names.PROTOCOLS[protocol], [0.01, 0.45]
        self._draws, self._learned = {}, {}
        self._runs = {
            cell: [
                SimpleNamespace(
                    run=SimpleNamespace(id=repr((cell, seed)), method=cell[0]),
                    record={"rankme": rankme(*cell)},
                    history=curve and curve(*cell, seed),
                )
                for seed in seeds
            ]
            for cell in cells
        }
        self.stored = [stored for runs in self._runs.values() for stored in runs]

    def learned(self, method, backbone, shares):
        return method not in self.weak and (method, backbone) not in self.weak

    def draw(self, value, *key):
        rng = np.random.default_rng([2, zlib.crc32(repr(key).encode())])
        runs = value + self.noise * rng.standard_normal((len(self.seeds), 1))
        return runs + np.c_[0 * runs, 1e-3 * rng.standard_normal((len(self.seeds), B))]

    def draws(self, cell, evaluation="", probe="", shares=(None,), ranked=()):
        self.system(*cell)
        if shares == (None,):
            return [{name: self.draw(self.value(*cell), cell) for name in ("f1", "auroc")}]
        gain = self.value("slope", *cell[1:])
        ends = [(self.value(*cell) - by, self.value(*cell)) for by in (gain, 0)]
        kinds = {"f1": 0, "precision": 0, "recall": 1}
        return [
            {name: self.draw(end[i], cell, name, k) for name, i in kinds.items()}
            for k, end in enumerate(ends)
        ]


def judged(number, board, mae="mae", metric=None):
    """The rows of a claim on its first metric, or on the one named."""
    claim = claims.CLAIMS[number - 1]
    assert claim.number == number
    return judgement.rows(claim, Reading(board, metric or claim.metrics[0], mae))


def verdicts(*arguments, **options):
    return [row["verdict"] for row in judged(*arguments, **options)]


def flat(m, b, s):
    return 0.6


def mae_low(m, b, s):
    return 0.3 if m.startswith("mae") else 0.6


def mae_high(m, b, s):
    return 0.8 if m.startswith("mae") else 0.6


def backbone_only(m, b, s):
    return 0.7 if b == "resnet18" else 0.3


def method_only(m, b, s):
    return 0.1 * (1 + JOINT.index(m)) if m in JOINT else 0.5


def lead(who, by, backbone=None, shares=SHARES):
    """.5 everywhere, `by` more for one method (on one backbone, at some shares)."""
    return lambda m, b, s: 0.5 + by * (m == who and backbone in (None, b) and s in shares)


def falls(m, b, s):
    return 0.3 + s


def rises(m, b, s):
    return 0.9 - s


def slope(by):
    return lambda m, b, s: by if m == "slope" else 0.6


def dino(resnet, vit):
    return lambda m, b, s: 0.5 + (m == "dino") * (resnet if b == "resnet18" else vit)


CASES = {
    1: (mae_low, mae_high),
    2: (method_only, backbone_only),
    4: (falls, rises),
    5: (slope(0.4), slope(-0.4)),
    6: (lead("byol", 0.2, shares=SHARES[:1]), lead("simclr", 0.2, shares=SHARES[:1])),
    7: (lead("simclr", 0.2, "resnet18"), lead("simclr", -0.2, "resnet18")),
    8: (lead("barlow", 0.0), lead("barlow", -0.2, shares=SHARES[:1])),
    9: (dino(-0.2, 0), dino(0.2, -0.2)),
    10: (mae_low, mae_high),
    11: (lead("supervised", 0.2), lead("byol", 0.2)),
}


@pytest.mark.parametrize("number", CASES)
def test_each_claim_can_be_supported_contradicted_and_left_open(number):
    true, false = CASES[number]
    lines = 2 if number in (9, 11) else 1
    assert verdicts(number, Made(true)) == ["supported"] * lines
    assert verdicts(number, Made(false)) == ["contradicted"] * lines
    assert verdicts(number, Made(true, noise=5.0)) == ["inconclusive"] * lines


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_one_seed_or_two_give_no_verdict(number, seeds):
    for case in CASES[number]:
        for row in judged(number, Made(case, seeds=seeds)):
            assert row["verdict"] in ("above", "below", "across")
            assert not np.isnan([row["value"], row["low"], row["high"]]).any()
            assert "in these runs" in judgement.words(row)


def test_every_claim_says_what_it_rests_on():
    for claim in (*claims.CLAIMS, *questions.QUESTIONS):
        assert all(text.strip() for text in (claim.text, claim.statistic, claim.why, claim.turns))
        assert set(claim.metrics) <= {*judgement.SCORES, judgement.CURVES}
    assert [claim.number for claim in claims.CLAIMS] == list(range(1, 13))
    both = {c.number for c in claims.CLAIMS if c.metrics == judgement.SCORES}
    assert both == set(range(1, 13)) - {5, 12}  # AUROC has no validation share, curves no metric
    vit_only = {m for m in names.METHODS if not names.exists(m, "resnet18")}
    assert vit_only == set(judgement.VARIANTS.values())


# The rule


def part(centre, name="", spread=0.3, **options):
    """A part of three seeds whose videos' error has deviation `spread`."""
    quantiles = stats.norm.ppf((np.arange(2001) + 0.5) / 2001) * spread
    return Part(name, np.tile(np.r_[centre, centre + quantiles], (3, 1)), **options)


def test_verdicts_follow_the_intervals():
    assert judgement.verdict([part(2), part(3)]) == "supported"
    assert judgement.verdict([part(2), part(0.5)]) == "inconclusive"
    assert judgement.verdict([part(2), part(-2)]) == "contradicted"
    assert judgement.verdict([part(-0.62)]) == "contradicted"
    assert judgement.verdict([part(-0.62), *[part(2)] * 9]) == "inconclusive"  # Bonferroni
    # a limit, and a claim of what lies below it
    assert judgement.verdict([part(-2, limit=-3)]) == "supported"
    assert judgement.verdict([part(-2, limit=-1, above=False)]) == "supported"
    assert judgement.verdict([part(-2, above=True)]) == "contradicted"


def test_what_rests_on_systems_that_did_not_learn_is_not_answerable():
    weak = part(5, weak=(("dino", "vit_tiny"),))
    assert judgement.verdict([weak]) == "not answerable"
    assert judgement.verdict([part(2), weak]) == "not answerable"
    assert judgement.verdict([part(-2), weak]) == "contradicted"  # by the part that can be answered
    against = part(-5, weak=(("dino", "vit_tiny"),))
    assert judgement.verdict([part(2), against]) == "not answerable"


def test_the_weakest_part_that_decides_is_printed():
    parts = [part(2, "a"), part(1, "b"), part(-9, "c", weak=(("mae", "vit_tiny"),))]
    printed, word = judgement.judged(parts, 3)
    assert (printed.name, word) == ("b", "not answerable")
    assert judgement.judged(parts[:2], 3)[1] == "supported"
    assert judgement.judged(parts[:2], 2)[1] == "above"
    below = [part(-2, "d", above=False), part(-5, "e", above=False)]
    assert judgement.judged(below, 1)[0].name == "d" and judgement.judged(below, 1)[1] == "below"


def test_the_part_that_is_printed_lies_as_its_verdict_says():
    """By its interval: an estimate nearer to the limit may be the surer one."""
    sure, open_ = part(0.1, "sure", spread=0.04), part(0.5, "open", spread=0.4)
    assert judgement.judged([sure, open_], 3)[0].name == "open"  # inconclusive by this one
    assert judgement.judged([sure, part(2)], 3)[0].name == "sure"
    against, wide = part(-0.1, "against", spread=0.03), part(-0.2, "wide", spread=0.4)
    printed, word = judgement.judged([against, wide, part(2)], 3)
    assert (printed.name, word) == ("against", "contradicted")
    assert printed.place() == "below" and wide.place() == "across"
    below = [one._replace(above=False) for one in (against, wide)]
    assert judgement.judged(below, 3)[0].name == "wide"  # the claim says below: inconclusive
    none = [Part(name, np.full((3, 2001), np.nan)) for name in ("first", "second")]
    for one, value in zip(none, (0.2, 0.1), strict=True):
        one.draws[:, 0] = value  # too few videos for an interval
    assert judgement.judged(none, 3)[0].name == "second"


def test_a_place_is_told_with_its_limit():
    row = {"verdict": "below", "limit": -0.05}
    assert judgement.words(row) == "below −0.05 in these runs"
    assert judgement.words(row | {"limit": 0.0}) == "below zero in these runs"
    assert judgement.words({"verdict": "supported"}) == "supported"
    assert judgement.words({"verdict": "not answerable"}) == "not answerable here"


# Who learned


@pytest.mark.parametrize(
    ("number", "weak", "expected"),
    [
        (1, ("mae",), "not answerable"),
        (1, ("dino",), "not answerable"),
        (2, JOINT, "not answerable"),
        (2, ("dino",), "supported"),  # the others are compared
        (4, ("dino",), "supported"),  # a mean over the others
        (4, ("dino", "byol", ("barlow", "resnet18")), "supported"),  # 6 of 11 learned
        (4, ("dino", "byol", "barlow"), "not answerable"),  # 5 of 11 speak for no others
        (4, METHODS, "not answerable"),
        (6, ("byol",), "not answerable"),
        (8, ("barlow",), "not answerable"),
        (9, (("dino", "resnet18"),), "not answerable"),
        (10, ("mae",), "not answerable"),
        (11, ("mae",), "supported"),  # on ResNet-18, which has none
    ],
)
def test_a_claim_names_the_systems_that_did_not_learn(number, weak, expected):
    row = judged(number, Made(CASES[number][0], weak=weak))[0]
    assert row["verdict"] == expected
    if expected == "not answerable":
        assert "not above the untrained backbone: " in row["note"]
        first = weak[0] if isinstance(weak[0], str) else weak[0][0]
        assert names.label(first) in row["note"]
    if number == 4 and expected == "supported":
        out = [("byol", b) for b in names.BACKBONES if "byol" in weak]
        out += [("barlow", "resnet18")] * ("byol" in weak)
        out += [("dino", b) for b in names.BACKBONES]
        assert f"mean without {called(out)}: " in row["note"]


def test_no_interval_of_correlations_passes_what_is_possible():
    """Student's t over three seeds goes as far as it likes; no difference of two passes 2."""
    draws = np.repeat([[0.1], [0.5], [1.9]], 2, axis=1)
    low, high = Part("", draws).ends()
    assert low < -1 and high > 2
    assert Part("", draws, most=2.0).ends() == (low, 2.0)
    assert Part("", draws, most=1.0).ends() == (-1.0, 1.0)


def test_an_encoder_that_is_never_trained_does_not_answer_for_the_others():
    board = Made(CASES[4][0], weak=("supervised", *JOINT, "mae"))
    for mae in ("mae", "mae-released"):
        (row,) = judgement.rows(claims.CLAIMS[3], Reading(board, "f1", mae))
        assert row["verdict"] == "not answerable"


def board_of(plain, seeds=(0, 1, 2), lost=False):
    """Which methods learned, by a real board of runs whose AUROC, converged probe on plain images,
    is plain(method, seed); its resamples are undefined where they are `lost`."""
    stored = [
        SimpleNamespace(
            run=SimpleNamespace(
                method=m, backbone="resnet18", share=0.45, seed=s, profile="smoke", id=f"{m}{s}"
            )
        )
        for m in ("simclr", "random", "mae-released")
        for s in seeds
    ]

    def draws(stored, *, resamples, evaluation, probe, **_):
        assert (evaluation, probe) == ("clean", "converged")
        value = plain(stored.run.method, stored.run.seed)
        noise = 0.01 * np.random.default_rng(0).standard_normal(resamples)
        noise = noise * np.nan if lost else noise
        return {"auroc": np.r_[value, value + noise][None], "f1": np.zeros((1, 1 + resamples))}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(board_module, "load", lambda run: run)
        patch.setattr(scoring, "draws", draws)
        board = Board(stored, "paper", 50)
        return {m: board.learned(m, "resnet18", [0.45]) for m in ("simclr", "mae-released")}


def test_a_system_learned_if_it_is_above_the_untrained_backbone_over_seeds():
    steady = board_of(lambda m, s: 0.8 if m == "simclr" else 0.6)
    assert steady == {"simclr": True, "mae-released": True}  # as initialised by construction
    assert not board_of(lambda m, s: 0.6)["simclr"]
    unsteady = {0: 0.9, 1: 0.55, 2: 0.7}  # above on average, yet not told apart from it
    assert not board_of(lambda m, s: unsteady[s] if m == "simclr" else 0.6)["simclr"]
    assert board_of(lambda m, s: unsteady[s] if m == "simclr" else 0.6, seeds=(0,))["simclr"]


def test_of_too_few_images_for_an_interval_no_system_is_said_not_to_have_learned():
    assert board_of(lambda m, s: 0.5, lost=True)["simclr"]


# Single claims


def test_a_mean_that_hides_opposites_supports_nothing():
    """Claim 1: four methods .3 above MAE on average, one of them below it."""

    def one_below(m, b, s):
        return {"mae": 0.5, "dino": 0.4}.get(m, 0.9)

    assert verdicts(1, Made(one_below)) == ["contradicted"]
    row = judged(1, Made(one_below))[0]
    assert "DINO decides (4 parts)" in row["note"] and row["value"] == pytest.approx(-0.1, abs=0.02)
    assert row["parts"].count(";") == 3


def test_good_from_5_percent_up_takes_every_share():
    def late(m, b, s):
        return 0.5 + (m == "simclr" and b == "resnet18") * (0.4 if s == 0.45 else -0.03)

    assert verdicts(7, Made(late)) == ["contradicted"]
    assert "5 %" in judged(7, Made(late))[0]["note"]


@pytest.mark.parametrize(
    ("behind", "word"), [(0.02, "supported"), (0.05, "inconclusive"), (0.1, "contradicted")]
)
def test_robust_is_not_worse_by_more_than_the_margin(behind, word):
    assert verdicts(8, Made(lead("barlow", -behind))) == [word]


def test_poor_and_not_poor_are_two_sides_of_one_margin():
    """On each backbone for itself; near the others is not poor."""
    assert verdicts(9, Made(dino(-0.2, -0.02))) == ["supported", "supported"]
    assert verdicts(9, Made(dino(-0.02, 0.1))) == ["contradicted", "supported"]
    assert verdicts(9, Made(dino(-0.3, -0.2))) == ["supported", "contradicted"]


def test_supervised_training_is_judged_on_each_backbone():
    def fails_on_vit(m, b, s):
        return 0.5 + (m == "supervised") * (0.2 if b == "resnet18" else -0.2)

    rows = judged(11, Made(fails_on_vit))
    assert [(r["line"], r["verdict"]) for r in rows] == [
        ("ResNet-18", "supported"),
        ("ViT-Tiny", "contradicted"),
    ]


def test_recall_that_cannot_change_is_said_beside_the_claim():
    clean, paper = (judged(5, Made(slope(0.4), protocol=p))[0] for p in ("clean", "paper"))
    assert "0 by construction" in clean["note"]
    assert "recall changes by" in paper["note"] and "construction" not in paper["note"]


def test_a_rank_correlation_is_judged_against_the_limit_of_convention():
    order = {m: i for i, m in enumerate((*JOINT, "mae"))}

    def ordered(m, b, s):
        return 0.1 * order.get(m, 0) + s

    alike = judged(3, Made(ordered, noise=0, rankme=ordered))[0]
    assert (alike["value"], alike["verdict"]) == (pytest.approx(1, abs=1e-3), "contradicted")
    random = Made(ordered, noise=0, rankme=lambda m, b, s: zlib.crc32(repr((m, s)).encode()) % 7)
    row = judged(3, random)[0]
    assert row["low"] <= row["value"] <= row["high"]
    assert row["verdict"] != "supported"  # 25 points cannot show that there is no correlation


def test_opposite_correlations_on_two_backbones_do_not_make_none():
    """Their mean was 0 with an interval within the limits: "supported"."""

    def rising(m, b, s):
        return JOINT.index(m) + 5 * s if m in JOINT else 0

    opposite = Made(
        lambda m, b, s: 0.2 + 0.1 * rising(m, b, s),
        noise=0,
        rankme=lambda m, b, s: rising(m, b, s) * (1 if b == "resnet18" else -1),
    )
    row = judged(3, opposite)[0]
    assert row["verdict"] == "contradicted" and row["parts"].count(";") == 3


def test_what_a_rank_correlation_could_exclude_stands_beside_it():
    board = Made(flat, noise=0.1, rankme=lambda m, b, s: zlib.crc32(repr((m, s)).encode()) % 7)
    row = judged(3, board)[0]
    assert f"excludes |ρ| > {max(-row['low'], row['high']):.2f}" in row["note"]
    assert f"around 0 excludes |ρ| > {(row['high'] - row['low']) / 2:.2f} alone" in row["note"]


def curves(alike):
    """Histories: curves of one backbone alike from share to share, or each of its own; of both
    backbones alike or opposite; with a wobble for each run."""

    def of(method, backbone, share, seed):
        rng = np.random.default_rng(zlib.crc32(repr((method, backbone, share, seed)).encode()))
        sign = 1 if backbone == "resnet18" or alike[1] else -1
        rise = sign * np.arange(8.0) * alike[0] + 0.3 * rng.standard_normal(8)
        return pd.DataFrame({name: rise for name in association.CURVES})

    return of


@pytest.mark.parametrize(
    ("within", "across", "expected"),
    [
        (True, False, "supported"),  # alike on one backbone, opposite on two
        (True, True, "inconclusive"),  # as alike on two as on one
        (False, False, "inconclusive"),  # not alike on two, but not on one either
    ],
)
def test_backbones_differ_if_they_do_more_than_train_shares(within, across, expected):
    board = Made(flat, curve=curves((within, across)))
    assert verdicts(12, board)[0] == expected
    draws = association.likeness(board)
    assert set(draws) == set(association.CURVES)
    assert {d.shape for d in draws.values()} == {(3, 2)}  # three methods are the sample


def test_curves_of_two_epochs_say_nothing():
    short = Made(flat, curve=lambda *cell: curves((True, True))(*cell).head(2))
    assert judged(12, short)[0]["verdict"] == "not run"


def test_the_rows_of_mae_are_told_apart():
    def value(m, b, s):
        return {"mae": 0.8, "mae-released": 0.3}.get(m, 0.6)

    found = [verdicts(1, Made(value), mae=row)[0] for row in judgement.VARIANTS.values()]
    assert found == ["contradicted", "supported"]


# Methods, backbones and shares at hand


def at_hand(methods=METHODS, shares=SHARES, backbones=names.BACKBONES):
    return [(m, b, s) for m, b, s in CELLS if m in methods and b in backbones and s in shares]


@pytest.mark.parametrize("number", [4, 5])
def test_two_methods_are_enough_for_a_mean_over_systems(number):
    board = Made(CASES[number][0], cells=at_hand(("simclr", "byol", "random")))
    assert verdicts(number, board) == ["supported"]


@pytest.mark.parametrize("number", sorted({*CASES, 3} - {6, 9}))
def test_a_reduced_set_of_train_shares_is_judged(number):
    true = CASES[number][0] if number in CASES else flat
    rows = judged(number, Made(true, cells=at_hand(shares=(0.05, 0.45))))
    assert {row["verdict"] for row in rows} <= {"supported", "inconclusive"}


def test_a_claim_of_1_percent_takes_that_share():
    for number in (6, 9):
        row = judged(number, Made(flat, cells=at_hand(shares=(0.05, 0.45))))[0]
        assert row["verdict"] == "not run" and "no train share" in row["note"]


@pytest.mark.parametrize("number", range(1, 13))
@pytest.mark.parametrize(
    "cells",
    [
        at_hand(("simclr",)),
        at_hand(("simclr", "byol"), backbones=("resnet18",)),
        at_hand(("random",)),
        at_hand(shares=(0.45,)),
        at_hand(("supervised", "mae")),
    ],
)
def test_what_was_not_trained_is_not_judged_and_nothing_fails(number, cells):
    for row in judged(number, Made(flat, cells=cells, curve=curves((True, True)))):
        assert row["verdict"] in (*judgement.VERDICTS, *judgement.OPEN)
        assert row["verdict"] != "not run" or (row["note"] and np.isnan(row["value"]))


def test_a_missing_method_is_named():
    row = judged(9, Made(flat, cells=at_hand([m for m in METHODS if m != "dino"])))[0]
    assert (row["verdict"], row["note"]) == ("not run", "DINO: not trained")


def test_a_validation_table_too_small_for_a_share_leaves_a_claim_unjudged(monkeypatch):
    run = SimpleNamespace(method="simclr", backbone="resnet18", share=0.45, seed=1)
    board = Board.__new__(Board)
    board.rule, board.seeds = names.PROTOCOLS["paper"], [1]
    board._runs = {("simclr", "resnet18", 0.45): [SimpleNamespace(run=run)]}
    board.resamples, board._draws = 0, {}

    def refused(*_, **__):
        raise DataError("a share of 1% cannot be reached")

    monkeypatch.setattr(scoring, "draws", refused)
    with pytest.raises(NotRun, match="in validation, a share of 1% cannot be reached"):
        board.draws(("simclr", "resnet18", 0.45), shares=(0.01, 0.45))


# Read together


def test_every_claim_is_scored_by_protocol_metric_and_mae():
    boards = {p: Made(mae_low, protocol=p, curve=curves((True, True))) for p in names.PROTOCOLS}
    scored = judgement.score(boards, claims.CLAIMS)
    lines = {n: 2 if n in (9, 11) else 1 for n in range(1, 13)}
    metrics = {c.number: len(c.metrics) for c in claims.CLAIMS}
    counts = scored.groupby("claim").size()
    assert counts.to_dict() == {n: 4 * lines[n] * metrics[n] for n in lines}
    both = scored[(scored["claim"] == 1) & (scored["protocol"] == "clean")]
    assert list(both["metric"]) == ["f1", "auroc"] * 2


@pytest.fixture
def scored():
    return cards.card(lambda n, p, m: (n, p) == (1, "clean"))


def test_disagreements_name_what_they_hang_on(scored):
    assert judgement.disagreements(scored, "protocol") == [1]
    assert judgement.disagreements(scored, "mae") == judgement.disagreements(scored, "metric") == []
    released, auroc = scored["mae"] == "released", scored["metric"] == "auroc"
    scored.loc[(scored["claim"] == 2) & released, "verdict"] = "contradicted"
    assert judgement.disagreements(scored, "mae") == [2]
    scored.loc[(scored["claim"] == 1) & auroc, "verdict"] = "contradicted"
    assert judgement.disagreements(scored, "metric") == [1]
    scored["verdict"] = "not answerable"
    assert judgement.disagreements(scored, "metric") == []


def test_verdicts_are_counted_and_those_of_chance_beside_them(scored):
    """Eight distinct rows: readings of MAE with equal numbers are one."""
    assert judgement.by_chance(scored).startswith(
        "2 of 8 verdicts are “supported” or “contradicted”. If every statistic were at its limit, "
        "chance would give about 0.4"
    )
    scored["verdict"] = np.where(scored["claim"] == 1, "above", "across")
    told = judgement.by_chance(scored)
    assert told.startswith("4 of 8 intervals lie on one side of the limit.")
    assert "as seeds differ, it gives more" in told
    scored.loc[scored["claim"] == 1, "verdict"] = "not answerable"
    assert judgement.by_chance(scored).startswith("0 of 4 intervals lie")


# Questions of ours


class Detecting(Made):
    """MAE's probe on plain images at .6, whatever the protocol's Table 1 reads."""

    def draws(self, cell, evaluation="", probe="", shares=(None,), ranked=()):
        assert (evaluation, probe) == ("clean", self.rule.probe)
        return [{"auroc": self.draw(0.6, cell)}]


@pytest.fixture
def reconstructing(monkeypatch):
    """A function that makes the reconstruction error's AUROC `value(share)`."""

    def make(value, **options):
        board = Detecting(flat, **options)
        view = SimpleNamespace(detector="reconstruction", setting="normals")
        others = [
            SimpleNamespace(detector="knn", setting="normals"),
            SimpleNamespace(detector="reconstruction", setting="unlabelled"),
        ]
        monkeypatch.setattr(
            measured_module, "detected", lambda s: [*others, SimpleNamespace(**vars(view), of=s)]
        )

        def natural_by_seed(runs, metric, protocol, resamples):
            assert (metric, resamples) == ("auroc", B)
            assert {run.setting for run in runs} == {"normals"} and len(runs) == len(board.seeds)
            (cell,) = {eval(run.of.run.id)[0] for run in runs}
            return board.draw(value(cell[2]), "reconstruction", cell)

        monkeypatch.setattr(questions.results, "natural_by_seed", natural_by_seed)
        return judgement.rows(questions.QUESTIONS[1], Reading(board, "auroc", "mae"))[0]

    return make


@pytest.mark.parametrize("protocol", names.PROTOCOLS)
def test_reconstruction_is_held_against_the_probe_on_equal_images(reconstructing, protocol):
    assert reconstructing(lambda s: 0.7, protocol=protocol)["verdict"] == "supported"
    assert reconstructing(lambda s: 0.5, protocol=protocol)["verdict"] == "contradicted"
    reverses = reconstructing(lambda s: 0.5 if s == 0.45 else 0.8, protocol=protocol)
    assert reverses["verdict"] == "contradicted" and "45 %" in reverses["note"]
    assert reconstructing(lambda s: 0.7, weak=("mae",))["verdict"] == "not answerable"


def test_the_other_row_of_mae_is_no_point_of_the_correlation(monkeypatch):
    seen = {}

    def points(wanted, measured, protocol, resamples, targets):
        seen.update(
            wanted=[stored.run.method for stored in wanted],
            measured=sorted(measured),
            asked=(protocol, resamples, targets),
        )

    best = {"measure": "lidar", "value": 0.3, "low": 0.1, "high": 0.5, "verdict": "supported"}
    monkeypatch.setattr(questions.correlation, "Points", points)
    monkeypatch.setattr(questions.correlation, "correlate", lambda points, scopes: pd.DataFrame())
    monkeypatch.setattr(
        questions.correlation, "better_than_rankme", lambda measured, metric: dict(best)
    )
    monkeypatch.setattr(measured_module, "measures", lambda run: {})
    cells = at_hand(("mae", "byol", "mae-released"), (0.45,), ("vit_tiny",))
    board = Made(flat, cells=cells, seeds=(1,), protocol="paper")
    reading = Reading(board, "auroc", "mae-released")
    (row,) = judgement.rows(questions.QUESTIONS[0], reading)
    assert seen["wanted"] == ["byol", "mae-released"] and len(seen["measured"]) == 2
    assert seen["asked"] == ("paper", B, ["auroc"])
    assert (row["value"], row["verdict"], row["note"]) == (0.3, "supported", "best measure: LiDAR")


def test_questions_without_their_runs_are_not_run():
    board = Made(flat, cells=at_hand(("mae-released",)))
    rows = [judgement.rows(q, Reading(board, "auroc", "mae"))[0] for q in questions.QUESTIONS]
    assert [row["verdict"] for row in rows] == ["not run"] * 2
    assert "mae-released" in rows[0]["note"] and "MAE" in rows[1]["note"]
