"""How many images of every class a profile trains and tests on (Table 5). Knows no torch.

counted = counts.count(counts.subsets(data, shares))
report.save("table5", counts.table(counted), counted, facts, protocol="", caption="...", output=output)
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from lib import annotations, datasets, report
from lib.study import CLASS_NAMES, CLASSES
from lib.tables import Table

TITLE = "Images"
TOTALS = ("Normal (ND)", "Defect", "All")


@dataclass
class Counts(Table):
    """A table of whole numbers, rows of (name, code)."""

    rows: tuple[str, str] = ("Class", "Code")
    widths: tuple[float, float] = (2.9, 0.8)

    def lines(self, title: str, *_, **__) -> list[list[str]]:
        """The block as text, totals first; counts have no best, no paper's value and no mark."""
        totals = [[name, "", *map("{:,}".format, values)] for name, values in self.bounds[title].items()]
        return totals + [[*index, *map("{:,}".format, row)] for index, row in self.blocks[title].iterrows()]


def subsets(data: dict[str, Any], shares: list[float]) -> dict[str, pd.DataFrame]:
    """The rows in use: training, its subset at each train share, validation, and where it is less, Table 1's part.

    `data` is a profile's table. Raises DataError for a share that the images cannot reach.
    """
    training, validation = (datasets.tables(data, split)[0] for split in datasets.TABLES)
    found = {"Training": training}
    found |= {f"at {report.share(share)}": datasets.resample(training, share, data["seed"]) for share in shares}
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
        labels = annotations.class_labels(table)
        if labels is not None:
            numbers |= dict(zip(CLASSES, labels.sum(axis=0), strict=True))
        rows += [{"subset": name, "class": key, "images": int(n)} for key, n in numbers.items()]
    return pd.DataFrame(rows)


def table(counted: pd.DataFrame) -> Counts:
    """`counted` as a table: classes by subset."""
    wide = counted.pivot(index="class", columns="subset", values="images")
    wide = wide.loc[counted["class"].unique(), counted["subset"].unique()].rename_axis(columns=None)
    totals = {name: wide.loc[name].tolist() for name in TOTALS}
    classes = wide.drop(list(TOTALS))
    classes.index = pd.MultiIndex.from_tuples([(CLASS_NAMES[c], c) for c in classes.index], names=["name", "code"])
    return Counts({TITLE: classes}, {TITLE: classes < 0}, {TITLE: totals})
