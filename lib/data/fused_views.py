"""Views on a processor: compiled code makes one after the other, each to the end.

The operations are those of `lib.data.views`: resized crop, flip, colour jitter, normalisation.
PyTorch's operations on a batch pass over all of it some forty times, and wait for memory. Here a
view stays in the cache until it is finished, and inner loops are over contiguous float32 values,
which the compiler turns into vector instructions. A view has the same bits in whatever batch it is
made.

numba compiles this module when it is first imported, in a few seconds, and keeps the result in
`__pycache__` beside it, or in the user's cache where that folder is read-only. It compiles again
when this file changes, so this file imports nothing of the suite. Fast math is limited to fused
multiply-adds, and to the order in which the mean grey is summed.
"""

import numpy as np
from numba import njit

BRIGHTNESS, CONTRAST, SATURATION = range(3)  # as in lib.data.views; else it is hue
GREY_R, GREY_G, GREY_B = np.float32(0.2989), np.float32(0.587), np.float32(0.114)  # as there
TAPS = 6  # lines that are added up at once: all that bicubic reductions to two thirds need
BLOCK = 16  # lines that are transposed at once: as many float32 values as a cache line holds
ZERO, ONE, TWO, THREE = (np.float32(x) for x in range(4))

# The arguments of `make`: images, boxes, mirrored, bicubic, factors, order, mean, std, out.
SIGNATURE = (
    "void(u1[:,:,::1], i8[:,::1], b1[::1], b1, f4[:,::1], i8[:,::1], f4[::1], f4[::1], f4[:,:,::1])"
)
OPTIONS = {"error_model": "numpy", "nogil": True}

_compiled = njit(fastmath={"contract"}, **OPTIONS)


@_compiled
def _taps(length, bicubic, first, count, weight):
    """What resizes `length` pixels to px positions, as Pillow antialiases: position i adds up
    `count[i]` pixels from `first[i]` on, with the weights `weight[i]`; those beyond are 0."""
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
    """The sum of `lines` (taps, k) with `weight` (at least taps,), in `into` (k,). Where no line is
    left, the last one is added with weight 0."""
    last = len(lines) - 1
    for t in range(0, last + 1, TAPS):
        a, b, c = lines[t], lines[min(t + 1, last)], lines[min(t + 2, last)]
        d, e, f = lines[min(t + 3, last)], lines[min(t + 4, last)], lines[min(t + 5, last)]
        p, q, r = weight[t], weight[t + 1], weight[t + 2]
        s, u, v = weight[t + 3], weight[t + 4], weight[t + 5]
        if t == 0:
            for k in range(len(into)):
                into[k] = p * a[k] + q * b[k] + r * c[k] + s * d[k] + u * e[k] + v * f[k]
        else:
            for k in range(len(into)):
                into[k] += p * a[k] + q * b[k] + r * c[k] + s * d[k] + u * e[k] + v * f[k]


@_compiled
def _clip(x):
    x = x if x > ZERO else ZERO
    return x if x < ONE else ONE


@_compiled
def _transpose(source, out):
    """`source` (m, k) as `out` (k, m)."""
    for start in range(0, len(source), BLOCK):
        tile = source[start : start + BLOCK]
        for k in range(len(out)):
            line = out[k, start : start + BLOCK]
            if len(tile) == BLOCK:  # a constant: the loop is unrolled
                for i in range(BLOCK):
                    line[i] = tile[i, k]
            else:
                for i in range(len(tile)):
                    line[i] = tile[i, k]


@_compiled
def _resize(image, box, mirrored, bicubic, first, count, weight, lines, resized, half, view):
    """The crop `box` of `image` (side, side * 3) as `view`: (px columns, 3, px rows) in [0, 1].

    Both sums are of contiguous lines: of the image, `lines`, then of its transpose, `half`.
    """
    top, left, height, width = box
    px = len(first)
    for y in range(height):
        line = image[top + y, 3 * left : 3 * (left + width)]
        for k in range(3 * width):
            lines[y, k] = np.float32(line[k]) * (ONE / np.float32(255))
    _taps(height, bicubic, first, count, weight)
    for i in range(px):
        y = first[i]
        _combine(resized[i, : 3 * width], lines[y : y + count[i]], weight[i])
    _transpose(resized, half[: 3 * width])
    _taps(width, bicubic, first, count, weight)
    columns = half.reshape(-1, 3 * px)
    for j in range(px):
        at = px - 1 - j if mirrored else j
        x = first[at]
        _combine(view[j].reshape(-1), columns[x : x + count[at]], weight[at])
    _scale(view, ONE, ZERO)


