"""The crawler's camera and recorder: blur, response, noise, overlay text, compression."""

import functools
from typing import Any

import cv2
import numpy as np


def record(image: np.ndarray, video: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Linear RGB (3, h, w) as recorded, uint8 (h, w, 3); `video` is what the frames of a video
    share."""
    image = cv2.merge(list(image))
    h, w = image.shape[:2]
    unit = min(h, w) / 96
    image = cv2.GaussianBlur(image, (0, 0), video["blur"] * rng.uniform(0.8, 1.5) * unit)
    image = np.clip(image, 0, None)
    image = image / (0.55 + 0.62 * image)  # bright parts saturate softly
    image += video["grain"] * _noise(rng, (h, w))
    pixels = np.clip(image * 255, 0, 255).astype(np.uint8)
    distance = f"{video['start'] + 0.1 * rng.integers(0, 400):.1f}m"
    _write(pixels, video["text"], video["corner"], video["ink"], unit)
    _write(pixels, distance, (video["corner"] + 2) % 4, video["ink"], unit)
    packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, video["quality"]])[1]
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)  # still RGB: both calls take it for BGR


def _write(pixels: np.ndarray, words: str, corner: int, ink: int, unit: float) -> None:
    """Write the words with a dark shadow into a corner, counted clockwise from the upper left."""
    h, w = pixels.shape[:2]
    font, scale, thick = cv2.FONT_HERSHEY_SIMPLEX, 0.28 * unit, max(1, round(0.7 * unit))
    (width, height), _ = cv2.getTextSize(words, font, scale, thick)
    x = round(3 * unit) if corner in (0, 3) else round(w - width - 3 * unit)
    y = round(height + 3 * unit) if corner < 2 else round(h - 4 * unit)
    for offset, tone in ((thick, 12), (0, ink)):
        place, colour = (x + offset, y + offset), (tone, tone, tone)
        cv2.putText(pixels, words, place, font, scale, colour, thick, cv2.LINE_AA)


@functools.lru_cache(maxsize=1)
def _pool() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1 << 21) + 65536).astype(np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Sensor noise (h, w, 3) from a random place of a fixed pool: as good as fresh noise, in a
    tenth of the time."""
    n = shape[0] * shape[1] * 3
    start = int(rng.integers(0, len(_pool()) - min(n, 1 << 20)))
    return np.resize(_pool()[start : start + n], (*shape, 3))
