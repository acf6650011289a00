"""Views on a processor: one compiled loop makes a view, and its values stay in the cache meanwhile.

The operations are those of `lib.data.views`, for one view after the other: resized crop, flip,
colour jitter, normalisation. PyTorch's batched operations pass over the whole batch some forty
times, and wait for memory. Here all inner loops are over contiguous float32 values, which the
compiler turns into vector instructions. A view depends on its own pixels and parameters alone, to
the bit.

numba compiles this module once a machine, in some ten seconds, and keeps the result beside it, or
in the user's cache where that folder is read-only. A multiplication and the addition after it may
be rounded once; sums over a view are taken in lanes. Nothing else of IEEE arithmetic is loosened.
"""

import numpy as np
from numba import njit

BLOCK = 16  # rows that are transposed together: float32 values of a cache line
GREY_R, GREY_G, GREY_B = np.float32(0.2989), np.float32(0.587), np.float32(0.114)  # torchvision's
ZERO, ONE, TWO, THREE = (np.float32(x) for x in range(4))

# The arguments of `make`: images, boxes, mirrored, bicubic, factors, order, mean, std, out.
SIGNATURE = (
    "void(u1[:,:,::1], i8[:,::1], b1[::1], b1, f4[:,::1], i8[:,::1], f4[::1], f4[::1], f4[:,:,::1])"
)
OPTIONS = {"error_model": "numpy", "nogil": True}

_compiled = njit(fastmath={"contract"}, **OPTIONS)


@_compiled
def _taps(length, bicubic, first, count, weight):
    """What resizes `length` pixels to px: position i adds up `count[i]` of them from `first[i]` on,
    with the weights `weight` (px, taps) of Pillow's antialiasing kernel."""
    px = len(first)
    scale = length / px
    reach = max(scale, 1.0)
    support = (2 if bicubic else 1) * reach
    for i in range(px):
        centre = (i + 0.5) * scale
        low = max(int(np.floor(centre - support + 0.5)), 0)
        high = min(int(np.ceil(centre + support - 0.5)), length)
        total = 0.0
        for t in range(high - low):
            x = abs(low + t + 0.5 - centre) / reach
            if not bicubic:
                w = max(1 - x, 0.0)
            elif x < 1:
                w = (1.5 * x - 2.5) * x * x + 1
            elif x < 2:
                w = ((-0.5 * x + 2.5) * x - 4) * x + 2
            else:
                w = 0.0
            weight[i, t] = w
            total += w
        for t in range(high - low):
            weight[i, t] = weight[i, t] / total
        weight[i, high - low :] = 0.0
        first[i], count[i] = low, high - low


@_compiled
def _combine(into, lines, weight):
    """The weighted sum of the `lines` (taps, k) in `into` (k,), four at a time."""
    last = len(lines) - 1
    for t in range(0, last + 1, 4):
        a, b = lines[t], lines[min(t + 1, last)]
        c, d = lines[min(t + 2, last)], lines[min(t + 3, last)]
        u, v, w, x = weight[t], weight[t + 1], weight[t + 2], weight[t + 3]
        if t == 0:
            for k in range(len(into)):
                into[k] = u * a[k] + v * b[k] + w * c[k] + x * d[k]
        else:
            for k in range(len(into)):
                into[k] += u * a[k] + v * b[k] + w * c[k] + x * d[k]


@_compiled
def _clip(x):
    x = x if x > ZERO else ZERO
    return x if x < ONE else ONE


@_compiled
def _resize(image, box, mirrored, bicubic, first, count, weight, lines, block, half, planes):
    """The crop `box` of `image` (side, side * 3) in `planes` (3, px, px + BLOCK), columns before
    rows, in [0, 1].

    Both sums are over contiguous lines, first of the image, then of its transpose `half`.
    """
    top, left, height, width = box
    px = len(first)
    for y in range(height):
        into, line = lines[y], image[top + y, 3 * left : 3 * (left + width)]
        for k in range(3 * width):
            into[k] = np.float32(line[k])
    _taps(height, bicubic, first, count, weight)
    for start in range(0, px, BLOCK):
        for i in range(min(BLOCK, px - start)):
            y = first[start + i]
            _combine(block[i, : 3 * width], lines[y : y + count[start + i]], weight[start + i])
        for x in range(width):
            for channel in range(3):
                for i in range(BLOCK):
                    half[channel, x, start + i] = block[i, 3 * x + channel]
    _taps(width, bicubic, first, count, weight)
    for j in range(px):
        at = px - 1 - j if mirrored else j
        for channel in range(3):
            into = planes[channel, j * px : (j + 1) * px]
            _combine(into, half[channel, first[at] : first[at] + count[at]], weight[at])
            for i in range(px):
                into[i] = _clip(into[i] * (ONE / np.float32(255)))


