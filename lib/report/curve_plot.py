"""Curves by epoch, one line a train share."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.report import scatter_plot
from lib.report.style import DOUBLE, STYLE
from lib.study import names

# One row of panels each; a second metric is drawn thin and dashed in the same panel.
ROWS = {
    ("rankme_batch", "rankme"): "RankMe\n(directions, log)",
    ("feature_mean",): "Feature mean\n(unit vectors)",
    ("feature_std",): "Feature std\n(1/√d)",
    ("embedding_mean",): "Embedding mean\n(unit vectors)",
    ("embedding_std",): "Embedding std\n(1/√d)",
}


def draw(found: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Panels of `ROWS` by backbone, a line a train share: the mean over seeds, and a band from
    least to most.

    `found` is lib.analysis.curves.curves of one method; `paper` (lib.analysis.paper.values) adds
    diamonds at its backbone, train share, epoch and metric; its "rankme" is that of a batch, as the
    authors compute it.
    """
    backbones, shares = found["backbone"].unique(), sorted(found["train_share"].unique())
    looks = dict(
        zip(
            shares,
            zip(scatter_plot.steps(len(shares)), scatter_plot.MARKERS, strict=False),
            strict=True,
        )
    )
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            len(ROWS),
            len(backbones),
            figsize=(DOUBLE, 5.4),
            sharex=True,
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for (metrics, unit), line in zip(ROWS.items(), axes, strict=True):
            for backbone, ax in zip(backbones, line, strict=True):
                here = found[found["backbone"] == backbone]
                for share, (colour, marker) in looks.items():
                    one = here[here["train_share"] == share]
                    for name, dashed in zip(metrics, (False, True), strict=False):
                        _line(ax, one[one["metric"] == name], colour, marker, dashed)
                        _crosses(ax, one[one["metric"] == name])
                    if paper is not None:
                        theirs = paper[
                            (paper["backbone"] == backbone)
                            & np.isclose(paper["train_share"], share)
                        ]
                        theirs = theirs[theirs["metric"].isin(metrics)]
                        scatter_plot.diamonds(ax, theirs["epoch"], theirs["value"], colour)
            line[0].set_ylabel(unit)
            if "std" in metrics[0]:
                line[0].set_ylim(bottom=0)
            if "rankme" in metrics:  # that of a batch and that of the fixed images differ tenfold
                line[0].set_yscale("log")
                line[0].set_ylim(bottom=1)
                scatter_plot._log_ticks(line[0].yaxis, (1, 3))
        for backbone, ax, last in zip(backbones, axes[0], axes[-1], strict=True):
            ax.set_title(names.label(backbone))
            last.set_xlabel("Epochs completed")
            last.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        fig.align_ylabels(axes[:, 0])
        handles = [
            Line2D([], [], color=colour, marker=marker, markersize=3.5, label=names.share(share))
            for share, (colour, marker) in looks.items()
        ]
        handles.append(
            Line2D(
                [],
                [],
                color="0.3",
                linestyle=(0, (3, 2)),
                linewidth=0.7,
                label="RankMe, fixed images",
            )
        )
        handles += [scatter_plot.paper_handle()] * (paper is not None and len(paper) > 0)
        fig.legend(
            handles=handles,
            title="Share of defects in training",
            loc="outside upper center",
            ncols=len(handles),
            frameon=False,
            title_fontsize=6,
        )
        plt.close(fig)
        return fig


def _line(ax, found: pd.DataFrame, colour, marker: str, dashed: bool) -> None:
    if found.empty:
        return
    over = found.groupby("epoch")["value"].agg(["mean", "min", "max"])
    look = {"linestyle": (0, (3, 2)), "linewidth": 0.7} if dashed else {"linewidth": 1}
    size = 2 if dashed else 3
    every = max(1, len(over) // 8)  # a marker at each of 45 epochs would hide the line
    ax.plot(
        over.index,
        over["mean"],
        color=colour,
        marker=marker,
        markersize=size,
        markevery=every,
        **look,
    )
    if found["seed"].nunique() > 1:
        ax.fill_between(over.index, over["min"], over["max"], color=colour, alpha=0.2, linewidth=0)


def _crosses(ax, found: pd.DataFrame) -> None:
    """The last value of every collapsed or diverged run, crossed out beyond its marker."""
    last = found[found["epoch"] == found.groupby("run")["epoch"].transform("max")]
    for verdict in ("collapsed", "diverged"):
        dead = last[last["health"] == verdict]
        if len(dead):
            ax.scatter(
                dead["epoch"],
                dead["value"],
                color="black",
                **scatter_plot.CROSSES[verdict] | {"s": 22},
            )
