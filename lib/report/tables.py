"""Tables of values with intervals, as Markdown, LaTeX and drawings.

table = tables.table(reduced, ["f1", "auroc"], ["method", "backbone"], "train_share")
saving.save("table1", table, measured, facts, protocol=protocol, caption="...", output=output)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.analysis import wording
from lib.analysis.classes import GROUPS, TOTALS
from lib.analysis.results import rectangle
from lib.report import markup, style
from lib.study.names import APART, CLASS_NAMES, METRIC_NAMES, label

HEADS = {"method": "Method", "backbone": "Backbone", "train_share": "Train share"}
LINE = 0.112  # inches, the height of a drawn line
NAMES, COLUMN, GAP = 4.2, 0.72, 0.15  # drawn widths where blocks stand side by side


class Cell(NamedTuple):
    """What a cell prints; `mark` is that of an unhealthy run, `paper` the paper's value, or ""."""

    text: str  # with its interval
    point: str  # without
    best: bool = False  # of its column
    mark: str = ""
    paper: str = ""

    def written(self, strong: str, escape: Callable[[str], str] = str) -> str:
        """All of it; the best value goes through the template `strong`."""
        value = strong.format(escape(self.text)) if self.best else escape(self.text)
        return value + escape(self.mark) + (f" (paper {self.paper})" if self.paper else "")


@dataclass
class Block:
    """One rectangle of a table, usually a metric: a `Cell` at every (group, row) and column.

    `bounds` holds the reference rows, name -> a text for every column.
    """

    title: str
    cells: pd.DataFrame
    bounds: dict[str, list[str]] = field(default_factory=dict)

    def lines(self, strong: str, escape: Callable[[str], str] = str) -> list[list[str]]:
        """Reference rows, then every row: its two names, and its cells as text."""
        bounds = [[escape(name), "", *map(escape, row)] for name, row in self.bounds.items()]
        names = [[escape(label(part)) for part in index] for index in self.cells.index]
        cells = [[cell.written(strong, escape) for cell in row] for row in self.cells.to_numpy()]
        return bounds + [[*pair, *row] for pair, row in zip(names, cells, strict=True)]

    def compared(self) -> np.ndarray:
        """(rows,) True where the paper's value is known in any column."""
        return np.array([any(cell.paper for cell in row) for row in self.cells.to_numpy()], bool)


@dataclass
class Table:
    """Blocks below one another or, `beside`, side by side and drawn without their intervals."""

    blocks: list[Block]
    heads: tuple[str, str]  # of the two columns that name a row
    beside: bool = False
    widths: tuple[float, float] = (3.6, 2.2)  # drawn: of a row's names and of a stacked column

    def header(self, block: Block) -> list[str]:
        """The column names of a block."""
        return [*self.heads, *map(label, block.cells.columns)]

    def markdown(self) -> str:
        """A section a block."""
        sections = []
        for block in self.blocks:
            lines = block.lines("**{}**")
            alignments = ["---", "---", *["---:"] * block.cells.shape[1]]
            rows = markup.markdown(self.header(block), alignments, lines)
            sections.append(f"### {block.title}\n\n{rows}")
        return "\n\n".join(sections)

    def latex(self) -> str:
        """A tabular a block."""
        tabulars = []
        for block in self.blocks:
            lines = block.lines(r"\textbf{{{}}}", markup.escape)
            layout = "ll" + "r" * block.cells.shape[1]
            tabulars.append(markup.latex(self.header(block), lines, layout, block.title))
        return "\n\n".join(tabulars)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def compared(self, block: Block) -> np.ndarray:
        """(rows,) True where a second line holds the paper's values: the block's, or those of any
        block beside it."""
        return np.any([b.compared() for b in (self.blocks if self.beside else [block])], axis=0)

    def height(self, block: Block) -> int:
        """Lines of a drawn block below its column names."""
        return len(block.bounds) + len(block.cells) + int(self.compared(block).sum())

    @style.styled
    def draw(self) -> Figure:
        """The table as a figure, as wide as a journal page."""
        widths = [block.cells.shape[1] for block in self.blocks]
        if self.beside:
            lines = self.height(self.blocks[0]) + 2
            right = NAMES + sum(GAP + COLUMN * width for width in widths)
            pen = _Pen(_page(lines, right), NAMES, COLUMN, 2.85, 5.5)
        else:
            lines = sum(self.height(block) + 3 for block in self.blocks)
            left, column = self.widths
            pen = _Pen(_page(lines, left + column * max(widths)), left, column, 2.35, 6)
        for block, width in zip(self.blocks, widths, strict=True):
            self._draw(block, pen)
            if self.beside:
                pen.y, pen.names, pen.left = 0, 0, pen.left + GAP + COLUMN * width
            else:
                pen.y += 1
        return pen.ax.figure

    def _draw(self, block: Block, pen: "_Pen") -> None:
        """Draw one block from the pen's line on."""
        pen.open(block.title, block.cells.shape[1])
        pen.write(*self.header(block))
        for name, texts in block.bounds.items():
            pen.write(name, "", *texts)
        compared, previous = self.compared(block), None
        for i, (group, name) in enumerate(block.cells.index):
            cells = list(block.cells.iloc[i])
            if group != previous and (i == 0 or group in APART or self.beside):
                pen.rule(0.3 if i == 0 or group in APART else 0.1)
            first, second = label(group) if group != previous else "", label(name)
            if self.beside:  # such a row is one run, so it needs one mark
                points = [cell._replace(text=cell.point, mark="") for cell in cells]
                pen.write(first, second + cells[0].mark, *points)
            else:
                pen.write(first, second, *cells)
            if compared[i]:
                pen.write_paper([cell.paper for cell in cells])
            previous = group
        pen.rule()


