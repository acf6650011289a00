"""What data are there, against what is expected: tables, classes, images, disk. `make data-check`.

    make data-check PROFILE=paper SEWERML_ROOT=folder            without opening an image
    make data-check SCAN=1 JOBS=8 PROFILE=own LABELS=csv         and decode every image of the tables

Without PROFILE: own where LABELS is set, paper where SEWERML_ROOT is, else mini. The exit status is
0 when all is well, 1 when something is wrong, 2 when nothing could be checked.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.data import cache, image_check, pixels, sources, splits
from lib.data.image_check import Presence, some
from lib.data.labels import COLUMNS, class_labels, ignored_classes, read_table, warn
from lib.study import grid, profiles
from lib.study.names import CLASSES, CLASS_NAMES
from lib.system import environment, paths
from lib.system.errors import DataError

PUBLISHED = {"train": (1_040_129, 552_820, 487_309), "val": (130_046, 68_681, 61_365)}  # rows, normal, defect
ACCESS = (
    "Access to Sewer-ML is by the form on its page of Aalborg University's Visual Analysis and Perception (VAP) group, "
    "which mails a password for the zips; licence CC BY-NC-SA 4.0."
)
PARTS = {"grid": "the grid", "augmentation": "Figure 3", "resolution": "Table 2"}
SOURCES = {"sewer-ml": "Sewer-ML", "simulated": "simulated frames", "own": "images of your own"}

Tables = dict[str, pd.DataFrame]


def check(profile: str, scan: bool = False, workers: int = 1) -> list[str]:
    """Print what is there against what is expected; returns what is wrong, a sentence each. A
    `scan` decodes every image in as many processes as `workers`.

    Raises DataError where there is nothing to check.
    """
    data = profiles.load(profile)["data"]
    root = _root(data)
    print(f"Profile {profile}: {SOURCES[data['source']]} in {root}", flush=True)
    tables, wrong = _read(data)
    if tables:
        _show_tables(data, tables)
        _show_classes(tables)
        wrong += _images(data, tables)
    if data["source"] == "sewer-ml" and wrong:
        print(f"  {ACCESS}", flush=True)
    if tables:
        wrong += _disk(profile, tables)
    if scan and tables:
        asked = [(sources.images(data, split), list(table["Filename"])) for split, table in tables.items()]
        wrong += image_check.scan(asked, workers, paths.BUILD / profile / "data-check.txt")
    return wrong


def _root(data: dict[str, Any]) -> Path:
    root = sources.root(data)
    if not root.is_dir() and data["source"] == "simulated":
        raise DataError(f"{root} does not exist: `make data`, with the same PROFILE, draws the simulated images.")
    if not root.is_dir():
        variable = "IMAGES" if data["source"] == "own" and environment.images() else "SEWERML_ROOT"
        raise DataError(f"{root} is no folder: set {variable} to the one that holds the images.")
    return root


def _read(data: dict[str, Any]) -> tuple[Tables, list[str]]:
    """Split -> its whole table, and what is wrong with tables that cannot be used."""
    if data["source"] == "own":
        return _read_own(sources.labels_csv(), data["seed"])
    tables, wrong = {}, []
    for split, name in sources.TABLES.items():
        try:
            tables[split] = read_table(sources.root(data) / name)
        except DataError as error:
            wrong.append(str(error))
    shared = set(tables["train"]["Filename"]) & set(tables["val"]["Filename"]) if len(tables) == 2 else ()
    if shared:
        names = " and ".join(sources.TABLES.values())
        wrong.append(f"{len(shared):,} images are in both {names} ({some(shared)}): download the tables again.")
    return tables, wrong


def _read_own(path: Path, seed: int) -> tuple[Tables, list[str]]:
    try:
        table, leak = sources.own(path, seed)
    except DataError as error:
        return {}, [str(error)]
    warn(path, ignored_classes(path, table), leak)
    return {split: table[table["Split"] == split].reset_index(drop=True) for split in sources.TABLES}, []


def _show(title: str, rows: Sequence[Sequence[Any]]) -> None:
    """A titled table: the first column to the left, numbers to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in texts) for i in range(len(texts[0]))]
    print(f"\n{title}")
    for row in texts:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]).rstrip(), flush=True)


def _counts(table: pd.DataFrame) -> tuple[int, int, int]:
    """Rows, normal, defect."""
    defect = int(table["Defect"].sum())
    return len(table), len(table) - defect, defect


def _expected(data: dict[str, Any], split: str) -> tuple[int, int, int] | None:
    """Rows, normal and defect images that Sewer-ML's table of the split was published with; None
    for other data."""
    return PUBLISHED[split] if data["source"] == "sewer-ml" else None


