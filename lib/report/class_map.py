"""A heatmap of classes by method and train share, with the images behind every row. Knows no torch.

fig = classmap.draw({"SimCLR": frame}, counted, subsets, marks={"SimCLR": ["°", ""]}, limits=(0, 1), label="Recall, %")
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.report.style import DOUBLE, STYLE, ink
from lib.study.names import CLASS_NAMES

ROW = 0.135  # inches
TITLE = 10  # points above a panel, room for the marks
MOST = 6  # panels side by side in which two digits can be read
COUNTS, LOST = (
    1.25,
    5.5,
)  # widths of a column of counts and of the last text, in columns of one of six panels


def draw(
    panels: dict[str, pd.DataFrame],
    counted: pd.DataFrame,
    lost: dict[str, str],
    *,
    marks: dict[str, list[str]],
    limits: tuple[float, float],
    label: str,
) -> Figure:
    """Panels title -> classes by train share, in per cent, with `counted` images on the left and
    `lost` on the right.

    Rows are the index of `counted`, classes and below a line what is no class; its columns are the
    panels' train shares and then others, as "val". A train share without one image of a class has
    its corner cut off: nothing was there to learn from. `marks` holds a panel's marks of unhealthy
    runs, one a column; `lost` maps a row to text.
    """
    lines = -(-len(panels) // MOST)
    across = -(-len(panels) // lines)
    titles = list(panels)
    with plt.rc_context(STYLE):
        fig = plt.figure(
            figsize=(DOUBLE, lines * (ROW * len(counted) + 0.5) + 0.4), layout="constrained"
        )
        fig.get_layout_engine().set(w_pad=0.015, wspace=0.01)
        k = next(iter(panels.values())).shape[1]
        scale = across / MOST  # counts keep their width where panels grow
        widths = [COUNTS * scale * counted.shape[1], *[k] * across, LOST * scale * k / 5]
        cells = fig.add_gridspec(lines, across + 2, width_ratios=widths)
        maps = []
        for line in range(lines):
            left = fig.add_subplot(cells[line, 0])
            _count(left, counted)
            shown = titles[line * across : (line + 1) * across]
            for j, title in enumerate(shown, start=1):
                maps.append(fig.add_subplot(cells[line, j], sharey=left))
                image = _panel(maps[-1], panels[title], counted, limits, marks[title])
                maps[-1].set_title(title.replace(" ", "\n", 1), pad=TITLE)
            _text(fig.add_subplot(cells[line, len(shown) + 1], sharey=left), lost, counted.index)
        thick = 0.08
        bar = fig.colorbar(
            image,
            ax=maps,
            location="bottom",
            label=label,
            aspect=60,
            shrink=0.5,
            fraction=thick / fig.get_figheight(),
            pad=0.05 / fig.get_figheight(),
        )
        bar.ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        bar.outline.set_visible(False)
        plt.close(fig)
        return fig


def _bare(ax, index: pd.Index) -> None:
    """No frame, no ticks; a line between the classes and what is none."""
    ax.tick_params(length=0, pad=1.5)
    ax.spines[:].set_visible(False)
    ax.set_ylim(len(index) - 0.5, -0.5)
    classes = sum(name in CLASS_NAMES for name in index)
    if 0 < classes < len(index):
        ax.axhline(classes - 0.5, color="white", linewidth=2.4)
        ax.axhline(classes - 0.5, color="black", linewidth=0.6)


def _number(n: int) -> str:
    """At most three characters below a million."""
    return str(n) if n < 1000 else f"{n / 1000:.0f}k"


def _count(ax, counted: pd.DataFrame) -> None:
    """Images as plain numbers, and the rows' names."""
    ax.set_xlim(-0.5, counted.shape[1] - 0.5)
    for (i, j), n in np.ndenumerate(counted.to_numpy()):
        ax.text(
            j,
            i,
            _number(n),
            ha="center",
            va="center",
            fontsize=4.8,
            color="black" if n else "#D55E00",
            weight="normal" if n else "bold",
        )
    ax.set_xticks(range(counted.shape[1]), [_column(c) for c in counted.columns], fontsize=5.5)
    names = [f"{CLASS_NAMES[c]}  {c}" if c in CLASS_NAMES else c for c in counted.index]
    ax.set_yticks(range(len(counted)), names, fontsize=5.5)
    ax.annotate(
        "share of defects in training, %",
        (0, 0),
        xycoords="axes fraction",
        xytext=(-3, -2.2),
        ha="right",
        va="top",
        textcoords="offset points",
        fontsize=5.5,
        style="italic",
        in_layout=False,
    )
    ax.set_title("Images", pad=TITLE)
    _bare(ax, counted.index)


def _column(name: str | float) -> str:
    return name if isinstance(name, str) else f"{100 * name:g}"


def _panel(
    ax, frame: pd.DataFrame, counted: pd.DataFrame, limits: tuple[float, float], marks: list[str]
):
    """One method: a cell a class and train share."""
    values = frame.reindex(counted.index).to_numpy(float)
    colours, norm = plt.get_cmap("cividis"), mpl.colors.Normalize(*limits)
    image = ax.imshow(values, cmap=colours, norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        look = {"color": ink(colours(norm(value))) if value == value else "0.4", "fontsize": 4.8}
        ax.text(
            j, i, f"{100 * value:.0f}" if value == value else "–", ha="center", va="center", **look
        )
        if counted[frame.columns[j]].iat[i] == 0:
            corner = [(j - 0.5, i - 0.5), (j - 0.1, i - 0.5), (j - 0.5, i)]
            ax.add_patch(plt.Polygon(corner, facecolor="#D55E00", edgecolor="white", linewidth=0.3))
    for j, mark in enumerate(marks):
        ax.text(j, -0.6, mark, ha="center", va="bottom", fontsize=5.5)
    ax.set_xticks(range(values.shape[1]), [_column(c) for c in frame.columns], fontsize=5.5)
    ax.tick_params(labelleft=False)
    _bare(ax, counted.index)
    return image


def _text(ax, lost: dict[str, str], index: pd.Index) -> None:
    """The share at which a row is half lost."""
    ax.set_xlim(0, 1)
    for i, name in enumerate(index):
        ax.text(0, i, lost.get(name, ""), ha="left", va="center", fontsize=5)
    ax.set_xticks([])
    ax.tick_params(labelleft=False)
    ax.set_title("Half lost\nat, %", loc="left", pad=TITLE)
    _bare(ax, index)
