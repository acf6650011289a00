"""Claims are decided by the rule that the module states: each can come out either way, or
undecided. Our two questions are judged by what the correlation and the paired difference say, or
not run."""

import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.analysis import claims, correlation, questions, results
from lib.analysis.board import Board, NotRun
from lib.analysis.claims import SHARES
from lib.measures import bootstrap
from lib.report import scorecard
from lib.store import measured as measured_module
from lib.study import names
from lib.system.errors import DataError

B = 400


class Made(Board):
    """A board with given F1 (method, backbone, share) -> value, and noise of deviation `noise` in
    the draws."""

    def __init__(self, f1, noise=0.005, absent=(), rankme=lambda *cell: 1.0, curve=None):
        self.value, self.noise, self.absent, self.rank, self.curve = (
            f1,
            noise,
            absent,
            rankme,
            curve,
        )
        self.resamples = B

    def system(self, method, backbone, share):
        if method in self.absent:
            raise NotRun(method)
        history = None if self.curve is None else self.curve(method, backbone, share)
        return [
            SimpleNamespace(record={"rankme": self.rank(method, backbone, share)}, history=history)
        ]

    def draw(self, value, *key):
        rng = np.random.default_rng(zlib.crc32(repr(key).encode()))
        return np.r_[value, value + self.noise * rng.standard_normal(B)]

    def cell(self, method, backbone, share):
        self.system(method, backbone, share)
        return {"f1": self.draw(self.value(method, backbone, share), method, backbone, share)}

    def ends(self, method, backbone, share):
        f1, gain = self.value(method, backbone, share), 0.5 * self.value("slope", backbone, share)
        low = {"f1": f1 - gain, "precision": f1 - gain, "recall": f1}
        high = {"f1": f1, "precision": f1, "recall": f1}
        return [
            {k: self.draw(v, k, method, backbone, share, i) for k, v in end.items()}
            for i, end in enumerate((low, high))
        ]


def curves(sign):
    """Histories whose ViT-Tiny curves are `sign` times those of ResNet-18."""

    def of(method, backbone, share):
        rise = np.arange(5.0) if backbone == "resnet18" else sign * np.arange(5.0)
        return pd.DataFrame({name: rise for name in claims.CURVES})

    return of


def mae_low(m, b, s):
    return 0.3 if m.startswith("mae") else 0.6


def mae_high(m, b, s):
    return 0.8 if m.startswith("mae") else 0.6


def backbone_only(m, b, s):
    return 0.7 if b == "resnet18" else 0.3


def method_only(m, b, s):
    return 0.1 * (1 + claims.JOINT.index(m)) if m in claims.JOINT else 0.5


def lead(who, by, backbone=None, shares=SHARES):
    """F1 .5 everywhere, `by` more for one method (on one backbone, at some shares)."""
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
    8: (lead("barlow", 0.2), lead("barlow", -0.2, shares=SHARES[:1])),
    9: (dino(-0.2, 0.1), dino(0.2, 0.1)),
    10: (mae_low, mae_high),
    11: (lead("supervised", 0.2), lead("byol", 0.2)),
}


@pytest.mark.parametrize("number", CASES)
def test_each_claim_can_be_supported_contradicted_and_left_open(number):
    claim = claims.CLAIMS[number - 1]
    assert claim.number == number
    true, false = CASES[number]
    assert claims.judge(claim, Made(true), "mae")["verdict"] == "supported"
    assert claims.judge(claim, Made(false), "mae")["verdict"] == "contradicted"
    assert claims.judge(claim, Made(true, noise=5.0), "mae")["verdict"] == "inconclusive"


def test_a_rank_correlation_is_judged_against_the_limit_of_convention():
    claim = claims.CLAIMS[2]
    order = {m: i for i, m in enumerate((*claims.JOINT, "mae"))}

    def f1(m, b, s):
        return 0.1 * order.get(m, 0) + s

    alike = claims.judge(claim, Made(f1, noise=0, rankme=f1), "mae")
    assert alike["value"] == pytest.approx(1)
    assert alike["verdict"] == "contradicted"
    unrelated = claims.judge(
        claim,
        Made(f1, noise=0, rankme=lambda m, b, s: zlib.crc32(repr((m, s)).encode()) % 7),
        "mae",
    )
    assert unrelated["low"] <= unrelated["value"] <= unrelated["high"]
    assert unrelated["verdict"] != "supported"  # 25 points cannot show that there is no correlation


