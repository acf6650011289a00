"""Tables of labels, read and checked: what Sewer-ML's and those of the user's own images share. A
table is refused or taken as it is: no label is corrected."""

import csv
import posixpath
from pathlib import Path

import numpy as np
import pandas as pd

from lib.study.names import CLASSES
from lib.system.errors import DataError

COLUMNS = ("Filename", "WaterLevel", "VA", *CLASSES, "ND", "Defect")  # Haurum and Moeslund 2021
OWN = ("Filename", "Defect")  # all that the user's own CSV must have
OPTIONAL = ("Split", "Group", "Class")  # what else it may have, beside Sewer-ML's classes
TEXTS = ("Filename", *OPTIONAL)  # read as written: 7, 07 and NA are three names
SPELLINGS = {name.casefold(): name for name in (*COLUMNS, *OPTIONAL)}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}  # of tables that are refused
csv.field_size_limit(2**27)  # a column that is not read may hold whole images as text


def read_table(path: Path, columns: tuple[str, ...] = COLUMNS) -> pd.DataFrame:
    """A table of labels with unique file names and labels 0 or 1, `Defect` being "any defect"; its
    index holds the lines of the CSV. DataErrors name file, row, image, remedy."""
    own = columns is not COLUMNS
    check_file(path, own)
    names, header, lines = structure(path)
    wanted = {*columns, *(OPTIONAL + CLASSES if own else ())}
    again = "download it again"
    if missing := ", ".join(c for c in columns if c not in names):
        both = f"expected {', '.join(columns)}, found {', '.join(names)}"
        remedy = "add them" if own else again
        raise DataError(f"{path} lacks the column(s) {missing}; {both}: {remedy}.")
    if twice := [name for name in names if name in wanted and names.count(name) > 1]:
        raise DataError(f"{path} has the column {twice[0]} {len(twice)} times: keep one of them.")
    if not lines:
        remedy = "add one row per image" if own else again
        raise DataError(f"{path} has a header and no rows: {remedy}.")
    read = {i: name for i, name in enumerate(names) if name in wanted}
    text = {i: str for i, name in read.items() if name in TEXTS}
    how = {"usecols": [*read], "dtype": text, "keep_default_na": False, "low_memory": False}
    with path.open(encoding="utf-8-sig") as lines_of_text:  # any line ends, as `structure` reads
        table = pd.read_csv(lines_of_text, header=None, skiprows=header, **how)
    table = table.set_axis([*read.values()], axis=1).set_axis(lines)
    for column in set(TEXTS) & set(table):
        table[column] = table[column].str.strip()
        if column != "Filename":  # a file is found by the name it has on disk
            table[column] = table[column].str.normalize("NFC")
    check_filled(path, table, "Filename")
    _check_names(path, table)
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


def structure(path: Path) -> tuple[list[str], int, list[int]]:
    """The names of the columns, the header's line, and the line of each row of a CSV in UTF-8.

    Known columns are named as this suite names them, whatever their case and blanks. A first line
    `sep=,`, as spreadsheets know it, and blank lines are passed over. Raises DataError for what is
    no CSV with commas, for a row with more or fewer fields than the header, and for a quote that
    does not close in its line.
    """
    names, header, lines, last, odd, below = [], 0, [], 0, [], 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for fields in reader:
                if reader.line_num > last + 1:
                    raise csv.Error(f"it closes in row {reader.line_num}")
                last = reader.line_num
                if names and fields:
                    lines.append(last)
                    if set(OWN) <= set(map(_column, fields)):
                        below = below or last
                    if len(fields) != len(names):
                        odd.append((last, len(fields)))
                elif fields and not fields[0].startswith("sep="):
                    names, header = list(map(_column, fields)), last
        except csv.Error as error:
            what = f"a quote that opens there does not close as it should ({error})"
            raise DataError(f"{path}, row {last + 1}: {what}; close or remove it.") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no CSV in UTF-8 ({error}): save it as one.") from None
    if not names or "\0" in "".join(names):
        why = "it holds bytes of value 0" if names else "it is empty"
        raise DataError(f"{path} is no CSV in UTF-8 ({why}): save it as one.")
    for mark, name in SEPARATORS.items():
        if len(names) == 1 and mark in names[0]:
            what = f"separated by {name}, expected commas"
            raise DataError(f"{path} is {what}: save it as a CSV with commas.")
    if below and not set(OWN) <= set(names):
        what = f"{path} begins with other text, its columns are named in row {below}"
        raise DataError(f"{what}: remove what stands above.")
    if odd:
        what = f"it has {odd[0][1]} fields, the header has {len(names)}"
        remedy = "add what is missing, or remove the row"
        if odd[0][1] > len(names):
            remedy = "quote a field that holds a comma, and remove commas at the end of a row"
        raise DataError(f"{path}, row {odd[0][0]}: {what} ({len(odd)} such rows); {remedy}.")
    return names, header, lines


