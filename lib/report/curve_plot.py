"""Curves by epoch, a line a train share.

fig = curve_plot.draw(curves.curves(runs), paper.values("fig6"))
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.report import scatter_plot, style
from lib.study import names

# A row of panels each; a second metric is drawn thin and dashed in the same panel.
ROWS = {
    ("rankme_batch", "rankme"): "RankMe\n(directions, log)",
    ("feature_mean",): "Feature mean\n(unit vectors)",
    ("feature_std",): "Feature std\n(1/√d)",
    ("embedding_mean",): "Embedding mean\n(unit vectors)",
    ("embedding_std",): "Embedding std\n(1/√d)",
}
MARKERS = "os^vPX*"  # a share each, so that lines also read in grey
SOLID = {"linewidth": 1, "markersize": 3}
DASHED = {"linewidth": 0.7, "markersize": 2, "linestyle": (0, (3, 2))}


@style.styled
def draw(measured: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Panels of `ROWS` by backbone with a line a train share: the mean over seeds, and a band from
    the lowest to the highest seed.

    `measured` is lib.analysis.curves.curves of one method. `paper` (lib.analysis.paper.values) adds
    diamonds at its backbone, train share, epoch and metric; its "rankme" is that of a batch, as the
    authors compute it.
    """
    backbones, shares = measured["backbone"].unique(), sorted(measured["train_share"].unique())
    looks = {
        share: {"color": colour, "marker": marker}
        for share, colour, marker in zip(shares, style.steps(len(shares)), MARKERS, strict=False)
    }
    fig, axes = style.panels(len(ROWS), len(backbones), 5.4, sharex=True, sharey="row")
    for (metrics, unit), line in zip(ROWS.items(), axes, strict=True):
        for backbone, ax in zip(backbones, line, strict=True):
            rows = _at(measured, metrics, backbone)
            theirs = None if paper is None else _at(paper, metrics, backbone)
            for share, look in looks.items():
                _draw_share(ax, rows[rows["train_share"] == share], metrics, look)
                if theirs is not None:
                    own = theirs[np.isclose(theirs["train_share"], share)]
                    scatter_plot.diamonds(ax, own["epoch"], own["value"], look["color"])
        line[0].set_ylabel(unit)
        if "std" in metrics[0]:
            line[0].set_ylim(bottom=0)
        if "rankme" in metrics:  # that of a batch and that of the fixed images differ tenfold
            line[0].set_yscale("log")
            line[0].set_ylim(bottom=1)
            scatter_plot.log_ticks(line[0].yaxis, (1, 3))
    for backbone, first, last in zip(backbones, axes[0], axes[-1], strict=True):
        first.set_title(names.label(backbone))
        last.set_xlabel("Epochs completed")
        last.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    fig.align_ylabels(axes[:, 0])
    handles = [
        Line2D([], [], markersize=3.5, label=names.share(share), **look)
        for share, look in looks.items()
    ]
    dashed = DASHED | {"markersize": None}
    handles.append(Line2D([], [], color="0.3", label="RankMe, fixed images", **dashed))
    handles += [Line2D([], [], **scatter_plot.PAPER)] * (paper is not None and len(paper) > 0)
    place = {"loc": "outside upper center", "ncols": len(handles), "frameon": False}
    fig.legend(handles=handles, title="Share of defects in training", title_fontsize=6, **place)
    return fig


def _at(frame: pd.DataFrame, metrics: tuple[str, ...], backbone: str) -> pd.DataFrame:
    return frame[(frame["backbone"] == backbone) & frame["metric"].isin(metrics)]


def _draw_share(ax, rows: pd.DataFrame, metrics: tuple[str, ...], look: dict) -> None:
    """Draw the metrics of one train share, the first solid and the second dashed, each with its
    band over seeds; the last value of a collapsed or diverged run is crossed out."""
    for metric, kind in zip(metrics, (SOLID, DASHED), strict=False):
        curves = rows[rows["metric"] == metric]
        if curves.empty:
            continue
        over = curves.groupby("epoch")["value"].agg(["mean", "min", "max"])
        every = max(1, len(over) // 8)  # a marker at each of 45 epochs would hide the line
        ax.plot(over.index, over["mean"], markevery=every, **look, **kind)
        if curves["seed"].nunique() > 1:
            band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
            ax.fill_between(over.index, over["min"], over["max"], **band)
        last = curves[curves["epoch"] == curves.groupby("run")["epoch"].transform("max")]
        for verdict in ("collapsed", "diverged"):
            dead = last[last["health"] == verdict]
            if len(dead):
                cross = scatter_plot.CROSSES[verdict] | {"s": 22}  # reaches beyond the marker
                ax.scatter(dead["epoch"], dead["value"], color="black", **cross)
