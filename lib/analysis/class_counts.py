"""How many images of every class a profile trains and tests on (Table 5). Knows no torch.

counted = class_counts.count(class_counts.subsets(data, shares))
"""

from typing import Any

import pandas as pd

from lib.data import sources, splits
from lib.data.labels import class_labels
from lib.study import names
from lib.study.names import CLASSES

TOTALS = ("Normal (ND)", "Defect", "All")


def subsets(data: dict[str, Any], shares: list[float]) -> dict[str, pd.DataFrame]:
    """The rows in use: training, its subset at each train share, validation, and where it is less,
    Table 1's part.

    `data` is a profile's table. Raises DataError for a share that the images cannot reach.
    """
    training, validation = (sources.tables(data, split)[0] for split in sources.TABLES)
    found = {"Training": training}
    found |= {
        f"at {names.share(share)}": splits.resample(training, share, data["seed"])
        for share in shares
    }
    found["Validation"] = validation
    if not validation["Sampled"].all():
        found["for Table 1"] = validation[validation["Sampled"]]
    return found


def count(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per subset and class, after normal, defect and all: columns subset, class, images.

    An image may show several classes. Without class columns there are the totals alone.
    """
    rows = []
    for name, table in found.items():
        defects = int(table["Defect"].sum())
        numbers = dict(zip(TOTALS, (len(table) - defects, defects, len(table)), strict=True))
        labels = class_labels(table)
        if labels is not None:
            numbers |= dict(zip(CLASSES, labels.sum(axis=0), strict=True))
        rows += [{"subset": name, "class": key, "images": int(n)} for key, n in numbers.items()]
    return pd.DataFrame(rows)
