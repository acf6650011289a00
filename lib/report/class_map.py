"""A heatmap of classes by method and train share, with the number of images behind every row.

fig = class_map.draw({"SimCLR": frame}, counted, half_lost, marks={"SimCLR": ["°", ""]}, ...)
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lib.analysis.classes import ANY, NORMAL
from lib.report import style
from lib.study.names import CLASS_NAMES

ROW = 0.135  # inches
TITLE = 10  # points above a panel, room for the marks
MOST = 6  # panels side by side in which two digits can be read
COUNTS, LOST = 1.25, 5.5  # widths of a column of counts and of the last text, in panel columns
SMALL = 5.5  # points, of tick labels and marks


@style.styled
def draw(
    panels: dict[str, pd.DataFrame],
    counted: pd.DataFrame,
    half_lost: dict[str, str],
    *,
    marks: dict[str, list[str]],
    limits: tuple[float, float],
    label: str,
) -> Figure:
    """Panels title -> classes by train share, printed in per cent, with `counted` images on the
    left and `half_lost` on the right.

    Rows are the index of `counted`: classes, and below a line what is no class. Its columns are the
    panels' train shares, and then others, as "val". The corner of a cell is cut off where the
    training images hold none of the class. `marks` holds the marks of a panel's unhealthy runs, one
    a column; `half_lost` maps a row to the train share at which it is half lost, as text.
    """
    lines = -(-len(panels) // MOST)
    across = -(-len(panels) // lines)
    titles = list(panels)
    height = lines * (ROW * len(counted) + 0.5) + 0.4
    fig = plt.figure(figsize=(style.DOUBLE, height), layout="constrained")
    fig.get_layout_engine().set(w_pad=0.015, wspace=0.01)
    shares = next(iter(panels.values())).shape[1]
    scale = across / MOST  # counts keep their width where panels grow
    widths = [COUNTS * scale * counted.shape[1], *[shares] * across, LOST * scale * shares / 5]
    cells = fig.add_gridspec(lines, across + 2, width_ratios=widths)
    maps = []
    for line in range(lines):
        left = fig.add_subplot(cells[line, 0])
        _write_counts(left, counted)
        shown = titles[line * across : (line + 1) * across]
        for column, title in enumerate(shown, start=1):
            maps.append(fig.add_subplot(cells[line, column], sharey=left))
            image = _draw_panel(maps[-1], panels[title], counted, limits, marks[title])
            maps[-1].set_title(title.replace(" ", "\n", 1), pad=TITLE)
        right = fig.add_subplot(cells[line, len(shown) + 1], sharey=left)
        _write_half_lost(right, half_lost, counted.index)
    place = {"fraction": style.THICKNESS / height, "pad": 0.05 / height}
    bar = style.colour_bar(fig, image, maps, label, aspect=60, shrink=0.5, **place)
    bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    return fig


def _write_counts(ax, counted: pd.DataFrame) -> None:
    """Write images as plain numbers, those of none in bold red, and the rows' names."""
    ax.set_xlim(-0.5, counted.shape[1] - 0.5)
    for (i, j), n in np.ndenumerate(counted.to_numpy()):
        text = str(n) if n < 1000 else f"{n / 1000:.0f}k"  # three characters below a million
        look = {"color": "black"} if n else {"color": style.RED, "weight": "bold"}
        ax.text(j, i, text, ha="center", va="center", fontsize=4.8, **look)
    _name_columns(ax, counted)
    names = [f"{CLASS_NAMES[c]}  {c}" if c in CLASS_NAMES else c for c in counted.index]
    ax.set_yticks(range(len(counted)), names, fontsize=SMALL)
    text = "share of defects in training, %"
    corner = {"xycoords": "axes fraction", "ha": "right", "va": "top"}
    corner["in_layout"] = max(map(len, names)) < len(text)  # else it fits below the names
    style.beside(ax, text, (0, 0), (-3, -2.2), fontsize=SMALL, style="italic", **corner)
    ax.set_title("Images", pad=TITLE)
    _frame(ax, counted.index)


def _draw_panel(
    ax, frame: pd.DataFrame, counted: pd.DataFrame, limits: tuple[float, float], marks: list[str]
) -> AxesImage:
    """Draw one method: a cell a class and train share."""
    values = frame.reindex(counted.index).to_numpy(float)
    image = ax.imshow(values, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        text, colour = "–", "0.4"
        if not np.isnan(value):
            text, colour = f"{100 * value:.0f}", style.ink(image.cmap(image.norm(value)))
        ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=4.8)
        if counted[frame.columns[j]].iat[i] == 0:
            corner = [(j - 0.5, i - 0.5), (j - 0.1, i - 0.5), (j - 0.5, i)]
            look = {"facecolor": style.RED, "edgecolor": "white", "linewidth": 0.3}
            ax.add_patch(plt.Polygon(corner, **look))
    for j, mark in enumerate(marks):
        ax.text(j, -0.6, mark, ha="center", va="bottom", fontsize=SMALL)
    _name_columns(ax, frame)
    ax.tick_params(labelleft=False)
    _frame(ax, counted.index)
    return image


def _write_half_lost(ax, half_lost: dict[str, str], index: pd.Index) -> None:
    ax.set_xlim(0, 1)
    for i, name in enumerate(index):
        ax.text(0, i, half_lost.get(name, ""), ha="left", va="center", fontsize=5)
    ax.set_xticks([])
    ax.tick_params(labelleft=False)
    ax.set_title("Half lost\nat, %", loc="left", pad=TITLE)
    _frame(ax, index)


def _name_columns(ax, frame: pd.DataFrame) -> None:
    """Print train shares in per cent, other columns by their names."""
    names = [name if isinstance(name, str) else f"{100 * name:g}" for name in frame.columns]
    ax.set_xticks(range(len(names)), names, fontsize=SMALL)


def _frame(ax, index: pd.Index) -> None:
    """No frame and no tick marks; a line between the classes and what is no class."""
    style.bare(ax)
    ax.tick_params(pad=1.5)
    ax.set_ylim(len(index) - 0.5, -0.5)
    classes = sum(name not in (ANY, NORMAL) for name in index)
    if 0 < classes < len(index):
        ax.axhline(classes - 0.5, color="white", linewidth=2.4)
        ax.axhline(classes - 0.5, color="black", linewidth=0.6)
