"""Augmented and evaluation views, made on the training device from cached uint8 pixels.

Every random number is a function of (seed, epoch, image, view); history, batches, workers and
devices do not change it. A processor makes view after view in `lib.data.fused_views`; a GPU makes
them in batches, here. There a resized crop is a product rows x image x columns with two matrices
that are almost empty: each row holds the weights of Pillow's antialiasing kernel. A flip reverses
the rows of one of them. All is float32, under autocast too. A change of this module makes runs
stale.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import embedding_bag

MEAN = (0.523, 0.453, 0.345)  # Sewer-ML's channel statistics in the released code
STD = (0.210, 0.199, 0.154)
GREY = (0.2989, 0.587, 0.114)  # torchvision's luma weights
RATIO = (3 / 4, 4 / 3)  # torchvision's default aspect ratios of a crop
ATTEMPTS = 10  # torchvision's tries before it falls back to the whole image
EVALUATION = 2**31  # the "epoch" of views made for evaluation, out of reach of training
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # the operations of a jitter's order
# Uniforms per view: area, aspect, top, left of each try; flip; 4 factors of the jitter; 4 for their
# order.
_DRAWS = 4 * ATTEMPTS + 9


def uniforms(seed: int, epoch: int, images: np.ndarray, view: int, n: int) -> np.ndarray:
    """(len(images), n) floats in [0, 1), a pure function of the arguments (SplitMix64, Steele et
    al. 2014)."""
    state, golden = np.asarray(images, np.uint64)[:, None], np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        for key in (seed, epoch, view):
            state = _mix(state + np.uint64(key + 1) * golden)
        state = _mix(state + np.arange(1, n + 1, dtype=np.uint64) * golden)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def crops(u: np.ndarray, side: int, smallest: float) -> np.ndarray:
    """(n, 4) integer top, left, height, width of RandomResizedCrop(scale=(smallest, 1)) in a square
    of `side` pixels. `u` (n, ATTEMPTS, 4) uniforms: area, log aspect, top, left. The first try that
    fits is taken, else the whole image."""
    area = side * side * (smallest + (1 - smallest) * u[..., 0])
    aspect = np.exp(np.log(RATIO[0]) + (np.log(RATIO[1]) - np.log(RATIO[0])) * u[..., 1])
    width, height = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (width <= side) & (height <= side) & (width > 0) & (height > 0)
    top, left = u[..., 2] * (side - height + 1), u[..., 3] * (side - width + 1)
    boxes = np.stack([top, left, height, width], -1)
    first = np.argmax(fits, axis=1)
    chosen = np.floor(boxes[np.arange(len(u)), first]).astype(np.int64)
    chosen[~fits.any(axis=1)] = (0, 0, side, side)
    return chosen


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' cubic kernel with a = -0.5, as in Pillow."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp_min(0)


SUPPORT = {_cubic: 2, _triangle: 1}  # the kernel is 0 from here on


class Bands(NamedTuple):
    """A batch of matrices (n, px, side), stored as the entries of each row that may differ from 0:
    `taps` neighbours."""

    index: torch.Tensor  # (n, px, taps) int32, their columns
    weight: torch.Tensor  # (n, px, taps), their values


class Draws(NamedTuple):
    """What distinguishes n views of one size."""

    boxes: np.ndarray  # (n, 4) int64 top, left, height, width of the crops
    mirrored: np.ndarray  # (n,) bool
    cubic: bool  # resized by the cubic kernel, else by the triangle
    factors: np.ndarray  # (n, 4) float32 of brightness, contrast, saturation; turns of the hue
    order: np.ndarray  # (n, 4) int64, the operations on the colours in turn; (n, 0) for none


def resize_matrix(
    start: torch.Tensor, length: torch.Tensor, side: int, px: int, kernel=_cubic
) -> Bands:
    """(n, px, side) matrices that resize `length` pixels from `start` (n,) of a line of `side`
    pixels to `px`. They antialias as Pillow does: the kernel widens with the reduction, and uses
    only pixels inside the crop."""
    # float32 would place the pixels of a wide image to 1e-5 of a pixel.
    start, length = start.double()[:, None, None], length.double()[:, None, None]
    support = SUPPORT[kernel]
    taps = torch.arange(math.ceil(2 * support * max(1, side / px)), device=start.device)
    scale = length / px
    reach = scale.clamp_min(1)
    centre = start + (torch.arange(px, device=start.device)[None, :, None] + 0.5) * scale
    first = (centre - support * reach + 0.5).floor()  # pixel whose middle the kernel reaches
    source = first + taps
    index = source.clamp(0, side - 1).int()
    source = source + 0.5
    weight = kernel((source - centre) / reach)
    weight = weight * ((source > start) & (source < start + length))
    return Bands(index, (weight / weight.sum(-1, keepdim=True)).float())


def augment(
    pixels: torch.Tensor,
    images: np.ndarray,
    *,
    px: int,
    crop: float,
    jitter: float,
    flip: float,
    seed: int,
    epoch: int,
    view: int,
) -> torch.Tensor:
    """(n, 3, px, px) normalised training views of uint8 `pixels` (n, side, side, 3), whose numbers
    are `images` (n,).

    These are torchvision's RandomResizedCrop(scale=(crop, 1), bicubic), RandomHorizontalFlip and
    ColorJitter(jitter, jitter, jitter, jitter / 2). crop 1 resizes the whole image, bilinearly, as
    the released code does for Table 2; jitter 0 leaves the colours as they are.
    """
    side = pixels.shape[1]
    u = uniforms(seed, epoch, images, view, _DRAWS)
    tries, flips, factors, order = np.split(u, np.cumsum([4 * ATTEMPTS, 1, 4]), axis=1)
    boxes = _whole(pixels)
    if crop < 1:
        boxes = crops(tries.reshape(-1, ATTEMPTS, 4), side, crop)
    low = max(0.0, 1 - jitter)
    factors = np.hstack(
        [low + (1 + jitter - low) * factors[:, :3], (2 * factors[:, 3:] - 1) * jitter / 2]
    )
    order = np.argsort(order, axis=1)[:, : 4 if jitter > 0 else 0]
    draws = Draws(boxes, flips[:, 0] < flip, crop < 1, factors.astype(np.float32), order)
    return _views(pixels, px, draws)


def evaluation(pixels: torch.Tensor, px: int, flipped: bool = False) -> torch.Tensor:
    """(n, 3, px, px) normalised: the whole images, resized (bilinear, antialiased), and mirrored if
    `flipped`."""
    n = len(pixels)
    colours = np.zeros((n, 4), np.float32), np.zeros((n, 0), np.int64)
    return _views(pixels, px, Draws(_whole(pixels), np.full(n, flipped), False, *colours))


def _whole(pixels: torch.Tensor) -> np.ndarray:
    n, side = pixels.shape[:2]
    return np.tile((0, 0, side, side), (n, 1))


def _views(pixels: torch.Tensor, px: int, draws: Draws) -> torch.Tensor:
    """(n, 3, px, px) normalised views, channels last in memory, of `pixels` (n, side, side, 3)."""
    if pixels.device.type == "cpu":
        return fused(pixels, px, draws)
    return batched(pixels, px, draws)


def fused(pixels: torch.Tensor, px: int, draws: Draws) -> torch.Tensor:
    """Views made one after the other, each to the end, on a processor."""
    from lib.data import fused_views  # compiled, or read, when it is first needed

    n, side = pixels.shape[:2]
    images = pixels.contiguous().numpy().reshape(n, side, 3 * side)
    views = np.empty((n, px, 3 * px), np.float32)
    statistics = np.float32(MEAN), np.float32(STD)
    arrays = (np.ascontiguousarray(x) for x in draws[3:])
    fused_views.make(images, *draws[:3], *arrays, *statistics, views)
    return torch.from_numpy(views.reshape(n, px, px, 3)).permute(0, 3, 1, 2)


def batched(pixels: torch.Tensor, px: int, draws: Draws) -> torch.Tensor:
    """Views made together, by a few dozen operations on all of them."""
    side, kernel = pixels.shape[1], _cubic if draws.cubic else _triangle
    boxes = torch.as_tensor(draws.boxes, device=pixels.device)
    top, left, height, width = boxes.unbind(1)
    rows = resize_matrix(top, height, side, px, kernel)
    columns = resize_matrix(left, width, side, px, kernel)
    mirrored = torch.as_tensor(draws.mirrored, device=pixels.device)[:, None, None]
    columns = Bands(*(torch.where(mirrored, part.flip(1), part) for part in columns))
    x = _resize(pixels, rows, columns)
    if draws.order.shape[1]:
        x = colour_jitter(x.mT, draws.factors, draws.order).mT  # as it lies in memory
    return normalise(x)


def _resize(pixels: torch.Tensor, rows: Bands, columns: Bands) -> torch.Tensor:
    """(n, 3, px, px) in [0, 1]: `rows` x image x `columns` transposed, for uint8 `pixels` (n, side,
    side, 3). Both products add up contiguous lines, first of the image, then of its transpose. So
    the views are transposed in memory."""
    n, side, px, device = len(pixels), pixels.shape[1], rows.index.shape[1], pixels.device
    image = torch.arange(n, dtype=torch.int32, device=device)[:, None, None, None] * side
    channel = torch.arange(3, dtype=torch.int32, device=device)[:, None, None]
    lines = pixels.reshape(n * side, side * 3).float()
    x = _add(lines, rows.index[:, None] + image, (rows.weight / 255)[:, None].expand(n, -1, -1, -1))
    lines = x.view(n, px, side * 3).transpose(1, 2).reshape(n * side * 3, px)
    index = (columns.index[:, None] + image) * 3 + channel
    x = _add(lines, index, columns.weight[:, None].expand(n, 3, -1, -1))
    return x.view(n, 3, px, px).transpose(2, 3).clamp_(0, 1)


def _add(lines: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(m, width): weighted sums of the `lines` (k, width) that `index` names; `index` and `weight`
    are (..., taps), for m sums in all."""
    index, weight = (x.reshape(-1, x.shape[-1]) for x in (index, weight))
    return embedding_bag(index, lines, per_sample_weights=weight, mode="sum")