def _show_tables(data: dict[str, Any], tables: Tables) -> None:
    rows, notes = [["", "rows", "normal", "defect"]], []
    for split, table in tables.items():
        name = sources.labels_csv().name if data["source"] == "own" else sources.TABLES[split]
        found, published = _counts(table), _expected(data, split)
        rows.append([f"{name} ({split})", *found])
        if published and found != published:
            rows.append(["  as published", *published])
            rows.append(["  difference", *(f"{a - b:+,}" for a, b in zip(found, published, strict=True))])
            notes.append(f"{name} differs from the published one: fine for a subset, else download it again.")
        elif published:
            notes.append(f"{name} has the published counts.")
        beyond = [c for c in table.columns if c not in (*COLUMNS, "Video", "Group", "Split")]
        if beyond:
            notes.append(f"{name}: column(s) {', '.join(beyond)} are not read.")
    if tables:
        _show("Tables", rows)
    for note in dict.fromkeys(notes):
        print(f"  {note}")


def _show_classes(tables: Tables) -> None:
    labels = {split: class_labels(table) for split, table in tables.items()}
    if any(found is None for found in labels.values()):
        print("\nNo class columns: F2CIW is left out.")
    elif labels:
        sums = {split: found.sum(axis=0) for split, found in labels.items()}
        rows = [
            [f"{code} {CLASS_NAMES[code]}", *(int(s[i]) for s in sums.values())]
            for i, code in enumerate(CLASSES)
        ]
        _show("Images of each class", [["", *sums], *rows])


def _images(data: dict[str, Any], tables: Tables) -> list[str]:
    """Say where the images are; returns what is wrong with them."""
    asked = {split: (sources.images(data, split), list(table["Filename"])) for split, table in tables.items()}
    groups = {sources.TABLES[split]: Presence(*pair) for split, pair in asked.items()}
    if data["source"] == "own":  # both splits in one folder
        names = [name for _, named in asked.values() for name in named]
        groups = {sources.labels_csv().name: Presence(sources.images(data, "train"), names)}
    rows: list[list[Any]] = [["", "in the table", "found", "absent"]]
    for name, there in groups.items():
        n, absent = len(there.keys), len(there.absent)
        rows += [[name, n, n - absent, absent], *([f"  {place}", "", many, ""] for place, many in there.where.items())]
    _show("Images", rows)
    wrong = [sentence for there in groups.values() for sentence in there.wrong()]
    for there in groups.values():
        print(f"  {told}\n" if (told := there.zips()) else "", end="", flush=True)
        there.stored.warn_of_copies()
    if len(tables) == len(sources.TABLES):
        spare = set.union(*(there.found for there in groups.values())).difference(*(t.keys for t in groups.values()))
        print(f"  {len(spare):,} images are in no table and are not used ({some(spare)}).\n" if spare else "", end="")
    return wrong


def _caches(profile: str, tables: Tables) -> dict[Path, tuple[str, int, int, dict[str, bool]]]:
    """Every pixel cache that the profile's runs read -> (split, rows, side, parts of the study that
    read it)."""
    found: dict[Path, tuple[str, int, int, dict[str, bool]]] = {}
    used = {}
    for part in ("grid", "augmentation", "resolution"):
        for data in {str(run.data): run.data for run in grid.cells(profile, part)}.values():
            for split, table in tables.items():
                at = (split, data["fraction"]) if split == "train" else split  # validation rows are all read
                if at not in used:
                    fraction = data["fraction"] if split == "train" else 1
                    used[at] = splits.stratified_fraction(table, fraction, data["seed"])
                path = pixels.cached(data, split, used[at])
                found.setdefault(path, (split, len(used[at]), data["cache"], {}))[3][part] = True
    return found


def _disk(profile: str, tables: Tables) -> list[str]:
    """Say what the pixel caches take and what is free; returns what does not fit."""
    if len(tables) < len(sources.TABLES):
        return []
    rows, left = [["", "rows", "px", "GB", "GB to write", "for"]], Counter()
    for path, (split, n, side, parts) in _caches(profile, tables).items():
        size = n * side * side * 3
        missing = cache.left(path, size)
        left[next(iter(parts))] += missing
        read_by = ", ".join(PARTS[part] for part in parts)
        rows.append([split, n, side, f"{size / 1e9:.1f}", f"{missing / 1e9:.1f}", read_by])
    _show("Pixel caches, each written once", rows)
    place = cache.disk(paths.DATA)
    free, total = shutil.disk_usage(place).free, sum(left.values())
    print(f"  {total / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free in {place}.")
    if left["grid"] <= cache.FULL * free < total:
        told = " and ".join(f"{PARTS[part]} {left[part] / 1e9:.1f} GB" for part in left if part != "grid")
        print(f"  That is too little for all; of what is to be written, {told} can wait.")
    if left["grid"] > cache.FULL * free:
        need = f"{left['grid'] / 1e9:.1f} GB more and {place} has {free / 1e9:.1f} GB free"
        return [f"the grid's pixel caches need {need}: free some, or set WORKSPACE to a larger disk."]
    return []
