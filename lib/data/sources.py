"""The data that a profile asks for: Sewer-ML, simulated frames in its format, or the user's images.
A profile's `data` table says which, in its key "source". This module decides which images belong to
which split, so that a change of it makes runs stale."""

import hashlib
import shutil
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from lib.data import contents, labels, own_labels, resizing, solar, splits
from lib.data.files import Images
from lib.simulator import frames
from lib.system import environment, paths
from lib.system.errors import DataError

TABLES = {"train": "SewerML_Train.csv", "val": "SewerML_Val.csv"}
OWN = ("own", "solar")  # sources that are one table, Filename and Defect, beside its images
PLACES = {  # the archive's folders, and its zips
    "train": (("Train", "images", "."), "train*.zip"),
    "val": (("Valid", "images", "."), "valid*.zip"),
}


def identity(data: dict[str, Any]) -> str:
    """A name for the content of these data: the simulator's version, seed and sizes, or a hash of
    Sewer-ML's tables, or of the user's own table and images. Raises DataError for a wrong table,
    and for copies of one of the user's images on both sides of the split."""
    if data["source"] == "simulated":
        sizes = f"{data['train']}-{data['val']}-{data['frame']}px"
        return f"simulated-v{frames.VERSION}-s{data['seed']}-{sizes}"
    digest = hashlib.sha256()
    if data["source"] in OWN:
        path, (table, found) = labels_csv(data), _own_contents(data)
        own_labels.copies(path, table, found)
        digest.update(f"{path.read_text('utf-8-sig')}{found}".encode())
        return f"{data['source']}-{digest.hexdigest()[:12]}"
    for name in TABLES.values():
        labels.check_file(root(data) / name)
        digest.update((root(data) / name).read_bytes())
    return f"sewerml-{digest.hexdigest()[:12]}"


def own(path: Path, seed: int) -> tuple[pd.DataFrame, str]:
    """The user's own table, with `Split` ("train" or "val") and `Video` in every row, and a warning
    where its validation images may resemble training images, else "". Raises DataError.

    The CSV has Filename (relative to its folder, or to IMAGES) and Defect, 0 or 1. Class,
    Sewer-ML's 17 class columns, Split and Group (what must not lie in both splits) are optional.
    Without Split, a stratified fifth is held out, in whole groups where Group is there."""
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return _own(path, seed, content)


@lru_cache(maxsize=2)
def _own(path: Path, seed: int, content: str) -> tuple[pd.DataFrame, str]:
    """`content` is the hash of the file: an edited table is read again."""
    table = own_labels.read(path)
    table["Video"] = table["Group"] if "Group" in table else table["Filename"]
    has_split = "Split" in table
    if not has_split:
        own_labels.check_holdout(path, table, round(1 / splits.HELD_OUT))
        table["Split"] = np.where(splits.held_out(table, seed), "val", "train")
    own_labels.check_sides(path, table)
    return table, own_labels.leak(path, table, has_split)


def _own_contents(data: dict[str, Any]) -> tuple[pd.DataFrame, list[str]]:
    """The user's own table, and a hash of each row's image file as it is found, "" if absent."""
    table, _ = own(labels_csv(data), data["seed"])
    stored = images(data, "train")
    files = [next(iter(stored.files(name)), None) for name in table["Filename"]]
    return table, contents.hashes(files)


def notes(data: dict[str, Any]) -> list[str]:
    """What may mislead in the user's own table, a sentence each; nothing for other data."""
    if data["source"] not in OWN:
        return []
    path, (table, found) = labels_csv(data), _own_contents(data)
    _, leak = own(path, data["seed"])
    every = [own_labels.ignored_classes(path, table), leak, own_labels.copies(path, table, found)]
    every += [resizing.advice(images(data, "train"), tuple(table["Filename"]), data["cache"])]
    return [note for note in every if note]


def warn(data: dict[str, Any]) -> None:
    """Print `notes` on standard error, each once a process."""
    for note in notes(data):
        own_labels.warn(labels_csv(data), note)