@dataclass
class _Pen:
    """Writes a block downwards, a line at a time, from line `y` of the page."""

    ax: Axes
    left: float  # where the columns of cells start
    step: float  # width of one of them
    names: float  # where the second name of a row starts; 0: no names in this block
    size: float  # points
    y: int = 0
    right: float = 0

    def open(self, title: str, columns: int) -> None:
        """Begin a block with its title."""
        self.right = self.left + self.step * columns
        look = {"ha": "center", "weight": "bold", "size": self.size + 0.5}
        self._text((self.left + self.right) / 2, title, **look)
        self.y += 1
        self.rule()

    def rule(self, weight: float = 0.5) -> None:
        """A line across the block, above what is written next."""
        ends = [0 if self.names else self.left + GAP, self.right]
        self.ax.plot(ends, [self.y] * 2, color="black", linewidth=weight, clip_on=False)

    def write(self, first: str, second: str, *cells: Cell | str) -> None:
        """A row's two names, and its cells or plain texts."""
        if self.names:
            self._text(0.02, first)
            self._text(self.names, second)
        for column, cell in enumerate(cells):
            cell = cell if isinstance(cell, Cell) else Cell(cell, cell)
            weight = "bold" if cell.best else "normal"
            self._text(self._edge(column), cell.text, ha="right", weight=weight)
            self._text(self._edge(column), cell.mark, down=0.45, size=self.size - 1)
        self.y += 1

    def write_paper(self, values: list[str]) -> None:
        """The paper's values, in grey italics."""
        look = {"color": "0.35", "style": "italic", "down": 0.4}
        if self.names:
            self._text(self.names + 0.1, "paper", **look)
        for column, value in enumerate(values):
            self._text(self._edge(column), value, ha="right", **look)
        self.y += 1

    def _edge(self, column: int) -> float:
        return self.left + self.step * (column + 1) - 0.05

    def _text(self, x: float, text: str, *, down: float = 0.5, **look) -> None:
        self.ax.text(x, self.y + down, text, va="center", **{"size": self.size} | look)


def _page(lines: int, right: float) -> Axes:
    """A page of so many lines; y counts lines downwards."""
    return style.page(lines * LINE + 0.05, (-0.05, right + 0.05), (lines, -0.3))


def table(
    reduced: pd.DataFrame,
    metrics: list[str],
    rows: list[str],
    column: str,
    *,
    among: list[str] | None = None,
    bounds: dict[str, dict[str, list[float]]] | None = None,
    beside: bool = False,
) -> Table:
    """A Table of `metrics`, a block each, with `rows` by `column`.

    The best point estimate of a column is bold; `among` names the row levels within which the best
    is sought (default: all rows). `bounds` gives a block's reference rows, e.g.
    {"F1": {"Always “defect”": [0.64, ...]}}. The paper's values are taken from a column `paper`
    (lib.analysis.paper.beside), if there is one.
    """
    blocks = []
    for metric in metrics:
        fields = ["value", "low", "high", "health", *(["paper"] if "paper" in reduced else [])]
        parts = (rectangle(reduced, metric, rows, column, of) for of in fields)
        value, low, high, health, *paper = parts
        best = value.eq(value.groupby(level=among).transform("max") if among else value.max())
        cells = np.empty(value.shape, dtype=object)
        for i, j in np.ndindex(value.shape):
            numbers = [float(part.iat[i, j]) for part in (value, low, high)]
            cells[i, j] = Cell(
                wording.estimate(*numbers, wording.PLAIN),
                wording.estimate(numbers[0], np.nan, np.nan, wording.PLAIN),
                best.iat[i, j],
                style.MARKS[health.iat[i, j]],
                _known(paper[0].iat[i, j]) if paper else "",
            )
        title = METRIC_NAMES[metric]
        frame = pd.DataFrame(cells, index=value.index, columns=value.columns)
        references = (bounds or {}).get(title, {}).items()
        texts = {name: list(map(wording.PLAIN, numbers)) for name, numbers in references}
        blocks.append(Block(title, frame, texts))
    return Table(blocks, (HEADS[rows[0]], HEADS[rows[1]]), beside)


def _known(value: float) -> str:
    return "" if np.isnan(value) else wording.PLAIN(value)


def counts(counted: pd.DataFrame) -> Table:
    """`counted` (lib.analysis.classes.count) as a table of classes by subset, totals first."""
    wide = counted.pivot(index="class", columns="subset", values="images")
    wide = wide.loc[counted["class"].unique(), counted["subset"].unique()].rename_axis(columns=None)
    texts = wide.map("{:,}".format)
    totals = {n: texts.loc[n].tolist() for n in (*TOTALS, GROUPS) if n in texts.index}
    cells = texts.drop(list(totals)).map(lambda text: Cell(text, text))
    names = [(CLASS_NAMES.get(name, name), name * (name in CLASS_NAMES)) for name in cells.index]
    cells.index = pd.MultiIndex.from_tuples(names, names=["name", "code"])
    return Table([Block("Images", cells, totals)], ("Class", "Code"), widths=(2.9, 0.8))
