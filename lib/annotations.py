"""Tables of labels, read and checked: Sewer-ML's, or any CSV of one's own."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lib.images import DataError
from lib.study import CLASSES

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "val"}
HELD_OUT = 0.2  # share of one's own images kept for validation where the CSV has no column Split


def read_table(path: Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """A table of labels, checked: its columns, unique names, 0/1 labels, `Defect` equal to "any defect".

    Windows line ends and a byte-order mark are accepted. Raises DataError naming file and row.
    """
    if not path.is_file():
        variable = "SEWERML_ROOT to the folder that holds it" if columns is COLUMNS else "LABELS to your CSV"
        raise DataError(f"{path} does not exist: set {variable}.")
    try:
        table = pd.read_csv(path, encoding="utf-8-sig", dtype={"Filename": str})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV in UTF-8 ({error}): save it as one.") from None
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise DataError(f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(columns)}.")
    if table.empty:
        raise DataError(f"{path} has a header and no rows: download it again.")
    _refuse_blanks(path, table, "Filename")
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


def _refuse_blanks(path: Path, table: pd.DataFrame, column: str) -> None:
    blank = table[column].isna()
    if blank.any():
        raise DataError(f"{path}, row {_row(blank)}: {column} is empty ({blank.sum()} such rows); fill it in.")


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


@lru_cache(maxsize=2)
def own(path: Path, seed: int) -> tuple[pd.DataFrame, str]:
    """One's own table, every row with `Split` ("train" or "val") and `Video`, and how it leaks ("" if it does not).

    The CSV has Filename (relative to its folder, or to IMAGES) and Defect, 0 or 1; Sewer-ML's 17 class columns, Split
    and Group (video, pipe, site: what must not lie on both sides) are optional. Without Split, a stratified fifth is
    held out, whole groups where Group is there. Raises DataError naming file and row.
    """
    table = read_table(path, ("Filename", "Defect"))
    grouped = "Group" in table
    if grouped:
        _refuse_blanks(path, table, "Group")
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
