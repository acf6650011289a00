"""Tables of labels, read and checked: Sewer-ML's, or any CSV of one's own. What they say of rows is
never changed."""

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lib.study.names import CLASSES
from lib.system.errors import DataError

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
OWN = ("Filename", "Defect")  # all that a CSV of one's own must have
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}


def read_table(path: Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """A table of labels, checked: its columns, unique names, 0/1 labels, `Defect` equal to "any
    defect".

    Windows line ends and a byte-order mark are accepted. Raises DataError naming file, row, image
    and remedy.
    """
    own = columns is not COLUMNS
    _refuse_no_file(path, own)
    try:
        _refuse_separator(path)
        table = pd.read_csv(path, encoding="utf-8-sig", dtype={"Filename": str})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is no CSV in UTF-8 ({str(error).strip()}): save it as one."
        ) from None
    missing = [c for c in columns if c not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        remedy = "add them" if own else "download it again"
        raise DataError(
            f"{path} lacks the column(s) {', '.join(missing)}; expected {', '.join(columns)}, found {found}: {remedy}."
        )
    if table.empty:
        raise DataError(
            f"{path} has a header and no rows: {'add a row an image' if own else 'download it again'}."
        )
    _refuse_blanks(path, table, "Filename")
    _refuse_twice(path, table)
    _refuse_labels(path, table)
    return table


def _refuse_no_file(path: Path, own: bool) -> None:
    if path.is_dir() and own:
        inside = sorted(p.name for p in path.glob("*.csv"))[:3]
        found = f", which holds {', '.join(inside)}" if inside else " without a CSV"
        raise DataError(f"{path} is a folder{found}: set LABELS to the CSV itself.")
    if not path.is_file():
        variable = "LABELS to your CSV" if own else "SEWERML_ROOT to the folder that holds it"
        raise DataError(f"{path} does not exist: set {variable}.")


def _refuse_separator(path: Path) -> None:
    """Spreadsheets write CSV with semicolons or tabs where the comma marks decimals."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in header and "," not in header:
            raise DataError(
                f"{path} is separated by {name}, expected commas: save it as a CSV with commas."
            )


def _refuse_blanks(path: Path, table: pd.DataFrame, column: str) -> None:
    blank = table[column].isna() | (table[column].astype(str).str.strip() == "")
    if blank.any():
        name = "" if column == "Filename" else f" ({table['Filename'][blank].iloc[0]})"
        raise DataError(
            f"{path}, row {_row(blank)}{name}: {column} is empty ({_such(blank)}); fill it in."
        )


def _refuse_twice(path: Path, table: pd.DataFrame) -> None:
    again = table["Filename"].duplicated()
    if again.any():
        name = table["Filename"][again].iloc[0]
        raise DataError(
            f"{path}, row {_row(again)}: it names {name} twice, first in row {_row(table['Filename'] == name)} "
            f"({_such(again)}); keep one row an image."
        )


def _refuse_labels(path: Path, table: pd.DataFrame) -> None:
    """Labels that are not 0 or 1, and classes that contradict Defect."""
    known = set(CLASSES) <= set(table.columns)
    labels = table[[*(CLASSES if known else ()), "Defect"]]
    numbers = labels.apply(
        pd.to_numeric, errors="coerce"
    )  # one word in a column makes text of its numbers
    fine = (numbers == 0) | (numbers == 1)
    odd = ~fine.all(axis=1)
    if odd.any():
        first = int(np.flatnonzero(odd)[0])
        column = fine.columns[~fine.iloc[first]][0]
        found = "nothing" if pd.isna(value := labels[column].iloc[first]) else f"'{value}'"
        raise DataError(
            f"{path}, row {_row(odd)} ({table['Filename'].iloc[first]}): labels must be 0 or 1, {column} is {found} "
            f"({_such(odd)}); correct the row or remove it."
        )
    contradiction = labels.drop(columns="Defect").any(axis=1) != table["Defect"].astype(bool)
    if known and contradiction.any():
        name = table["Filename"][contradiction].iloc[0]
        raise DataError(
            f"{path}, row {_row(contradiction)} ({name}): the class columns contradict Defect "
            f"({_such(contradiction)}); correct the row or remove it."
        )


def _row(mask: pd.Series) -> int:
    """Line number in the CSV of the first true row (the header is line 1)."""
    return int(np.flatnonzero(mask)[0]) + 2


def _such(mask: pd.Series) -> str:
    return f"{mask.sum()} such rows"


def class_labels(table: pd.DataFrame) -> np.ndarray | None:
    """(n, 17) 0/1 of Sewer-ML's defect classes; None for a table that lacks one of their
    columns."""
    return table[list(CLASSES)].to_numpy() if set(CLASSES) <= set(table.columns) else None


def read_own(path: Path) -> pd.DataFrame:
    """One's own table: Filename and Defect; optional are the 17 class columns, Split (as "train" or
    "val") and Group.

    Raises DataError naming file, row, image and remedy.
    """
    table = read_table(path, OWN)
    if "Group" in table:
        _refuse_blanks(path, table, "Group")
    if "Split" in table:
        _refuse_blanks(path, table, "Split")
        named = table["Split"].astype(str).str.strip().str.lower().map(SPLITS)
        if named.isna().any():
            first = table[named.isna()].iloc[0]
            raise DataError(
                f"{path}, row {_row(named.isna())} ({first['Filename']}): Split is '{first['Split']}', expected train "
                f"or val ({_such(named.isna())}); name val what is to be scored (nothing is selected on it), and "
                "remove what is neither."
            )
        table["Split"] = named
    return table


def check_sides(path: Path, table: pd.DataFrame) -> None:
    """Raise DataError unless both splits of one's own table have normal and defect images."""
    for split in ("train", "val"):
        defect = table["Defect"][table["Split"] == split]
        if not len(defect):
            other = "val" if split == "train" else "train"
            raise DataError(
                f"{path}: every row is in the split {other}; name some train and some val."
            )
        if defect.nunique() < 2:
            raise DataError(
                f"{path}: its {split} rows need normal and defect images, found {(defect == 0).sum()} normal and "
                f"{defect.sum()} defect; add what is missing, or move rows from the other split."
            )


