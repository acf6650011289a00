"""Augmented and evaluation views, made in batches on the training device from cached uint8 pixels.

Every random number is a function of (seed, epoch, image, view): not of history, batch, worker or device count.
A resized crop is linear in the pixels and separable, so a batch of them is two batched matrix products; their
matrices hold Pillow's antialiased kernels, and a flip reverses the rows of one.
"""

import numpy as np
import torch

MEAN = (0.523, 0.453, 0.345)  # Sewer-ML's channel statistics in the released code
STD = (0.210, 0.199, 0.154)
GREY = (0.2989, 0.587, 0.114)  # torchvision's luma weights
RATIO = (3 / 4, 4 / 3)  # torchvision's default aspect ratios of a crop
ATTEMPTS = 10  # torchvision's tries before it falls back to the whole image
EVALUATION = 2**31  # the "epoch" of views made for evaluation, out of reach of training

_DRAWS = 4 * ATTEMPTS + 9  # uniforms per view: area, aspect, top, left per try; flip, 4 factors, 4 for the order


def uniforms(seed: int, epoch: int, images: np.ndarray, view: int, n: int) -> np.ndarray:
    """(len(images), n) floats in [0, 1), a pure function of the arguments (SplitMix64, Steele et al. 2014)."""
    state = np.asarray(images, np.uint64)[:, None]
    with np.errstate(over="ignore"):
        for key in (seed, epoch, view):
            state = _mix(state + np.uint64(key + 1) * np.uint64(0x9E3779B97F4A7C15))
        state = _mix(state + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def crops(u: np.ndarray, side: int, smallest: float) -> np.ndarray:
    """(n, 4) integer top, left, height, width of RandomResizedCrop(scale=(smallest, 1)) in a square of `side` pixels.

    `u` (n, ATTEMPTS, 4) uniforms: area, log aspect, top, left. The first try that fits is taken, else the whole image.
    """
    area = side * side * (smallest + (1 - smallest) * u[..., 0])
    aspect = np.exp(np.log(RATIO[0]) + (np.log(RATIO[1]) - np.log(RATIO[0])) * u[..., 1])
    width, height = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (width <= side) & (height <= side) & (width > 0) & (height > 0)
    boxes = np.stack([u[..., 2] * (side - height + 1), u[..., 3] * (side - width + 1), height, width], -1)
    first = np.argmax(fits, axis=1)
    chosen = np.floor(boxes[np.arange(len(u)), first]).astype(np.int64)
    chosen[~fits.any(axis=1)] = (0, 0, side, side)
    return chosen


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' cubic kernel with a = -0.5, Pillow's."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp_min(0)


def resize_matrix(start: torch.Tensor, length: torch.Tensor, side: int, px: int, kernel=_cubic) -> torch.Tensor:
    """(n, px, side) matrices that resize `length` pixels from `start` (n,) of a line of `side` pixels to `px`.

    Antialiased as Pillow does it: the kernel widens with the reduction and uses only pixels inside the crop.
    """
    start, length = start.float()[:, None, None], length.float()[:, None, None]
    scale = length / px
    reach = scale.clamp_min(1)
    source = torch.arange(side, device=start.device)[None, None, :] + 0.5
    centre = start + (torch.arange(px, device=start.device)[None, :, None] + 0.5) * scale
    weights = kernel((source - centre) / reach)
    weights = weights * ((source > start) & (source < start + length))
    return weights / weights.sum(-1, keepdim=True)


def augment(pixels: torch.Tensor, images: np.ndarray, *, px: int, crop: float, jitter: float, flip: float,
            seed: int, epoch: int, view: int) -> torch.Tensor:  # fmt: skip
    """(n, 3, px, px) normalised training views of uint8 `pixels` (n, side, side, 3), image ids `images` (n,).

    RandomResizedCrop(scale=(crop, 1), bicubic), horizontal flip, ColorJitter(jitter, jitter, jitter, jitter / 2).
    crop 1 resizes the whole image; jitter 0 leaves colours alone.
    """
    side, device = pixels.shape[1], pixels.device
    u = uniforms(seed, epoch, images, view, _DRAWS)
    tries, flips, factors, order = np.split(u, [4 * ATTEMPTS, 4 * ATTEMPTS + 1, 4 * ATTEMPTS + 5], axis=1)
    if crop < 1:
        boxes = crops(tries.reshape(-1, ATTEMPTS, 4), side, crop)
    else:
        boxes = np.tile((0, 0, side, side), (len(images), 1))
    top, left, height, width = torch.as_tensor(boxes, device=device).unbind(1)
    rows = resize_matrix(top, height, side, px)
    columns = resize_matrix(left, width, side, px)
    mirrored = torch.as_tensor(flips < flip, device=device)[:, :, None]
    columns = torch.where(mirrored, columns.flip(1), columns)
    x = _resize(pixels, rows, columns)
    if jitter > 0:
        x = colour_jitter(x, factors, np.argsort(order, axis=1), jitter)
    return normalise(x)


def evaluation(pixels: torch.Tensor, px: int, flipped: bool = False) -> torch.Tensor:
    """(n, 3, px, px) normalised: the whole image resized (bilinear, antialiased), mirrored where asked."""
    side = pixels.shape[1]
    whole = torch.tensor([side], device=pixels.device)
    matrix = resize_matrix(torch.zeros_like(whole), whole, side, px, _triangle)
    return normalise(_resize(pixels, matrix, matrix.flip(1) if flipped else matrix))


def _resize(pixels: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(n, 3, px, px) in [0, 1]: `rows` x image x `columns` transposed, for uint8 `pixels` (n, side, side, 3)."""
    n, side = pixels.shape[:2]
    px = rows.shape[1]
    x = torch.bmm((rows / 255).expand(n, -1, -1), pixels.reshape(n, side, side * 3).float())
    x = x.view(n, px, side, 3).permute(0, 3, 1, 2).reshape(n, 3 * px, side)
    return torch.bmm(x, columns.expand(n, -1, -1).transpose(1, 2)).view(n, 3, px, px).clamp_(0, 1)


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Subtract Sewer-ML's channel means and divide by its deviations; channels last in memory."""
    mean = x.new_tensor(MEAN)[:, None, None]
    std = x.new_tensor(STD)[:, None, None]
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def colour_jitter(x: torch.Tensor, u: np.ndarray, order: np.ndarray, strength: float) -> torch.Tensor:
    """torchvision's ColorJitter on a batch in [0, 1], each image with its own factors and its own order.

    `u` (n, 4) uniforms for brightness, contrast, saturation, hue; `order` (n, 4) a permutation of these per image.
    """
    low = max(0.0, 1 - strength)
    factors = torch.as_tensor(low + (1 + strength - low) * u[:, :3], dtype=x.dtype, device=x.device)
    hue = torch.as_tensor((2 * u[:, 3] - 1) * strength / 2, dtype=x.dtype, device=x.device)
    for turn in range(4):
        for operation in range(4):
            chosen = torch.as_tensor(np.flatnonzero(order[:, turn] == operation), device=x.device)
            if not len(chosen):
                continue
            part = x[chosen]
            if operation == 3:
                part = shift_hue(part, hue[chosen])
            else:
                part = _blend(part, operation, factors[chosen, operation])
            x[chosen] = part
    return x


def _blend(x: torch.Tensor, operation: int, factor: torch.Tensor) -> torch.Tensor:
    """Brightness (0), contrast (1) or saturation (2): move away from black, the mean grey, or the grey image."""
    factor = factor[:, None, None, None]
    if operation == 0:
        return (x * factor).clamp_(0, 1)
    grey = (x * x.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    if operation == 1:
        grey = grey.mean((2, 3), keepdim=True)
    return (grey + factor * (x - grey)).clamp_(0, 1)


def shift_hue(x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """RGB (n, 3, h, w) in [0, 1] with hue moved by `shift` (n,) turns, through HSV."""
    r, g, b = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    hue = torch.where(value == r, (g - b) / safe, torch.where(value == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue = hue + 6 * shift[:, None, None]
    channels = [torch.remainder(hue + n, 6) for n in (5.0, 3.0, 1.0)]
    return torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1) for k in channels], 1)
