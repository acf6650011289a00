"""Annotated heatmaps side by side on one colour scale.

fig = heatmap.draw({"F1": frame}, xlabel="Validation share", ylabel="Train share")
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import offset_copy

from lib.report import style
from lib.study import names

ROW, TALL_ROW = 0.165, 0.28  # inches; a tall row has room for the paper's value


@style.styled
def draw(
    panels: dict[str, pd.DataFrame],
    *,
    xlabel: str,
    ylabel: str,
    label: str = "",
    width: float | None = None,
    health: dict[str, pd.DataFrame] | None = None,
    limits: tuple[float, float] = (0, 1),
    name: Callable[[Any], str] = names.share,
    paper: dict[str, pd.DataFrame] | None = None,
    outlined: tuple[Any, Any] | None = None,
) -> Figure:
    """Panels title -> frame of values.

    Rows are the frames' index (one level, or group and row), columns are theirs; `name` turns both
    into tick labels. A cell whose verdict in `health` is not "healthy" gets its mark. A cell with a
    number in `paper` gets a hollow circle in the colour of that number. The cell (row, column)
    `outlined` gets a frame. The colours differ in lightness, so they also read in grey.
    """
    first = next(iter(panels.values()))
    grouped = first.index.nlevels == 2
    width = width or (style.SINGLE if len(panels) == 1 else style.DOUBLE)
    compared = paper is not None and any(p.notna().any(axis=None) for p in paper.values())
    height = (TALL_ROW if compared else ROW) * len(first)
    room = 0.75 + 0.12 * bool(label)
    fig, (axes,) = style.panels(1, len(panels), height + room, width, sharey=True)
    for ax, (title, frame) in zip(axes, panels.items(), strict=True):
        values = frame.to_numpy(float)
        image = ax.imshow(values, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
        for i, j in np.ndindex(values.shape):
            mark = style.MARKS[health[title].iat[i, j]] if health else ""
            theirs = paper[title].iat[i, j] if compared else np.nan
            _write_cell(image, i, j, values[i, j], mark, theirs)
        if outlined:
            _outline(ax, frame, outlined)
        ax.set_title(title)
        ax.set_xticks(range(frame.shape[1]), [name(c) for c in frame.columns])
        ax.set_yticks(range(len(frame)), [name(r) for r in frame.index.get_level_values(-1)])
        ax.set_xlabel(xlabel)
        style.bare(ax)
        if grouped:
            _group_lines(ax, frame, labelled=ax is axes[0])
    if grouped:  # the groups' names stand where the label would
        corner = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        style.beside(axes[0], ylabel, (0, 1), (-4, 4), **corner)
    else:
        axes[0].set_ylabel(ylabel)
    place = {"fraction": style.THICKNESS / height, "pad": 0.05 / height}
    style.colour_bar(fig, image, list(axes), label, aspect=(width - 0.8) / style.THICKNESS, **place)
    return fig


def _write_cell(image: AxesImage, i: int, j: int, value: float, mark: str, theirs: float) -> None:
    """Write a cell's value and mark. Below it stands the paper's value, where it is known (not
    NaN): a hollow circle in its colour, and its number."""
    ax, compared = image.axes, not np.isnan(theirs)
    own, other = (image.cmap(image.norm(number)) for number in (value, theirs))
    ink = style.ink(own)
    look = {"ha": "center", "va": "center", "fontsize": 5.5, "color": ink}
    y = i - 0.24 * compared
    ax.text(j, y, "–" if np.isnan(value) else f"{value:.2f}", **look)
    style.beside(ax, mark, (j, y), (6.2, 0), **look | {"ha": "left", "fontsize": 5})
    if compared:
        left = offset_copy(ax.transData, ax.figure, x=-8, units="points")
        for size, edge, weight in ((4.4, other, 1.5), (6.2, ink, 0.4)):
            ring = {"markeredgecolor": edge, "markeredgewidth": weight, "markerfacecolor": "none"}
            ax.plot(j, i + 0.17, marker="o", markersize=size, transform=left, **ring)
        style.beside(ax, f"{theirs:.2f}", (j, i + 0.19), (3.5, 0), **look)


def _outline(ax, frame: pd.DataFrame, cell: tuple[Any, Any]) -> None:
    """Draw a frame that shows on light and on dark around the cell (row, column), if it exists."""
    row, column = cell
    if row in frame.index and column in frame.columns:
        corner = (frame.columns.get_loc(column) - 0.5, frame.index.get_loc(row) - 0.5)
        look = {"fill": False, "clip_on": False, "zorder": 3}
        for weight, colour in ((2.4, "white"), (1, "black")):
            ax.add_patch(Rectangle(corner, 1, 1, edgecolor=colour, linewidth=weight, **look))


def _group_lines(ax, frame: pd.DataFrame, labelled: bool) -> None:
    """Draw lines between groups of rows, dashed above our own, and write their names at left."""
    groups = frame.index.get_level_values(0)
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        apart = groups[start] in names.APART
        if start:
            dashes = (0, (4, 2)) if apart else "-"
            ax.axhline(start - 0.5, color="white", linewidth=4 if apart else 2)
            ax.axhline(start - 0.5, color="black", linewidth=0.6, linestyle=dashes)
        if labelled:
            name = names.label(groups[start]).replace(" ", "\n", 1)
            look = {"ha": "right", "va": "center", "style": "italic" if apart else "normal"}
            look |= {"xycoords": ("axes fraction", "data"), "annotation_clip": False}
            style.beside(ax, name, (0, (start + end - 1) / 2), (-24, 0), **look)
