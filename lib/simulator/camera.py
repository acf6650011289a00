"""The crawler's camera and recorder: blur, response, noise, overlay text, compression."""

import functools

import cv2
import numpy as np


def record(image, v, rng):
    """Linear RGB (3, h, w) as recorded, uint8 (h, w, 3); `v` holds what the frames of a video
    share."""
    image = cv2.merge(list(image))
    h, w = image.shape[:2]
    unit = min(h, w) / 96
    sigma = v["blur"] * rng.uniform(0.8, 1.5) * unit
    image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = np.clip(image, 0, None)
    image = image / (0.55 + 0.62 * image)  # soft shoulder
    image += v["grain"] * _noise(rng, (h, w))
    pixels = np.clip(image * 255, 0, 255).astype(np.uint8)
    text = [
        (v["text"], v["corner"]),
        (f"{v['start'] + 0.1 * rng.integers(0, 400):.1f}m", (v["corner"] + 2) % 4),
    ]
    for words, corner in text:
        scale, thick = 0.28 * unit, max(1, round(0.7 * unit))
        (tw, th), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
        at = (
            (round(3 * unit) if corner in (0, 3) else round(w - tw - 3 * unit)),
            (round(th + 3 * unit) if corner < 2 else round(h - 4 * unit)),
        )
        for offset, ink in ((thick, 12), (0, v["ink"])):  # its shadow, then the letter
            place = at[0] + offset, at[1] + offset
            cv2.putText(
                pixels,
                words,
                place,
                cv2.FONT_HERSHEY_SIMPLEX,
                scale,
                (ink,) * 3,
                thick,
                cv2.LINE_AA,
            )
    packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, v["quality"]])[1]
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)  # channel order kept: both calls take it for BGR


@functools.lru_cache(maxsize=1)
def _pool() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1 << 21) + 65536).astype(np.float32)


def _noise(rng, shape):
    """Sensor noise (h, w, 3) from a random place of a fixed pool: as good as fresh, at a tenth of
    the time."""
    n = shape[0] * shape[1] * 3
    start = int(rng.integers(0, len(_pool()) - min(n, 1 << 20)))
    return np.resize(_pool()[start : start + n], (*shape, 3))
