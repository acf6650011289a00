"""Images with their labels, split, sampled and resized once: Sewer-ML's, simulated ones, or one's
own.

All that decides which rows and which pixels a run sees is here, and a change of it makes runs
stale; reading and checking are in lib.data.labels and lib.data.files. The simulated data are
written in Sewer-ML's own format (lib.simulator.frames), so its reader is the only one.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from lib.data import labels as labels_module, splits
from lib.data.files import Images
from lib.data.labels import check_holdout, check_sides, read_own, read_table
from lib.simulator import frames
from lib.system import environment, paths
from lib.system.errors import DataError

TABLES = {"train": "SewerML_Train.csv", "val": "SewerML_Val.csv"}
PLACES = {
    "train": (("Train", "images", "."), "train*.zip"),
    "val": (("Valid", "images", "."), "valid*.zip"),
}  # folders and zips of the archive


def identity(data: dict[str, Any]) -> str:
    """Name of the data that `data` (a profile's table) asks for: the simulator's version, seed and
    sizes, or a hash: of Sewer-ML's tables, or of one's own table and the sizes of its files."""
    if data["source"] == "simulated":
        sizes = f"{data['train']}-{data['val']}-{data['frame']}px"
        return f"simulated-v{frames.VERSION}-s{data['seed']}-{sizes}"
    digest = hashlib.sha256()
    if data["source"] == "own":
        table, _ = own(labels_csv(), data["seed"])
        places = (root(data) / name for name in table["Filename"])
        sizes = [place.stat().st_size if place.is_file() else 0 for place in places]  # other images, another size
        digest.update(f"{labels_csv().read_text('utf-8-sig')}{sizes}".encode())
        return f"own-{digest.hexdigest()[:12]}"
    for name in TABLES.values():
        path = root(data) / name
        if not path.is_file():
            raise DataError(f"{path} does not exist: set SEWERML_ROOT to the folder that holds it.")
        digest.update(path.read_bytes())
    return f"sewerml-{digest.hexdigest()[:12]}"


def own(path: Path, seed: int) -> tuple[pd.DataFrame, str]:
    """One's own table, every row with `Split` ("train" or "val") and `Video`, and how it leaks (""
    if it does not).

    The CSV has Filename (relative to its folder, or to IMAGES) and Defect, 0 or 1; Sewer-ML's 17
    class columns, Split and Group (video, pipe, site: what must not lie on both sides) are
    optional. Without Split, a stratified fifth is held out, whole groups where Group is there.
    Raises DataError naming file and row.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""  # it may be edited meanwhile
    return _own(path, seed, content)


@lru_cache(maxsize=2)
def _own(path: Path, seed: int, content: str) -> tuple[pd.DataFrame, str]:
    table = read_own(path)
    table["Video"] = table["Group"].astype(str) if "Group" in table else table["Filename"]
    named = "Split" in table
    if not named:
        check_holdout(path, table, round(1 / splits.HELD_OUT))
        table["Split"] = np.where(splits.held_out(table, seed), "val", "train")
    check_sides(path, table)
    return table, labels_module.leak(path, table, named)


def labels_csv() -> Path:
    """The CSV of one's own images, from LABELS."""
    path = environment.labels()
    if path is None:
        raise DataError("the profile reads images of your own: set LABELS to a CSV with the columns Filename, Defect.")
    return path


def root(data: dict[str, Any]) -> Path:
    """The folder that holds the images, and Sewer-ML's tables."""
    if data["source"] == "simulated":
        return paths.DATA / identity(data)
    if data["source"] == "own":
        return environment.images() or labels_csv().parent
    path = environment.sewerml_root()
    if path is None:
        raise DataError("the profile reads Sewer-ML: set SEWERML_ROOT to the folder with its CSVs and images.")
    return path


def simulated(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images if `data` asks for them and they are not there yet."""
    if data["source"] == "simulated" and not root(data).exists():
        paths.DATA.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root(data)}.lock"):
            if not root(data).exists():
                frames.write(root(data), data["seed"], data["train"], data["val"], data["frame"], workers)


def tables(data: dict[str, Any], split: str) -> tuple[pd.DataFrame, bool]:
    """The rows of `split` that the study uses, and whether their videos (or groups) are known.

    Training rows are the stratified fraction; validation rows are all, with the fraction marked in
    `Sampled`.
    """
    if data["source"] == "own":
        table, _ = own(labels_csv(), data["seed"])
        table = table[table["Split"] == split].reset_index(drop=True)
        known = "Group" in table
    else:
        simulated(data)
        table = read_table(root(data) / TABLES[split])
        known = _add_videos(table, root(data) / "Videos.csv")
    sampled = splits.stratified_fraction(table, data["fraction"], data["seed"]).index
    table["Sampled"] = table.index.isin(sampled)
    if split == "train":
        table = table[table["Sampled"]].reset_index(drop=True)
    return table, known


def _add_videos(table: pd.DataFrame, path: Path) -> bool:
    """Add `Video`, the image itself where `path` does not exist; whether it does."""
    table["Video"] = table["Filename"]
    if path.exists():
        table["Video"] = table["Filename"].map(pd.read_csv(path, dtype=str).set_index("Filename")["Video"])
        absent = table["Video"].isna()
        if absent.any():
            raise DataError(f"{path} lacks {table['Filename'][absent].iloc[0]} ({absent.sum()} such images).")
    return path.exists()


def images(data: dict[str, Any], split: str) -> Images:
    """Where the images of a split are read from."""
    return Images(root(data)) if data["source"] == "own" else Images(root(data), *PLACES[split])
