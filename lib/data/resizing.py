"""What images lose where they become the squares that networks read."""

from contextlib import suppress
from functools import lru_cache

import numpy as np

from lib.data.files import Images
from lib.system.errors import DataError

LOOKED_AT = 24  # images that are opened
MAX_ASPECT = 1.5  # above it, what the images show is squashed
MAX_REDUCTION = 4  # above it, small defects are lost


@lru_cache
def advice(stored: Images, names: tuple[str, ...], side: int) -> str:
    """What is lost where these images become squares of `side` pixels, and what helps; "" where
    little is lost. A few images are opened, spread over the names."""
    sizes = []
    for name in names[:: -(-len(names) // LOOKED_AT)]:
        with suppress(DataError):
            sizes.append(sorted(stored.read(name).shape[:2]))
    if not sizes:
        return ""
    short, long = (float(np.median(sides)) for sides in zip(*sizes, strict=True))
    losses = []
    if long > MAX_ASPECT * short:
        losses.append(f"they are squashed, being {long / short:.1f} times as long as wide")
    if long > MAX_REDUCTION * side:
        losses.append(f"a defect of less than {long / side:.0f} px is lost")
    what = f"images of about {short:.0f} x {long:.0f} px are resized to {side} x {side} px"
    remedy = "cut them into square tiles, or choose a profile of more px as base"
    return f"{what}: {' and '.join(losses)}; {remedy}." if losses else ""
