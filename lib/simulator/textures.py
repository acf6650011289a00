"""Noise of which walls, deposits and water are made: three tiles, the same in every frame."""

import functools

import cv2
import numpy as np

TILE = 256  # texels of a noise tile, which wraps once around the pipe


@functools.lru_cache
def tile(kind: str) -> np.ndarray:
    """Noise of variance 1 with period TILE, padded by 2: `cloud` (stains), `grain` (fine) or
    `stones` (domes)."""
    rng = np.random.default_rng(len(kind))  # fixed: every frame has the same tiles
    if kind == "stones":
        noise = _stones(rng)
    else:
        rows, columns = np.fft.fftfreq(TILE) * TILE, np.fft.rfftfreq(TILE) * TILE
        f = np.hypot(*np.meshgrid(rows, columns, indexing="ij"))
        f[0, 0] = np.inf
        band = {"cloud": f**-1.7, "grain": f**-0.9 * (f > 6)}[kind]
        noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((TILE, TILE))) * band)
    return np.pad(np.float32((noise - noise.mean()) / noise.std()), ((0, 2), (0, 2)), "wrap")


def _stones(rng: np.random.Generator, n: int = 22) -> np.ndarray:
    """Packed stones (TILE, TILE): domes of various sizes and tones about the points of a jittered
    grid, dark between them."""
    points = np.stack(np.mgrid[:n, :n], -1).reshape(-1, 2) + rng.uniform(0, 1, (n * n, 2))
    points = points * (TILE / n)
    radius, tone = rng.uniform(0.5, 1.0, n * n) * TILE / n, rng.uniform(0.55, 1.0, n * n)
    top = np.zeros((TILE, TILE))
    for (y, x), r, t in zip(points, radius, tone, strict=True):
        i, j = (np.arange(int(c - r), int(c + r) + 2) for c in (y, x))
        squares = np.square(i - y)[:, None] + np.square(j - x)
        dome = t * np.sqrt(np.clip(1 - squares / (r * r), 0, 1))
        here = np.ix_(i % TILE, j % TILE)
        top[here] = np.maximum(top[here], dome)
    return top


def sample(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A noise tile at texel coordinates, periodic, bilinear. (cv2's own wrapping takes four times
    as long.)"""
    u, v = ((x - TILE * np.floor(x * np.float32(1 / TILE))).astype(np.float32) for x in (u, v))
    return cv2.remap(tile(kind), u, v, cv2.INTER_LINEAR)