def test_curves_that_run_together_contradict_that_backbones_differ():
    claim = claims.CLAIMS[11]
    together, apart = (
        claims.judge(claim, Made(mae_low, curve=curves(sign)), "mae") for sign in (1, -1)
    )
    assert (together["value"], together["verdict"]) == (pytest.approx(1), "contradicted")
    assert (apart["value"], apart["verdict"]) == (pytest.approx(-1), "supported")


def test_the_rows_of_mae_are_told_apart():
    def f1(m, b, s):
        return {"mae": 0.8, "mae-released": 0.3}.get(m, 0.6)

    board = Made(f1)
    found = [
        claims.judge(claims.CLAIMS[0], board, row)["verdict"] for row in claims.VARIANTS.values()
    ]
    assert found == ["contradicted", "supported"]


def test_what_was_not_trained_is_not_judged():
    found = claims.judge(claims.CLAIMS[0], Made(mae_low, absent=("dino",)), "mae")
    assert found["verdict"] == "not run"
    assert np.isnan(found["value"])
    assert found["note"] == "dino"


def test_verdicts_follow_the_intervals():
    def part(centre):
        return np.r_[centre, centre + np.linspace(-1, 1, 1001)]

    assert claims.verdict([part(2), part(3)]) == "supported"
    assert claims.verdict([part(2), part(0.5)]) == "inconclusive"
    assert claims.verdict([part(2), part(-2)]) == "contradicted"
    high = bootstrap.interval(part(-0.96))[1]
    assert high < 0
    assert claims.verdict([part(-0.96)]) == "contradicted"
    assert claims.verdict([part(-0.96), *[part(2)] * 9]) == "inconclusive"  # Bonferroni: one of ten


@pytest.fixture
def scored():
    rows = [
        {
            "claim": n,
            "text": f"claim {n}",
            "protocol": p,
            "mae": v,
            "statistic": "a − b at 1 %",
            "value": 0.1 * n,
            "low": 0.0,
            "high": 0.2 * n,
            "verdict": "supported" if (n, p) == (1, "clean") else "inconclusive",
            "note": "",
        }
        for n in (1, 2)
        for p in ("clean", "paper")
        for v in claims.VARIANTS
    ]
    return pd.DataFrame(rows)


def test_disagreements_name_what_they_hang_on(scored):
    assert claims.disagreements(scored, "protocol") == [1]
    assert claims.disagreements(scored, "mae") == []
    scored.loc[(scored["claim"] == 2) & (scored["mae"] == "released"), "verdict"] = "contradicted"
    assert claims.disagreements(scored, "mae") == [2]


def test_the_scorecard_shows_a_released_mae_only_where_it_differs(scored):
    card = scorecard.Scorecard(scored)
    assert "released" not in card.markdown()
    scored.loc[(scored["claim"] == 2) & (scored["mae"] == "released"), "value"] = 0.15
    first, second = scorecard.Scorecard(scored).lines()
    assert "released" not in " ".join(first)
    assert (
        second[3]
        == "inconclusive, +0.20 [+0.00, +0.40]; as released: inconclusive, +0.15 [+0.00, +0.40]"
    )
    assert all(
        len(line.split(" & ")) == 5 for line in card.latex().splitlines() if line.endswith(r"\\")
    )


JUDGED = ["value", "low", "high", "verdict"]


def test_claims_that_were_not_run_are_one_line(scored):
    scored["limits"] = "0"
    scored.loc[scored["claim"] == 2, JUDGED] = [*[np.nan] * 3, "not run"]
    card = scorecard.Scorecard(scored)
    assert [line[0] for line in card.lines()] == ["1"]
    assert card.markdown().endswith("\n\nClaims not run: 2. The CSV says why.")
    assert len(card.claims()) == 2  # for the report
    texts = [text.get_text() for text in card.draw().axes[0].texts]
    assert "Claims not run: 2. The CSV says why." in texts and "2" not in texts
    scored["verdict"] = "not run"
    assert "Claims not run: 1, 2." in scorecard.Scorecard(scored).markdown()
    assert scorecard.Scorecard(scored).draw().axes


def test_a_claim_that_ran_under_one_protocol_keeps_its_row(scored):
    paper = (scored["claim"] == 2) & (scored["protocol"] == "paper")
    scored.loc[paper, JUDGED] = [*[np.nan] * 3, "not run"]
    card = scorecard.Scorecard(scored)
    assert [line[0] for line in card.lines()] == ["1", "2"] and not card.not_run()


