"""(a) Input: two-view samples a second, from PNG files by Pillow and torchvision against ours from
cached pixels."""

import os
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import measure
from lib.data import cache, pixels, sources, views
from lib.data.decoding import Place, decode
from lib.simulator import frames
from lib.study import grid, profiles
from lib.study.grid import Run
from lib.system import hardware, paths, torch_device
from lib.training.batches import Batches

SIZE = 576, 720  # height, width of a frame of Sewer-ML
FRAMES = 128  # drawn at that size; read again and again
SEED = 42
BATCH = 64  # images a batch of ours at both sizes
ROUNDS, TURN = 5, 1.5  # seconds a competitor measures in a round, roughly
SOURCES = {"mini": "96 px", "paper": "720 x 576"}  # profile -> the size of its files here


class Frames(Dataset):
    """Image files read by Pillow as RGB and transformed: (views, label)."""

    def __init__(self, files: list[Path], labels: np.ndarray, transform):
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        with Image.open(self.files[i]) as image:
            return self.transform(image.convert("RGB")), self.labels[i]


class Views:
    """As many draws of a transform as the method has views."""

    def __init__(self, transform, many: int):
        self.transform, self.many = transform, many

    def __call__(self, image) -> list[torch.Tensor]:
        return [self.transform(image) for _ in range(self.many)]


def conventional(run: Run) -> Views:
    """The run's augmentation as torchvision does it, one image at a time."""
    j = run.jitter
    bicubic = transforms.InterpolationMode.BICUBIC
    one = transforms.Compose(
        [
            transforms.RandomResizedCrop(
                run.px, (run.crop, 1), interpolation=bicubic, antialias=True
            ),
            transforms.ColorJitter(j, j, j, j / 2),
            transforms.RandomHorizontalFlip(run.settings.flip),
            transforms.ToTensor(),
            transforms.Normalize(views.MEAN, views.STD),
        ]
    )
    return Views(one, run.settings.views_per_image)


def _draw(job: tuple[Path, int]) -> None:
    file, index = job
    cv2.setNumThreads(1)
    frame, _ = frames.draw(SEED, "train", index, SIZE)
    cv2.imwrite(str(file), frame[..., ::-1], frames.PNG)


def full_size(count: int = FRAMES) -> list[Path]:
    """PNG files of `count` simulated frames at Sewer-ML's size, drawn once and kept under
    build/."""
    folder = paths.BUILD / "benchmark" / f"frames-v{frames.VERSION}-{count}"
    names = [frames.filename("train", i) for i in range(count)]
    if not folder.exists():
        beside = folder.with_name(f"{folder.name}.{os.getpid()}")
        beside.mkdir(parents=True)
        with get_context("spawn").Pool(hardware.cores()) as pool:
            pool.map(_draw, [(beside / name, i) for i, name in enumerate(names)], chunksize=4)
        beside.rename(folder)
    return [folder / name for name in names]


def files(profile: str, split: str = "train") -> list[Path]:
    """The image files behind a profile's cached pixels: mini's own, or full-size frames in the
    place of Sewer-ML's."""
    data = profiles.load(profile)["data"]
    if data["source"] != "simulated":
        return full_size()
    pixels.prepare(data, hardware.cores())
    table, _ = sources.tables(data, split)
    stored = sources.images(data, split)
    return [stored.find(name).path for name in table["Filename"]]


def fill(path: Path, read: list[Path], side: int) -> float:
    """Fill a cache file from these images, by one process; returns seconds an image."""
    began = time.perf_counter()
    names = [file.name for file in read]
    places = {file.name: Place(file) for file in read}
    cache.fill(path, names, side, places.__getitem__, partial(_pixels, side=side))
    return (time.perf_counter() - began) / len(read)


def _pixels(place: Place, side: int) -> np.ndarray:
    return pixels.square(decode(place), side)