def _column(name: str) -> str:
    """The known column that is meant, whatever its case and blanks; else the name itself."""
    return SPELLINGS.get("".join(name.split()).casefold(), name.strip())


def _check_names(path: Path, table: pd.DataFrame) -> None:
    """No two rows name one file: ./a.png is a.png."""
    files = table["Filename"].copy()
    nested = files.str.contains("/", regex=False)
    files[nested] = files[nested].map(posixpath.normpath)
    again = files.duplicated()
    if again.any():
        first = table["Filename"][files == files[again].iloc[0]]
        what = "it names {Filename} twice, first in row " + str(first.index[0])
        if first.iloc[0] != first.iloc[1]:
            what += f" as {first.iloc[0]}".replace("{", "{{").replace("}", "}}")
        refuse(path, table, again, what, "keep one row per image")


def check_filled(path: Path, table: pd.DataFrame, column: str) -> None:
    """Raise DataError where the `column` is blank."""
    if not pd.api.types.is_numeric_dtype(table[column]):
        blank = table[column].astype(str).str.strip() == ""
        refuse(path, table, blank, f"{column} is empty", "fill it in")


def _check_labels(path: Path, table: pd.DataFrame) -> None:
    """Every label is 0 or 1, and `Defect` is 1 exactly where one of the classes is."""
    remedy = "correct the row or remove it"
    classes = list(CLASSES) if set(CLASSES) <= set(table.columns) else []
    for column in (*classes, "Defect"):
        check_filled(path, table, column)
        values = pd.to_numeric(table[column], errors="coerce")
        what = f"labels must be 0 or 1, {column} is '{{{column}}}'"
        refuse(path, table, ~values.isin((0, 1)), what, remedy)
        table[column] = values.astype(int)
    if classes:
        contradiction = table[classes].any(axis=1) != table["Defect"].astype(bool)
        refuse(path, table, contradiction, "the class columns contradict Defect", remedy)


def refuse(path: Path, table: pd.DataFrame, wrong: pd.Series, what: str, remedy: str) -> None:
    """Raise DataError for the rows marked in `wrong`, if any: the first one is named, all are
    counted. A column in braces in `what` stands for its value in the first one."""
    if wrong.any():
        row = table[wrong].iloc[0]
        what, name = what.format_map(row), str(row["Filename"])
        image = "" if not name or name in what else f" ({name})"
        count = f"{wrong.sum()} such rows"
        raise DataError(f"{path}, row {row.name}{image}: {what} ({count}); {remedy}.")


def class_labels(table: pd.DataFrame) -> np.ndarray | None:
    """(n, 17) labels 0 or 1 of Sewer-ML's classes; None where the table lacks one of them."""
    return table[list(CLASSES)].to_numpy() if set(CLASSES) <= set(table.columns) else None


def class_flags(table: pd.DataFrame) -> pd.DataFrame:
    """(n, classes) 0 or 1 by the classes that tables and figures show: the names in the user's own
    column Class, else Sewer-ML's 17; no column where the labels name no class."""
    if "Class" not in table:
        return table[list(CLASSES) if set(CLASSES) <= set(table.columns) else []]
    names = table["Class"].cat
    flags = names.categories.to_series().str.get_dummies(";").drop(columns="", errors="ignore")
    return flags.iloc[names.codes].set_axis(table.index)
