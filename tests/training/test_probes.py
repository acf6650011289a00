"""The converged probe: a balanced logistic regression at its optimum; evaluations as the protocol
has them."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lib.data import views
from lib.data.pixels import Split
from lib.study import grid
from lib.study.names import CLASSES
from lib.training import probes


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    defect = (np.arange(400) < 60).astype(int)
    return rng.normal(size=(400, 12)) * 5 + 3 + 4.0 * defect[:, None] * (np.arange(12) == 2), defect


def test_the_converged_probe_is_at_the_optimum_of_the_weighted_loss(problem):
    features, defect = problem
    probe = probes.converged(features, defect, 0)
    weight = torch.tensor(probe.weight, requires_grad=True)
    bias = torch.tensor(probe.bias, requires_grad=True)
    z = torch.tensor((features - features.mean(0)) / features.std(0))
    balance = torch.where(torch.tensor(defect) == 1, 400 / (2 * 60), 400 / (2 * 340))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        z @ weight + bias, torch.tensor(defect).double(), weight=balance, reduction="sum"
    )
    (probe.strength * loss + weight.square().sum() / 2).backward()
    assert weight.grad.abs().max() < 1e-3 and bias.grad.abs() < 1e-3


def test_its_logits_are_those_of_scikit_learn(problem):
    features, defect = problem
    probe = probes.converged(features, defect, 0)
    z = (features - features.mean(0)) / features.std(0)
    model = LogisticRegression(
        C=probe.strength, class_weight="balanced", tol=1e-8, max_iter=1000
    ).fit(z, defect)
    np.testing.assert_allclose(probe(features), model.decision_function(z), atol=1e-3)


def test_features_without_information_get_a_strong_penalty_and_informative_ones_do_not(problem):
    features, defect = problem
    noise = probes.converged(np.random.default_rng(1).normal(size=(400, 40)), defect, 0)
    assert noise.strength < probes.converged(features, defect, 0).strength


def test_dead_features_and_a_single_defect_do_no_harm():
    features = np.random.default_rng(0).normal(size=(50, 4))
    features[:, 1] = 2.0
    defect = (np.arange(50) == 7).astype(int)
    logits = probes.converged(features, defect, 0)(features)
    assert np.isfinite(logits).all() and logits[7] > np.median(logits)


def test_a_diverged_networks_features_become_zero():
    class Broken(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, x):
            return torch.full((len(x), 3), float("nan"))

    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    assert (probes.features(Broken(), pixels, np.arange(5), probes.clean(8)) == 0).all()


class Flat(torch.nn.Module):
    """A network whose features are its input's pixels."""

    device = torch.device("cpu")

    def forward(self, x):
        return x.flatten(1)


def noise(normals, defects, side=24):
    """A split of random frames, normals first."""
    table = pd.DataFrame(
        0, index=range(normals + defects), columns=["Filename", *CLASSES, "Defect"]
    )
    table.loc[normals:, ["RB", "Defect"]] = 1
    pixels = np.random.default_rng(0).integers(
        0, 256, (normals + defects, side, side, 3), dtype=np.uint8
    )
    return Split(table.assign(Filename=[f"{i}.png" for i in table.index]), pixels, True)


def test_clean_is_the_whole_image_resized_flip_mirrors_some_and_augmented_changes_all():
    split, run = noise(40, 0), grid.run("smoke", "simclr", "resnet18", 0.45, 1)
    whole = torch.as_tensor(split.pixels).permute(0, 3, 1, 2).float() / 255
    resized = torch.nn.functional.interpolate(
        whole, (run.px, run.px), mode="bilinear", antialias=True
    )
    plain, mirrored = (views.normalise(x).flatten(1).numpy() for x in (resized, resized.flip(3)))
    found = {
        (name, view): features for name, view, features in probes.evaluations(Flat(), run, split)
    }
    assert list(found) == [("clean", 0), ("flip", 0), ("augmented", 0), ("augmented", 1)]
    np.testing.assert_allclose(found["clean", 0], plain, atol=1e-4)
    turned = np.isclose(found["flip", 0], mirrored, atol=1e-4).all(1)
    np.testing.assert_allclose(found["flip", 0][~turned], plain[~turned], atol=1e-4)
    assert 0 < turned.sum() < 40
    first, second = found["augmented", 0], found["augmented", 1]
    for a, b in ((first, plain), (first, mirrored), (second, plain), (first, second)):
        assert (np.abs(a - b).mean(1) > 0.05).all()
