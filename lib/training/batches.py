"""The order of the training images and the batches of augmented views made from them."""

from collections.abc import Iterator

import numpy as np
import torch

from lib.data import views
from lib.data.pixels import Split
from lib.study.grid import Run
from lib.system import ranks
from lib.training import probes

SHUFFLE = 1002  # the "view" of `uniforms` that the order of an epoch comes from
FIXED = 1024  # validation images behind the per-epoch metrics and RankMe (docs/study.md, Metrics)


def fixed(images: int) -> np.ndarray:
    """The rows of the validation images, `FIXED` at most, behind the per-epoch metrics and RankMe:
    the same in every epoch and run."""
    drawn = views.uniforms(0, views.EVALUATION, np.arange(images), SHUFFLE, 1)[:, 0]
    return np.sort(np.argsort(drawn)[:FIXED])


class Order:
    """The order of the training images, from (seed, epoch). Lightning calls `set_epoch`."""

    def __init__(self, rows: np.ndarray, seed: int):
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        drawn = views.uniforms(self.seed, self.epoch, self.rows, SHUFFLE, 1)[:, 0]
        return iter(self.rows[np.argsort(drawn)])


class Batches:
    """Batches of augmented views, made on the training device: ([views], labels, image ids).

    Several ranks cut each batch, the same as on one device, into shards equal to within an image.
    """

    def __init__(
        self, run: Run, split: Split, rows: np.ndarray, device: torch.device, place=ranks.ALONE
    ):
        self.run, self.split, self.device, self.place = run, split, device, place
        self.sampler = Order(rows, run.seed)
        self.batch = min(run.settings.batch, len(rows))

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller, but a single image cannot be batch-normalised,
        and each rank needs one."""
        whole, rest = divmod(len(self.sampler.rows), self.batch)
        return whole + (rest >= max(2, self.place.ranks))

    def __iter__(self):
        run, order = self.run, np.fromiter(self.sampler, np.int64)
        for start in range(0, len(self) * self.batch, self.batch):  # slicing shortens the last
            batch = order[start : start + self.batch]
            rows = np.array_split(batch, self.place.ranks)[self.place.rank]
            pixels = torch.from_numpy(self.split.pixels[rows]).to(self.device)
            each = range(run.settings.views_per_image)
            images = [probes.augmented(run, i, self.sampler.epoch)(pixels, rows) for i in each]
            labels = torch.as_tensor(self.split.defect[rows], device=self.device)
            yield images, labels, torch.as_tensor(rows)