def split_of(profile: str, folder: Path) -> pixels.Split:
    """Table and mapped pixels to train from; those of full-size frames are cached in `folder`
    first."""
    data = profiles.load(profile)["data"]
    if data["source"] == "simulated":
        return pixels.load(data, "train")
    path = folder / f"{profile}.npy"
    if not path.exists():
        fill(path, full_size(), data["cache"])
    table = frames.labels(SEED, "train", FRAMES)
    return pixels.Split(table, np.load(path, mmap_mode="r"), True)


def by_loader(read: list[Path], run: Run, processes: int, batch: int, batches: int) -> float:
    """Seconds a sample that a DataLoader's processes take while nothing is done with the batches.

    The clock starts when each process has delivered one batch: they have started, and all are at
    work.
    """
    many = (batches + processes) * batch
    chosen = [read[i % len(read)] for i in range(many)]
    loader = DataLoader(
        Frames(chosen, np.zeros(many, np.float32), conventional(run)), batch, num_workers=processes
    )
    loaded = iter(loader)
    for _ in range(processes):
        next(loaded)
    began = time.perf_counter()
    left = sum(1 for _ in loaded)
    return (time.perf_counter() - began) / (left * batch)


def by_batches(split: pixels.Split, run: Run, batches: int) -> float:
    """Seconds a sample of lib.training.batches.Batches on the training device, the first batch not
    counted."""
    run = run.with_settings(batch=BATCH)
    rows = np.resize(np.arange(len(split.table)), (batches + 1) * BATCH)
    loaded = iter(Batches(run, split, rows, torch.device(torch_device.device())))
    return measure.paced(lambda: next(loaded), batches) / BATCH


def competitors(run: Run, source: str, read: list[Path], split: pixels.Split, turn: float) -> dict:
    """Name -> one turn, seconds a sample: ours, and the loader with one process and with one a
    core."""
    many = measure.often_enough(by_batches(split, run, 1) * BATCH, turn, least=1)
    turns = {"ours": partial(by_batches, split, run, many)}
    batch = (
        BATCH if source == SOURCES["mini"] else 16
    )  # images a loader's batch: full-size ones take long
    for processes in dict.fromkeys([1, hardware.cores()]):
        pace = by_loader(read, run, processes, batch, 2) * batch
        many = measure.often_enough(pace, turn, least=2 * processes)
        name = f"Pillow, {processes} process" + "es" * (processes > 1)
        turns[name] = partial(by_loader, read, run, processes, batch, many)
    return turns


def filled(read: list[Path], side: int, folder: Path, times: int) -> pd.DataFrame:
    """The one-off cost of the cache as a row: ms an image, decoded, resized and written by one
    process."""
    seconds = np.array(
        [fill(folder / f"{time.monotonic_ns()}.npy", read[:FRAMES], side) for _ in range(times)]
    )
    rows = measure.compare(
        {"cache, once": seconds}, "cache, once", "ms an image", lambda s: 1e3 * s
    )
    return rows.drop(columns=["speed_q1", "speed", "speed_q3"])


def main(rounds: int = ROUNDS, turn: float = TURN) -> pd.DataFrame:
    """Measure, and write the part `input` of benchmarks/results/measured.csv."""
    tables = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for profile, source in [
            ("mini", SOURCES["mini"]),
            ("mini", SOURCES["paper"]),
            ("paper", SOURCES["paper"]),
        ]:
            read = full_size() if source == SOURCES["paper"] else files(profile)
            run, split = (
                grid.run(profile, "simclr", "resnet18", 0.45, SEED),
                split_of(profile, folder),
            )
            seconds = measure.alternate(competitors(run, source, read, split, turn), rounds)
            rows = measure.compare(seconds, "ours", "two-view samples/s", lambda s: 1 / s)
            rows = pd.concat([rows, filled(read, run.data["cache"], folder, rounds)])
            rows.insert(0, "px", run.px)
            rows.insert(1, "files", source)
            tables.append(rows.assign(precision="32-true"))
    return measure.write("input", pd.concat(tables, ignore_index=True))
