"""Frames that show what the classes look like (Figure 1), chosen by a rule without chance."""

from typing import Any

import numpy as np
import pandas as pd

from lib.data import sources
from lib.data.labels import class_flags
from lib.simulator import frames
from lib.study.names import CLASS_NAMES, CLASSES

TYPICAL = 0.75  # quantile of box area to show: large enough for print, yet not the largest
COLUMNS = ("Filename", "Class", "x0", "y0", "x1", "y1")


def boxes(data: dict[str, Any]) -> pd.DataFrame:
    """Where defects were drawn in validation frames, which are drawn first if there are none, in
    pixels of the stored frame, in `COLUMNS`; empty for photographs."""
    if data["source"] != "simulated":
        return pd.DataFrame(columns=list(COLUMNS))
    sources.simulated(data, "val")
    folder = sources.root(data) / frames.SPLITS["val"][0]
    return pd.read_csv(folder / "Boxes.csv", dtype={"Filename": str})


def choose(table: pd.DataFrame, boxes: pd.DataFrame, n: int) -> pd.DataFrame:
    """About `n` rows of `table`: an example of each class, normal frames, and frames of several
    classes (of any defect, where the classes are the user's own). There are more rows where there
    are more classes, fewer where the table is short. Without class columns, half are normal frames
    and half are defects. The column `Shown` is the class that a row was chosen for, or "". A class
    is shown by a frame without other classes where there is one; the other frames are from
    different videos where there are enough."""
    labels = class_flags(table)
    if not len(labels.columns):
        parts = [_spread(table[table["Defect"] == value], n // 2) for value in (0, 1)]
        return pd.concat(parts).assign(Shown="")
    count = labels.sum(axis=1)
    area = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"])
    areas = boxes.assign(area=area).groupby(["Class", "Filename"])["area"].max()
    examples = []
    for name in labels:
        has_class = labels[name] == 1
        if has_class.any():
            rows = table[has_class & (count == count[has_class].min())]
            examples.append(_typical(rows, areas.get(name)).assign(Shown=name))
    places = max(0, n - len(examples))
    shown = [i for rows in examples for i in rows.index]
    normal = table["Defect"] == 0
    kinds = normal, ~normal & ((count > 1) | ("Class" in table))
    rest = [table[rows].drop(index=shown, errors="ignore") for rows in kinds]
    several = _spread(rest[1], places // 2)
    normals = _spread(rest[0], places - len(several))
    chosen = pd.concat([normals.assign(Shown=""), *examples, several.assign(Shown="")])
    return chosen.sort_values("Defect", kind="stable")  # a class of the user's own may be normal


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


def classes(row: pd.Series) -> list[str]:
    """The classes that a row names: the user's own, else Sewer-ML's codes."""
    if "Class" in row:
        return [name for name in row["Class"].split(";") if name]
    return [name for name in CLASSES if row.get(name, 0) == 1]


def caption(row: pd.Series) -> str:
    """What a row shows: "Normal" or "Defect" with the user's own classes; for Sewer-ML's, their
    codes and names in place of "Defect"."""
    shown, what = classes(row), "Defect" if row["Defect"] else "Normal"
    if shown and "Class" in row:
        return f"{what}: {', '.join(shown)}"
    return f"{' + '.join(shown)}: {', '.join(map(CLASS_NAMES.get, shown))}" if shown else what
