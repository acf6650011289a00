"""Simulated studies without an effect: intervals hold the truth as often as they say, and claims
are seldom called supported."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from lib.analysis import calibration, judgement
from lib.analysis.claim_parts import Part
from lib.measures import seeds
from lib.publish import docs


@pytest.fixture(scope="module")
def table():
    return calibration.table()


def calibrated(table):
    told = (table["supported"] <= 0.03) & (table["contradicted"] <= 0.05)
    return table["coverage"].between(0.93, 0.97).all() and told.all()


def test_intervals_hold_95_percent_and_little_is_supported_by_chance(table):
    assert len(table) == 9
    assert calibrated(table)


def test_normal_quantiles_would_not(monkeypatch):
    monkeypatch.setattr(seeds, "stdtrit", lambda freedom, p: ndtri(p))
    monkeypatch.setattr(calibration, "SEEDS", (3,))
    assert not calibrated(calibration.table())


def test_the_committed_table_is_current(table):
    committed = pd.read_csv(docs.CALIBRATION)
    pd.testing.assert_frame_equal(committed, table, atol=2e-3, rtol=0)


@pytest.mark.parametrize("noise", calibration.NOISE)
def test_claims_of_one_and_of_four_parts_are_seldom_supported(noise):
    """By the rule itself. Four parts of independent runs; three of them true, so that the fourth
    alone keeps the claim from being supported."""
    drawn = calibration.studies(3, noise, seed=1)[:3000]
    one = [judgement.verdict([Part("", study)]) for study in drawn]
    assert np.mean([word == "supported" for word in one]) <= 0.03
    far = 100 + drawn[:1000].reshape(-1, 3, drawn.shape[-1])
    four = [
        judgement.verdict([Part("", study), *(Part("", one) for one in far[3 * i : 3 * i + 3])])
        for i, study in enumerate(drawn[:300])
    ]
    assert np.mean([word == "supported" for word in four]) <= 0.05
    assert {"supported", "contradicted", "inconclusive"} >= set(one) > {"inconclusive"}
