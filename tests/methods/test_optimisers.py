"""LARS against a naive copy of its rule, schedules at their corners, momentum encoders by hand."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from lib.methods import backbones
from lib.methods.optimisers import LARS, build, cosine_tau, momentum_update, warmup_cosine
from lib.study import grid


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))


def train(model, optimiser, rates, seed=1):
    """A step per learning rate, each on its own random batch."""
    generator = torch.Generator().manual_seed(seed)
    for rate in rates:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        model(torch.randn(8, 1, 4, 4, generator=generator)).square().sum().backward()
        optimiser.step()


class NaiveLARS:
    """One tensor at a time, from the protocol's words."""

    def __init__(self, params, weight_decay):
        self.params, self.weight_decay = list(params), weight_decay
        self.param_groups, self.momentum = [{}], [0.0] * len(self.params)

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self):
        for i, p in enumerate(self.params):
            update = p.grad.clone()
            if p.dim() > 1:
                update = update + self.weight_decay * p
                if p.norm() > 0 and update.norm() > 0:
                    update = update * 0.001 * p.norm() / update.norm()
            self.momentum[i] = 0.9 * self.momentum[i] + update
            p.copy_(p - self.param_groups[0]["lr"] * self.momentum[i])


@pytest.mark.parametrize("weight_decay", [0.0, 10.0])
def test_lars_agrees_with_a_naive_one(weight_decay):
    model, other = network(), network()
    rates = (0.1, 0.2, 0.05)
    train(model, LARS(model.parameters(), lr=0.0, weight_decay=weight_decay), rates)
    train(other, NaiveLARS(other.parameters(), weight_decay), rates)
    for a, b, before in zip(
        model.parameters(), other.parameters(), network().parameters(), strict=True
    ):
        torch.testing.assert_close(a, b)
        assert not torch.equal(a, before)


def one_step(value, grad, **settings):
    p = nn.Parameter(torch.as_tensor(value))
    p.grad = torch.as_tensor(grad)
    LARS([p], lr=1.0, **settings).step()
    return p.detach()


def test_a_matrix_moves_by_the_trust_coefficient_whatever_its_gradients_scale_and_its_decay():
    start = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # norm 5
    for scale in (1e-3, 1.0, 1e3):
        moved = one_step(start.clone(), scale * torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
        torch.testing.assert_close(start - moved, torch.tensor([[0.0, 0.005], [0.0, 0.0]]))
    decayed = one_step(start.clone(), torch.ones(2, 2), weight_decay=0.5)
    assert (start - decayed).norm() == pytest.approx(0.005, rel=1e-4)


def test_decay_without_gradient_shrinks_a_matrix_by_the_trust_coefficient():
    start = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(
        one_step(start.clone(), torch.zeros(1, 2), weight_decay=0.5), 0.999 * start
    )


def test_a_vector_is_neither_adapted_nor_decayed():
    moved = one_step([3.0, 4.0], [0.5, 0.0], weight_decay=0.5)
    torch.testing.assert_close(moved, torch.tensor([2.5, 4.0]))


def test_a_zero_matrix_and_a_zero_gradient_keep_a_ratio_of_one():
    torch.testing.assert_close(
        one_step(torch.zeros(1, 2), [[0.5, 0.0]]), torch.tensor([[-0.5, 0.0]])
    )
    torch.testing.assert_close(one_step(torch.ones(1, 2), torch.zeros(1, 2)), torch.ones(1, 2))


def test_the_learning_rate_multiplies_after_the_momentum():
    p = nn.Parameter(torch.zeros(1))
    optimiser = LARS([p], lr=1.0)
    for rate in (1.0, 0.0, 10.0):  # momenta 1, 1.9, 2.71
        p.grad = torch.ones(1)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.step()
    assert p.item() == pytest.approx(-1 - 27.1)


def test_lars_skips_parameters_without_gradient_and_runs_the_closure():
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimiser = LARS([used, unused], lr=1.0)

    def closure():
        loss = used.square().sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 4
    assert torch.equal(unused, torch.ones(2, 2)) and not torch.equal(used, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["lars", "adamw"])
def test_a_resumed_optimiser_continues_as_if_uninterrupted(name):
    def groups(model):
        return [
            {"params": model.parameters(), "peak": 0.1, "weight_decay": 0.01, "name": "backbone"}
        ]

    whole, parts = network(), network()
    optimiser = build(groups(whole), name)
    train(whole, optimiser, (0.1, 0.1))
    train(whole, optimiser, (0.1,), seed=2)
    first = build(groups(parts), name)
    train(parts, first, (0.1, 0.1))
    second = build(groups(parts), name)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(parts, second, (0.1,), seed=2)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def test_build_keeps_each_groups_rate_decay_and_betas():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [
        {"params": [a], "peak": 0.1, "weight_decay": 0.05, "name": "backbone"},
        {"params": [b], "peak": 1e-3, "weight_decay": 0.0, "name": "probe", "betas": (0.9, 0)},
    ]
    backbone, probe = build(groups, "adamw").param_groups
    assert (backbone["lr"], backbone["weight_decay"], backbone["betas"]) == (
        0.1,
        0.05,
        (0.9, 0.999),
    )
    assert (probe["lr"], probe["peak"], probe["weight_decay"], probe["betas"]) == (
        1e-3,
        1e-3,
        0.0,
        (0.9, 0),
    )
    lars = build(groups, "lars")
    assert isinstance(lars, LARS) and "betas" not in lars.param_groups[1]
    assert [group["name"] for group in lars.param_groups] == ["backbone", "probe"]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0)])
