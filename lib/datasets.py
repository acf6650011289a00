"""Sewer-ML tables and images: read, checked, sampled, and decoded once into a cache of pixels.

The simulated data are written in Sewer-ML's own format (lib.simulate), so this reader is the only one.
"""

import hashlib
import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image, UnidentifiedImageError

from lib import paths, simulate
from lib.study import CLASSES

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
TABLES = {"train": "SewerML_Train.csv", "val": "SewerML_Val.csv"}
ARCHIVES = {"train": "train*.zip", "val": "valid*.zip"}
FOLDERS = {"train": ("Train", "images", "."), "val": ("Valid", "images", ".")}


class DataError(ValueError):
    """The images or tables are not what they should be; the message names the file and the remedy."""


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


def read_table(path: Path) -> pd.DataFrame:
    """A Sewer-ML table, checked: columns, unique names, 0/1 labels, `Defect` equal to "any defect".

    Windows line ends and a byte-order mark are accepted. Raises DataError naming file and row.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: set SEWERML_ROOT to the folder that holds it.")
    table = pd.read_csv(path, encoding="utf-8-sig", dtype={"Filename": str})
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    if table.empty:
        raise DataError(f"{path} has a header and no rows: download it again.")
    twice = table["Filename"][table["Filename"].duplicated()]
    if len(twice):
        raise DataError(f"{path} names {twice.iloc[0]} twice ({len(twice)} such rows): keep one row an image.")
    labels = table[[*CLASSES, "Defect"]]
    odd = ~labels.isin([0, 1]).all(axis=1)
    if odd.any():
        raise DataError(f"{path}, row {_row(odd)}: labels must be 0 or 1 ({odd.sum()} such rows).")
    contradiction = labels[list(CLASSES)].any(axis=1) != table["Defect"].astype(bool)
    if contradiction.any():
        name = table["Filename"][contradiction].iloc[0]
        raise DataError(
            f"{path}, row {_row(contradiction)} ({name}): the class columns contradict Defect "
            f"({contradiction.sum()} such rows); correct the row or remove it."
        )
    return table


def _row(mask: pd.Series) -> int:
    """Line number in the CSV of the first true row (the header is line 1)."""
    return int(np.flatnonzero(mask)[0]) + 2


def patterns(table: pd.DataFrame) -> np.ndarray:
    """(n,) integer of each row's joint label pattern over the 17 classes; 0 is normal."""
    return table[list(CLASSES)].to_numpy(np.int64) @ (1 << np.arange(len(CLASSES), dtype=np.int64))


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


@dataclass(frozen=True)
class Images:
    """The images of one split below `root`: in the archive's zips (read in place) or in a folder."""

    root: Path
    split: str

    @cached_property
    def _members(self) -> dict[str, tuple[zipfile.ZipFile, str]]:
        """Where each zipped image lies: base name -> (archive, member)."""
        found = {}
        for path in sorted(self.root.glob(ARCHIVES[self.split])):
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise DataError(f"{path} is not a complete zip ({error}): download it again.") from None
            found |= {Path(m).name: (archive, m) for m in archive.namelist() if m.lower().endswith(".png")}
        return found

    @cached_property
    def _folders(self) -> list[Path]:
        return [self.root / f for f in FOLDERS[self.split] if (self.root / f).is_dir()]

    def read(self, name: str) -> np.ndarray:
        """(h, w, 3) uint8 RGB. Raises DataError for an absent, truncated or otherwise unreadable image."""
        source, data = self._bytes(name)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise DataError(f"{source} cannot be decoded ({error}): extract or download it again.") from None

    def _bytes(self, name: str) -> tuple[Path, bytes]:
        for folder in self._folders:
            path = folder / name
            if path.exists():
                return path, path.read_bytes()
        if name in self._members:
            archive, member = self._members[name]
            try:
                return Path(archive.filename) / member, archive.read(member)
            except RuntimeError as error:  # zipfile's word for a missing password
                raise DataError(f"{archive.filename} is password-protected ({error}): extract it first.") from None
            except zipfile.BadZipFile as error:
                raise DataError(f"{archive.filename}, {member} is damaged ({error}): download it again.") from None
        raise DataError(
            f"{name} is in the {self.split} table, but neither under {self.root} nor in its zips "
            f"({ARCHIVES[self.split]}): complete the download, or remove the row."
        )


