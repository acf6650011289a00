"""Curves by epoch, a line per train share.

fig = curve_plot.draw(curves.curves(runs), paper.values("fig6"))
"""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lib.report import scatter_plot, style
from lib.study import names

# A row of panels each; a second metric is drawn dashed in the same panel.
ROWS = {
    ("rankme_batch", "rankme"): "RankMe\n(directions, log)",
    ("feature_mean",): "Feature mean\n(unit vectors)",
    ("feature_std",): "Feature std\n(1/√d)",
    ("embedding_mean",): "Embedding mean\n(unit vectors)",
    ("embedding_std",): "Embedding std\n(1/√d)",
}
DASHES, POINTS = ("", (3, 2)), ("o", "D")  # of the first and the second metric


@style.styled
def draw(measured: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Panels of `ROWS` by backbone, each on an axis of its own, with a line per train share: the
    mean over seeds. The smallest and the largest share have a band from lowest to highest seed.

    `measured` is lib.analysis.curves.curves of one method. `paper` (lib.analysis.paper.values) adds
    diamonds at its backbone, train share, epoch and metric; its "rankme" is that of a batch, as the
    authors compute it. Lines get thinner with the share, so that those which coincide are all seen.
    A single epoch is a point.
    """
    backbones, shares = measured["backbone"].unique(), sorted(measured["train_share"].unique())
    colours = dict(zip(shares, style.steps(len(shares)), strict=True))
    widths = {share: 2.6 - 1.4 * i / max(len(shares) - 1, 1) for i, share in enumerate(shares)}
    is_point = measured["epoch"].nunique() == 1  # a line of one point would not be seen
    fig, axes = style.panels(len(ROWS), len(backbones), 6.2, sharex=True)
    for (metrics, unit), line in zip(ROWS.items(), axes, strict=True):
        for backbone, ax in zip(backbones, line, strict=True):
            rows = measured[_chosen(measured, metrics, backbone)]
            if len(rows):
                look = {"hue": "train_share", "palette": colours, "legend": False}
                look |= {"size": "train_share", "sizes": widths, "errorbar": None}
                look |= {
                    "style": "metric",
                    "style_order": metrics,
                    "dashes": DASHES[: len(metrics)],
                }
                if is_point:
                    look |= {"markers": POINTS[: len(metrics)], "clip_on": False}
                sns.lineplot(rows, x="epoch", y="value", ax=ax, **look)
                _bands(ax, rows, {share: colours[share] for share in (shares[0], shares[-1])})
                _cross_out(ax, rows, dict.fromkeys(shares, "black") if is_point else colours)
            if paper is not None:
                theirs = paper[_chosen(paper, metrics, backbone)]
                colour = theirs["train_share"].map(colours)
                scatter_plot.diamonds(ax, theirs["epoch"], theirs["value"], list(colour))
            ax.set(xlabel="Epochs completed", ylabel=unit if ax is line[0] else "")
            if "std" in metrics[0]:
                ax.set_ylim(bottom=0)
            if "rankme" in metrics:  # that of a batch and that of the fixed images differ tenfold
                drawn = [rows["value"]] if paper is None else [rows["value"], theirs["value"]]
                shown = [*pd.concat(drawn).dropna()] or [1.0]
                ax.set(yscale="log", ylim=(max(1, 0.6 * min(shown)), 1.2 * max(3, *shown)))
                scatter_plot.log_ticks(ax.yaxis, (1, 2, 3, 5))
    for backbone, ax in zip(backbones, axes[0], strict=True):
        ax.set_title(_title(measured, backbone))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    fig.align_ylabels(axes[:, 0])
    looks = [{}, {"dashes": DASHES[1]}]
    if is_point:
        looks = [{"marker": marker, "linestyle": "none"} for marker in POINTS]
    handles = [
        Line2D([], [], color=colours[share], lw=widths[share], label=names.share(share), **looks[0])
        for share in shares
    ]
    handles.append(Line2D([], [], color="0.3", label="RankMe, fixed images", **looks[1]))
    handles += [Line2D([], [], **scatter_plot.PAPER)] * (paper is not None and len(paper) > 0)
    place = {"loc": "outside upper center", "ncols": len(handles)}
    fig.legend(handles=handles, title="Share of defects in training", **place)
    return fig


def _chosen(frame: pd.DataFrame, metrics: tuple[str, ...], backbone: str) -> pd.Series:
    return (frame["backbone"] == backbone) & frame["metric"].isin(metrics)


def _title(measured: pd.DataFrame, backbone: str) -> str:
    """The backbone, and how many of its runs collapsed or diverged."""
    verdicts = measured[measured["backbone"] == backbone].drop_duplicates("run")["health"]
    dead = verdicts.isin(("collapsed", "diverged")).sum()
    text = f": {dead} of {len(verdicts)} runs collapsed or diverged (×)" if dead else ""
    return names.label(backbone) + text


def _bands(ax, rows: pd.DataFrame, colours: dict[float, tuple]) -> None:
    """Bands from the lowest to the highest seed of the shares in `colours`; all five would hide one
    another."""
    shown = rows[rows["train_share"].isin([*colours])]
    for (share, _), own in shown.groupby(["train_share", "metric"]):
        ends = own.groupby("epoch")["value"].agg(["min", "max"])
        look = {"color": colours[share], "alpha": 0.2, "linewidth": 0}
        ax.fill_between(ends.index, ends["min"], ends["max"], **look)


def _cross_out(ax, rows: pd.DataFrame, colours: dict) -> None:
    """Cross out the last value of every collapsed or diverged run; `colours` are those of shares,
    but for points, on which a cross of their colour would not be seen."""
    last = rows[rows["epoch"] == rows.groupby("run")["epoch"].transform("max")]
    dead = last[last["health"].isin(("collapsed", "diverged"))]
    colour = [colours[share] for share in dead["train_share"]]
    look = {"marker": "x", "s": 16, "linewidths": 0.8, "zorder": 3}
    ax.scatter(dead["epoch"], dead["value"], c=colour or None, **look)
