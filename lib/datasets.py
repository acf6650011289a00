"""Tables of labels, read, checked, split and sampled, with their cached pixels: Sewer-ML's, or any CSV of one's own.

The simulated data are written in Sewer-ML's own format (lib.simulate), so its reader is the only one.
"""

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from lib import paths, simulate
from lib.images import DataError, Images, decode
from lib.study import CLASSES

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
TABLES = {"train": "SewerML_Train.csv", "val": "SewerML_Val.csv"}
PLACES = {
    "train": (("Train", "images", "."), "train*.zip"),
    "val": (("Valid", "images", "."), "valid*.zip"),
}  # folders and zips of the archive
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "val"}
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


def read_table(path: Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """A table of labels, checked: its columns, unique names, 0/1 labels, `Defect` equal to "any defect".

    Windows line ends and a byte-order mark are accepted. Raises DataError naming file and row.
    """
    if not path.is_file():
        variable = "SEWERML_ROOT to the folder that holds it" if columns is COLUMNS else "LABELS to your CSV"
        raise DataError(f"{path} does not exist: set {variable}.")
    table = pd.read_csv(path, encoding="utf-8-sig", dtype={"Filename": str})
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(columns)}.")
    if table.empty:
        raise DataError(f"{path} has a header and no rows: download it again.")
    twice = table["Filename"][table["Filename"].duplicated()]
    if len(twice):
        raise DataError(f"{path} names {twice.iloc[0]} twice ({len(twice)} such rows): keep one row an image.")
    known = class_labels(table)
    labels = table[[*(CLASSES if known is not None else ()), "Defect"]]
    odd = ~labels.isin([0, 1]).all(axis=1)
    if odd.any():
        raise DataError(f"{path}, row {_row(odd)}: labels must be 0 or 1 ({odd.sum()} such rows).")
    contradiction = labels.drop(columns="Defect").any(axis=1) != table["Defect"].astype(bool)
    if known is not None and contradiction.any():
        name = table["Filename"][contradiction].iloc[0]
        raise DataError(
            f"{path}, row {_row(contradiction)} ({name}): the class columns contradict Defect "
            f"({contradiction.sum()} such rows); correct the row or remove it."
        )
    return table


def class_labels(table: pd.DataFrame) -> np.ndarray | None:
    """(n, 17) 0/1 of Sewer-ML's defect classes; None for a table that lacks one of their columns."""
    return table[list(CLASSES)].to_numpy() if set(CLASSES) <= set(table.columns) else None


def _row(mask: pd.Series) -> int:
    """Line number in the CSV of the first true row (the header is line 1)."""
    return int(np.flatnonzero(mask)[0]) + 2


def patterns(table: pd.DataFrame) -> np.ndarray:
    """(n,) integer of each row's joint label pattern over the 17 classes, else of `Defect` alone; 0 is normal."""
    labels = class_labels(table)
    labels = table[["Defect"]].to_numpy() if labels is None else labels
    return labels.astype(np.int64) @ (1 << np.arange(labels.shape[1], dtype=np.int64))


