"""Tables of values with intervals, for Markdown, LaTeX and drawing. Knows no torch.

found = tables.table(reduced, ["f1", "auroc"], ["method", "backbone"], "train_share")
report.save("table1", found, measured, facts, protocol=protocol, caption="...", output=output)
"""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.analysis import wording
from lib.analysis.results import rectangle
from lib.report.style import DOUBLE, MARKS, STYLE
from lib.study.names import APART, METRIC_NAMES, label

BESIDE = " (paper {:.2f})"  # the paper's value in a cell of text
HEADS = {"method": "Method", "backbone": "Backbone", "train_share": "Train share"}


@dataclass
class Table:
    """Blocks of values with intervals, that is one rectangle a metric, ready for Markdown, LaTeX
    and drawing.

    `blocks` maps a block's title to a frame of (value, low, high) tuples; rows are (group, row)
    pairs. `bounds` gives a block's reference rows, e.g. {"F1": {"Always 'defect'": [0.64, ...]}}.
    `best` maps a title to a boolean frame, `paper` to one of the paper's values (NaN: not known):
    in parentheses in text, on a line of their own when drawn; `health` to one of verdicts, whose
    marks (lib.report.style.MARKS) follow the values.
    """

    blocks: dict[str, pd.DataFrame]
    best: dict[str, pd.DataFrame]
    bounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    rows: tuple[str, str] = ("Method", "Backbone")
    beside: bool = False  # draw the blocks side by side, without intervals
    paper: dict[str, pd.DataFrame] = field(default_factory=dict)
    health: dict[str, pd.DataFrame] = field(default_factory=dict)
    widths: tuple[float, float] = (
        3.6,
        2.2,
    )  # of a row's names and of a column, where blocks are stacked

    def lines(
        self,
        title: str,
        strong: str = "{}",
        point: bool = False,
        paper: str = "",
        marks: bool = False,
    ) -> list[list[str]]:
        """A block as text: reference rows first, then every row.

        The best value of a column goes through `strong`, the mark of an unhealthy run follows where
        `marks` are asked for; the paper's, if it is known, through `paper`, and after ours.
        """
        frame, best, theirs = self.blocks[title], self.best[title], self.paper.get(title)
        lines = [
            [label, "", *(f"{v:.2f}" for v in values)]
            for label, values in self.bounds.get(title, {}).items()
        ]
        for i, index in enumerate(frame.index):
            cells = [cell(*value, point=point) for value in frame.iloc[i]]
            cells = [strong.format(c) if b else c for c, b in zip(cells, best.iloc[i], strict=True)]
            if marks:
                cells = [f"{c}{mark}" for c, mark in zip(cells, self.marks(title, i), strict=True)]
            if theirs is not None:
                known = [paper.format(v) if v == v else "" for v in theirs.iloc[i]]
                cells = [f"{c}{v}" for c, v in zip(cells, known, strict=True)]
            lines.append([*(label(part) for part in index), *cells])
        return lines

    def marks(self, title: str, row: int) -> list[str]:
        """The marks of a row's cells, "" where the run is healthy."""
        return (
            [MARKS[verdict] for verdict in self.health[title].iloc[row]]
            if title in self.health
            else [""]
        )

    def compared(self, title: str) -> np.ndarray:
        """(rows,) True where the block, or a block beside it, knows the paper's value: drawn as a
        second line."""
        theirs = [frame for name, frame in self.paper.items() if self.beside or name == title]
        rows = np.zeros(len(self.blocks[title]), bool)
        return np.any([rows, *(frame.notna().any(axis=1) for frame in theirs)], axis=0)

    def height(self, title: str) -> int:
        """Lines of a drawn block below its column names."""
        return (
            len(self.bounds.get(title, {}))
            + len(self.blocks[title])
            + int(self.compared(title).sum())
        )

    def header(self, title: str) -> list[str]:
        """Column names of a block."""
        return [*self.rows, *(label(c) for c in self.blocks[title].columns)]

    def markdown(self) -> str:
        """The table in Markdown, a section a block."""
        parts = []
        for title in self.blocks:
            rows = [self.header(title), ["---", "---", *["---:"] * self.blocks[title].shape[1]]]
            rows += self.lines(title, "**{}**", paper=BESIDE, marks=True)
            parts.append(f"### {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
        return "\n\n".join(parts)

    def latex(self) -> str:
        """The table in LaTeX (booktabs), a tabular a block."""
        parts = []
        for title, frame in self.blocks.items():
            body = [
                " & ".join(row) + r" \\"
                for row in self.lines(title, r"\textbf{{{}}}", paper=BESIDE, marks=True)
            ]
            title_row = f"\\multicolumn{{{2 + frame.shape[1]}}}{{c}}{{{title}}}" + r" \\"
            head = " & ".join(self.header(title)) + r" \\"
            opening = f"\\begin{{tabular}}{{ll{'r' * frame.shape[1]}}}"
            rows = [
                opening,
                r"\toprule",
                title_row,
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
            parts.append(
                "\n".join(rows).replace(" %", r"\,\%").replace("_", r"\_").replace("°", r"$^\circ$")
            )
        return "\n\n".join(parts)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def draw(self) -> Figure:
        """The table as a figure, as wide as a journal page."""
        with plt.rc_context(STYLE):
            return _draw_beside(self) if self.beside else _draw_stacked(self)


def cell(value: float, low: float, high: float, point: bool = False) -> str:
    """`0.84 [0.81, 0.87]`, or the point estimate alone."""
    return wording.estimate(value, np.nan if point else low, high, wording.PLAIN)


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
    """A Table of `metrics`, one block each, `rows` by `column`; the best point estimate of a column
    is bold.

    `among` names the row levels within which the best is sought (default: all rows). The paper's
    values are taken from a column `paper` (lib.analysis.paper.beside), if there is one.
    """
    blocks, best, theirs, verdicts = {}, {}, {}, {}
    for metric in metrics:
        parts = [
            rectangle(reduced, metric, rows, column, what) for what in ("value", "low", "high")
        ]
        value = parts[0]
        cells = np.empty(value.shape, dtype=object)
        for place in np.ndindex(value.shape):
            cells[place] = tuple(part.to_numpy(float)[place] for part in parts)
        top = value.groupby(level=among).transform("max") if among else value.max()
        blocks[METRIC_NAMES[metric]] = pd.DataFrame(cells, index=value.index, columns=value.columns)
        best[METRIC_NAMES[metric]] = value.eq(top)
        if "paper" in reduced:
            theirs[METRIC_NAMES[metric]] = rectangle(reduced, metric, rows, column, "paper")
        verdicts[METRIC_NAMES[metric]] = rectangle(reduced, metric, rows, column, "health")
    return Table(
        blocks, best, bounds or {}, (HEADS[rows[0]], HEADS[rows[1]]), beside, theirs, verdicts
    )


def _rule(ax, y: float, left: float, right: float, weight: float = 0.5) -> None:
    ax.plot([left, right], [y, y], color="black", linewidth=weight, clip_on=False)


def _page(rows: float, columns: float):
    """An empty page of `rows` lines; y counts lines downwards."""
    fig = plt.figure(figsize=(DOUBLE, rows * 0.112 + 0.05))
    ax = fig.add_axes((0, 0, 1, 1), gid="page", xlim=(-0.05, columns + 0.05), ylim=(rows, -0.3))
    ax.axis("off")
    return fig, ax


def _write_block(
    ax, table: Table, title: str, top: int, left: float, step: float, names: float, size: float
) -> int:
    """Draw one block from line `top` and column `left`; return the line after it.

    `names`: where the second of a row's names starts, 0 for a block without them.
    """
    frame = table.blocks[title]
    right = left + step * frame.shape[1]
    start = 0 if names else left + 0.15
    ax.text(
        (left + right) / 2,
        top + 0.5,
        title,
        ha="center",
        va="center",
        weight="bold",
        size=size + 0.5,
    )
    _rule(ax, top + 1, start, right)
    y, previous, compared = top + 1, None, table.compared(title)
    for i, line in enumerate([table.header(title), *table.lines(title, point=table.beside)]):
        row = i - 1 - len(table.bounds.get(title, {}))
        group = frame.index[row][0] if row >= 0 else None
        if row >= 0 and group != previous and (row == 0 or group in APART or table.beside):
            _rule(ax, y, start, right, 0.3 if row == 0 or group in APART else 0.1)
        if names:
            ax.text(
                0.02,
                y + 0.5,
                line[0] if group is None or group != previous else "",
                va="center",
                size=size,
            )
            once = (
                table.marks(title, row)[0] if table.beside and row >= 0 else ""
            )  # a row of these is one run
            ax.text(names, y + 0.5, f"{line[1]}{once}", va="center", size=size)
        for j, text in enumerate(line[2:]):
            bold = row >= 0 and bool(table.best[title].iat[row, j])
            ax.text(
                left + step * (j + 1) - 0.05,
                y + 0.5,
                text,
                ha="right",
                va="center",
                size=size,
                weight="bold" if bold else "normal",
            )
            if row >= 0 and not table.beside and title in table.health:
                ax.text(
                    left + step * (j + 1) - 0.05,
                    y + 0.45,
                    table.marks(title, row)[j],
                    va="center",
                    size=size - 1,
                )
        y, previous = y + 1, group
        if row >= 0 and compared[row]:
            _write_paper(ax, y + 0.4, table.paper[title].iloc[row], left, step, names, size)
            y += 1
    _rule(ax, y, start, right)
    return y


def _write_paper(
    ax, y: float, values: pd.Series, left: float, step: float, names: float, size: float
) -> None:
    """The paper's values below ours, in grey italics."""
    look = {"va": "center", "size": size, "color": "0.35", "style": "italic"}
    if names:
        ax.text(names + 0.1, y, "paper", **look)
    for j, value in enumerate(values):
        ax.text(
            left + step * (j + 1) - 0.05,
            y,
            "" if np.isnan(value) else f"{value:.2f}",
            ha="right",
            **look,
        )


def _draw_stacked(table: Table) -> Figure:
    lines = sum(table.height(title) + 3 for title in table.blocks)
    widest = max(frame.shape[1] for frame in table.blocks.values())
    names, column = table.widths
    fig, ax = _page(lines, names + column * widest)
    top = 0
    for title in table.blocks:
        top = _write_block(ax, table, title, top, names, column, names=2.35, size=6) + 1
    return fig


def _draw_beside(table: Table) -> Figure:
    first = next(iter(table.blocks))
    fig, ax = _page(
        table.height(first) + 2,
        4.2 + sum(0.15 + 0.72 * frame.shape[1] for frame in table.blocks.values()),
    )
    left = 4.2
    for title, frame in table.blocks.items():
        _write_block(ax, table, title, 0, left, 0.72, names=2.85 * (title == first), size=5.5)
        left += 0.15 + 0.72 * frame.shape[1]
    return fig
