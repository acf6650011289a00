"""Figures that are no heatmaps: curves by epoch, scatters, frames with boxes. Knows no torch.

fig = figures.curves(monitored.curves(wanted))
report.save("fig6", fig, found, facts, protocol=[], caption="...", output=output)
"""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from lib.report import APART, DOUBLE, PALETTE, STYLE, ink, label
from lib.report import share as percent

# One row of panels each; a second metric is drawn thin and dashed in the same panel.
ROWS = {
    ("rankme_batch", "rankme"): "RankMe\n(directions, log)",
    ("feature_mean",): "Feature mean\n(unit vectors)",
    ("feature_std",): "Feature std\n(1/√d)",
    ("embedding_mean",): "Embedding mean\n(unit vectors)",
    ("embedding_std",): "Embedding std\n(1/√d)",
}
MARKERS = "os^vPX*"  # with the colours of `steps`, so that lines read in grey; the paper's values alone are diamonds
MARKED, OTHER = "#E3001B", "#00D5FF"  # boxes on grey and brown pipes: the class that the paper marks in red, the rest


CROSSES = {  # over the points of unhealthy runs
    "no better than random": {"marker": ".", "s": 3, "linewidths": 0, "zorder": 3},
    "collapsed": {"marker": "x", "s": 9, "linewidths": 0.6, "zorder": 3},
    "diverged": {"marker": "+", "s": 12, "linewidths": 0.6, "zorder": 3},
}


def _crossed(verdict: str) -> Line2D:
    look = CROSSES[verdict]
    return Line2D([], [], linestyle="none", marker=look["marker"], color="black", markersize=np.sqrt(look["s"]) + 0.5,
                  markeredgewidth=look["linewidths"], label=verdict)  # fmt: skip


def steps(n: int) -> list[tuple]:
    """`n` ordered colours, dark to light, none too light for white paper."""
    return list(plt.get_cmap("viridis")(np.linspace(0, 0.87, n)))


def diamonds(ax, x, y, colour) -> None:
    """The paper's own values, wherever they are known."""
    ax.scatter(x, y, marker="D", s=22, facecolors="none", edgecolors=[colour], linewidths=0.9, zorder=4)


def paper_handle() -> Line2D:
    """The legend's entry for `diamonds`."""
    return Line2D([], [], marker="D", linestyle="none", markersize=4.5, markerfacecolor="none", color="black",
                  label="the paper's value")  # fmt: skip


