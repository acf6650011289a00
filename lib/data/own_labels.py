"""The CSV of the user's own images: read, checked, and compared with their content."""

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from lib.data import labels
from lib.data.labels import check_filled, refuse
from lib.study.names import CLASSES
from lib.system.errors import DataError

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
TOTALS = {"all", "defect", "any defect", "groups", "normal (nd)"}  # rows of tables, not classes


def read(path: Path) -> pd.DataFrame:
    """The user's own table: Filename, Defect, and optionally Sewer-ML's 17 class columns, Split,
    Group and Class. Split comes back as "train" or "val", Class as a categorical of combinations of
    names, separated by semicolons. Raises DataError naming file, row, image and remedy."""
    table = labels.read_table(path, labels.OWN)
    for column in [name for name in ("Group", "Split") if name in table]:
        check_filled(path, table, column)
    if "Split" in table:
        splits = table["Split"].str.lower().map(SPLITS)
        remedy = "write val for images to score (nothing is selected on them), or remove the rows"
        what = "Split is '{Split}', expected train or val"
        refuse(path, table, splits.isna(), what, remedy)
        table["Split"] = splits
    if "Class" in table:
        table["Class"] = _combinations(path, table)
    return table


def _combinations(path: Path, table: pd.DataFrame) -> pd.Categorical:
    """`Class` with its names in order, each once. "normal" is no class; a name that tables give to
    all defects, or to all images, is refused."""
    names = [{name.strip() for name in text.split(";")} - {""} for text in table["Class"]]
    plain = [{name.casefold() for name in row} for row in names]
    called_normal = pd.Series(["normal" in row for row in plain], table.index)
    what, remedy = "Class is '{Class}', Defect is 1", "correct the row or remove it"
    refuse(path, table, called_normal & (table["Defect"] == 1), what, remedy)
    total = pd.Series([bool(row & TOTALS) for row in plain], table.index)
    what = "Class is '{Class}', as tables call the images of all classes"
    refuse(path, table, total, what, "give the class another name, or leave it empty")
    kept = [sorted(name for name in row if name.casefold() != "normal") for row in names]
    return pd.Categorical([";".join(row) for row in kept])


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
        remedy = "add groups, or Split" if "Group" in table else "add images, or Split"
        raise DataError(f"{path}: {needed}; {remedy} ({counts}).")


def leak(path: Path, table: pd.DataFrame, has_split: bool) -> str:
    """How validation images may resemble training images of the user's own table, "" if they do
    not; `has_split`: the CSV itself has the column Split."""
    if "Group" in table:
        both = set.intersection(*(set(rows["Video"]) for _, rows in table.groupby("Split")))
        what = f"{len(both)} groups of {path.name} ({min(both, default='')} ...)"
        held = (table["Split"] == "val").mean()
        if not has_split and not 0.1 <= held <= 0.3:  # a fifth is meant
            uneven = f"validation takes whole groups, and those of {path.name} differ in size"
            return f"{uneven}: it holds {held:.0%} of the images. Add Split to choose yourself."
        return f"{what} lie in both splits: scores will be too high." if both else ""
    if has_split:
        return f"{path.name} has no Group: that no group lies in both splits is not checked."
    risk = "images of one group (video, pipe, site) may lie in both splits and raise scores"
    return f"{path.name} has no Split and no Group: {risk}."


def ignored_classes(path: Path, table: pd.DataFrame) -> str:
    """That some of the class columns are there but not all, "" otherwise."""
    absent = [c for c in CLASSES if c not in table]
    rest = "the other classes are ignored, and F2CIW is left out."
    what = f"{path.name} lacks the class column(s) {', '.join(absent)}: {rest}"
    return what if 0 < len(absent) < len(CLASSES) else ""


def copies(path: Path, table: pd.DataFrame, contents: Sequence[str]) -> str:
    """How many images are copies of others on their side of the split, "" if none; `contents` (n,)
    is a hash of what each shows, or "". Raises DataError for copies on both sides."""
    rows = table.assign(content=contents, row=table.index)
    rows = rows[(rows["content"] != "") & rows["content"].duplicated(keep=False)]
    sides = rows.groupby("content")["Split"].transform("nunique")
    if len(across := rows[sides > 1]):
        pair = across[across["content"] == across["content"].iloc[0]].drop_duplicates("Split")
        first, second = (f"row {r.row} ({r.Filename}, {r.Split})" for r in pair.itertuples())
        what = f"{second}: it shows the same image as {first}"
        count = f"{len(across)} such rows lie in both splits"
        remedy = "keep one row per image, or put copies on one side, by Split or by one Group"
        raise DataError(f"{path}, {what} ({count}); {remedy}.")
    if rows.empty:
        return ""
    pair = rows[rows["content"] == rows["content"].iloc[0]]["Filename"]
    again = int(rows["content"].duplicated().sum())
    unlike = (rows.groupby("content")["Defect"].transform("nunique") > 1).sum()
    labelled = f"; {unlike} of them contradict one another in Defect" if unlike else ""
    which = f"{again} images of {path.name} are copies of others ({pair.iloc[1]} of {pair.iloc[0]}"
    return f"{which} ...) on the same side of the split, each counted as an image{labelled}."


@lru_cache
def warn(path: Path, note: str) -> None:
    """Print a note about this file, unless it is empty, on standard error, once a process."""
    if note:
        print(f"warning: {note}", file=sys.stderr, flush=True)
