"""Annotated heatmaps side by side on one colour scale."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from lib.report import style
from lib.study import names

if TYPE_CHECKING:
    pass


def _group_lines(ax, frame: pd.DataFrame, labelled: bool) -> None:
    """Lines between groups of rows, doubled before the rows set apart, and the groups' names on the
    left."""
    groups = frame.index.get_level_values(0)
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        apart = groups[start] in names.APART
        if start:
            ax.axhline(start - 0.5, color="white", linewidth=4 if apart else 2)
            ax.axhline(
                start - 0.5, color="black", linewidth=0.6, linestyle=(0, (4, 2)) if apart else "-"
            )
        if labelled:
            name = names.NAMES.get(groups[start], str(groups[start])).replace(" ", "\n", 1)
            ax.annotate(
                name,
                (0, (start + end - 1) / 2),
                xycoords=("axes fraction", "data"),
                xytext=(-24, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                style="italic" if apart else "normal",
                annotation_clip=False,
            )


def _write_cell(
    ax, i: int, j: int, value: float, mark: str, theirs: float, colour: Callable[[float], tuple]
) -> None:
    """A cell's value and mark; the paper's below it, if there is one: a hollow circle in its
    colour, and its number."""
    around = style.ink(colour(value))
    below = not np.isnan(theirs)
    look = {"ha": "center", "va": "center", "fontsize": 5.5, "color": around}
    ax.text(j, i - 0.24 * below, "–" if np.isnan(value) else f"{value:.2f}", **look)
    beside = {"xytext": (6.2, 0), "textcoords": "offset points", "ha": "left", "va": "center"}
    ax.annotate(mark, (j, i - 0.24 * below), fontsize=5, color=around, **beside)
    if below:
        left = offset_copy(ax.transData, ax.figure, x=-8, units="points")
        circle = {"marker": "o", "markerfacecolor": "none", "transform": left}
        ax.plot(
            j,
            i + 0.17,
            markersize=4.4,
            markeredgecolor=colour(theirs),
            markeredgewidth=1.5,
            **circle,
        )
        ax.plot(j, i + 0.17, markersize=6.2, markeredgecolor=around, markeredgewidth=0.4, **circle)
        ax.annotate(
            f"{theirs:.2f}", (j, i + 0.19), xytext=(3.5, 0), textcoords="offset points", **look
        )


def _outline(ax, frame: pd.DataFrame, cell: tuple[Any, Any]) -> None:
    """A frame around the cell (row, column), if there is one; seen on light and on dark."""
    if cell[0] in frame.index and cell[1] in frame.columns:
        corner = (frame.columns.get_loc(cell[1]) - 0.5, frame.index.get_loc(cell[0]) - 0.5)
        for weight, colour in ((2.4, "white"), (1, "black")):
            ax.add_patch(
                plt.Rectangle(
                    corner,
                    1,
                    1,
                    fill=False,
                    edgecolor=colour,
                    linewidth=weight,
                    clip_on=False,
                    zorder=3,
                )
            )


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
    """Annotated heatmaps side by side on one colour scale.

    Rows are the frames' index (one level, or group and row), columns theirs; `name` turns both into
    tick labels. Cells whose verdict in `health` is not "healthy" get its mark, those with a number
    in `paper` a hollow circle of it; the cell (row, column) `outlined` gets a frame. The colours
    differ in lightness, so they also read in grey.
    """
    with plt.rc_context(style.STYLE):
        first = next(iter(panels.values()))
        width = width or (style.SINGLE if len(panels) == 1 else style.DOUBLE)
        two = paper is not None and any(frame.notna().any(axis=None) for frame in paper.values())
        height = (0.28 if two else 0.165) * len(first)
        size = (width, height + 0.75 + 0.12 * bool(label))
        fig, axes = plt.subplots(
            1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
        )
        colours, norm = plt.get_cmap("cividis"), mpl.colors.Normalize(*limits)
        for ax, (title, frame) in zip(axes[0], panels.items(), strict=True):
            image = ax.imshow(frame.to_numpy(float), cmap=colours, norm=norm, aspect="auto")
            for (i, j), value in np.ndenumerate(frame.to_numpy(float)):
                mark = style.MARKS[health[title].iat[i, j]] if health else ""
                theirs = paper[title].iat[i, j] if two else np.nan
                _write_cell(ax, i, j, value, mark, theirs, lambda v: colours(norm(v)))
            if outlined:
                _outline(ax, frame, outlined)
            ax.set_title(title)
            ax.set_xticks(range(frame.shape[1]), [name(c) for c in frame.columns])
            ax.set_yticks(range(len(frame)), [name(r) for r in frame.index.get_level_values(-1)])
            ax.set_xlabel(xlabel)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            if frame.index.nlevels == 2:
                _group_lines(ax, frame, labelled=ax is axes[0][0])
        if first.index.nlevels == 2:  # the groups' names stand where the label would
            axes[0][0].annotate(
                ylabel,
                (0, 1),
                xycoords="axes fraction",
                xytext=(-4, 4),
                textcoords="offset points",
                ha="right",
                va="bottom",
            )
        else:
            axes[0][0].set_ylabel(ylabel)
        thick = 0.08  # inches, whatever the number of rows
        bar = fig.colorbar(
            image,
            ax=list(axes[0]),
            location="bottom",
            fraction=thick / height,
            label=label,
            pad=0.05 / height,
            aspect=(width - 0.8) / thick,
        )
        bar.outline.set_visible(False)
        return fig
