"""Frames that show what the classes look like (Figure 1): chosen by rule, the same ones every time.
Knows no torch."""

from typing import Any

import numpy as np
import pandas as pd

from lib.data import sources
from lib.data.labels import class_labels
from lib.study.names import CLASSES, CLASS_NAMES

TYPICAL = 0.75  # quantile of a class's boxes by area that is shown: to be seen at print size, and not the extreme
COLUMNS = ("Filename", "Class", "x0", "y0", "x1", "y1")


def boxes(data: dict[str, Any]) -> pd.DataFrame:
    """Where the defects were drawn, in pixels of the stored frame, columns `COLUMNS`; empty for
    photographs."""
    path = sources.root(data) / "Boxes.csv"
    if data["source"] != "simulated":
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(path, dtype={"Filename": str})


def choose(table: pd.DataFrame, found: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` rows of `table` or fewer: normals, a frame of every class that it has, frames of several
    classes.

    `found` are the `boxes` of its images. A class is shown alone where possible, by the frame whose
    box is at the quantile `TYPICAL` of area, or the middle row where there are no boxes. Normals
    and frames of several classes share the remaining places, each from another video where there
    are enough. A table without class columns gives as many normals as defects. Column `Shown` is
    the class that a row was chosen for, or "".
    """
    labels = class_labels(table)
    if labels is None:
        parts = [_spread(table[table["Defect"] == value], n // 2) for value in (0, 1)]
        return pd.concat(parts).assign(Shown="")
    count = labels.sum(axis=1)
    area = (found["x1"] - found["x0"]) * (found["y1"] - found["y0"])
    size = found.assign(area=area).groupby(["Class", "Filename"])["area"].max()
    classes = [
        _typical(table[(count == count[has].min()) & has], size.get(name)).assign(Shown=name)
        for name, has in zip(CLASSES, labels.T == 1, strict=True)
        if has.any()
    ]
    left = max(0, n - len(classes))
    several = table[count > 1].drop(
        index=[i for part in classes for i in part.index], errors="ignore"
    )
    several = _spread(several, left // 2)
    normals = _spread(table[count == 0], left - len(several))
    return pd.concat([normals.assign(Shown=""), *classes, several.assign(Shown="")])


def _typical(rows: pd.DataFrame, area: pd.Series | None) -> pd.DataFrame:
    """One of the rows: that at the quantile `TYPICAL` of area, or in the middle where no area is
    known."""
    known = (
        None if area is None else area[area.index.isin(rows["Filename"])].sort_values(kind="stable")
    )
    if known is None or known.empty:
        return rows.iloc[[len(rows) // 2]]
    return rows[rows["Filename"] == known.index[round(TYPICAL * (len(known) - 1))]]


def _spread(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` rows, evenly spread over the first of every video; over all rows where there are too few
    videos."""
    first = rows.drop_duplicates("Video")
    rows = first if len(first) >= n else rows
    return (
        rows.iloc[np.unique(np.linspace(0, len(rows) - 1, n, dtype=int))]
        if n and len(rows)
        else rows.iloc[:0]
    )


def caption(row: pd.Series) -> str:
    """What a row of a table shows: codes and names of its classes, "Normal", or where no class is
    known, "Defect"."""
    if not row["Defect"]:
        return "Normal"
    codes = [name for name in CLASSES if row.get(name, 0) == 1]
    return (
        f"{' + '.join(codes)}: {', '.join(CLASS_NAMES[code] for code in codes)}"
        if codes
        else "Defect"
    )