@_compiled
def _scale(view, factor, added):
    """x <- factor x + added, clipped."""
    x = view.reshape(-1)
    for i in range(len(x)):
        x[i] = _clip(factor * x[i] + added)


@njit(fastmath={"contract", "reassoc"}, **OPTIONS)
def _mean_grey(view):
    px, total = len(view), 0.0
    for j in range(px):
        r, g, b = view[j, 0], view[j, 1], view[j, 2]
        line = ZERO
        for i in range(px):
            line += r[i] * GREY_R + g[i] * GREY_G + b[i] * GREY_B
        total += line
    return np.float32(total / px**2)


@_compiled
def _saturate(view, factor):
    px = len(view)
    grey = np.empty(px, np.float32)
    for j in range(px):
        r, g, b = view[j, 0], view[j, 1], view[j, 2]
        for i in range(px):
            grey[i] = (ONE - factor) * (r[i] * GREY_R + g[i] * GREY_G + b[i] * GREY_B)
        for channel in range(3):
            x = view[j, channel]
            for i in range(px):
                x[i] = _clip(factor * x[i] + grey[i])


@_compiled
def _shift_hue(view, shift):
    """As `lib.data.views.shift_hue`, which explains it. Lines of their own hold what is known of
    the three channels: the compiler could not tell these apart."""
    px = len(view)
    value, least = np.empty(px, np.float32), np.empty(px, np.float32)
    away, signed = np.empty(px, np.float32), np.empty(px, np.float32)
    for j in range(px):
        r, g, b = view[j, 0], view[j, 1], view[j, 2]
        for i in range(px):
            most = r[i] if r[i] > g[i] else g[i]
            most = most if most > b[i] else b[i]
            low = r[i] if r[i] < g[i] else g[i]
            low = low if low < b[i] else b[i]
            value[i], least[i] = most, low
            away[i] = (g[i] + b[i] - r[i]) + most - TWO * low
            signed[i] = most - low if g[i] >= b[i] else low - most
        for channel in range(3):
            turn = np.float32((6 * shift - 2 * channel + 3) % 6 - 3)
            x = view[j, channel]
            for i in range(px):
                distance = abs(away[i] + signed[i] * turn)
                y = abs(distance - THREE * (value[i] - least[i])) + (TWO * least[i] - value[i])
                y = y if y > least[i] else least[i]
                x[i] = y if y < value[i] else value[i]


@_compiled
def _normalise(view, mean, std):
    px, scale = len(view), ONE / std
    for j in range(px):
        for channel in range(3):
            x = view[j, channel]
            for i in range(px):
                x[i] = (x[i] - mean[channel]) * scale[channel]


def _fill(images, boxes, mirrored, bicubic, factors, order, mean, std, out):
    """Fill `out` (n, px, px * 3) with the views of `images` (n, side, side * 3)."""
    side, px = images.shape[1], out.shape[1]
    support = 2 if bicubic else 1
    first, count = np.empty(px, np.int64), np.empty(px, np.int64)
    taps = int(2 * support * max(1.0, side / px)) + 1
    weight = np.zeros((px, taps + TAPS), np.float32)
    lines = np.empty((side, 3 * side), np.float32)
    resized = np.empty((px, 3 * side), np.float32)
    half = np.empty((3 * side, px), np.float32)
    view = np.empty((px, 3, px), np.float32)
    for n in range(len(images)):
        box, mirror = boxes[n], mirrored[n]
        _resize(images[n], box, mirror, bicubic, first, count, weight, lines, resized, half, view)
        for k in range(order.shape[1]):
            operation = order[n, k]
            factor = factors[n, operation]
            if operation == BRIGHTNESS:
                _scale(view, factor, ZERO)
            elif operation == CONTRAST:
                _scale(view, factor, (ONE - factor) * _mean_grey(view))
            elif operation == SATURATION:
                _saturate(view, factor)
            else:
                _shift_hue(view, factor)
        _normalise(view, mean, std)
        _transpose(view.reshape(3 * px, px), out[n])


try:
    make = njit(SIGNATURE, cache=True, **OPTIONS)(_fill)
except (RuntimeError, OSError):  # neither folder can be written: it is compiled each time
    make = njit(SIGNATURE, **OPTIONS)(_fill)
