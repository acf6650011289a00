"""Simulated frames in the layout of Sewer-ML's archive: tables beside zips, frames of two sizes, no
videos named.

    make archive SEWERML_ROOT=/path/to/new/folder TRAIN=440 VAL=200

For the profile `rehearsal`, which then reads them as it would the real archive. The least that
serves every share: 1 % of defects takes 99 normals, in half of the training table and in the whole
validation table.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path

import cv2

from lib.simulator import frames
from lib.system import parallel

SEED = 42
TRAIN, VAL = 440, 200  # 440 frames hold 232 normals, so half of them 116
PARTS = {"train": "train", "val": "valid"}  # zips are called train00.zip, train01.zip, valid00.zip, valid01.zip
ZIPS = 2  # a split; Sewer-ML has 14 and 2
SIZES = ((576, 720), (576, 720), (288, 352))  # height, width of a video's frames: PAL, and every third CIF


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


def write(root: Path, train: int = TRAIN, val: int = VAL, workers: int = 1) -> None:
    """Write the tables and zips of `train` and `val` frames; `root` is complete or as it was.

    Raises FileExistsError where `root` holds anything.
    """
    root = Path(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(
            f"{root} is not empty, and real images may lie there: name a new folder, SEWERML_ROOT=/path/to/new/folder."
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        jobs = []
        for split, n in (("train", train), ("val", val)):
            table = frames.labels(SEED, split, n)[list(frames.COLUMNS)]
            table.to_csv(work / frames.SPLITS[split][1], index=False)
            edges = [round(n * part / ZIPS) for part in range(ZIPS + 1)]
            jobs += [
                (work / f"{PARTS[split]}{part:02d}.zip", split, range(edges[part], edges[part + 1]))
                for part in range(ZIPS)
            ]
        with parallel.pool(min(workers, len(jobs)), "drew images") as pool:
            list(pool.map(_write_zip, jobs))
        work.chmod(0o755)  # mkdtemp makes it private
        work.rename(root)  # over an empty folder, too
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
