"""How many images of every class a profile trains and tests on (Table 5).

counted = class_counts.count(class_counts.subsets(data, shares))
"""

from typing import Any

import pandas as pd

from lib.data import sources, splits
from lib.data.labels import class_labels
from lib.study import names
from lib.study.names import CLASSES

ANY, NORMAL = "any defect", "normal"  # beside the classes: all defects together, and no defect
TOTALS = ("Normal (ND)", "Defect", "All")


def images(table: pd.DataFrame) -> dict[str, int]:
    """Class -> its images in `table`, then `ANY` and `NORMAL`; these two alone where the labels
    name no classes. An image of several classes counts in each."""
    labels = class_labels(table)
    counts = {} if labels is None else dict(zip(CLASSES, labels.sum(axis=0).tolist(), strict=True))
    defects = int(table["Defect"].sum())
    return counts | {ANY: defects, NORMAL: len(table) - defects}


def subsets(data: dict[str, Any], shares: list[float]) -> dict[str, pd.DataFrame]:
    """Name -> rows in use: training, its subset at each share, validation, Table 1's part of it.

    `data` is a profile's table. Raises DataError for a share that the images cannot reach.
    """
    training, validation = (sources.tables(data, split)[0] for split in sources.TABLES)
    tables = {"Training": training}
    for share in shares:
        tables[f"at {names.share(share)}"] = splits.resample(training, share, data["seed"])
    tables["Validation"] = validation
    if not validation["Sampled"].all():
        tables["for Table 1"] = validation[validation["Sampled"]]
    return tables


def count(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per subset and class, after the subset's `TOTALS`: columns subset, class, images.

    Without class columns there are the totals alone.
    """
    rows = []
    for name, table in tables.items():
        classes = images(table)
        defects, normals = classes.pop(ANY), classes.pop(NORMAL)
        counts = dict(zip(TOTALS, (normals, defects, len(table)), strict=True)) | classes
        rows += [{"subset": name, "class": key, "images": n} for key, n in counts.items()]
    return pd.DataFrame(rows)
