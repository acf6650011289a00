"""Annotated heatmaps side by side on one colour scale.

fig = heatmap.draw({"F1": heatmap.panel(frame)}, xlabel="Validation share", ylabel="Train share")
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.analysis import wording
from lib.report import style
from lib.study import names

LINE, ROW = 0.118, 0.05  # inches: a line of text in a cell, and the padding of a row
CORNER = 9  # points, of a corner mark
TRIANGLE = [(0.15, 0.15), (0.15, 1), (1, 0.15), (0.15, 0.15)]
COLOURS = "cividis"  # differs in lightness, so it also reads in grey


@dataclass
class Panel:
    """Values, which give the colours, and the lines of text that their cells print; the first line
    of a `strong` cell is bold. `marks` are those of unhealthy runs. A cell that is `below` what a
    constant answer scores has a corner."""

    values: pd.DataFrame
    lines: list[pd.DataFrame]
    strong: pd.DataFrame | None = None
    marks: pd.DataFrame | None = None
    below: pd.DataFrame | None = None


def panel(
    values: pd.DataFrame,
    *,
    health: pd.DataFrame | None = None,
    interval: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    paper: pd.DataFrame | None = None,
    strong: pd.DataFrame | None = None,
    below: pd.DataFrame | None = None,
    form: Callable[[float], str] = wording.PLAIN,
) -> Panel:
    """Cells print the value with the mark of its `health`, below it the ends of its `interval`, and
    in brackets the value of the `paper`, each where it is known."""
    lines = [values.map(lambda value: "–" if np.isnan(value) else form(value))]
    if interval is not None:
        low, high = (end.map(_short) for end in interval)
        lines.append((low + "–" + high).replace("–", ""))
    if paper is not None and paper.notna().any(axis=None):
        lines.append(paper.map(lambda value: "" if np.isnan(value) else f"({form(value)})"))
    marks = None if health is None else health.map(lambda verdict: style.MARKS.get(verdict, ""))
    return Panel(values, lines, strong, marks, below)


def _short(value: float) -> str:
    """An end of an interval without the zero before the point, as cells are narrow."""
    return "" if np.isnan(value) else wording.PLAIN(value).replace("0.", ".", 1)


def with_reference_row(frame: pd.DataFrame, name: str, values: Sequence[float]) -> pd.DataFrame:
    """`frame` below a reference row `name`, such as "Always “defect”", in a group of its own."""
    index = pd.MultiIndex.from_tuples([(name, "")], names=frame.index.names)
    return pd.concat([pd.DataFrame([list(values)], index, frame.columns), frame])


@style.styled
def draw(
    panels: dict[str, Panel],
    *,
    xlabel: str = "",
    ylabel: str = "",
    label: str = "",
    width: float | None = None,
    limits: tuple[float, float] = (0, 1),
    name: Callable[[Any], str] = names.label,
    outlined: tuple[Any, Any] | None = None,
    bar: bool = True,
) -> Figure:
    """Panels by title, each as wide as it has columns.

    Rows are the index of the panels' values (one level, or group and row), columns are theirs;
    `name` turns both into tick labels. The cell (row, column) `outlined` gets a frame. `label`
    names the colours (default: the only panel, or "Score"), which without `bar` only order the
    cells.
    """
    frames = [one.values for one in panels.values()]
    first, grouped = frames[0], frames[0].index.nlevels == 2
    width = width or (style.SINGLE if len(panels) == 1 else style.DOUBLE)
    lines = max(len(one.lines) for one in panels.values())
    height = (ROW + LINE * lines) * len(first)
    of_rows, of_columns, legend = _marks(panels)
    if any(one.below is not None and one.below.any(axis=None) for one in panels.values()):
        legend.append("◣ F1 below that of always “defect”")
    beneath = [label or (next(iter(panels)) if len(panels) == 1 else "Score"), *legend]
    # numbers without colours, hence without edges between them, stand further apart
    bare = [frame.isna().all(axis=None) for frame in frames]
    ratios = [
        f.shape[1] * (1 + 0.4 * is_bare) + 0.3 for f, is_bare in zip(frames, bare, strict=True)
    ]
    widths = {"width_ratios": ratios}
    texts, turned, longer = {}, {}, {}
    for (title, one), ratio in zip(panels.items(), ratios, strict=True):
        columns = one.values.columns
        heads = [name(column) + of_columns.get((title, column), "") for column in columns]
        widest = (width - 1.2) * ratio / sum(ratios) / len(columns)
        texts[title], turned[title], longer[title] = _fitted(heads, widest)
    room = 0.85 + 0.12 * len(beneath) * bar + max(longer.values())
    shared = {"sharey": True, "gridspec_kw": widths}
    fig, (axes,) = style.panels(1, len(panels), height + room, width, **shared)
    fig.get_layout_engine().set(w_pad=0.02, wspace=0.01)
    scale = {"cmap": COLOURS, "vmin": limits[0], "vmax": limits[1], "cbar": False}
    for ax, frame in zip(axes, frames, strict=True):
        # Before any text is there: seaborn renders the whole figure to see whether labels overlap.
        sns.heatmap(frame.astype(float), ax=ax, xticklabels=False, yticklabels=False, **scale)
    for ax, (title, one) in zip(axes, panels.items(), strict=True):
        _write_cells(ax, one, LINE / (ROW + LINE * lines), not (of_rows or of_columns))
        if outlined:
            _outline(ax, one.values, outlined)
        columns, rows = one.values.columns, one.values.index.get_level_values(-1)
        ax.set(title=title, xlabel=xlabel if len(columns) > 1 else "", ylabel="")
        turn = 90 * turned[title]
        ax.set_xticks(np.arange(len(columns)) + 0.5, texts[title], rotation=turn)
        labels = [
            name(row) + mark for row, mark in zip(rows, of_rows or [""] * len(rows), strict=True)
        ]
        ax.set_yticks(np.arange(len(rows)) + 0.5, labels, va="center_baseline")
        ax.xaxis.set(ticks_position="top", label_position="top")  # read before the numbers
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if grouped:
            _group(ax, one.values, name, labels if ax is axes[0] else None)
    if grouped:  # the groups' names stand where the label would
        corner = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        style.beside(axes[0], ylabel, (0, 1), (-4, 4), **corner)
    else:
        axes[0].set_ylabel(ylabel)
    if not bar:
        return fig
    colours = ScalarMappable(Normalize(*limits), COLOURS)
    place = {"location": "bottom", "fraction": style.THICKNESS / height, "pad": 0.05 / height}
    aspect = (width - 0.8) / style.THICKNESS
    texts = ["   ".join(beneath), "\n".join([beneath[0], "   ".join(legend)]), "\n".join(beneath)]
    widest = [max(map(len, text.split("\n"))) * style.LETTER for text in texts]
    text = next((t for t, w in zip(texts, widest, strict=True) if w < width - 1.4), texts[-1])
    beyond = any((frame < limits[0]).any(axis=None) for frame in frames)
    place["extend"] = "min" if beyond else "neither"
    drawn = fig.colorbar(colours, ax=list(axes), label=text, aspect=aspect, **place)
    drawn.outline.set_visible(False)
    return fig


def _fitted(heads: list[str], widest: float) -> tuple[list[str], bool, float]:
    """Names of columns that are so many inches wide, a word a line where they are too long; whether
    they still are and must be turned; and the inches by which they are higher than one line."""
    if style.LETTER * max(map(len, heads)) > widest:
        heads = [text.replace(" ", "\n") for text in heads]
    longest = style.LETTER * max(len(line) for text in heads for line in text.split("\n"))
    lines = max(text.count("\n") for text in heads)
    turned = longest > widest
    return heads, turned, longest if turned else style.LINE * lines


def _marks(panels: dict[str, Panel]) -> tuple[list[str], dict[tuple, str], list[str]]:
    """Where the marks of unhealthy runs stand: beside the rows, if the cells of every row share one
    mark; else above the columns (title, column), if those of every column do; else in the cells,
    and both are empty. Last, the legend of the marks."""
    known = {title: one.marks for title, one in panels.items() if one.marks is not None}
    if not known:
        return [], {}, []
    marks = pd.concat(known, axis=1)
    legend = [text for mark, text in style.LEGEND.items() if marks.eq(mark).any(axis=None)]
    if marks.nunique(axis=1).max() == 1:
        return list(marks.iloc[:, 0]), {}, legend
    if marks.nunique().max() == 1:
        return [], marks.iloc[0].to_dict(), legend
    return [], {}, legend


def _write_cells(ax, one: Panel, line: float, marked: bool) -> None:
    """Write the cells' texts, black or white, whichever stands out more (WCAG 2). `line` is the
    height of a line of text as a part of a row's."""
    cells = ax.collections[0]
    for (i, j), value in np.ndenumerate(one.values.astype(float).to_numpy()):
        colour = "0.4" if np.isnan(value) else style.ink(cells.cmap(cells.norm(value)))
        texts = [text for frame in one.lines if (text := frame.iat[i, j])]
        for k, text in enumerate(texts):
            strong = one.strong is not None and one.strong.iat[i, j] and k == 0
            place = {"ha": "center", "va": "center_baseline", "color": colour}
            y = i + 0.5 + line * (k - (len(texts) - 1) / 2)
            ax.text(j + 0.5, y, text, weight="bold" if strong else "normal", **place)
        if marked and one.marks is not None and one.marks.iat[i, j]:
            y, half = i + 0.5 - line * (len(texts) - 1) / 2, 2.4 * len(texts[0])
            place = {"ha": "left", "va": "center_baseline", "color": colour}
            style.beside(ax, one.marks.iat[i, j], (j + 0.5, y), (half, 0), **place)
        if one.below is not None and one.below.iat[i, j]:
            ax.scatter(j, i + 1, CORNER**2, colour, marker=TRIANGLE, linewidth=0)


