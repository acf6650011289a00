"""Views: equal to torchvision's on equal parameters; randomness a function of (seed, epoch, image,
view)."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image

from lib.data import views

SIDE, PX, N = 48, 32, 12
IMAGES = np.arange(100, 100 + N)


@pytest.fixture(params=["fused", "batched"])
def pixels(request, monkeypatch):
    """Images, of which views are made one after the other, and in batches."""
    monkeypatch.setattr(views, "_views", getattr(views, request.param))
    return torch.as_tensor(
        np.random.default_rng(0).integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
    )


def augment(pixels, images=IMAGES, **changes):
    options = {
        "px": PX,
        "crop": 0.395,
        "jitter": 0.275,
        "flip": 0.5,
        "seed": 3,
        "epoch": 2,
        "view": 1,
    } | changes
    return views.augment(pixels, images, **options)


def test_uniforms_are_uniform_and_uncorrelated_between_keys():
    a = views.uniforms(1, 2, np.arange(4000), 0, 5)
    assert a.min() >= 0 and a.max() < 1
    np.testing.assert_allclose(a.mean(0), 0.5, atol=4 / np.sqrt(12 * 4000))
    np.testing.assert_allclose(a.var(0), 1 / 12, atol=0.004)
    for seed, epoch, first, view in ((1, 3, 0, 0), (1, 2, 0, 1), (2, 2, 0, 0), (1, 2, 1, 0)):
        other = views.uniforms(seed, epoch, np.arange(first, first + 4000), view, 5)
        assert abs(np.corrcoef(a[:, 0], other[:, 0])[0, 1]) < 4 / np.sqrt(4000)


def test_a_view_does_not_depend_on_its_batch(pixels):
    whole = augment(pixels)
    part = augment(pixels[3:7], IMAGES[3:7])
    torch.testing.assert_close(whole[3:7], part, rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 3}, {"view": 0}])
def test_each_key_changes_the_view(pixels, change):
    assert (augment(pixels) - augment(pixels, **change)).abs().mean() > 0.05


@pytest.mark.parametrize("mode, kernel", [("bicubic", views._cubic), ("bilinear", views._triangle)])
def test_resized_crop_equals_torchs_antialiased_interpolation(pixels, mode, kernel):
    boxes = views.crops(views.uniforms(1, 0, IMAGES, 0, 40).reshape(N, 10, 4), SIDE, 0.2)
    top, left, height, width = torch.as_tensor(boxes).unbind(1)
    rows = views.resize_matrix(top, height, SIDE, PX, kernel)
    ours = views._resize(pixels, rows, views.resize_matrix(left, width, SIDE, PX, kernel))
    for image, mine, (t, x, h, w) in zip(pixels, ours, boxes, strict=True):
        part = image.permute(2, 0, 1)[None, :, t : t + h, x : x + w].float() / 255
        theirs = torch.nn.functional.interpolate(part, (PX, PX), mode=mode, antialias=True).clamp(
            0, 1
        )
        torch.testing.assert_close(mine, theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", [views._cubic, views._triangle])
@pytest.mark.parametrize("side, px", [(96, 64), (48, 64), (50, 17), (31, 31)])
def test_bands_hold_every_entry_of_the_matrices(side, px, kernel):
    start = torch.arange(0, 20, 3)
    length = side - start - torch.arange(len(start)) % 4
    bands = views.resize_matrix(start, length, side, px, kernel)
    ours = torch.zeros(len(start), px, side).scatter_add_(2, bands.index.long(), bands.weight)
    scale = (length / px).double()[:, None, None]
    centre = start[:, None, None] + (torch.arange(px)[:, None] + 0.5) * scale
    whole = kernel((torch.arange(side) + 0.5 - centre) / scale.clamp_min(1))
    column = torch.arange(side)[None, None]
    whole = whole * ((column >= start[:, None, None]) & (column < (start + length)[:, None, None]))
    torch.testing.assert_close(
        ours, (whole / whole.sum(2, keepdim=True)).float(), rtol=0, atol=1e-5
    )
    assert bands.index.shape[2] < side / 2  # what the bands are for


def test_views_keep_their_precision_under_autocast(pixels):
    with torch.autocast("cpu", torch.bfloat16):
        views_there, evaluated = augment(pixels), views.evaluation(pixels, PX)
    assert views_there.dtype == evaluated.dtype == torch.float32
    assert torch.equal(views_there, augment(pixels)) and torch.equal(
        evaluated, views.evaluation(pixels, PX)
    )


def test_crops_have_the_distribution_asked_for():
    boxes = views.crops(views.uniforms(1, 0, np.arange(5000), 0, 40).reshape(-1, 10, 4), 256, 0.4)
    top, left, height, width = boxes.T
    assert (
        (top >= 0).all()
        and (left >= 0).all()
        and (top + height <= 256).all()
        and (left + width <= 256).all()
    )
    area, aspect = height * width / 256**2, width / height
    assert area.min() > 0.39 and area.max() <= 1
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    assert abs(np.log(aspect).mean()) < 0.02  # wide and tall alike


def test_colour_jitter_equals_torchvisions_operations_in_the_same_order():
    x = torch.rand(N, 3, 16, 16)
    factors = np.random.default_rng(0).uniform(0.6, 1.4, (N, 4))
    factors[:, views.HUE] = (factors[:, views.HUE] - 1) / 2
    order = np.argsort(np.random.default_rng(1).random((N, 4)), axis=1)
    ours = views.colour_jitter(x.clone(), factors, order)
    operations = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for image, mine, values, turns in zip(x, ours, factors, order, strict=True):
        for k in turns:
            image = operations[k](image, values[k])
        torch.testing.assert_close(mine, image, rtol=0, atol=2e-5)


def test_hue_is_that_of_hsv_where_channels_are_equal_too():
    levels = (0.0, 0.1, 0.5, 1.0)
    colours = torch.tensor(list(itertools.product(levels, repeat=3)))
    shifts = torch.tensor([-0.5, -0.4, -1 / 3, -1 / 6, -0.05, 0.0, 0.05, 1 / 6, 0.25, 1 / 3, 0.5])
    ours = views.shift_hue(colours.T[None, :, :, None].repeat(len(shifts), 1, 1, 1), shifts)
    for shift, shifted in zip(shifts.tolist(), ours[..., 0], strict=True):
        hsv = [colorsys.rgb_to_hsv(*colour) for colour in colours.tolist()]
        expected = torch.tensor([colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv])
        torch.testing.assert_close(shifted.T, expected, rtol=0, atol=1e-6)


def test_grey_pixels_keep_their_grey_under_any_hue():
    grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1)
    torch.testing.assert_close(views.shift_hue(grey, torch.tensor([0.1, -0.3, 0.5, 0.0])), grey)


@pytest.mark.parametrize("px", [20, PX, 64])
def test_no_crop_no_jitter_no_flip_is_a_plain_bilinear_resize(pixels, px):
    theirs = F.resize(
        pixels.permute(0, 3, 1, 2).float() / 255,
        [px, px],
        F.InterpolationMode.BILINEAR,
        antialias=True,
    )
    plain = augment(pixels, px=px, crop=1.0, jitter=0.0, flip=0.0)
    torch.testing.assert_close(plain, views.normalise(theirs), rtol=0, atol=1e-4)
    levels = 255 * (
        plain * torch.tensor(views.STD)[:, None, None] + torch.tensor(views.MEAN)[:, None, None]
    )
    for image, ours in zip(pixels.numpy(), levels.permute(0, 2, 3, 1).numpy(), strict=True):
        pillows = np.asarray(
            Image.fromarray(image).resize((px, px), Image.Resampling.BILINEAR), np.float32
        )
        assert (
            np.abs(ours - pillows).max() < 1.01
        )  # Pillow rounds to whole levels after each of two passes


def test_flips_mirror_half_of_the_images(pixels):
    plain = augment(pixels, crop=1.0, jitter=0.0, flip=0.0)
    always = augment(pixels, crop=1.0, jitter=0.0, flip=1.0)
    torch.testing.assert_close(always, plain.flip(3), rtol=0, atol=1e-5)
    half = augment(pixels, crop=1.0, jitter=0.0, flip=0.5)
    flipped = [torch.allclose(h, a, atol=1e-5) for h, a in zip(half, always, strict=True)]
    assert 0 < sum(flipped) < N


def test_evaluation_is_the_whole_image_without_randomness(pixels):
    torch.testing.assert_close(views.evaluation(pixels, PX), views.evaluation(pixels, PX))
    torch.testing.assert_close(
        views.evaluation(pixels, PX, flipped=True), views.evaluation(pixels, PX).flip(3)
    )
    back = views.evaluation(pixels, SIDE) * torch.tensor(views.STD)[:, None, None]
    back = back + torch.tensor(views.MEAN)[:, None, None]
    torch.testing.assert_close(back, pixels.permute(0, 3, 1, 2) / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "px", [20, PX, 64]
)  # reduced, and enlarged, where antialiasing does nothing
def test_evaluation_is_torchs_antialiased_bilinear_resize_of_the_whole_image(pixels, px):
    whole = pixels.permute(0, 3, 1, 2).float() / 255
    theirs = torch.nn.functional.interpolate(whole, (px, px), mode="bilinear", antialias=True)
    torch.testing.assert_close(
        views.evaluation(pixels, px), views.normalise(theirs), rtol=0, atol=1e-4
    )