def test_every_claim_of_the_paper_is_there():
    assert [claim.number for claim in claims.CLAIMS] == list(range(1, 13))
    vit_only = {m for m in names.METHODS if not names.exists(m, "resnet18")}
    assert vit_only == set(claims.VARIANTS.values())


def test_a_validation_table_too_small_for_a_share_leaves_a_claim_unjudged(monkeypatch):
    run = SimpleNamespace(method="simclr", backbone="resnet18", share=0.45, seed=1)
    board = Board.__new__(Board)
    board.rule, board.stored, board.seed_weight = (
        names.PROTOCOLS["paper"],
        [SimpleNamespace(run=run)],
        {1: np.ones(1)},
    )
    board.validation_shares, board.resamples, board._draws = [0.01, 0.45], 0, {}

    def refused(*_, **__):
        raise DataError("a share of 1% cannot be reached")

    monkeypatch.setattr(results, "draws", refused)
    with pytest.raises(NotRun, match="in validation, a share of 1% cannot be reached"):
        board.ends("simclr", "resnet18", 0.45)


def board(*methods, protocol="clean", resamples=10):
    stored = [SimpleNamespace(run=SimpleNamespace(id=m, method=m)) for m in methods]
    return SimpleNamespace(stored=stored, protocol=protocol, resamples=resamples)


@pytest.fixture
def gains(monkeypatch):
    """Reconstruction minus probe, as `results.difference` gives it, and what it was given."""
    asked = []
    told = {"estimate": 0.1, "low": 0.02, "high": 0.2, "p": 0.01}
    view = SimpleNamespace(detector="reconstruction", setting="normals")
    others = [
        SimpleNamespace(detector="knn", setting="normals"),
        SimpleNamespace(detector="reconstruction", setting="unlabelled"),
    ]
    monkeypatch.setattr(measured_module, "detected", lambda stored: [*others, view])

    def difference(ours, theirs, metric, protocol):
        asked.append((ours, [s.run.method for s in theirs], metric, protocol))
        return told

    monkeypatch.setattr(results, "difference", difference)
    return told, asked, view


@pytest.mark.parametrize(
    "low, high, verdict",
    [
        (0.02, 0.2, "supported"),
        (-0.2, -0.02, "contradicted"),
        (-0.1, 0.1, "inconclusive"),
    ],
)
def test_reconstruction_is_held_against_the_probe_of_the_same_runs(gains, low, high, verdict):
    told, asked, view = gains
    told |= {"low": low, "high": high}
    found = questions.reconstruction_over_probe(
        board("mae", "simclr", "mae-released", "mae"), "mae"
    )
    assert (found["value"], found["low"], found["high"], found["verdict"]) == (
        0.1,
        low,
        high,
        verdict,
    )
    assert asked == [([view, view], ["mae", "mae"], "auroc", "clean")]


def test_the_other_row_of_mae_is_no_point_of_the_correlation(monkeypatch):
    seen = {}

    def points(wanted, measured, protocol, resamples):
        seen.update(
            wanted=[run.method for run in wanted],
            measured=sorted(measured),
            asked=(protocol, resamples),
        )

    best = {"measure": "lidar", "value": 0.3, "low": 0.1, "high": 0.5, "verdict": "supported"}
    monkeypatch.setattr(correlation, "Points", points)
    monkeypatch.setattr(correlation, "correlate", lambda points, scopes, targets: pd.DataFrame())
    monkeypatch.setattr(correlation, "better_than_rankme", lambda measured: dict(best))
    monkeypatch.setattr(measured_module, "measures", lambda run: {})
    found = questions.measure_over_rankme(
        board("mae", "byol", "mae-released", protocol="paper"), "mae-released"
    )
    assert seen == {
        "wanted": ["byol", "mae-released"],
        "measured": ["byol", "mae-released"],
        "asked": ("paper", 10),
    }
    assert found == {"note": "lidar", "value": 0.3, "low": 0.1, "high": 0.5, "verdict": "supported"}


def test_what_was_not_trained_is_not_run(monkeypatch):
    def none(*arguments):
        raise NotRun("no run is there")

    monkeypatch.setattr(correlation, "Points", none)
    monkeypatch.setattr(measured_module, "measures", lambda run: {})
    scored = claims.score({"clean": board("simclr")}, questions.QUESTIONS)
    assert len(scored) == 4 and set(scored["verdict"]) == {"not run"}
    assert np.isnan(scored["value"]).all()
    assert set(scored["note"]) == {
        "no run is there",
        "mae was not trained",
        "mae-released was not trained",
    }
    assert list(scored["claim"]) == [13, 13, 14, 14]