def test_adamw_decays_vectors_too_and_follows_its_paper(betas):
    p = nn.Parameter(torch.tensor([2.0, -1.0]))
    optimiser = build(
        [{"params": [p], "peak": 0.1, "weight_decay": 0.5, "name": "all", "betas": betas}], "adamw"
    )
    expected, m, v = p.detach().clone(), 0.0, 0.0
    for t, gradient in enumerate(torch.tensor([[1.0, -3.0], [0.5, 2.0]]), start=1):
        p.grad = gradient.clone()
        optimiser.step()
        m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2
        direction = m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
        expected = expected - 0.1 * 0.5 * expected - 0.1 * direction
    torch.testing.assert_close(p.detach(), expected)


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("name", "adam", "'adam': did you mean 'adamw'"),
        ("weight_decai", "lars", "did you mean 'weight_decay'"),
    ],
)
def test_build_names_the_nearest(key, name, message):
    group = {
        "params": [nn.Parameter(torch.ones(1))],
        "peak": 0.1,
        "weight_decay": 0.0,
        key: "backbone",
    }
    with pytest.raises(ValueError, match=message):
        build([group], name)


@pytest.mark.parametrize(
    ("start", "peak"), [(3e-5, 5e-4), (0.1, 1e-3)]
)  # warmed up; the probe, warmed down
def test_warmup_cosine_at_its_corners(start, peak):
    rate = [warmup_cosine(step, 45, 10, start, peak, 1e-6) for step in range(46)]
    assert rate[0] == start
    assert rate[9:11] == pytest.approx([peak, peak])
    assert rate[45] == pytest.approx(1e-6)
    steps = [b - a for a, b in pairwise(rate[:10])]
    assert steps == pytest.approx([(peak - start) / 9] * 9)
    halfway = warmup_cosine(30, 50, 10, start, peak, 1e-6)
    assert halfway == pytest.approx((peak + 1e-6) / 2)
    assert all(a > b for a, b in pairwise(rate[10:]))


def test_warmup_cosine_without_warmup_and_with_one_step_of_it():
    assert warmup_cosine(0, 10, 0, 0.1, 0.2, 0.0) == 0.2
    assert [warmup_cosine(step, 10, 1, 0.1, 0.2, 0.0) for step in (0, 1)] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("step", "warmup", "message"), [(11, 2, "0 to 10"), (-1, 2, "0 to 10"), (3, 10, "10 of 10")]
)
def test_warmup_cosine_rejects(step, warmup, message):
    with pytest.raises(ValueError, match=message):
        warmup_cosine(step, 10, warmup, 0.1, 0.2, 0.0)


