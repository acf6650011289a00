"""A table of how many images of every class are used (Table 5).

table = count_table.table(counted)
saving.save("table5", table, counted, facts, protocol=[], caption="...", output=output)
"""

import pandas as pd

from lib.analysis.class_counts import TOTALS
from lib.report.tables import Block, Cell, Table
from lib.study.names import CLASS_NAMES


def table(counted: pd.DataFrame) -> Table:
    """`counted` (lib.analysis.class_counts.count) as a table of classes by subset, totals first."""
    wide = counted.pivot(index="class", columns="subset", values="images")
    wide = wide.loc[counted["class"].unique(), counted["subset"].unique()].rename_axis(columns=None)
    texts = wide.map("{:,}".format)
    totals = {name: texts.loc[name].tolist() for name in TOTALS}
    cells = texts.drop(list(TOTALS)).map(lambda text: Cell(text, text))
    names = [(CLASS_NAMES[code], code) for code in cells.index]
    cells.index = pd.MultiIndex.from_tuples(names, names=["name", "code"])
    return Table([Block("Images", cells, totals)], ("Class", "Code"), widths=(2.9, 0.8))
