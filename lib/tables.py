"""Tables of values with intervals, for Markdown, LaTeX and drawing. Knows no torch.

found = tables.table(reduced, ["f1", "auroc"], ["method", "backbone"], "train_share")
report.save("table1", found, measured, facts, protocol=protocol, caption="...", output=output)
"""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.report import APART, DOUBLE, METRICS, STYLE, grid, label


@dataclass
class Table:
    """Blocks of values with intervals, that is one rectangle a metric, ready for Markdown, LaTeX and drawing.

    `blocks` maps a block's title to a frame of (value, low, high) tuples; rows are (group, row) pairs. `bounds` gives a
    block's reference rows, e.g. {"F1": {"Always 'defect'": [0.64, ...]}}. `best` maps a title to a boolean frame.
    """

    blocks: dict[str, pd.DataFrame]
    best: dict[str, pd.DataFrame]
    bounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    rows: tuple[str, str] = ("Method", "Backbone")
    beside: bool = False  # draw the blocks side by side, without intervals

    def lines(self, title: str, strong: str = "{}", point: bool = False) -> list[list[str]]:
        """A block as text: reference rows first, then every row; the best value of a column goes through `strong`."""
        frame, best = self.blocks[title], self.best[title]
        lines = [[label, "", *(f"{v:.2f}" for v in values)] for label, values in self.bounds.get(title, {}).items()]
        for i, index in enumerate(frame.index):
            cells = [cell(*value, point=point) for value in frame.iloc[i]]
            cells = [strong.format(c) if b else c for c, b in zip(cells, best.iloc[i], strict=True)]
            lines.append([*(label(part) for part in index), *cells])
        return lines

    def header(self, title: str) -> list[str]:
        """Column names of a block."""
        return [*self.rows, *(label(c) for c in self.blocks[title].columns)]

    def markdown(self) -> str:
        """The table in Markdown, a section a block."""
        parts = []
        for title in self.blocks:
            rows = [self.header(title), ["---", "---", *["---:"] * self.blocks[title].shape[1]]]
            rows += self.lines(title, strong="**{}**")
            parts.append(f"### {title}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows))
        return "\n\n".join(parts)

    def latex(self) -> str:
        """The table in LaTeX (booktabs), a tabular a block."""
        parts = []
        for title, frame in self.blocks.items():
            body = [" & ".join(row) + r" \\" for row in self.lines(title, strong=r"\textbf{{{}}}")]
            title_row = f"\\multicolumn{{{2 + frame.shape[1]}}}{{c}}{{{title}}}" + r" \\"
            head = " & ".join(self.header(title)) + r" \\"
            opening = f"\\begin{{tabular}}{{ll{'r' * frame.shape[1]}}}"
            rows = [opening, r"\toprule", title_row, head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
            parts.append("\n".join(rows).replace(" %", r"\,\%").replace("_", r"\_"))
        return "\n\n".join(parts)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def draw(self) -> Figure:
        """The table as a figure, as wide as a journal page."""
        with plt.rc_context(STYLE):
            return _draw_beside(self) if self.beside else _draw_stacked(self)


def cell(value: float, low: float, high: float, point: bool = False) -> str:
    """`0.84 [0.81, 0.87]`, or the point estimate alone."""
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" if point or np.isnan(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def table(reduced: pd.DataFrame, metrics: list[str], rows: list[str], column: str, *, among: list[str] | None = None,
          bounds: dict[str, dict[str, list[float]]] | None = None, beside: bool = False) -> Table:  # fmt: skip
    """A Table of `metrics`, one block each, `rows` by `column`; the best point estimate of a column is bold.

    `among` names the row levels within which the best is sought (default: all rows).
    """
    blocks, best = {}, {}
    for metric in metrics:
        parts = [grid(reduced, metric, rows, column, what) for what in ("value", "low", "high")]
        value = parts[0]
        cells = np.empty(value.shape, dtype=object)
        for place in np.ndindex(value.shape):
            cells[place] = tuple(part.to_numpy(float)[place] for part in parts)
        top = value.groupby(level=among).transform("max") if among else value.max()
        blocks[METRICS[metric]] = pd.DataFrame(cells, index=value.index, columns=value.columns)
        best[METRICS[metric]] = value.eq(top)
    heads = {"method": "Method", "backbone": "Backbone", "train_share": "Train share"}
    return Table(blocks, best, bounds or {}, (heads[rows[0]], heads[rows[1]]), beside)


def _rule(ax, y: float, left: float, right: float, weight: float = 0.5) -> None:
    ax.plot([left, right], [y, y], color="black", linewidth=weight, clip_on=False)


def _page(rows: float, columns: float):
    """An empty page of `rows` lines; y counts lines downwards."""
    fig = plt.figure(figsize=(DOUBLE, rows * 0.112 + 0.05))
    ax = fig.add_axes((0, 0, 1, 1), gid="page", xlim=(-0.05, columns + 0.05), ylim=(rows, -0.3))
    ax.axis("off")
    return fig, ax


def _write_block(ax, table: Table, title: str, top: int, left: float, step: float, names: bool, size: float) -> int:
    """Draw one block from line `top` and column `left`; return the line after it."""
    frame = table.blocks[title]
    right = left + step * frame.shape[1]
    start = 0 if names else left + 0.15
    ax.text((left + right) / 2, top + 0.5, title, ha="center", va="center", weight="bold", size=size + 0.5)
    _rule(ax, top + 1, start, right)
    y, previous = top + 1, None
    for i, line in enumerate([table.header(title), *table.lines(title, point=table.beside)]):
        row = i - 1 - len(table.bounds.get(title, {}))
        group = frame.index[row][0] if row >= 0 else None
        if row >= 0 and group != previous and (row == 0 or group in APART or table.beside):
            _rule(ax, y, start, right, 0.3 if row == 0 or group in APART else 0.1)
        if names:
            ax.text(0.02, y + 0.5, line[0] if group is None or group != previous else "", va="center", size=size)
            ax.text(2.2, y + 0.5, line[1], va="center", size=size)
        for j, text in enumerate(line[2:]):
            bold = row >= 0 and bool(table.best[title].iat[row, j])
            ax.text(left + step * (j + 1) - 0.05, y + 0.5, text, ha="right", va="center", size=size,
                    weight="bold" if bold else "normal")  # fmt: skip
        y, previous = y + 1, group
    _rule(ax, y, start, right)
    return y


def _draw_stacked(table: Table) -> Figure:
    lines = sum(len(frame) + len(table.bounds.get(title, {})) + 3 for title, frame in table.blocks.items())
    widest = max(frame.shape[1] for frame in table.blocks.values())
    fig, ax = _page(lines, 3.6 + 2.2 * widest)
    top = 0
    for title in table.blocks:
        top = _write_block(ax, table, title, top, 3.6, 2.2, names=True, size=6) + 1
    return fig


def _draw_beside(table: Table) -> Figure:
    first = next(iter(table.blocks))
    fig, ax = _page(len(table.blocks[first]) + len(table.bounds.get(first, {})) + 2,
                    3.4 + sum(0.15 + 0.72 * frame.shape[1] for frame in table.blocks.values()))  # fmt: skip
    left = 3.4
    for title, frame in table.blocks.items():
        _write_block(ax, table, title, 0, left, 0.72, names=title == first, size=5)
        left += 0.15 + 0.72 * frame.shape[1]
    return fig
