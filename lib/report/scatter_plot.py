"""Figures that are no heatmaps: curves by epoch, scatters, frames with boxes. Knows no torch.

fig = figures.curves(monitored.curves(wanted))
report.save("fig6", fig, found, facts, protocol=[], caption="...", output=output)
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from lib.report.style import DOUBLE, PALETTE, STYLE, ink
from lib.study.names import APART, label, share

MARKERS = "os^vPX*"  # with the colours of `steps`, so that lines read in grey; the paper's values alone are diamonds


CROSSES = {  # over the points of unhealthy runs
    "no better than random": {"marker": ".", "s": 3, "linewidths": 0, "zorder": 3},
    "collapsed": {"marker": "x", "s": 9, "linewidths": 0.6, "zorder": 3},
    "diverged": {"marker": "+", "s": 12, "linewidths": 0.6, "zorder": 3},
}


def _crossed(verdict: str) -> Line2D:
    look = CROSSES[verdict]
    return Line2D(
        [],
        [],
        linestyle="none",
        marker=look["marker"],
        color="black",
        markersize=np.sqrt(look["s"]) + 0.5,
        markeredgewidth=look["linewidths"],
        label=verdict,
    )


def steps(n: int) -> list[tuple]:
    """`n` ordered colours, dark to light, none too light for white paper."""
    return list(plt.get_cmap("viridis")(np.linspace(0, 0.87, n)))


def diamonds(ax, x, y, colour) -> None:
    """The paper's own values, wherever they are known."""
    ax.scatter(
        x, y, marker="D", s=22, facecolors="none", edgecolors=[colour], linewidths=0.9, zorder=4
    )


def paper_handle() -> Line2D:
    """The legend's entry for `diamonds`."""
    return Line2D(
        [],
        [],
        marker="D",
        linestyle="none",
        markersize=4.5,
        markerfacecolor="none",
        color="black",
        label="the paper's value",
    )


def draw(
    points: pd.DataFrame,
    correlations: dict[str, tuple[float, float, float]],
    *,
    ylabel: str,
    paper: pd.DataFrame | None = None,
) -> Figure:
    """F1 against rescaled RankMe, a panel a backbone, a point a row: colour by method, size by
    train share.

    `points` is lib.analysis.curves.over_seeds; `correlations` gives a backbone's (rho, low, high),
    printed in its panel with the number of points. Rows of this replication alone are hollow;
    `paper` (columns method, backbone, f1, rankme) adds diamonds.
    """
    shares, methods = sorted(points["train_share"].unique()), points["method"].unique()
    areas = dict(zip(shares, np.linspace(9, 49, len(shares)), strict=True))
    with plt.rc_context(STYLE):
        backbones = points["backbone"].unique()
        fig, axes = plt.subplots(
            1,
            len(backbones),
            figsize=(DOUBLE, 2.7),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        points = points.sort_values(
            "train_share", ascending=False, kind="stable"
        )  # small marks above large ones
        for backbone, ax in zip(backbones, axes[0], strict=True):
            for method, own in points[points["backbone"] == backbone].groupby("method", sort=False):
                apart, colour = method in APART, PALETTE[method]
                look = (
                    {"facecolors": "none", "edgecolors": colour, "linewidths": 0.8}
                    if apart
                    else {"facecolors": colour, "edgecolors": "white", "linewidths": 0.4}
                )
                ax.scatter(own["rescaled"], own["f1"], s=own["train_share"].map(areas), **look)
                over = "black" if apart else ink(to_rgb(colour))
                for verdict, ill in own.groupby("health"):
                    if verdict in CROSSES:
                        ax.scatter(ill["rescaled"], ill["f1"], color=over, **CROSSES[verdict])
                if paper is not None:
                    theirs = paper[(paper["backbone"] == backbone) & (paper["method"] == method)]
                    diamonds(ax, theirs["rankme"], theirs["f1"], colour)
            ax.set_title(label(backbone))
            if backbone in correlations:
                rho, low, high = correlations[backbone]
                n = int((~points["method"].isin(APART) & points["backbone"].eq(backbone)).sum())
                ax.set_title(f"{label(backbone)}: ρ = {rho:.2f} [{low:.2f}, {high:.2f}], n = {n}")
            ax.set(xlabel="RankMe / min(n, d), log", xscale="log", ylim=(-0.03, 1.03))
            _log_ticks(ax.xaxis, (1, 2, 3, 5))
        axes[0][0].set_ylabel(ylabel)
        systems = [_dot(label(m), PALETTE[m], hollow=m in APART) for m in methods]
        sizes = [_dot(share(s), "0.45", size=np.sqrt(area)) for s, area in areas.items()]
        systems += [paper_handle()] * (paper is not None and len(paper) > 0)
        systems += [_crossed(verdict) for verdict in CROSSES if verdict in set(points["health"])]
        heads = [
            Line2D([], [], linestyle="none", label=text)
            for text in ("System", "Defects in training")
        ]
        fig.legend(
            handles=[heads[0], *systems, heads[1], *sizes], loc="outside right upper", frameon=False
        )
        plt.close(fig)
        return fig


def _log_ticks(axis, digits: tuple[int, ...]) -> None:
    """Ticks at these digits of every power of ten, and none between."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _dot(name: str, colour: str, hollow: bool = False, size: float = 5) -> Line2D:
    face = "none" if hollow else colour
    return Line2D(
        [],
        [],
        marker="o",
        linestyle="none",
        markersize=size,
        markerfacecolor=face,
        label=name,
        markeredgecolor=colour if hollow else "white",
        markeredgewidth=0.8 if hollow else 0.4,
    )