def identity(data: dict[str, Any]) -> str:
    """Name of the data that `data` (a profile's table) asks for: the simulator's version, seed and sizes, or the hash
    of the real tables."""
    if data["source"] == "simulated":
        sizes = f"{data['train']}-{data['val']}-{data['frame']}px"
        return f"simulated-v{simulate.VERSION}-s{data['seed']}-{sizes}"
    digest = hashlib.sha256()
    for name in TABLES.values():
        path = root(data) / name
        if not path.exists():
            raise DataError(f"{path} does not exist: set SEWERML_ROOT to the folder that holds it.")
        digest.update(path.read_bytes())
    return f"sewerml-{digest.hexdigest()[:12]}"


def root(data: dict[str, Any]) -> Path:
    """The folder that holds the tables and images."""
    if data["source"] == "simulated":
        return paths.DATA / identity(data)
    if not os.environ.get("SEWERML_ROOT"):
        raise DataError("the profile reads Sewer-ML: set SEWERML_ROOT to the folder with its CSVs and images.")
    return Path(os.environ["SEWERML_ROOT"]).expanduser()


def prepare(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images where they are wanted and absent, with `workers` processes, and fill the cache."""
    simulated(data, workers)
    for split in TABLES:
        load(data, split)


def simulated(data: dict[str, Any], workers: int = 1) -> None:
    """Draw the simulated images if `data` asks for them and they are not there yet."""
    if data["source"] == "simulated" and not root(data).exists():
        paths.DATA.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{root(data)}.lock"):
            if not root(data).exists():
                simulate.write(root(data), data["seed"], data["train"], data["val"], data["frame"], workers)


def tables(data: dict[str, Any], split: str) -> tuple[pd.DataFrame, bool]:
    """The rows of `split` that the study uses, and whether their videos are known.

    Training rows are the stratified fraction; validation rows are all, with the fraction marked in `Sampled`.
    """
    table = read_table(root(data) / TABLES[split])
    sampled = stratified_fraction(table, data["fraction"], data["seed"]).index
    table["Sampled"] = table.index.isin(sampled)
    videos = root(data) / "Videos.csv"
    if videos.exists():
        known = pd.read_csv(videos, dtype=str).set_index("Filename")["Video"]
        table["Video"] = table["Filename"].map(known)
        absent = table["Video"].isna()
        if absent.any():
            raise DataError(f"{videos} lacks {table['Filename'][absent].iloc[0]} ({absent.sum()} such images).")
    else:
        table["Video"] = table["Filename"]
    if split == "train":
        table = table[table["Sampled"]].reset_index(drop=True)
    return table, videos.exists()


def load(data: dict[str, Any], split: str) -> Split:
    """Table and memory-mapped pixels of `split`, drawn and decoded first where they are not there yet."""
    simulated(data)
    table, videos_known = tables(data, split)
    side = data["cache"]
    names = hashlib.sha256("\n".join(table["Filename"]).encode()).hexdigest()[:12]
    path = paths.DATA / "cache" / f"{identity(data)}-{split}-{side}px-{names}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _decode(Images(root(data), split), table["Filename"], side, path)
    return Split(table, np.load(path, mmap_mode="r"), videos_known)


def _decode(images: Images, names: pd.Series, side: int, path: Path) -> None:
    """Write (n, side, side, 3) uint8 to `path`; beside it first, so that no partial file counts."""
    size = len(names) * side * side * 3
    free = shutil.disk_usage(path.parent).free
    if size > 0.95 * free:
        raise DataError(
            f"the pixel cache needs {size / 1e9:.1f} GB and {path.parent} has {free / 1e9:.1f} GB free: "
            "free some, or set WORKSPACE to a larger disk."
        )
    beside = path.with_suffix(".partial.npy")
    cache = np.lib.format.open_memmap(beside, "w+", np.uint8, (len(names), side, side, 3))
    bad = []
    for i, name in enumerate(names):
        try:
            cache[i] = square(images.read(name), side)
        except DataError as error:
            bad.append(str(error))
    if bad:
        beside.unlink()
        more = f" ({len(bad)} such images)" if len(bad) > 1 else ""
        raise DataError(bad[0] + more)
    cache.flush()
    del cache
    beside.replace(path)


def square(image: np.ndarray, side: int) -> np.ndarray:
    """(side, side, 3) uint8: the whole frame, resized with antialiasing, aspect not kept (as the released code)."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
