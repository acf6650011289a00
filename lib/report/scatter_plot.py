"""F1 against RankMe, and the marks that curves and scatters share.

fig = scatter_plot.draw(points, {"resnet18": (0.5, 0.2)}, ylabel="F1 on validation images")
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from lib.analysis import wording
from lib.report import style
from lib.study.names import label, share

# The marker of a run by its health: filled, hollow, a cross. A collapsed run cannot be overlooked.
MARKERS = {"healthy": "o", "no better than random": "v", "collapsed": "X", "diverged": "P"}
WORDS = {"no better than random": "not above untrained°"}  # of a run's health, in the legend
# The legend's entry for the paper's own values, which `diamonds` draws.
PAPER: dict[str, Any] = {"marker": "D", "markersize": 4.5, "markerfacecolor": "none"}
PAPER |= {"linestyle": "none", "color": "black", "label": "the paper’s value"}


def diamonds(ax, x: pd.Series, y: pd.Series, colours) -> None:
    """Draw the paper's own values where they are known; nothing else is drawn as a diamond."""
    look = {"facecolors": "none", "edgecolors": colours, "linewidths": 0.9, "zorder": 4}
    ax.scatter(x, y, marker="D", s=22, **look)


def log_ticks(axis, digits: tuple[int, ...]) -> None:
    """Put ticks at these digits of every power of ten, and none between."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


@style.styled
def draw(
    points: pd.DataFrame,
    correlations: dict[str, tuple[float, float]],
    *,
    ylabel: str,
    paper: pd.DataFrame | None = None,
) -> Figure:
    """F1 against rescaled RankMe: a panel per backbone, a point per row, colours by method, shapes
    by verdict of health; the larger the train share, the larger the point.

    `points` is lib.analysis.curves.over_seeds; `correlations` gives a backbone's rho, of all points
    and on average within train shares (nan: unknown), printed above its panel. `paper` (columns
    method, backbone, f1, rankme) adds diamonds.
    """
    shares, backbones = sorted(points["train_share"].unique()), points["backbone"].unique()
    areas = dict(zip(shares, np.linspace(16, 64, len(shares)), strict=True))
    fig, (axes,) = style.panels(
        1, len(backbones) + 1, 3.1, gridspec_kw={"width_ratios": [1] * len(backbones) + [0.62]}
    )
    f1 = [*points["f1"].dropna(), *([] if paper is None else paper["f1"])] or [0.0, 1.0]
    # Small marks lie above large ones.
    points = points.sort_values("train_share", ascending=False, kind="stable")
    for backbone, ax in zip(backbones, axes, strict=False):
        own = points[points["backbone"] == backbone]
        look = {"palette": style.PALETTE, "markers": MARKERS, "sizes": areas, "legend": False}
        keys = {"hue": "method", "style": "health", "size": "train_share"}
        place = {"x": "rescaled", "y": "f1", "ax": ax, "edgecolor": "white", "linewidth": 0.4}
        sns.scatterplot(own, **place, **keys, **look)
        if paper is not None:
            theirs = paper[paper["backbone"] == backbone]
            diamonds(ax, theirs["rankme"], theirs["f1"], theirs["method"].map(style.PALETTE))
        title = label(backbone)
        if backbone in correlations:
            whole, within = correlations[backbone]
            title += f": ρ = {wording.PLAIN(whole)}"
            title += "" if np.isnan(within) else f", within shares {wording.PLAIN(within)}"
        ax.set(
            title=title,
            xlabel="RankMe / min(n, d), log",
            xscale="log",
            ylim=(min(f1) - 0.05, max(f1) + 0.05),
        )
        log_ticks(ax.xaxis, (1, 2, 3, 5))
        ax.set_ylabel(ylabel if ax is axes[0] else "")
    edge = {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.4}
    dot = partial(Line2D, [], [], **edge)
    legends = {
        "System": [
            dot(marker="o", markersize=5, color=style.PALETTE[m], label=label(m))
            for m in points["method"].unique()
        ],
        "Health": [
            dot(marker=marker, markersize=5.5, color="0.45", label=WORDS.get(verdict, verdict))
            for verdict, marker in MARKERS.items()
            if verdict in set(points["health"])
        ]
        + [Line2D([], [], **PAPER)] * (paper is not None and len(paper) > 0),
        "Defects in training": [
            dot(marker="o", markersize=np.sqrt(a), color="0.45", label=share(s))
            for s, a in areas.items()
        ],
    }
    axes[-1].axis("off")
    for (title, handles), place in zip(legends.items(), (1, 0.46, 0.2), strict=True):
        look = {"loc": "upper left", "bbox_to_anchor": (0, place), "borderaxespad": 0}
        legend = axes[-1].legend(handles=handles, title=title, alignment="left", **look)
        legend.get_title().set_weight("bold")
        axes[-1].add_artist(legend)
    return fig
