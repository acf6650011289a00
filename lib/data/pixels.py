"""Images decoded once to uint8 squares: a table and its memory-mapped pixels, row by row. A change
of this module makes runs stale."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from lib.data import cache, sources
from lib.data.decoding import Place, decode
from lib.data.own_labels import copies, warn
from lib.system import paths
from lib.system.errors import DataError


@dataclass(frozen=True)
class Split:
    """One table and its cached pixels: row i of both is the same image. `table` has the columns of
    the CSV, `Video` (the video, or the image itself where videos are unknown) and `Sampled`
    (whether the row is in the stratified fraction that Table 1 uses). `pixels` is uint8 (n, side,
    side, 3), mapped from disk."""

    table: pd.DataFrame
    pixels: np.ndarray
    videos_known: bool

    @property
    def defect(self) -> np.ndarray:
        """(n,) 1 where the image shows a defect."""
        return self.table["Defect"].to_numpy(np.float32)


def prepare(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images if there are none, and fill the cache, with `workers` processes."""
    sources.warn(data)
    parts = [load(data, split, workers) for split in sources.TABLES]
    if data["source"] in sources.OWN:
        _compare(data, parts)


def _compare(data: dict[str, Any], parts: list[Split]) -> None:
    """Warn of the user's images that show the same as others; raises DataError where these lie on
    the other side of the split. Images of equal squares are compared as they are stored."""
    names = [name for part in parts for name in part.table["Filename"]]
    squares = list(map(shown, chain.from_iterable(part.pixels for part in parts)))
    count, stored = Counter(squares), sources.images(data, "train")
    equal = [name for name, square in zip(names, squares, strict=True) if count[square] > 1]
    whole = {name: shown(stored.read(name)) for name in equal}
    path = sources.labels_csv(data)
    table, _ = sources.own(path, data["seed"])
    warn(path, copies(path, table, [whole.get(name, "") for name in table["Filename"]]))


def shown(image: np.ndarray) -> str:
    """A hash of the image's shape and pixels: equal for copies, in whatever format they are."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()


def square(image: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: the whole frame, resized with antialiasing; like the released code, it
    does not keep the aspect ratio."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _pixels(place: Place, side: int) -> np.ndarray:
    return square(decode(place), side)


def cached(data: dict[str, Any], split: str, table: pd.DataFrame) -> Path:
    """Where the pixels of these rows of `split` are cached."""
    names = hashlib.sha256("\n".join(table["Filename"]).encode()).hexdigest()[:12]
    return paths.DATA / "cache" / f"{sources.identity(data)}-{split}-{data['cache']}px-{names}.npy"


def load(data: dict[str, Any], split: str, workers: int = 1) -> Split:
    """Table and memory-mapped pixels of `split`; `workers` decode what is not cached yet."""
    table, videos_known = sources.tables(data, split)
    path = cached(data, split, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not cache.is_whole(path):
            sources.simulated(data, split, workers)
            stored, read = sources.images(data, split), partial(_pixels, side=data["cache"])
            fill = partial(cache.fill, path, list(table["Filename"]), data["cache"])
            try:
                fill(stored.find, read, workers)
            except DataError:
                # Drawn images that cannot be read are drawn again; a full disk is another matter.
                if data["source"] != "simulated" or not cache.beside(path, "bad.txt").exists():
                    raise
                sources.simulated(data, split, workers, again=True)
                fill(stored.find, read, workers)
            finally:
                warn(path, stored.copies_note())
    return Split(table, np.load(path, mmap_mode="r"), videos_known)