def stratified_fraction(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """The rows of a stratified sample on the joint label pattern, as the released code draws it.

    Patterns seen once are dropped first. `fraction` 1 returns the table untouched. Original order and index are kept.
    """
    if fraction == 1:
        return table
    from sklearn.model_selection import train_test_split  # slow to import, and only a real table's fraction needs it

    pattern = patterns(table)
    values, counts = np.unique(pattern, return_counts=True)
    often = np.isin(pattern, values[counts > 1])
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
    """Name of the data that `data` (a profile's table) asks for: the simulator's version, seed and sizes, or the hash
    of the real tables."""
    if data["source"] == "simulated":
        sizes = f"{data['train']}-{data['val']}-{data['frame']}px"
        return f"simulated-v{simulate.VERSION}-s{data['seed']}-{sizes}"
    digest = hashlib.sha256()
    for path in [labels_csv()] if data["source"] == "own" else [root(data) / name for name in TABLES.values()]:
        if not path.is_file():
            variable = "LABELS to your CSV" if data["source"] == "own" else "SEWERML_ROOT to the folder that holds it"
            raise DataError(f"{path} does not exist: set {variable}.")
        digest.update(path.read_bytes())
    return f"{data['source'].replace('-', '')}-{digest.hexdigest()[:12]}"


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
        _, leak = own(labels_csv(), data["seed"])
        print(f"warning: {leak}" * bool(leak), file=sys.stderr, flush=True)
    for split in TABLES:
        load(data, split)


def simulated(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images if `data` asks for them and they are not there yet."""
    if data["source"] == "simulated" and not root(data).exists():
        paths.DATA.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root(data)}.lock"):
            if not root(data).exists():
                simulate.write(root(data), data["seed"], data["train"], data["val"], data["frame"], workers)


@lru_cache(maxsize=2)
def own(path: Path, seed: int) -> tuple[pd.DataFrame, str]:
    """One's own table, every row with `Split` ("train" or "val") and `Video`, and how it leaks ("" if it does not).

    The CSV has Filename (relative to its folder, or to IMAGES) and Defect, 0 or 1; Sewer-ML's 17 class columns, Split
    and Group (video, pipe, site: what must not lie on both sides) are optional. Without Split, a stratified fifth is
    held out, whole groups where Group is there. Raises DataError naming file and row.
    """
    table = read_table(path, ("Filename", "Defect"))
    grouped = "Group" in table
    table["Video"] = table["Group"].astype(str) if grouped else table["Filename"]
    leak = ""
    if "Split" in table:
        named = table["Split"].astype(str).str.strip().str.lower().map(SPLITS)
        if named.isna().any():
            found = table["Split"][named.isna()].iloc[0]
            raise DataError(f"{path}, row {_row(named.isna())}: Split is '{found}', expected train or val.")
        table["Split"] = named
        both = set(table["Video"][named == "train"]) & set(table["Video"][named == "val"])
        if both:
            leak = f"{len(both)} groups of {path.name} ({min(both)} ...) lie in both splits: scores will flatter."
    else:
        table["Split"] = np.where(_held_out(table, seed, grouped, path), "val", "train")
        if not grouped:
            leak = f"{path.name} has no Split and no Group: frames of one video may lie in both splits and flatter."
    for split, rows in table.groupby("Split"):
        if rows["Defect"].nunique() < 2:
            raise DataError(f"{path}: its {split} rows need normal and defect images, found only one kind.")
    if table["Split"].nunique() < 2:
        raise DataError(f"{path}: every row is in the split {table['Split'].iloc[0]}; name some train and some val.")
    return table, leak


def _held_out(table: pd.DataFrame, seed: int, grouped: bool, path: Path) -> np.ndarray:
    """(n,) True for the stratified fifth of one's own rows that is kept for validation."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    defect, folds = table["Defect"].to_numpy(), round(1 / HELD_OUT)
    units = table.groupby("Defect")["Video"].nunique()
    if len(units) < 2 or units.min() < folds:
        what = "groups" if grouped else "images"
        raise DataError(
            f"{path}: a fifth can be held out of {folds} normal and {folds} defect {what} or more; add Split."
        )
    kind = StratifiedGroupKFold if grouped else StratifiedKFold
    parts = kind(folds, shuffle=True, random_state=seed).split(defect, defect, table["Video"] if grouped else None)
    held = np.zeros(len(table), bool)
    held[next(iter(parts))[1]] = True
    return held


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
        table = read_table(root(data) / TABLES[split])
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


def load(data: dict[str, Any], split: str) -> Split:
    """Table and memory-mapped pixels of `split`, drawn and decoded first where they are not there yet."""
    table, videos_known = tables(data, split)
    side = data["cache"]
    names = hashlib.sha256("\n".join(table["Filename"]).encode()).hexdigest()[:12]
    path = paths.DATA / "cache" / f"{identity(data)}-{split}-{side}px-{names}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            decode(images(data, split), table["Filename"], side, path)
    return Split(table, np.load(path, mmap_mode="r"), videos_known)
