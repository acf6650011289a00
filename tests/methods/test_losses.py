"""Every method's loss and gradients, in float64 to 1e-5, against the naive versions written from
the papers.

SimCLR: Chen et al. 2020. BYOL: Grill et al. 2020. Barlow Twins: Zbontar et al. 2021. DINO: Caron et
al. 2021. MAE: He et al. 2022. VICReg: Bardes et al. 2022. LeJEPA: Balestriero and LeCun 2025. All
run the whole of `step(views, images)`, heads included, from the backbone's features on. Where the
papers, lightly and the released code of Otero et al. differ, the released code is followed;
`naive.py` says so at the line.
"""

import naive
import pytest
import torch
from small import SELF_SUPERVISED, batch, build, views

from lib.methods.byol import byol_loss
from lib.methods.mae import random_mask

IMAGES = torch.arange(8)
both_backbones = pytest.mark.parametrize("backbone", ["resnet18", "vit_tiny"])


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Casts to float32 do nothing, so that whole losses run in float64."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)


def double(method, backbone="resnet18", **settings):
    """A method in float64, its momentum networks open to any gradient that would reach them."""
    model = build(method, backbone, **settings).double()
    for _, momentum in model.momentum_pairs():
        momentum.requires_grad_(True)
    return model


def agree(model, ours, theirs, untouched=("momentum_", "probe.")):
    """(loss, embeddings) of ours and theirs: equal losses and gradients, of every parameter but the
    `untouched`."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-5, atol=0)
    names, parameters = zip(
        *((n, p) for n, p in model.named_parameters() if p.requires_grad), strict=True
    )
    mine, other = (
        torch.autograd.grad(loss, [*embeddings, *parameters], allow_unused=True)
        for loss, embeddings in (ours, theirs)
    )
    embeddings = [f"embedding of view {i}" for i in range(len(ours[1]))]
    for name, a, b in zip([*embeddings, *names], mine, other, strict=True):
        if name.startswith(untouched):
            assert a is None, name
        else:
            torch.testing.assert_close(
                a, b, rtol=1e-5, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
            )
            assert a.ndim < 2 or a.abs().max() > 1e-9, name


def run(model, x):
    step = model.step(x, IMAGES[: len(x[0])])
    return step.loss, step.embeddings


@both_backbones
@pytest.mark.parametrize("n, temperature", [(2, 0.2), (5, 0.2), (8, 0.07), (8, 1.0)])
def test_simclr_is_nt_xent(backbone, n, temperature):
    model = double("simclr", backbone, temperature=temperature)
    x = views(model, n)
    first, _, second = model.projector  # no batch norm, as in the released code
    z = [naive.linear(naive.relu(naive.linear(model.backbone(v), first)), second) for v in x]
    agree(model, run(model, x), (naive.nt_xent(*z, temperature), z))


def mlp(x, layers):
    """Linear, batch norm, ReLU, Linear."""
    first, norm, _, second = layers
    return naive.linear(naive.relu(naive.batch_norm(naive.linear(x, first), norm)), second)


@both_backbones
def test_byol_predicts_the_other_views_target_in_both_directions_averaged(backbone):
    model = double("byol", backbone)
    with torch.no_grad():
        for layer in (
            *model.momentum_projector,
            *model.predictor,
        ):  # targets unlike the online network
            for p in layer.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    x = views(model)
    z = [mlp(model.backbone(v), model.projector) for v in x]
    p = [mlp(v, model.predictor) for v in z]
    with torch.no_grad():
        t = [mlp(model.momentum_backbone(v), model.momentum_projector) for v in x]  # no predictor
    agree(model, run(model, x), (naive.byol(*p, *t), z))


def test_byols_loss_is_0_for_one_direction_4_for_the_opposite_and_leaves_targets_alone():
    p, z = torch.randn(2, 6, 5, dtype=torch.float64).requires_grad_().unbind()
    p.retain_grad(), z.retain_grad()
    byol_loss(p, z).backward()
    assert z.grad is None and p.grad.abs().sum() > 0
    assert byol_loss(p, 3 * p).item() == pytest.approx(0, abs=1e-9)
    assert byol_loss(p, -p).item() == pytest.approx(4)


def expanded(model, x):
    """Embeddings of each view: two layers with batch norm and ReLU, a third without."""
    *hidden, last = model.projector
    z = []
    for v in x:
        h = model.backbone(v)
        for first, norm, _ in (hidden[:3], hidden[3:]):
            h = naive.relu(naive.batch_norm(naive.linear(h, first), norm))
        z.append(naive.linear(h, last))
    return z


@both_backbones
def test_barlow_twins_compares_the_cross_correlation_with_the_identity(backbone):
    model = double("barlow", backbone, embedding=16)
    assert (model.settings.redundancy, model.settings.scale) == (0.0051, 0.024)
    x = views(model)
    z = expanded(model, x)
    agree(model, run(model, x), (naive.barlow(*z, 0.0051, 0.024), z))


def test_barlow_twins_divides_by_the_biased_deviation():
    """Decorrelated columns, the same in both views, have C = I; an unbiased deviation would make it
    (n - 1) / n."""
    columns = torch.tensor(
        [
            [1, 1, 1],
            [1, 1, -1],
            [1, -1, 1],
            [1, -1, -1],
            [-1, 1, 1],
            [-1, 1, -1],
            [-1, -1, 1],
            [-1, -1, -1],
        ],
        dtype=torch.float64,
    )
    assert (
        build("barlow").barlow(columns, columns).item() < 1e-9
    )  # 1e-5 beside the variance; else 3 / 64


@both_backbones
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.3, 7.0)])
def test_vicreg_is_invariance_variance_and_covariance(backbone, weights):
    names = ("invariance", "variance", "covariance")
    model = double("vicreg", backbone, embedding=8, **dict(zip(names, weights, strict=True)))
    x = views(model)
    z = expanded(model, x)
    agree(model, run(model, x), (naive.vicreg(*z, *weights), z))


def test_vicregs_constant_embeddings_have_the_trivial_loss():
    model = double("vicreg")
    constant = torch.full((8, 5), 3.0, dtype=torch.float64)
    trivial = model.step(views(model), IMAGES).trivial
    assert model.vicreg(constant, constant).item() == pytest.approx(trivial) == pytest.approx(24.75)


@both_backbones
def test_lejepa_holds_views_together_and_every_direction_to_the_normal(backbone):
    model = double("lejepa", backbone, embedding=8, gaussian=0.3, slices=6)
    normal = (-model.sigreg.t.square() / 2).exp()  # its tables in float64, not rounded to float32
    model.sigreg.phi.copy_(normal)
    model.sigreg.weights.copy_(normal * torch.tensor([3 / 16, *[3 / 8] * 15, 3 / 16]))
    x = views(model, 5)
    z = expanded(model, x)
    directions = torch.randn(
        8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(10**6)
    )
    agree(model, run(model, x), (naive.lejepa(z, directions, 0.3), z))


def test_lejepas_directions_are_a_function_of_seed_and_step(monkeypatch):
    def loss(seed=1, step=0):
        model = build("lejepa", seed=seed, slices=2)
        monkeypatch.setattr(type(model), "global_step", step)
        before = torch.get_rng_state()
        found = model.step(views(model), IMAGES).loss.item()
        assert torch.get_rng_state().equal(before)  # what else is drawn does not depend on it
        return found

    assert loss() == loss()
    assert len({loss(), loss(seed=2), loss(step=1)}) == 3


@both_backbones
@pytest.mark.parametrize("epoch, temperature", [(0, 0.04), (7, 0.055), (14, 0.07), (30, 0.07)])
def test_dino_pairs_different_views_by_the_epochs_temperature(
    backbone, epoch, temperature, monkeypatch
):
    assert build("dino").settings.student_temperature == 0.1
    settings = {
        "teacher_warmup_epochs": 15,
        "teacher_temperature_start": 0.04,
        "teacher_temperature": 0.07,
    }
    model = double("dino", backbone, prototypes=32, **settings)
    monkeypatch.setattr(type(model), "current_epoch", epoch)
    with torch.no_grad():
        for p in model.momentum_head.parameters():  # a teacher unlike the student
            p.mul_(
                1
                + 0.1
                * torch.randn(p.shape, generator=torch.Generator().manual_seed(3), dtype=p.dtype)
            )
    model.centre.copy_(0.1 * torch.randn(32, generator=torch.Generator().manual_seed(4)))
    x, centre = views(model, 4), model.centre[0].clone()
    student = [naive.dino_head(model.backbone(v), model.head) for v in x]
    with torch.no_grad():
        teacher = [naive.dino_head(model.momentum_backbone(v), model.momentum_head) for v in x]
    agree(model, run(model, x), (naive.dino(student, teacher, centre, 0.1, temperature), student))


def test_dinos_centre_is_a_moving_average_of_the_teachers_logits():
    model = double("dino", prototypes=32)
    assert model.settings.centre_momentum == 0.9
    expected = torch.zeros(32, dtype=torch.float64)
    for seed in range(2):
        x = views(model, 4, seed)
        rows = [
            row
            for v in x
            for row in naive.dino_head(model.momentum_backbone(v), model.momentum_head)
        ]
        expected = 0.9 * expected + 0.1 * sum(rows) / 8
        model.step(x, IMAGES[:4])
    torch.testing.assert_close(model.centre[0], expected.detach(), rtol=1e-5, atol=1e-12)


def masked_autoencoder(**settings):
    """MAE of 4 x 4 patches in float64, its tables of positions those of the paper, not rounded to
    float32."""
    model = double("mae", "vit_tiny", patch=8, **settings)
    for table in (model.backbone.vit.pos_embed, model.decoder.blocks.pos_embed):
        assert not table.requires_grad
        exact = naive.positions(table.shape[2], 4)
        torch.testing.assert_close(table[0], exact, rtol=0, atol=1e-6)
        table.copy_(exact)
    return model


def test_mae_is_the_error_of_masked_normalised_patches_put_back_in_their_places():
    model = masked_autoencoder()
    (x,) = views(model, 4)
    x.mul_(3).add_(torch.arange(3, dtype=x.dtype)[:, None, None])  # means and deviations to remove
    x[0] = 0.7  # and patches without any deviation
    keep, masked = model.mask(IMAGES[:4], "cpu")
    prediction = naive.mae_decode(
        model.decoder, naive.mae_encode(model.backbone.vit, x, keep, 8), keep, 4
    )
    torch.testing.assert_close(
        model.decoder(model.backbone.encode(x, idx_keep=keep), keep), prediction
    )
    # lightly's encoder has a mask token that MAE does not use: masked patches are left out
    untouched = ("probe.", "backbone.mask_token")
    agree(model, run(model, [x]), (naive.mae(prediction, x, masked, 8), []), untouched)


def test_mae_has_no_gradient_from_predictions_of_visible_patches():
    model, made = masked_autoencoder(), []
    (x,) = views(model)
    model.decoder.predict.register_forward_hook(lambda module, inputs, output: made.append(output))
    loss = model.step([x], IMAGES).loss
    (gradient,) = torch.autograd.grad(loss, made)
    masked = torch.zeros(8, 16, dtype=torch.bool).scatter(1, model.mask(IMAGES, "cpu")[1] - 1, True)
    assert (gradient[~masked] == 0).all() and (gradient[masked].abs().sum(1) > 0).all()


def test_mae_encodes_visible_patches_only():
    model = masked_autoencoder()
    x = views(model)[0].requires_grad_()
    keep, _ = model.mask(IMAGES, "cpu")
    model.backbone.encode(x, idx_keep=keep)[:, :, ::5].square().sum().backward()
    for image, kept in zip(x.grad, keep.tolist(), strict=True):
        for position in range(1, 17):
            reached = naive.square(image, position, 8).abs().sum() > 0
            assert reached == (position in kept)


def test_masks_keep_the_cls_token_and_a_quarter_of_the_patches():
    keep, masked = random_mask(torch.rand(5, 16), 0.75)
    assert keep.shape == (5, 5) and masked.shape == (5, 12)
    assert (keep[:, 0] == 0).all() and (masked > 0).all()
    assert torch.cat([keep, masked], 1).sort(1).values.equal(torch.arange(17).expand(5, -1))


def test_every_patch_and_every_pair_of_patches_is_kept_as_often():
    model, n = build("mae", "vit_tiny", patch=8), 20_000
    keep, _ = model.mask(torch.arange(n), "cpu")
    kept = torch.zeros(n, 17, dtype=torch.float64).scatter(1, keep, 1.0)[:, 1:]
    pairs = kept.T @ kept / n
    for frequency, p in (
        (pairs.diagonal(), 4 / 16),
        (pairs[~torch.eye(16, dtype=torch.bool)], 4 / 16 * 3 / 15),
    ):
        assert (frequency - p).abs().max() < 5 * (p * (1 - p) / n) ** 0.5


def test_a_mask_is_a_function_of_seed_epoch_and_image(monkeypatch):
    model = build("mae", "vit_tiny", patch=8)
    images = torch.arange(50)
    keep, masked = model.mask(images, "cpu")
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    again = build("mae", "vit_tiny", patch=8).mask(
        images[order], "cpu"
    )  # another batch, another history
    assert again[0].equal(keep[order]) and again[1].equal(masked[order])
    assert len({tuple(row) for row in keep.tolist()}) > 45  # of different images
    other = build("mae", "vit_tiny", patch=8, seed=2).mask(images, "cpu")[0]
    monkeypatch.setattr(type(model), "current_epoch", 1)
    later = model.mask(images, "cpu")[0]
    for changed in (other, later):
        assert (changed != keep).any(1).sum() > 45


@both_backbones
def test_supervised_is_cross_entropy_with_defects_weighted_by_n_neg_over_n_pos(backbone):
    model = double("supervised", backbone, pos_weight=2.5)
    (x,), labels, images = batch(model)
    logits = naive.linear(model.backbone(x), model.probe)[:, 0]
    ours = model.training_step(([x], labels, images), 0)
    agree(model, (ours, []), (naive.binary_cross_entropy(logits, labels, 2.5), []), untouched=())


@pytest.mark.parametrize("method, backbone", SELF_SUPERVISED)
def test_the_probe_adds_the_same_loss_over_all_views_and_stays_apart(method, backbone):
    model = double(method, backbone, pos_weight=2.5)
    x, labels, images = batch(model)
    seen = []
    step = model.step

    def spy(*arguments):
        seen.append(step(*arguments))
        return seen[-1]

    model.step = spy
    total = model.training_step((x, labels, images), 0)
    features = torch.cat(seen[0].features).detach()
    targets = torch.cat([labels for _ in x])
    expected = naive.binary_cross_entropy(naive.linear(features, model.probe)[:, 0], targets, 2.5)
    torch.testing.assert_close(total - seen[0].loss, expected, rtol=1e-5, atol=0)
    probe = list(model.probe.parameters())
    for a, b in zip(
        torch.autograd.grad(total, probe), torch.autograd.grad(expected, probe), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-12)