def normalise(x: torch.Tensor) -> torch.Tensor:
    """(x - mean) / std with Sewer-ML's channel statistics, channels last in memory."""
    out = torch.empty_like(x, memory_format=torch.channels_last)
    for channel, normal, mean, std in zip(x.unbind(1), out.unbind(1), MEAN, STD, strict=True):
        normal.copy_((channel - mean).div_(std))  # broadcasting over three channels is slower
    return out


def colour_jitter(x: torch.Tensor, factors: np.ndarray, order: np.ndarray) -> torch.Tensor:
    """torchvision's ColorJitter on a batch in [0, 1], in place; every image has its own `factors`
    (n, 4) and `order` (n, 4), as in `Draws`. Brightness, contrast and saturation are one operation
    with different weights; hue comes before, between or after them."""
    others, turns = order[order != HUE].reshape(-1, 3), np.argmax(order == HUE, axis=1)
    factor = np.take_along_axis(factors, others, axis=1)
    grey, mean = (1 - factor) * (others == SATURATION), (1 - factor) * (others == CONTRAST)
    hue = factors[:, HUE:]
    values = torch.as_tensor(np.hstack([factor, grey, mean, hue]), dtype=x.dtype, device=x.device)
    factor, grey, mean, hue = values.split((3, 3, 3, 1), dim=1)
    for turn in range(4):
        chosen = torch.as_tensor(np.flatnonzero(turns == turn), device=x.device)
        if len(chosen):
            shifts = hue.index_select(0, chosen)[:, 0]
            x.index_copy_(0, chosen, shift_hue(x.index_select(0, chosen), shifts))
        if turn < 3:
            _blend(x, factor[:, turn], grey[:, turn], mean[:, turn])
    return x