@njit(fastmath={"contract", "reassoc"}, **OPTIONS)
def _mean_grey(r, g, b):
    total = ZERO
    for i in range(len(r)):
        total += r[i] * GREY_R + g[i] * GREY_G + b[i] * GREY_B
    return total / np.float32(len(r))


@_compiled
def _scale(x, factor, added):
    """x <- factor x + added."""
    for i in range(len(x)):
        x[i] = _clip(factor * x[i] + added)


@_compiled
def _saturate(r, g, b, factor):
    for i in range(len(r)):
        grey = (ONE - factor) * (r[i] * GREY_R + g[i] * GREY_G + b[i] * GREY_B)
        r[i] = _clip(factor * r[i] + grey)
        g[i] = _clip(factor * g[i] + grey)
        b[i] = _clip(factor * b[i] + grey)


@_compiled
def _turned(away, signed, chroma, least, value, turn):
    distance = abs(away + signed * turn)
    x = abs(distance - THREE * chroma) + (TWO * least - value)
    x = x if x > least else least
    return x if x < value else value


@_compiled
def _shift_hue(r, g, b, shift):
    """`lib.data.views.shift_hue`, a pixel at a time."""
    turn_r = np.float32((6 * shift + 3) % 6 - 3)
    turn_g = np.float32((6 * shift + 1) % 6 - 3)
    turn_b = np.float32((6 * shift - 1) % 6 - 3)
    for i in range(len(r)):
        value = r[i] if r[i] > g[i] else g[i]
        value = value if value > b[i] else b[i]
        least = r[i] if r[i] < g[i] else g[i]
        least = least if least < b[i] else b[i]
        chroma = value - least
        away = (g[i] + b[i] - r[i]) + value - TWO * least
        signed = chroma if g[i] >= b[i] else -chroma
        r[i] = _turned(away, signed, chroma, least, value, turn_r)
        g[i] = _turned(away, signed, chroma, least, value, turn_g)
        b[i] = _turned(away, signed, chroma, least, value, turn_b)


@_compiled
def _normalise(planes, mean, std, out):
    """`out` (px, px * 3) is the transpose of the planes, channels last."""
    px = len(out)
    scale = ONE / std
    for start in range(0, px, BLOCK):
        rows = min(BLOCK, px - start)
        for j in range(px):
            for channel in range(3):
                x = planes[channel, j * px + start : j * px + start + rows]
                for i in range(rows):
                    out[start + i, 3 * j + channel] = (x[i] - mean[channel]) * scale[channel]


def _fill(images, boxes, mirrored, bicubic, factors, order, mean, std, out):
    """Fill `out` (n, px, px * 3) with the views of `images` (n, side, side * 3)."""
    side, px = images.shape[1], out.shape[1]
    support = 2 if bicubic else 1
    first, count = np.empty(px, np.int64), np.empty(px, np.int64)
    weight = np.zeros((px, int(2 * support * max(1.0, side / px)) + 5), np.float32)
    lines = np.empty((side, 3 * side), np.float32)
    block = np.zeros((BLOCK, 3 * side), np.float32)
    half = np.empty((3, side, px + BLOCK), np.float32)
    planes = np.empty((3, px * px), np.float32)
    r, g, b = planes[0], planes[1], planes[2]
    for n in range(len(images)):
        box, mirror = boxes[n], mirrored[n]
        _resize(images[n], box, mirror, bicubic, first, count, weight, lines, block, half, planes)
        for k in range(order.shape[1]):
            operation = order[n, k]
            factor = factors[n, operation]
            if operation == 0:
                _scale(planes.reshape(-1), factor, ZERO)
            elif operation == 1:
                _scale(planes.reshape(-1), factor, (ONE - factor) * _mean_grey(r, g, b))
            elif operation == 2:
                _saturate(r, g, b, factor)
            else:
                _shift_hue(r, g, b, factor)
        _normalise(planes, mean, std, out[n])


try:
    make = njit(SIGNATURE, cache=True, **OPTIONS)(_fill)
except (RuntimeError, OSError):  # neither folder can be written
    make = njit(SIGNATURE, **OPTIONS)(_fill)
