"""Tables of labels, read and checked: Sewer-ML's, or the CSV of the user's own images.

A table is refused or taken as it is: no label is corrected.
"""

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lib.study.names import CLASSES
from lib.system.errors import DataError

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
OWN = ("Filename", "Defect")  # all that the user's own CSV must have
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}


def read_table(path: Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """A table of labels with unique file names and labels 0 or 1, `Defect` being "any defect".
    Accepts Windows line ends and a byte-order mark. DataErrors name file, row, image, remedy."""
    own = columns is not COLUMNS
    check_file(path, own)
    try:
        _check_separator(path)
        table = pd.read_csv(path, encoding="utf-8-sig", dtype={"Filename": str})
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        why = str(error).strip()
        raise DataError(f"{path} is no CSV in UTF-8 ({why}): save it as one.") from None
    add_columns, add_rows = "add them", "add a row an image"
    if not own:
        add_columns = add_rows = "download it again"
    if missing := ", ".join(c for c in columns if c not in table.columns):
        both = f"expected {', '.join(columns)}, found {', '.join(map(str, table.columns))}"
        raise DataError(f"{path} lacks the column(s) {missing}; {both}: {add_columns}.")
    if table.empty:
        raise DataError(f"{path} has a header and no rows: {add_rows}.")
    _check_filled(path, table, "Filename")
    again = table["Filename"].duplicated()
    if again.any():
        earlier = _first_line(table["Filename"] == table["Filename"][again].iloc[0])
        what = f"it names {{Filename}} twice, first in row {earlier}"
        _refuse(path, table, again, what, "keep one row an image")
    _check_labels(path, table)
    return table


def check_file(path: Path, own: bool = False) -> None:
    """Raise DataError unless there is this file, of Sewer-ML or the user's `own`."""
    if path.is_dir() and own:
        names = ", ".join(sorted(p.name for p in path.glob("*.csv"))[:3])
        inside = f", which holds {names}" if names else " without a CSV"
        raise DataError(f"{path} is a folder{inside}: set LABELS to the CSV itself.")
    if not path.is_file():
        variable = "LABELS to your CSV" if own else "SEWERML_ROOT to the folder that holds it"
        raise DataError(f"{path} does not exist: set {variable}.")


def _check_separator(path: Path) -> None:
    """Spreadsheets write semicolons or tabs where the comma is the decimal mark."""
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in header and "," not in header:
            what = f"separated by {name}, expected commas"
            raise DataError(f"{path} is {what}: save it as a CSV with commas.")


def _check_filled(path: Path, table: pd.DataFrame, column: str) -> None:
    blank = table[column].isna()
    if not pd.api.types.is_numeric_dtype(table[column]):
        blank |= table[column].astype(str).str.strip() == ""
    _refuse(path, table, blank, f"{column} is empty", "fill it in")


def _check_labels(path: Path, table: pd.DataFrame) -> None:
    """Every label is 0 or 1, and `Defect` is 1 exactly where one of the classes is."""
    remedy = "correct the row or remove it"
    classes = list(CLASSES) if set(CLASSES) <= set(table.columns) else []
    for column in (*classes, "Defect"):
        _check_filled(path, table, column)
        other = ~pd.to_numeric(table[column], errors="coerce").isin((0, 1))
        _refuse(path, table, other, f"labels must be 0 or 1, {column} is '{{{column}}}'", remedy)
    if classes:
        contradiction = table[classes].any(axis=1) != table["Defect"].astype(bool)
        _refuse(path, table, contradiction, "the class columns contradict Defect", remedy)


def _refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, remedy: str) -> None:
    """Raise DataError for the rows marked in `wrong`, if any: the first one is named, all are
    counted. A column in braces in `what` stands for its value in the first one."""
    if wrong.any():
        row = table[wrong].iloc[0]
        what, name = what.format_map(row), str(row["Filename"])
        image = "" if pd.isna(row["Filename"]) or not name.strip() or name in what else f" ({name})"
        count = f"{wrong.sum()} such rows"
        raise DataError(f"{path}, row {_first_line(wrong)}{image}: {what} ({count}); {remedy}.")