def _blend(x: torch.Tensor, factor: torch.Tensor, grey: torch.Tensor, mean: torch.Tensor) -> None:
    """In place, x <- factor x + grey (the grey image) + mean (its mean), with weights (n,).
    Brightness blends with black, saturation with the grey image, contrast with its mean."""
    r, g, b = x.unbind(1)
    added = (r * GREY[0]).add_(g, alpha=GREY[1]).add_(b, alpha=GREY[2])
    constant = added.mean((1, 2)) * mean
    added.mul_(grey[:, None, None]).add_(constant[:, None, None])
    torch.addcmul(added[:, None], x, factor[:, None, None, None], out=x).clamp_(0, 1)


def shift_hue(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """RGB (n, 3, h, w) in [0, 1] with hue moved by `shift` (n,) turns, as through HSV.

    Let the hue h be in [-3, 3], with red at 0, green at 2 and blue at -2. A channel at p is then
    value - chroma clamp(d - 1, 0, 1), where d is the distance from h to p around the circle. All is
    multiplied by chroma, so that nothing is divided: chroma |h| is linear in r, g, b, the greatest
    and the least of them, and h has the sign of g - b. Nothing jumps where two channels are equal.
    """
    r, g, b = x.unbind(1)
    value = torch.maximum(torch.maximum(r, g), b)
    least = torch.minimum(torch.minimum(r, g), b)
    chroma = value - least
    away = (g + b).sub_(r).add_(value).sub_(least, alpha=2)  # chroma |h|
    signed = torch.copysign(chroma, g - b)
    channels = torch.arange(0, 6, 2, device=x.device)
    turn = torch.remainder(6 * shift[:, None] - channels + 3, 6) - 3  # |h| + |turn| is at most 6
    distance = torch.addcmul(away[:, None], signed[:, None], turn[:, :, None, None]).abs_()
    distance.sub_((3 * chroma)[:, None]).abs_()  # 3 - d, times chroma
    return torch.clamp(distance.add_((2 * least - value)[:, None]), least[:, None], value[:, None])
