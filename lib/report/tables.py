"""Tables of values with intervals, as Markdown, LaTeX and drawings.

table = tables.table(reduced, ["f1", "auroc"], ["method", "backbone"], "train_share")
saving.save("table1", table, measured, facts, protocol=protocol, caption="...", output=output)
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.analysis import wording
from lib.analysis.results import rectangle
from lib.report import heatmap, markup, style
from lib.study.names import METRIC_NAMES, UNTRAINED, class_names, label

HEADS = {"method": "Method", "backbone": "Backbone", "train_share": "Train share"}
COLUMNS = {
    "train_share": "Share of defects in training",
    "validation_share": "Share of defects in validation",
}
PARTS = ("value", "low", "high", "health", "paper")


@dataclass
class Block:
    """One metric of a table: a value at every (group, row) and column, and frames of equal shape
    with what is known beside it.

    `bounds` holds the reference rows, name -> a number for every column.
    """

    title: str
    value: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    health: pd.DataFrame
    paper: pd.DataFrame
    best: pd.DataFrame  # True where the value is printed bold
    bounds: dict[str, list[float]] = field(default_factory=dict)

    def lines(self, strong: str, escape: Callable[[str], str] = str) -> list[list[str]]:
        """Reference rows, then every row: its two names, and its cells as text; the best values go
        through the template `strong`."""
        bounds = [
            [escape(name), "", *(escape(wording.PLAIN(value)) for value in row)]
            for name, row in self.bounds.items()
        ]
        names = [[escape(label(part)) for part in index] for index in self.value.index]
        columns = range(self.value.shape[1])
        cells = [[self._cell(i, j, strong, escape) for j in columns] for i in range(len(names))]
        return bounds + [[*pair, *row] for pair, row in zip(names, cells, strict=True)]

    def _cell(self, i: int, j: int, strong: str, escape: Callable[[str], str]) -> str:
        numbers = (frame.iat[i, j] for frame in (self.value, self.low, self.high))
        text = escape(wording.estimate(*numbers, wording.PLAIN))
        text = strong.format(text) if self.best.iat[i, j] else text
        theirs, mark = self.paper.iat[i, j], style.MARKS.get(self.health.iat[i, j], "")
        paper = "" if np.isnan(theirs) else f" (paper {wording.PLAIN(theirs)})"
        return text + escape(mark) + paper

    def __post_init__(self) -> None:
        self.best = self.best & ~self.below()

    def below(self) -> pd.DataFrame:
        """Which values of F1, as printed, are below a constant answer's: they are never the best.
        Recall and F2CIW get no such mark, as a constant answer has the highest ones."""
        known = self.title == METRIC_NAMES["f1"] and self.bounds
        constant = np.max([*self.bounds.values()], axis=0) if known else -np.inf
        return self.value.round(2) < np.round(constant, 2)

    def frames(self, references: list[str]) -> dict[str, pd.DataFrame]:
        """Name -> frame as a picture shows it: rows for the `references` first."""
        frames = {part: getattr(self, part) for part in (*PARTS, "best")}
        frames["below"] = self.below()
        for name in reversed(references):
            row = self.bounds.get(name, [np.nan] * self.value.shape[1])
            for part, frame in frames.items():
                unknown = {"health": "", "best": False, "below": False}.get(part, np.nan)
                values = row if part == "value" else [unknown] * len(row)
                frames[part] = heatmap.with_reference_row(frame, name, values)
        return frames

    def once(self) -> "Block":
        """The block as it is, or with one column, "all shares", if all hold the same."""
        spread = self.value.max(axis=1) - self.value.min(axis=1)
        if self.value.shape[1] == 1 or spread.max() > 1e-4:
            return self
        parts = {part: getattr(self, part).iloc[:, -1:] for part in (*PARTS, "best")}
        parts = {part: frame.set_axis(["all shares"], axis=1) for part, frame in parts.items()}
        return Block(self.title, **parts, bounds={k: row[-1:] for k, row in self.bounds.items()})


@dataclass
class Table:
    """Blocks, one metric each. A picture shows the first two beside one another in every column,
    with their intervals; or, where `by_metric`, each as a panel of its own without them."""

    blocks: list[Block]
    heads: tuple[str, str]  # of the two columns that name a row
    by_metric: bool = False
    column: str = ""  # what the columns are

    @property
    def bold(self) -> bool:
        """Whether any value is printed bold."""
        return any(block.best.any(axis=None) for block in self.blocks)

    def header(self, block: Block) -> list[str]:
        """The column names of a block."""
        return [*self.heads, *map(label, block.value.columns)]

    def markdown(self) -> str:
        """A section a block."""
        sections = []
        for block in self.blocks:
            lines = block.lines("**{}**")
            rows = markup.markdown(self.header(block), lines, 2)
            sections.append(f"### {block.title}\n\n{rows}")
        return "\n\n".join(sections)

    def latex(self) -> str:
        """A tabular a block."""
        tabulars = []
        for block in self.blocks:
            lines = block.lines(r"\textbf{{{}}}", markup.escape)
            layout = "ll" + "r" * block.value.shape[1]
            tabulars.append(markup.latex(self.header(block), lines, layout, block.title))
        return "\n\n".join(tabulars)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def draw(self) -> Figure:
        """The table as a heatmap, as wide as a journal page."""
        shown = self.blocks if self.by_metric else self.blocks[:2]
        references = list(dict.fromkeys(name for block in shown for name in block.bounds))
        frames = {block.title: block.frames(references) for block in shown}
        if self.by_metric:
            panels = {title: _panel(parts, interval=False) for title, parts in frames.items()}
            return heatmap.draw(
                panels, xlabel=self.column, width=style.DOUBLE, ylabel=self.heads[1]
            )
        panels = {}
        for column in self.blocks[0].value.columns:
            own = {
                part: pd.concat(
                    {title: parts[part][column] for title, parts in frames.items()}, axis=1
                )
                for part in (*PARTS, "best", "below")
            }
            panels[label(column)] = _panel(own, interval=True)
        return heatmap.draw(panels, ylabel=self.column, width=style.DOUBLE)


def _panel(parts: dict[str, pd.DataFrame], interval: bool) -> heatmap.Panel:
    ends = (parts["low"], parts["high"]) if interval else None
    options = {name: parts[name] for name in ("health", "paper", "below")}
    options["strong"] = parts["best"]
    return heatmap.panel(parts["value"], interval=ends, **options)


def table(
    reduced: pd.DataFrame,
    metrics: list[str],
    rows: list[str],
    column: str,
    *,
    among: str | None = None,
    bounds: dict[str, dict[str, list[float]]] | None = None,
    by_metric: bool = False,
) -> Table:
    """A Table of `metrics`, a block each, with `rows` by `column`.

    A metric that is the same in every column is shown once, where the picture is `by_metric`. The
    highest of several point estimates of a column is bold, unless its runs are unhealthy or
    untrained or a constant answer scores more; `among` names the row level within which it is
    sought (default: all rows). `bounds` gives a block's reference rows, e.g.
    {"F1": {"Always “defect”": [0.64, ...]}}.
    The paper's values are taken from a column `paper` (lib.analysis.paper.beside), if there is one.
    """
    reduced = reduced if "paper" in reduced else reduced.assign(paper=np.nan)
    blocks = []
    for metric in metrics:
        parts = {part: rectangle(reduced, metric, rows, column, part) for part in PARTS}
        value = parts["value"]
        groups = value.groupby(value.index.get_level_values(among) if among else [0] * len(value))
        most = groups.transform("max").where(groups.transform("count") > 1)
        best = value.eq(most) & parts["health"].eq("healthy")
        if "method" in rows:
            best[value.index.isin(UNTRAINED, level="method")] = False
        title = METRIC_NAMES[metric]
        block = Block(title, **parts, best=best, bounds=(bounds or {}).get(title, {}))
        blocks.append(block.once() if by_metric else block)
    heads = (HEADS[rows[0]], HEADS[rows[1]])
    return Table(blocks, heads, by_metric, COLUMNS.get(column, ""))


@dataclass
class Counts:
    """How many images of every class each subset holds, one row per class, totals first."""

    images: pd.DataFrame  # (classes, subsets)

    def columns(self) -> tuple[list[str], str, list[list[str]]]:
        """Header, layout as LaTeX writes it ("llrr"), and rows: name of the class, its code if any
        class has one, then its images."""
        named = class_names(self.images.index)
        names, codes = [*named.values()], [key * (key != name) for key, name in named.items()]
        heads, parts = (["Class", "Code"], [names, codes]) if any(codes) else (["Class"], [names])
        texts = self.images.map("{:,}".format).to_numpy().tolist()
        rows = [[*row[:-1], *row[-1]] for row in zip(*parts, texts, strict=True)]
        layout = "l" * len(heads) + "r" * self.images.shape[1]
        return [*heads, *self.images.columns], layout, rows

    def markdown(self) -> str:
        header, layout, rows = self.columns()
        return markup.markdown(header, rows, layout.count("l"))

    def latex(self) -> str:
        header, layout, rows = self.columns()
        return markup.latex(header, [list(map(markup.escape, row)) for row in rows], layout)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def draw(self) -> Figure:
        """The counts, without colours."""
        named = class_names(self.images.index)
        names = [name if name == key else f"{name}  {key}" for key, name in named.items()]
        one = heatmap.Panel(
            (np.nan * self.images).set_axis(names), [self.images.map("{:,}".format)]
        )
        return heatmap.draw({"Number": one}, width=style.DOUBLE, bar=False)


def counts(counted: pd.DataFrame) -> Counts:
    """`counted` (lib.analysis.classes.count) as a table of classes by subset."""
    wide = counted.pivot(index="class", columns="subset", values="images")
    wide = wide.loc[counted["class"].unique(), counted["subset"].unique()]
    return Counts(wide.rename_axis(index=None, columns=None))