def curves(found: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Panels of `ROWS` by backbone, a line a train share: the mean over seeds, and a band from least to most.

    `found` is lib.monitored.curves of one method; `paper` (lib.paper.values) adds diamonds at its backbone, train
    share, epoch and metric; its "rankme" is that of a batch, as the authors compute it.
    """
    backbones, shares = found["backbone"].unique(), sorted(found["train_share"].unique())
    looks = dict(zip(shares, zip(steps(len(shares)), MARKERS, strict=False), strict=True))
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(len(ROWS), len(backbones), figsize=(DOUBLE, 5.4), sharex=True, sharey="row",
                                 squeeze=False, layout="constrained")  # fmt: skip
        for (names, unit), line in zip(ROWS.items(), axes, strict=True):
            for backbone, ax in zip(backbones, line, strict=True):
                here = found[found["backbone"] == backbone]
                for share, (colour, marker) in looks.items():
                    one = here[here["train_share"] == share]
                    for name, dashed in zip(names, (False, True), strict=False):
                        _line(ax, one[one["metric"] == name], colour, marker, dashed)
                        _crosses(ax, one[one["metric"] == name])
                    if paper is not None:
                        theirs = paper[(paper["backbone"] == backbone) & np.isclose(paper["train_share"], share)]
                        theirs = theirs[theirs["metric"].isin(names)]
                        diamonds(ax, theirs["epoch"], theirs["value"], colour)
            line[0].set_ylabel(unit)
            if "std" in names[0]:
                line[0].set_ylim(bottom=0)
            if "rankme" in names:  # that of a batch and that of the fixed images differ tenfold
                line[0].set_yscale("log")
                line[0].set_ylim(bottom=1)
                _log_ticks(line[0].yaxis, (1, 3))
        for backbone, ax, last in zip(backbones, axes[0], axes[-1], strict=True):
            ax.set_title(label(backbone))
            last.set_xlabel("Epochs completed")
            last.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        fig.align_ylabels(axes[:, 0])
        handles = [Line2D([], [], color=colour, marker=marker, markersize=3.5, label=percent(share))
                   for share, (colour, marker) in looks.items()]  # fmt: skip
        handles.append(Line2D([], [], color="0.3", linestyle=(0, (3, 2)), linewidth=0.7, label="RankMe, fixed images"))
        handles += [paper_handle()] * (paper is not None and len(paper) > 0)
        fig.legend(handles=handles, title="Share of defects in training", loc="outside upper center",
                   ncols=len(handles), frameon=False, title_fontsize=6)  # fmt: skip
        plt.close(fig)
        return fig


def _line(ax, found: pd.DataFrame, colour, marker: str, dashed: bool) -> None:
    if found.empty:
        return
    over = found.groupby("epoch")["value"].agg(["mean", "min", "max"])
    look = {"linestyle": (0, (3, 2)), "linewidth": 0.7} if dashed else {"linewidth": 1}
    size = 2 if dashed else 3
    every = max(1, len(over) // 8)  # a marker at each of 45 epochs would hide the line
    ax.plot(over.index, over["mean"], color=colour, marker=marker, markersize=size, markevery=every, **look)
    if found["seed"].nunique() > 1:
        ax.fill_between(over.index, over["min"], over["max"], color=colour, alpha=0.2, linewidth=0)


def _crosses(ax, found: pd.DataFrame) -> None:
    """The last value of every collapsed or diverged run, crossed out beyond its marker."""
    last = found[found["epoch"] == found.groupby("run")["epoch"].transform("max")]
    for verdict in ("collapsed", "diverged"):
        dead = last[last["health"] == verdict]
        if len(dead):
            ax.scatter(dead["epoch"], dead["value"], color="black", **CROSSES[verdict] | {"s": 22})


def scatter(points: pd.DataFrame, correlations: dict[str, tuple[float, float, float]], *, ylabel: str,
            paper: pd.DataFrame | None = None) -> Figure:  # fmt: skip
    """F1 against rescaled RankMe, a panel a backbone, a point a row: colour by method, size by train share.

    `points` is lib.monitored.over_seeds; `correlations` gives a backbone's (rho, low, high), printed in its panel with
    the number of points. Rows of this replication alone are hollow; `paper` (columns method, backbone, f1, rankme) adds
    diamonds.
    """
    shares, methods = sorted(points["train_share"].unique()), points["method"].unique()
    areas = dict(zip(shares, np.linspace(9, 49, len(shares)), strict=True))
    with plt.rc_context(STYLE):
        backbones = points["backbone"].unique()
        fig, axes = plt.subplots(1, len(backbones), figsize=(DOUBLE, 2.7), sharey=True, squeeze=False,
                                 layout="constrained")  # fmt: skip
        points = points.sort_values("train_share", ascending=False, kind="stable")  # small marks above large ones
        for backbone, ax in zip(backbones, axes[0], strict=True):
            for method, own in points[points["backbone"] == backbone].groupby("method", sort=False):
                apart, colour = method in APART, PALETTE[method]
                look = {"facecolors": "none", "edgecolors": colour, "linewidths": 0.8} if apart else {
                    "facecolors": colour, "edgecolors": "white", "linewidths": 0.4}  # fmt: skip
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
        sizes = [_dot(percent(s), "0.45", size=np.sqrt(area)) for s, area in areas.items()]
        systems += [paper_handle()] * (paper is not None and len(paper) > 0)
        systems += [_crossed(verdict) for verdict in CROSSES if verdict in set(points["health"])]
        heads = [Line2D([], [], linestyle="none", label=text) for text in ("System", "Defects in training")]
        fig.legend(handles=[heads[0], *systems, heads[1], *sizes], loc="outside right upper", frameon=False)
        plt.close(fig)
        return fig


def _log_ticks(axis, digits: tuple[int, ...]) -> None:
    """Ticks at these digits of every power of ten, and none between."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _dot(name: str, colour: str, hollow: bool = False, size: float = 5) -> Line2D:
    face = "none" if hollow else colour
    return Line2D([], [], marker="o", linestyle="none", markersize=size, markerfacecolor=face, label=name,
                  markeredgecolor=colour if hollow else "white", markeredgewidth=0.8 if hollow else 0.4)  # fmt: skip


def frames(images: Sequence[np.ndarray], captions: Sequence[str], boxes: Sequence[pd.DataFrame],
           red: Sequence[bool], *, marked: str = "OS", columns: int = 6) -> Figure:  # fmt: skip
    """Frames (h, w, 3) uint8 with captions above, and boxes (Class, x0, y0, x1, y1 in their pixels) where known.

    Boxes of the class `marked` are red and solid, the others cyan and dashed: told apart in grey, too. `red` says
    which frames show that class: so are their captions.
    """
    rows = -(-len(images) // columns)
    tall = max(image.shape[0] / image.shape[1] for image in images)
    wrapped = [textwrap.fill(text, 27) for text in captions]
    lines = [1 + max(text.count("\n") for text in wrapped[i : i + columns]) for i in range(0, len(wrapped), columns)]
    height = rows * (DOUBLE / columns * tall + 0.02) + 0.105 * sum(lines) + 0.2
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=(DOUBLE, height), squeeze=False, layout="constrained")
        fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
        for ax in axes.flat:
            ax.axis("off")
        for ax, image, text, found, is_red in zip(axes.flat, images, wrapped, boxes, red, strict=False):
            ax.imshow(image, interpolation="bicubic")
            ax.set_title(text, fontsize=5.8, loc="left", pad=2, linespacing=1.05, color=MARKED if is_red else "black")
            for row in found.itertuples():
                _box(ax, row, row.Class == marked)
        present = {row for found in boxes for row in found["Class"]}
        handles = [_box_handle(f"{marked}, which the paper marks in red", True)] * (marked in present)
        handles += [_box_handle("other defects, where they were drawn", False)] * bool(present - {marked})
        if handles:
            fig.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False)
        plt.close(fig)
        return fig


def _edge(red: bool) -> dict:
    if red:
        return {"color": MARKED, "linewidth": 1.3}
    return {"color": OTHER, "linewidth": 0.9, "linestyle": (0, (3, 1.5))}


def _box(ax, box, red: bool) -> None:
    """A box's outline, with a dark edge so that it shows on light walls too."""
    x, y = (box.x0 - 0.5, box.x1 - 0.5), (box.y0 - 0.5, box.y1 - 0.5)
    (line,) = ax.plot([x[0], x[1], x[1], x[0], x[0]], [y[0], y[0], y[1], y[1], y[0]], **_edge(red))
    line.set_path_effects([patheffects.Stroke(linewidth=line.get_linewidth() + 0.7, foreground="black", alpha=0.5),
                           patheffects.Normal()])  # fmt: skip


def _box_handle(name: str, red: bool) -> Line2D:
    return Line2D([], [], label=name, **_edge(red))
