"""(g) Cache: what views lose where they are made from cached squares and not from whole frames.

The same part of the same simulated frame of 720 x 576 pixels is resized by Pillow twice: from the
frame, as the released code does, and from the frame's cached square. Colours stay as they are.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from benchmarks import inputs, measure
from lib.data import pixels, views
from lib.study import grid, profiles
from lib.study.grid import Run

SEED = 42
SIDES = (256, 356, 512)  # of the cache, pixels; 356 is the input's 224 / sqrt(.395)
CROPS = 20_000  # draws by which enlarged views are counted
BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
# Mean absolute difference of 255, PSNR, and how much of the frame's detail is kept.
UNITS = ("grey levels", "dB", "share of detail")
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])  # left, top, right, bottom as parts of the image


def enlarged(width: int, height: int, run: Run) -> float:
    """Share of the run's training views whose crop has fewer pixels than the view, by torchvision's
    draws of crops from images of this size."""
    torch.manual_seed(SEED)
    image = torch.empty(1, height, width)
    scale, ratio = (run.crop, 1.0), views.RATIO
    drawn = [RandomResizedCrop.get_params(image, scale, ratio) for _ in range(CROPS)]
    return float(np.mean([h * w < run.px**2 for _, _, h, w in drawn]))


def crops(n: int, smallest: float) -> np.ndarray:
    """(n, 4) boxes of training views as parts of the image."""
    side = 1024  # of the square in which they are drawn: no cache's boxes fall on whole pixels
    drawn = views.uniforms(SEED, 0, np.arange(n), 0, 4 * views.ATTEMPTS)
    top, left, height, width = views.crops(drawn.reshape(n, -1, 4), side, smallest).T / side
    return np.stack([left, top, left + width, top + height], axis=1)


def view(image: np.ndarray, box: np.ndarray, px: int, kernel: Image.Resampling) -> np.ndarray:
    """(px, px, 3) float: that part of the image, resized with antialiasing."""
    height, width = image.shape[:2]
    of_image = box * (width, height, width, height)
    return np.asarray(Image.fromarray(image).resize((px, px), kernel, tuple(of_image)), float)


def detail(image: np.ndarray) -> float:
    """Variance of the Laplacian: how much of (px, px, 3) changes from pixel to pixel."""
    return cv2.Laplacian(image.mean(2), cv2.CV_64F).var()


def losses(
    frames: Iterable[np.ndarray], boxes: np.ndarray, side: int, px: int, kernel: Image.Resampling
) -> Iterator[tuple[float, float, float]]:
    """Of each frame's view from its cached square, against that from the frame, one value a unit of
    `UNITS`."""
    for frame, box in zip(frames, boxes, strict=True):
        theirs, ours = (view(i, box, px, kernel) for i in (frame, pixels.square(frame, side)))
        difference = ours - theirs
        with np.errstate(divide="ignore"):  # infinite between equal views
            psnr = 10 * np.log10(255**2 / np.square(difference).mean())
        yield np.abs(difference).mean(), psnr, detail(ours) / detail(theirs)


def rows(px: int, side: int, what: str, found: Iterable[tuple[float, ...]]) -> Iterator[dict]:
    """The quartiles over frames of each measure."""
    for unit, values in zip(UNITS, zip(*found, strict=True), strict=True):
        q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75))
        place = {"px": px, "files": f"{side} px", "measured": what, "unit": unit}
        yield place | {"q1": q1, "median": median, "q3": q3}


def main(count: int = inputs.FRAMES) -> pd.DataFrame:
    """Measure, and write the part `cache` of benchmarks/results/measured.csv."""
    run = grid.run("paper", "simclr", "resnet18", 0.45, SEED)
    common, table2 = run.data["cache"], profiles.load("paper")["resolution"]["px"]
    frames = [np.asarray(Image.open(file).convert("RGB")) for file in inputs.full_size(count)]
    whole, cropped = np.tile(WHOLE, (count, 1)), crops(count, run.crop)
    found = []
    sizes = {f"{side} px": (side, side) for side in SIDES} | {"720 x 576": inputs.SIZE[::-1]}
    for name, size in sizes.items():
        share = enlarged(*size, run)
        place = {"px": run.px, "files": name, "measured": "enlarged", "unit": "share of views"}
        found.append(place | {"median": share})
    for side in SIDES:
        found += rows(run.px, side, "training", losses(frames, cropped, side, run.px, BICUBIC))
        found += rows(run.px, side, "evaluation", losses(frames, whole, side, run.px, BILINEAR))
    for px in table2:
        side = max(px, common)
        found += rows(px, side, "Table 2", losses(frames, whole, side, px, BILINEAR))
    return measure.write("cache", pd.DataFrame(found))