def test_tau_first_middle_and_last():
    assert cosine_tau(0, 100, 0.996, 0.999) == pytest.approx(0.996, abs=1e-12)
    assert cosine_tau(50, 100, 0.996, 0.999) == pytest.approx(0.9975, abs=1e-12)
    assert cosine_tau(100, 100, 0.996, 0.999) == pytest.approx(0.999, abs=1e-12)
    # ending at 1 it is the formula of BYOL
    byol = 1 - (1 - 0.996) * (math.cos(math.pi * 30 / 100) + 1) / 2
    assert cosine_tau(30, 100, 0.996, 1.0) == pytest.approx(byol, abs=1e-12)


def test_momentum_update_moves_parameters_and_leaves_buffers():
    online, target = network(0), network(1)
    online(torch.randn(4, 1, 4, 4))  # moves the running statistics of online alone
    before = copy.deepcopy(target.state_dict())
    momentum_update(online, target, tau=0.75)
    for name, value in target.named_parameters():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * online.get_parameter(name))
    for name, value in target.named_buffers():
        assert torch.equal(value, before[name])
    assert not torch.equal(target[1].running_mean, online[1].running_mean)


def test_momentum_update_at_its_limits():
    online, target = network(0), network(1)
    before = copy.deepcopy(target.state_dict())
    momentum_update(online, target, tau=1.0)
    assert all(torch.equal(value, before[name]) for name, value in target.named_parameters())
    momentum_update(online, target, tau=0.0)
    assert all(
        torch.equal(a, b) for a, b in zip(online.parameters(), target.parameters(), strict=True)
    )


def test_momentum_update_rejects_another_architecture():
    with pytest.raises(ValueError, match="shapes differ"):
        momentum_update(nn.Linear(2, 3), nn.Linear(3, 2), 0.9)


# DINO's gradient clipping in the released code: docs/study.md


def mean_step_after_clipping(parameters: list, scale: float) -> float:
    """Mean over all elements of AdamW's step in units of the learning rate, where gradients that
    carry the loss scale are clipped to norm 1 a tensor, and unscaled after that."""
    before = [p.detach().clone() for p in parameters]
    for p in parameters:
        p.grad = torch.full_like(p, scale)  # elements of one size, and a norm far above 1
        p.grad.div_(p.grad.norm().clamp_min(1)).div_(scale)
    group = {"params": parameters, "peak": 1.0, "weight_decay": 0.0, "name": "backbone"}
    optimiser = build([group], "adamw")
    optimiser.step()
    moved = sum(
        (p.detach() - b).abs().double().sum() for p, b in zip(parameters, before, strict=True)
    )
    return float(moved) / sum(p.numel() for p in parameters)


@pytest.mark.parametrize(
    ("backbone", "scale", "stated"),
    [
        ("resnet18", 2**16, 0.57),
        ("vit_tiny", 2**16, 0.81),
        ("resnet18", 2**20, 0.09),
        ("vit_tiny", 2**20, 0.22),
        ("resnet18", 1, 1.0),
        ("vit_tiny", 1, 1.0),
    ],
)
def test_clipping_scaled_gradients_shrinks_the_steps_of_adamw_as_stated(backbone, scale, stated):
    """In float32, on the backbones of the paper. A tensor of n elements keeps gradients of the size
    r = 1 / (scale sqrt n), and its step is r / (r + 1e-8)."""
    settings = grid.run("paper", "dino", backbone, 0.45, 42).settings
    full = backbones.resnet18(1.0) if backbone == "resnet18" else backbones.vit_tiny(settings, 224)
    parameters = list(full.parameters())
    found = mean_step_after_clipping(parameters, scale)
    sizes = torch.tensor([p.numel() for p in parameters], dtype=torch.float64)
    left = 1 / (scale * sizes.sqrt())
    expected = (sizes * left / (left + 1e-8)).sum() / sizes.sum()
    assert found == pytest.approx(float(expected), rel=1e-4)
    assert found == pytest.approx(stated, abs=0.005)
