"""Frames that show what the classes look like (Figure 1), chosen by a rule without chance."""

from typing import Any

import numpy as np
import pandas as pd

from lib.data import sources
from lib.data.labels import class_labels
from lib.study.names import CLASS_NAMES, CLASSES

TYPICAL = 0.75  # quantile of box area to show: large enough for print, yet not the largest
COLUMNS = ("Filename", "Class", "x0", "y0", "x1", "y1")


def boxes(data: dict[str, Any]) -> pd.DataFrame:
    """Where defects were drawn, pixels of the stored frame, in `COLUMNS`; empty for photographs."""
    if data["source"] != "simulated":
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(sources.root(data) / "Boxes.csv", dtype={"Filename": str})


def choose(table: pd.DataFrame, boxes: pd.DataFrame, n: int) -> pd.DataFrame:
    """At most `n` rows of `table`: normal frames, a frame of every class, and of several classes.

    A class is shown by a frame without other classes where there is one: the frame whose box is at
    the quantile `TYPICAL` of area, or the middle row where there are no `boxes`. Normal frames and
    frames of several classes share the remaining places, each from another video where there are
    enough. A table without class columns gives as many normal frames as defects. The column `Shown`
    is the class that a row was chosen for, or "".
    """
    labels = class_labels(table)
    if labels is None:
        parts = [_spread(table[table["Defect"] == value], n // 2) for value in (0, 1)]
        return pd.concat(parts).assign(Shown="")
    count = labels.sum(axis=1)
    area = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"])
    areas = boxes.assign(area=area).groupby(["Class", "Filename"])["area"].max()
    examples = []
    for name, has_class in zip(CLASSES, labels.T == 1, strict=True):
        if has_class.any():
            rows = table[has_class & (count == count[has_class].min())]
            examples.append(_typical(rows, areas.get(name)).assign(Shown=name))
    places = max(0, n - len(examples))
    shown = [i for rows in examples for i in rows.index]
    several = _spread(table[count > 1].drop(index=shown, errors="ignore"), places // 2)
    normals = _spread(table[count == 0], places - len(several))
    return pd.concat([normals.assign(Shown=""), *examples, several.assign(Shown="")])


def _typical(rows: pd.DataFrame, areas: pd.Series | None) -> pd.DataFrame:
    """The row at the quantile `TYPICAL` of `areas` (file name -> area), or the middle one."""
    if areas is not None:
        areas = areas[areas.index.isin(rows["Filename"])].sort_values(kind="stable")
    if areas is None or areas.empty:
        return rows.iloc[[len(rows) // 2]]
    return rows[rows["Filename"] == areas.index[round(TYPICAL * (len(areas) - 1))]]


def _spread(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """`n` rows, evenly spread over the first one of every video, or over all if too few videos."""
    first = rows.drop_duplicates("Video")
    rows = first if len(first) >= n else rows
    if not n or rows.empty:
        return rows.iloc[:0]
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, n, dtype=int))]


def caption(row: pd.Series) -> str:
    """What a row shows: "Normal", its classes' codes and names, or "Defect" if they are unknown."""
    if not row["Defect"]:
        return "Normal"
    codes = [name for name in CLASSES if row.get(name, 0) == 1]
    names = ", ".join(CLASS_NAMES[code] for code in codes)
    return f"{' + '.join(codes)}: {names}" if codes else "Defect"