def _first_line(rows: pd.Series) -> int:
    """Line in the CSV of the first row that is marked; the header is line 1."""
    return int(np.flatnonzero(rows)[0]) + 2


def class_labels(table: pd.DataFrame) -> np.ndarray | None:
    """(n, 17) labels 0 or 1 of Sewer-ML's classes; None where the table lacks one of them."""
    return table[list(CLASSES)].to_numpy() if set(CLASSES) <= set(table.columns) else None


def read_own(path: Path) -> pd.DataFrame:
    """The user's own table: Filename, Defect, and optionally the 17 class columns, Split and Group.
    Split comes back as "train" or "val". Raises DataError naming file, row, image and remedy."""
    table = read_table(path, OWN)
    for column in ("Group", "Split"):
        if column in table:
            _check_filled(path, table, column)
    if "Split" in table:
        splits = table["Split"].astype(str).str.strip().str.lower().map(SPLITS)
        remedy = "name val what is to be scored (nothing is selected on it), and remove the rest"
        what = "Split is '{Split}', expected train or val"
        _refuse(path, table, splits.isna(), what, remedy)
        table["Split"] = splits
    return table


def check_sides(path: Path, table: pd.DataFrame) -> None:
    """Raise DataError unless both splits of the user's own table have normal and defect images."""
    for split, other in (("train", "val"), ("val", "train")):
        defect = table["Defect"][table["Split"] == split]
        if not len(defect):
            what = f"every row is in the split {other}"
            raise DataError(f"{path}: {what}; name some train and some val.")
        if defect.nunique() < 2:
            counts = f"{(defect == 0).sum()} normal and {defect.sum()} defect"
            what = f"its {split} rows need normal and defect images, found {counts}"
            remedy = "add what is missing, or move rows from the other split"
            raise DataError(f"{path}: {what}; {remedy}.")


def check_holdout(path: Path, table: pd.DataFrame, folds: int) -> None:
    """Raise DataError unless every one of `folds` parts, of whole groups, can have both labels."""
    what = "groups" if "Group" in table else "images"
    normal, defect = (table["Video"][table["Defect"] == label].nunique() for label in (0, 1))
    if min(normal, defect) < folds:
        needed = f"a part can be held out of {folds} normal and {folds} defect {what} or more"
        counts = f"found {normal} normal and {defect} defect {what}"
        raise DataError(f"{path}: {needed}; add Split, or images ({counts}).")


def leak(path: Path, table: pd.DataFrame, has_split: bool) -> str:
    """How validation images may resemble training images of the user's own table, "" if they do
    not; `has_split`: the CSV itself has the column Split."""
    if "Group" in table:
        both = set.intersection(*(set(rows["Video"]) for _, rows in table.groupby("Split")))
        what = f"{len(both)} groups of {path.name} ({min(both, default='')} ...)"
        return f"{what} lie in both splits: scores will flatter." if both else ""
    risk = "frames of one video may lie in both splits and flatter"
    return "" if has_split else f"{path.name} has no Split and no Group: {risk}."


def ignored_classes(path: Path, table: pd.DataFrame) -> str:
    """That some of the class columns are there but not all, "" otherwise."""
    absent = [c for c in CLASSES if c not in table]
    if not absent or len(absent) == len(CLASSES):
        return ""
    rest = "the other classes are ignored, and F2CIW is left out."
    return f"{path.name} lacks the class column(s) {', '.join(absent)}: {rest}"


@lru_cache
def warn(path: Path, *notes: str) -> None:
    """Print the notes about this file that are not empty on standard error, once a process."""
    for note in filter(None, notes):
        print(f"warning: {note}", file=sys.stderr, flush=True)
