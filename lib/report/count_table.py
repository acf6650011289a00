"""A table of how many images of every class are used (Table 5).

saving.save("table5", count_table.table(counted), counted, facts, protocol="", caption="...",
output=output)
"""

from dataclasses import dataclass

import pandas as pd

from lib.analysis.class_counts import TOTALS
from lib.report.tables import Table
from lib.study.names import CLASS_NAMES

TITLE = "Images"


@dataclass
class Counts(Table):
    """A table of whole numbers, rows of (name, code)."""

    rows: tuple[str, str] = ("Class", "Code")
    widths: tuple[float, float] = (2.9, 0.8)

    def lines(self, title: str, *_, **__) -> list[list[str]]:
        """The block as text, totals first; counts have no best, no paper's value and no mark."""
        totals = [
            [name, "", *map("{:,}".format, values)] for name, values in self.bounds[title].items()
        ]
        return totals + [
            [*index, *map("{:,}".format, row)] for index, row in self.blocks[title].iterrows()
        ]


def table(counted: pd.DataFrame) -> Counts:
    """`counted` as a table: classes by subset."""
    wide = counted.pivot(index="class", columns="subset", values="images")
    wide = wide.loc[counted["class"].unique(), counted["subset"].unique()].rename_axis(columns=None)
    totals = {name: wide.loc[name].tolist() for name in TOTALS}
    classes = wide.drop(list(TOTALS))
    classes.index = pd.MultiIndex.from_tuples(
        [(CLASS_NAMES[c], c) for c in classes.index], names=["name", "code"]
    )
    return Counts({TITLE: classes}, {TITLE: classes < 0}, {TITLE: totals})
