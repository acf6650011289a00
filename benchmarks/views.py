"""(f) Views: augmented views a second on one thread, of pixels that lie in memory."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pandas as pd
import torch
from lightly.transforms import SimCLRViewTransform
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from benchmarks import measure
from lib.data import views
from lib.study import grid
from lib.study.grid import Run

SEED = 42
BATCH = 64  # images
ROUNDS, TURN = 7, 0.5  # seconds a competitor measures in a round, roughly


def ours(pixels: torch.Tensor, run: Run) -> torch.Tensor:
    """(n, 3, px, px) views of uint8 `pixels` (n, side, side, 3)."""
    options = {"px": run.px, "crop": run.crop, "jitter": run.jitter, "flip": run.settings.flip}
    rows = np.arange(len(pixels))
    return views.augment(pixels, rows, **options, seed=SEED, epoch=0, view=0)


def batched(pixels: torch.Tensor, run: Run) -> torch.Tensor:
    """The same by the operations that a GPU does."""
    with mock.patch.object(views, "_views", views.batched):
        return ours(pixels, run)


def torchvision(run: Run) -> v2.Transform:
    """The run's augmentation of one uint8 tensor (3, side, side)."""
    j, bicubic = run.jitter, InterpolationMode.BICUBIC
    return v2.Compose(
        [
            v2.RandomResizedCrop(run.px, (run.crop, 1), interpolation=bicubic, antialias=True),
            v2.RandomHorizontalFlip(run.settings.flip),
            v2.ColorJitter(j, j, j, j / 2),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(views.MEAN, views.STD),
        ]
    )


def lightly(run: Run) -> Callable[[Image.Image], torch.Tensor]:
    """The run's augmentation of one image of Pillow's, but for the kernel, which is bilinear."""
    j = run.jitter
    return SimCLRViewTransform(
        *(run.px, 1.0, 1.0, j, j, j, j / 2, run.crop),
        random_gray_scale=0.0,
        gaussian_blur=0.0,
        hf_prob=run.settings.flip,
        normalize={"mean": views.MEAN, "std": views.STD},
    )


def kornia(run: Run) -> Callable[[torch.Tensor], torch.Tensor]:
    """The run's augmentation of a whole batch (n, 3, side, side) between 0 and 1, but for the
    kernel, which is not antialiased."""
    from kornia import augmentation  # optional: installed for this comparison alone

    j = run.jitter
    return torch.nn.Sequential(
        augmentation.RandomResizedCrop((run.px, run.px), (run.crop, 1.0), resample="bicubic"),
        augmentation.RandomHorizontalFlip(p=run.settings.flip),
        augmentation.ColorJitter(j, j, j, j / 2),
        augmentation.Normalize(views.MEAN, views.STD),
    )


def competitors(run: Run) -> dict[str, Callable[[], object]]:
    """Name -> what makes a view of each of a batch of images, in the form that each takes; of
    kornia where it is installed."""
    side = run.data["cache"]
    shape = (BATCH, side, side, 3)
    pixels = np.random.default_rng(SEED).integers(0, 256, shape, dtype=np.uint8)
    whole = torch.from_numpy(pixels)
    tensors, images = whole.permute(0, 3, 1, 2).contiguous(), [Image.fromarray(x) for x in pixels]
    by_torchvision, by_lightly = torchvision(run), lightly(run)
    made = {
        "ours": lambda: ours(whole, run),
        "ours, batched": lambda: batched(whole, run),
        "torchvision v2": lambda: torch.stack([by_torchvision(x) for x in tensors]),
        "lightly": lambda: torch.stack([by_lightly(x) for x in images]),
    }
    if find_spec("kornia"):
        by_kornia = kornia(run)
        made["kornia"] = lambda: by_kornia(tensors / 255)
    return made


def main(rounds: int = ROUNDS, turn: float = TURN) -> pd.DataFrame:
    """Measure, and write the part `views` of benchmarks/results/measured.csv."""
    tables = []
    for profile in ("mini", "paper"):
        run = grid.run(profile, "simclr", "resnet18", 0.45, SEED)
        turns = {}
        for name, make in competitors(run).items():
            many = measure.often_enough(measure.paced(make, 1), turn, least=1)
            turns[name] = partial(measure.paced, make, many, warm=0)
        seconds = measure.alternate(turns, rounds)
        rows = measure.compare(seconds, "ours", "views/s", lambda s: BATCH / s)
        rows.insert(0, "px", run.px)
        rows.insert(1, "files", f"{run.data['cache']} px")
        tables.append(rows.assign(precision="32-true"))
    return measure.write("views", pd.concat(tables, ignore_index=True))
