"""Views made one after the other on a processor: those made in batches, whatever else is made."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from lib.data import views
from lib.system import paths

TOLERANCE = 2e-5  # of a channel's standard deviation: a thousandth of one of 255 levels
N = 12


def pixels(side, n=N):
    noise = np.random.default_rng(side).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(noise)


def augment(images, rows, px, crop=0.395, jitter=0.275, flip=0.5):
    options = {"px": px, "crop": crop, "jitter": jitter, "flip": flip}
    return views.augment(images, rows, **options, seed=3, epoch=2, view=1)


@pytest.mark.parametrize(
    "side, px", [(96, 64), (112, 96), (256, 224), (576, 64), (48, 64), (50, 17), (31, 31), (9, 32)]
)
@pytest.mark.parametrize(
    "crop, jitter, flip",
    [(0.395, 0.275, 0.5), (0.395, 0.0, 1.0), (0.08, 0.4, 0.5), (1.0, 0.275, 0.5), (1.0, 0.0, 0.0)],
)
def test_fused_views_are_the_batched_ones(monkeypatch, side, px, crop, jitter, flip):
    images, rows = pixels(side), np.arange(50, 50 + N)
    fused = augment(images, rows, px, crop, jitter, flip)
    whole = views.evaluation(images, px, flipped=flip > 0)
    monkeypatch.setattr(views, "_views", views.batched)
    batched = augment(images, rows, px, crop, jitter, flip)
    torch.testing.assert_close(fused, batched, rtol=0, atol=TOLERANCE)
    expected = views.evaluation(images, px, flipped=flip > 0)
    torch.testing.assert_close(whole, expected, rtol=0, atol=TOLERANCE)
    assert fused.dtype == batched.dtype and fused.stride() == batched.stride()


@pytest.mark.parametrize("channels", [(255, 0, 0), (128, 128, 128), (0, 0, 0), (255, 255, 255)])
def test_even_colours_are_the_batched_ones(monkeypatch, channels):
    """Where channels are equal, or at the ends of their range."""
    images = torch.tensor(channels, dtype=torch.uint8).expand(N, 20, 20, 3)
    fused = augment(images, np.arange(N), 16, jitter=0.8)
    monkeypatch.setattr(views, "_views", views.batched)
    batched = augment(images, np.arange(N), 16, jitter=0.8)
    torch.testing.assert_close(fused, batched, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("side, px", [(96, 64), (50, 17)])
def test_a_view_is_the_same_to_the_bit_whatever_is_made_with_it(side, px):
    images, rows = pixels(side), np.arange(N)
    together = augment(images, rows, px)
    order = np.random.default_rng(0).permutation(N)
    assert torch.equal(augment(images[order], rows[order], px), together[order])
    for i in (0, 5, N - 1):
        assert torch.equal(augment(images[i : i + 1], rows[i : i + 1], px), together[i : i + 1])


def test_threads_change_nothing():
    images, rows, threads = pixels(96), np.arange(N), torch.get_num_threads()
    one = augment(images, rows, 64)
    try:
        torch.set_num_threads(threads + 1)
        assert torch.equal(augment(images, rows, 64), one)
    finally:
        torch.set_num_threads(threads)


def test_no_image_gives_no_view():
    assert augment(pixels(20, 0), np.arange(0), 16).shape == (0, 3, 16, 16)
    assert views.evaluation(pixels(20, 0), 16).shape == (0, 3, 16, 16)


def test_views_are_made_where_no_compiled_code_can_be_kept(tmp_path):
    """The folders that numba would use are files."""
    source = (paths.ROOT / "lib" / "data" / "fused_views.py").read_text(encoding="utf-8")
    (tmp_path / "fused_views.py").write_text(source, encoding="utf-8")
    for name in ("__pycache__", ".cache", "Library"):
        (tmp_path / name).touch()
    code = "import fused_views; assert fused_views.make.signatures; print(fused_views.make._cache)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NullCache" in done.stdout and not done.stderr
