"""Simulated frames in Sewer-ML's layout: two tables, zips of two sizes of frames, no Videos.csv.
The profile `rehearsal` reads them as it would read the real archive."""

import zipfile
from pathlib import Path
from typing import Any

import cv2

from lib.simulator import frames
from lib.system import environment, parallel
from lib.system.atomic import new_folder

NOTE = "SIMULATED.txt"  # marks an archive as simulated
SEED = 42
# A share of 1 % of defects takes 99 normal frames: half of 440 frames hold 116 normal ones.
TRAIN, VAL = 440, 200
# Sewer-ML has 14 and 2.
ZIPS = {"train": ("train00.zip", "train01.zip"), "val": ("valid00.zip", "valid01.zip")}
PAL, CIF = (576, 720), (288, 352)  # height, width
SIZES = (PAL, PAL, CIF)  # of the frames of one video, the next, the one after it, and so on


def size(index: int) -> tuple[int, int]:
    """Height and width of a frame, the same throughout a video."""
    return SIZES[index // frames.FRAMES % len(SIZES)]


def _write_zip(job: tuple[Path, str, range]) -> None:
    path, split, indices = job
    cv2.setNumThreads(1)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed already
        for i in indices:
            image, _ = frames.draw(SEED, split, i, size(i))
            _, data = cv2.imencode(".png", image[..., ::-1], frames.PNG)
            archive.writestr(f"{path.stem}/{frames.filename(split, i)}", data.tobytes())


def is_simulated(data: dict[str, Any]) -> bool:
    """Whether the images of these data are drawn: the default ones, or those of an archive that
    `write` made."""
    root = environment.sewerml_root()
    archived = data["source"] == "sewer-ml" and root is not None and (root / NOTE).exists()
    return data["source"] == "simulated" or archived


def write(root: Path, train: int = TRAIN, val: int = VAL, workers: int = 1) -> None:
    """Write the tables and zips of `train` and `val` frames; `root` appears when they are complete.
    Raises FileExistsError where `root` holds anything."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        what = f"{root} is not empty, and real images may lie there"
        raise FileExistsError(f"{what}: name a new folder, SEWERML_ROOT=/path/to/new/folder.")
    with new_folder(root) as work:
        (work / NOTE).write_text(
            "These frames are simulated. They are no images of Sewer-ML.\n", encoding="utf-8"
        )
        jobs = []
        for split, n in (("train", train), ("val", val)):
            table = frames.labels(SEED, split, n)[list(frames.COLUMNS)]
            table.to_csv(work / frames.SPLITS[split][1], index=False)
            first, second = (work / name for name in ZIPS[split])
            middle = round(n / 2)
            jobs += [(first, split, range(middle)), (second, split, range(middle, n))]
        with parallel.pool(min(workers, len(jobs)), "drew images") as pool:
            parallel.results(pool, _write_zip, jobs)