def labels_csv(data: dict[str, Any]) -> Path:
    """The CSV of the user's own images, from LABELS, or that of the solar cells."""
    if data["source"] == "solar":
        return solar.labels_csv()
    if path := environment.labels():
        return path
    remedy = "set LABELS to a CSV with the columns Filename, Defect"
    raise DataError(f"the profile reads images of your own: {remedy}.")


def table(data: dict[str, Any], split: str) -> Path:
    """The CSV that holds the labels of `split`."""
    return labels_csv(data) if data["source"] in OWN else root(data) / TABLES[split]


def root(data: dict[str, Any]) -> Path:
    """The folder that holds the images, and Sewer-ML's tables."""
    if data["source"] == "simulated":
        return paths.DATA / identity(data)
    if data["source"] == "solar":
        return solar.folder()
    if data["source"] == "own":
        return environment.images() or labels_csv(data).parent
    if path := environment.sewerml_root():
        return path
    remedy = "set SEWERML_ROOT to the folder with its CSVs and images"
    raise DataError(f"the profile reads Sewer-ML: {remedy}.")


def simulated(data: dict[str, Any], split: str = "", workers: int = 1, again: bool = False) -> None:
    """Where `data` are simulated: write their tables, and draw the frames of `split`, if one is
    named, where they are not there yet, or damaged; the frames also `again`."""
    if data["source"] != "simulated":
        return
    if split:
        simulated(data)
    folder = root(data) / frames.SPLITS[split][0] if split else root(data)
    if again or not frames.is_whole(folder):
        paths.DATA.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root(data)}{split}.lock"):
            if again or not frames.is_whole(folder):
                if folder.exists():
                    print(f"warning: {folder} is damaged: it is drawn again.", file=sys.stderr)
                    shutil.rmtree(folder)
                if split:
                    about = data["seed"], split, data[split], data["frame"]
                    frames.write_frames(root(data), *about, workers)
                else:
                    sizes = {split: data[split] for split in TABLES}
                    frames.write_tables(root(data), data["seed"], sizes)


def whole(data: dict[str, Any], split: str) -> pd.DataFrame:
    """Every row of `split`, in the user's own table or in Sewer-ML's."""
    if data["source"] not in OWN:
        return labels.read_table(root(data) / TABLES[split]).reset_index(drop=True)
    table, _ = own(labels_csv(data), data["seed"])
    return table[table["Split"] == split].reset_index(drop=True)


def tables(data: dict[str, Any], split: str) -> tuple[pd.DataFrame, bool]:
    """The rows of `split` that the study uses, and whether their videos (or groups) are known.
    Training rows are the stratified fraction, validation rows all; `Sampled` marks theirs."""
    simulated(data)
    table = whole(data, split)
    is_own, videos = data["source"] in OWN, root(data) / "Videos.csv"
    videos_known = "Group" in table if is_own else _add_videos(table, videos)
    sampled = splits.stratified_fraction(table, data["fraction"], data["seed"]).index
    table["Sampled"] = table.index.isin(sampled)
    if split == "train":
        table = table[table["Sampled"]].reset_index(drop=True)
    return table, videos_known


def _add_videos(table: pd.DataFrame, path: Path) -> bool:
    """Add the column `Video` from the table at `path`; returns whether that file exists. Where it
    does not, every image counts as a video of its own."""
    table["Video"] = table["Filename"]
    if path.exists():
        videos = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("Filename")["Video"]
        table["Video"] = table["Filename"].map(videos)
        absent = table["Filename"][table["Video"].isna()]
        if len(absent):
            raise DataError(f"{path} lacks {absent.iloc[0]} ({len(absent)} such images).")
    return path.exists()


def images(data: dict[str, Any], split: str) -> Images:
    """Where the images of a split are read from; `simulated` draws them."""
    return Images(root(data)) if data["source"] in OWN else Images(root(data), *PLACES[split])
