"""F1 against RankMe, and the marks that curves and scatters share.

fig = scatter_plot.draw(points, {"resnet18": (0.5, 0.2, 0.7)}, ylabel="Validation F1")
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from lib.analysis import wording
from lib.report import style
from lib.study.names import APART, label, share

CROSSES: dict[str, dict[str, Any]] = {  # over the points of unhealthy runs
    "no better than random": {"marker": ".", "s": 3, "linewidths": 0, "zorder": 3},
    "collapsed": {"marker": "x", "s": 9, "linewidths": 0.6, "zorder": 3},
    "diverged": {"marker": "+", "s": 12, "linewidths": 0.6, "zorder": 3},
}
# The legend's entry for the paper's own values, which `diamonds` draws.
PAPER = {"marker": "D", "markersize": 4.5, "markerfacecolor": "none", "linestyle": "none"}
PAPER |= {"color": "black", "label": "the paper's value"}


def diamonds(ax, x: pd.Series, y: pd.Series, colour) -> None:
    """Draw the paper's own values where they are known; nothing else is drawn as a diamond."""
    look = {"facecolors": "none", "edgecolors": [colour], "linewidths": 0.9, "zorder": 4}
    ax.scatter(x, y, marker="D", s=22, **look)


def log_ticks(axis, digits: tuple[int, ...]) -> None:
    """Put ticks at these digits of every power of ten, and none between."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


@style.styled
def draw(
    points: pd.DataFrame,
    correlations: dict[str, tuple[float, float, float]],
    *,
    ylabel: str,
    paper: pd.DataFrame | None = None,
) -> Figure:
    """F1 against rescaled RankMe: a panel a backbone, a point a row, a colour a method; the larger
    the train share, the larger the point.

    `points` is lib.analysis.curves.over_seeds; `correlations` gives a backbone's (rho, low, high),
    printed above its panel with the number of points. Rows of this replication alone are hollow;
    `paper` (columns method, backbone, f1, rankme) adds diamonds.
    """
    shares, backbones = sorted(points["train_share"].unique()), points["backbone"].unique()
    areas = dict(zip(shares, np.linspace(9, 49, len(shares)), strict=True))
    fig, (axes,) = style.panels(1, len(backbones), 2.7, sharey=True)
    # Small marks lie above large ones.
    points = points.sort_values("train_share", ascending=False, kind="stable")
    for backbone, ax in zip(backbones, axes, strict=True):
        own = points[points["backbone"] == backbone]
        for method, rows in own.groupby("method", sort=False):
            _draw_method(ax, method, rows, rows["train_share"].map(areas))
            if paper is not None:
                theirs = paper[(paper["backbone"] == backbone) & (paper["method"] == method)]
                diamonds(ax, theirs["rankme"], theirs["f1"], style.PALETTE[method])
        title = label(backbone)
        if backbone in correlations:
            rho, low, high = correlations[backbone]
            n = (~own["method"].isin(APART)).sum()
            title += f": ρ = {wording.estimate(rho, low, high, wording.PLAIN)}, n = {n}"
        ax.set(title=title, xlabel="RankMe / min(n, d), log", xscale="log", ylim=(-0.03, 1.03))
        log_ticks(ax.xaxis, (1, 2, 3, 5))
    axes[0].set_ylabel(ylabel)
    systems = [_dot(label(m), style.PALETTE[m], m in APART) for m in points["method"].unique()]
    systems += [Line2D([], [], **PAPER)] * (paper is not None and len(paper) > 0)
    systems += [_cross(verdict) for verdict in CROSSES if verdict in set(points["health"])]
    sizes = [_dot(share(s), "0.45", size=np.sqrt(area)) for s, area in areas.items()]
    handles = [_heading("System"), *systems, _heading("Defects in training"), *sizes]
    fig.legend(handles=handles, loc="outside right upper", frameon=False)
    return fig


def _draw_method(ax, method: str, rows: pd.DataFrame, areas: pd.Series) -> None:
    """Draw a method's points, with crosses over those of unhealthy runs."""
    colour, ink = style.PALETTE[method], style.ink(to_rgb(style.PALETTE[method]))
    look = {"facecolors": colour, "edgecolors": "white", "linewidths": 0.4}
    if method in APART:
        ink, look = "black", {"facecolors": "none", "edgecolors": colour, "linewidths": 0.8}
    ax.scatter(rows["rescaled"], rows["f1"], s=areas, **look)
    for verdict, ill in rows.groupby("health"):
        if verdict in CROSSES:
            ax.scatter(ill["rescaled"], ill["f1"], color=ink, **CROSSES[verdict])


def _heading(text: str) -> Line2D:
    return Line2D([], [], linestyle="none", label=text)


def _cross(verdict: str) -> Line2D:
    cross = CROSSES[verdict]
    look = {"marker": cross["marker"], "markeredgewidth": cross["linewidths"], "color": "black"}
    size = np.sqrt(cross["s"]) + 0.5
    return Line2D([], [], linestyle="none", markersize=size, label=verdict, **look)


def _dot(name: str, colour: str, hollow: bool = False, size: float = 5) -> Line2D:
    look = {"markerfacecolor": colour, "markeredgecolor": "white", "markeredgewidth": 0.4}
    if hollow:
        look = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 0.8}
    return Line2D([], [], marker="o", linestyle="none", markersize=size, label=name, **look)
