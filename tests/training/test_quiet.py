"""No warning of another package reaches the terminal of a normal run."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from commands import command, python

from lib.training import probes

TABLE = pd.DataFrame({"Filename": ["a.png", "b.png"], "Defect": [0, 1]})


def test_the_smallest_training_prints_nothing_on_standard_error(workspace, shared_data):
    (workspace / "data").symlink_to(shared_data)
    done = command("run", "--id", "simclr-resnet18-d45-s42", PROFILE="smoke")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_notebook_without_widgets_hears_nothing_of_them():
    done = python(
        "-c",
        "import sys, lib\n"
        "sys.modules['ipywidgets'] = None\n"
        "import warnings\n"
        "from tqdm import TqdmWarning\n"
        "warnings.warn('IProgress not found. Please update jupyter and ipywidgets.', TqdmWarning)",
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hessian_that_is_ill_conditioned_is_not_told(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    defect = (features[:, 0] + rng.normal(size=60) > 0).astype(int)
    usual = probes.converged(features, defect, np.arange(60), 0)

    def singular(*_, **__):
        raise scipy.linalg.LinAlgWarning("Ill-conditioned matrix (rcond=1e-10)")

    monkeypatch.setattr(scipy.linalg, "solve", singular)
    found = probes.converged(features, defect, np.arange(60), 0)  # warnings are errors here
    assert found.strength == usual.strength
    np.testing.assert_allclose(found.weight, usual.weight, atol=1e-3)  # the same optimum


@pytest.mark.parametrize("value", [1e6, -1e6, 65504.0, np.inf, -np.inf, np.nan])
def test_logits_beyond_half_precision_are_cut_and_not_told(value):
    logit = np.array([0.5, value], np.float32)
    rows = probes.rows_of(TABLE, "val", "clean", 0, {"online": logit})
    expected = np.nan_to_num(value, nan=0.0, posinf=65504, neginf=-65504).clip(-65504, 65504)
    assert rows["logit"].tolist() == [0.5, expected]
