"""Images with their labels, split, sampled and resized once: Sewer-ML's, simulated ones, or one's own.

All that decides which rows and which pixels a run sees is here, and a change of it makes runs stale; reading and
checking are in lib.annotations and lib.images. The simulated data are written in Sewer-ML's own format (lib.simulate),
so its reader is the only one.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from lib import annotations, cache, paths, simulate
from lib.images import DataError, Images, Place, decode

TABLES = {"train": "SewerML_Train.csv", "val": "SewerML_Val.csv"}
PLACES = {
    "train": (("Train", "images", "."), "train*.zip"),
    "val": (("Valid", "images", "."), "valid*.zip"),
}  # folders and zips of the archive
HELD_OUT = 0.2  # share of one's own images kept for validation where the CSV has no column Split


@dataclass(frozen=True)
class Split:
    """One table and its cached pixels, row by row the same images.

    `table` has Sewer-ML's columns, `Video` (the video, or the image itself where videos are unknown) and `Sampled`
    (whether the row is in the stratified fraction that Table 1 uses). `pixels` is uint8 (n, side, side, 3), mapped.
    """

    table: pd.DataFrame
    pixels: np.ndarray
    videos_known: bool

    @property
    def defect(self) -> np.ndarray:
        """(n,) 1 where the image shows a defect."""
        return self.table["Defect"].to_numpy(np.float32)


def patterns(table: pd.DataFrame) -> np.ndarray:
    """(n,) integer of each row's joint label pattern over the 17 classes, else of `Defect` alone; 0 is normal."""
    labels = annotations.class_labels(table)
    labels = table[["Defect"]].to_numpy() if labels is None else labels
    return labels.astype(np.int64) @ (1 << np.arange(labels.shape[1], dtype=np.int64))