def _outline(ax, frame: pd.DataFrame, cell: tuple[Any, Any]) -> None:
    """Draw a frame that shows on light and on dark around the cell (row, column), if it exists."""
    row, column = cell
    if row in frame.index and column in frame.columns:
        corner = (frame.columns.get_loc(column), frame.index.get_loc(row))
        look = {"fill": False, "clip_on": False, "zorder": 3}
        for weight, colour in ((2.4, "white"), (1, "black")):
            ax.add_patch(Rectangle(corner, 1, 1, edgecolor=colour, linewidth=weight, **look))


def _group(ax, frame: pd.DataFrame, name: Callable[[Any], str], labels: list[str] | None) -> None:
    """Set groups of rows apart by a white line. Beside the `labels` of the rows, if they are drawn
    here, write what `name` calls the groups: in italics what is not of the paper."""
    groups = frame.index.get_level_values(0)
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        ax.axhline(start, color="white", linewidth=2)
        if labels:
            apart = groups[start] not in names.TRAINED
            text = name(groups[start]).replace(" ", "\n", int(end - start > 1))
            look = {"ha": "right", "va": "center", "style": "italic" if apart else "normal"}
            look |= {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
            left = 8 + 0.6 * style.SIZE * max(map(len, labels)) * bool(labels[start])
            style.beside(ax, text, (0, (start + end) / 2), (-left, 0), **look)