def check_holdout(path: Path, table: pd.DataFrame, folds: int) -> None:
    """Raise DataError unless one of `folds` parts (of whole groups) can be held out with normal and
    defect images."""
    what = "groups" if "Group" in table else "images"
    units = [table["Video"][table["Defect"] == defect].nunique() for defect in (0, 1)]
    if min(units) < folds:
        raise DataError(
            f"{path}: a part can be held out of {folds} normal and {folds} defect {what} or more; add Split, or images "
            f"(found {units[0]} normal and {units[1]} defect {what})."
        )


def leak(path: Path, table: pd.DataFrame, named: bool) -> str:
    """How validation images of one's own may resemble training ones, "" if they do not; `named`:
    the CSV has Split."""
    if "Group" not in table:
        told = f"{path.name} has no Split and no Group: frames of one video may lie in both splits and flatter."
        return "" if named else told
    both = set(table["Video"][table["Split"] == "train"]) & set(
        table["Video"][table["Split"] == "val"]
    )
    return (
        f"{len(both)} groups of {path.name} ({min(both)} ...) lie in both splits: scores will flatter."
        if both
        else ""
    )


def ignored_classes(path: Path, table: pd.DataFrame) -> str:
    """That some class columns are there but not all, "" otherwise."""
    absent = [c for c in CLASSES if c not in table]
    if not absent or len(absent) == len(CLASSES):
        return ""
    names = ", ".join(absent)
    return f"{path.name} lacks the class column(s) {names}: the other classes are ignored, and F2CIW is left out."


@lru_cache
def warn(path: Path, *notes: str) -> None:
    """Print each of `notes` that is not empty on standard error, once a process."""
    for note in filter(None, notes):
        print(f"warning: {note}", file=sys.stderr, flush=True)