def stratified_fraction(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """The rows of a stratified sample on the joint label pattern, as the released code draws it.

    Patterns seen once are dropped first. `fraction` 1 returns the table untouched. Original order and index are kept.
    """
    if fraction == 1:
        return table
    from sklearn.model_selection import train_test_split  # slow to import, and only a real table's fraction needs it

    labels = annotations.class_labels(table)
    labels = table[["Defect"]].to_numpy() if labels is None else labels
    # scikit-learn draws pattern by pattern, in the order of the labels read from left to right, as they come here
    _, pattern, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    often = counts[pattern] > 1
    kept, _ = train_test_split(table[often], train_size=fraction, stratify=pattern[often], random_state=seed)
    return kept.sort_index()


def resample(table: pd.DataFrame, share: float | None, seed: int) -> pd.DataFrame:
    """The subset of `table` in which `share` of the images are defects; None returns the table as it is.

    All n0 normals stay and d = min(n1, floor(n0 p / (1 - p))) defects are drawn, allotted to label patterns by largest
    remainder; only when defects run out are normals reduced (protocol.md, Data). Order and index are the table's.

    Raises DataError where the share cannot be reached: no normals, or not one defect.
    """
    if share is None:
        return table
    if not 0 < share < 1:
        raise DataError(f"a share of defects lies between 0 and 1, found {share}.")
    rng = np.random.default_rng([seed, round(share * 1e6)])
    defect = table["Defect"].to_numpy() == 1
    normals, defects = np.flatnonzero(~defect), np.flatnonzero(defect)
    wanted = int(np.floor(len(normals) * share / (1 - share) + 1e-9))
    if wanted < 1 or not len(defects):
        need = int(np.ceil((1 - share) / share))
        raise DataError(
            f"a share of {share:.0%} defects cannot be reached with {len(normals)} normal and {len(defects)} defect "
            f"images: it takes at least 1 defect and {need} normals."
        )
    if wanted > len(defects):
        keep = max(1, int(np.floor(len(defects) * (1 - share) / share + 1e-9)))
        normals = rng.choice(normals, keep, replace=False)
        wanted = len(defects)
    pattern = patterns(table)[defects]
    values, counts = np.unique(pattern, return_counts=True)
    allotted = _largest_remainder(counts, wanted, rng)
    chosen = [
        rng.choice(defects[pattern == v], n, replace=False) for v, n in zip(values, allotted, strict=True) if n
    ]  # fmt: skip
    return table.iloc[np.sort(np.concatenate([normals, *chosen]))]


def _largest_remainder(counts: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Integers proportional to `counts` that sum to `total`; equal remainders are ordered at random."""
    quota = counts * total / counts.sum()
    allotted = np.floor(quota + 1e-9).astype(int)
    order = np.lexsort((rng.random(len(counts)), -(quota - allotted)))
    allotted[order[: total - allotted.sum()]] += 1
    return allotted


def identity(data: dict[str, Any]) -> str:
    """Name of the data that `data` (a profile's table) asks for: the simulator's version, seed and sizes, or a hash:
    of Sewer-ML's tables, or of one's own table and the sizes of its files."""
    if data["source"] == "simulated":
        sizes = f"{data['train']}-{data['val']}-{data['frame']}px"
        return f"simulated-v{simulate.VERSION}-s{data['seed']}-{sizes}"
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
    """One's own table, every row with `Split` ("train" or "val") and `Video`, and how it leaks ("" if it does not).

    The CSV has Filename (relative to its folder, or to IMAGES) and Defect, 0 or 1; Sewer-ML's 17 class columns, Split
    and Group (video, pipe, site: what must not lie on both sides) are optional. Without Split, a stratified fifth is
    held out, whole groups where Group is there. Raises DataError naming file and row.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""  # it may be edited meanwhile
    return _own(path, seed, content)


@lru_cache(maxsize=2)
def _own(path: Path, seed: int, content: str) -> tuple[pd.DataFrame, str]:
    table = annotations.read_own(path)
    table["Video"] = table["Group"].astype(str) if "Group" in table else table["Filename"]
    named = "Split" in table
    if not named:
        annotations.check_holdout(path, table, round(1 / HELD_OUT))
        table["Split"] = np.where(_held_out(table, seed), "val", "train")
    annotations.check_sides(path, table)
    return table, annotations.leak(path, table, named)


def _held_out(table: pd.DataFrame, seed: int) -> np.ndarray:
    """(n,) True for the stratified fifth of one's own rows, whole groups, that is kept for validation."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    defect, grouped = table["Defect"].to_numpy(), "Group" in table
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    parts = kind(round(1 / HELD_OUT), shuffle=True, random_state=seed)
    held = np.zeros(len(table), bool)
    held[next(iter(parts.split(defect, defect, table["Video"] if grouped else None)))[1]] = True
    return held


def labels_csv() -> Path:
    """The CSV of one's own images, from LABELS."""
    if not os.environ.get("LABELS"):
        raise DataError("the profile reads images of your own: set LABELS to a CSV with the columns Filename, Defect.")
    return Path(os.environ["LABELS"]).expanduser()


def root(data: dict[str, Any]) -> Path:
    """The folder that holds the images, and Sewer-ML's tables."""
    if data["source"] == "simulated":
        return paths.DATA / identity(data)
    if data["source"] == "own":
        return Path(os.environ.get("IMAGES") or labels_csv().parent).expanduser()
    if not os.environ.get("SEWERML_ROOT"):
        raise DataError("the profile reads Sewer-ML: set SEWERML_ROOT to the folder with its CSVs and images.")
    return Path(os.environ["SEWERML_ROOT"]).expanduser()


def prepare(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images where they are wanted and absent, with `workers` processes, and fill the cache."""
    simulated(data, workers)
    if data["source"] == "own":
        table, leak = own(labels_csv(), data["seed"])
        annotations.warn(labels_csv(), annotations.ignored_classes(labels_csv(), table), leak)
    for split in TABLES:
        load(data, split, workers)


def simulated(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images if `data` asks for them and they are not there yet."""
    if data["source"] == "simulated" and not root(data).exists():
        paths.DATA.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root(data)}.lock"):
            if not root(data).exists():
                simulate.write(root(data), data["seed"], data["train"], data["val"], data["frame"], workers)


def tables(data: dict[str, Any], split: str) -> tuple[pd.DataFrame, bool]:
    """The rows of `split` that the study uses, and whether their videos (or groups) are known.

    Training rows are the stratified fraction; validation rows are all, with the fraction marked in `Sampled`.
    """
    if data["source"] == "own":
        table, _ = own(labels_csv(), data["seed"])
        table = table[table["Split"] == split].reset_index(drop=True)
        known = "Group" in table
    else:
        simulated(data)
        table = annotations.read_table(root(data) / TABLES[split])
        known = _add_videos(table, root(data) / "Videos.csv")
    sampled = stratified_fraction(table, data["fraction"], data["seed"]).index
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


def square(image: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: the whole frame, resized with antialiasing, aspect not kept (as the released code)."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _pixels(place: Place, side: int) -> np.ndarray:
    """(side, side, 3) uint8, as the cache holds it."""
    return square(decode(place), side)


def cached(data: dict[str, Any], split: str, table: pd.DataFrame) -> Path:
    """Where the pixels of these rows of `split` are cached."""
    names = hashlib.sha256("\n".join(table["Filename"]).encode()).hexdigest()[:12]
    return paths.DATA / "cache" / f"{identity(data)}-{split}-{data['cache']}px-{names}.npy"


def load(data: dict[str, Any], split: str, workers: int = 1) -> Split:
    """Table and memory-mapped pixels of `split`, drawn and decoded first, with `workers`, where they are not there."""
    table, videos_known = tables(data, split)
    path = cached(data, split, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            stored, read = images(data, split), partial(_pixels, side=data["cache"])
            try:
                cache.fill(path, list(table["Filename"]), data["cache"], stored.find, read, workers)
            finally:
                stored.warn_of_copies()
    return Split(table, np.load(path, mmap_mode="r"), videos_known)
