"""Forest plots: paired differences by system and effect, and rank correlations of measures.

fig = forest_plot.draw(measured, {"Probe": ("probe", "clean images")}, ("MAE", {}))
fig = forest_plot.correlations(correlated, {"lidar": "LiDAR"}, correlation.SCOPES, ["f1", "auroc"])
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from lib.analysis import correlation
from lib.report import style
from lib.study.names import METRIC_NAMES, NOT_IN_PAPER, label

# Shape, fill and side of the row also differ, so that the two read in grey.
LOOKS = {
    "f1": {"color": "#000000", "marker": "o", "markerfacecolor": "#000000", "markersize": 3},
    "auroc": {"color": style.RED, "marker": "s", "markerfacecolor": "white", "markersize": 2.9},
}
OFFSETS = {"f1": -0.17, "auroc": 0.17}  # from the middle of a row
DECIDED = {"better": style.PALETTE["byol"], "worse": style.RED, "inconclusive": "0.45"}
ROW = 0.165  # inches
UNIT = "Difference"
Key = tuple[str, str]  # an effect, and what is held fixed


@style.styled
def draw(
    measured: pd.DataFrame, panels: dict[str, Key], below: tuple[str, dict[str, Key]]
) -> Figure:
    """Panels side by side on one scale, title -> (effect, held), of `measured` as
    lib.analysis.protocol_effects.measure returns it.

    Rows are systems, grouped by backbone, with the study's own systems in italics; the mean of the
    paper's systems comes last. `below`, a title and name -> (effect, held), are single differences
    on the same scale below the first panel; those that were not measured are left out. F1 is a
    filled circle, AUROC a hollow square.
    """
    rows = _rows(measured[measured["effect"].isin([effect for effect, _ in panels.values()])])
    title, keys = below
    singles = {name: part for name, key in keys.items() if len(part := _of(measured, key))}
    heights = [len(rows), max(len(singles), 1)]
    size = (style.DOUBLE, ROW * sum(heights) + (1.15 if singles else 0.75))
    fig = plt.figure(figsize=size, layout="constrained")
    cells = fig.add_gridspec(2, len(panels), height_ratios=heights)
    first = None
    for i, (heading, key) in enumerate(panels.items()):
        ax = fig.add_subplot(cells[0, i], sharex=first, sharey=first)
        _draw_panel(ax, _of(measured, key), rows)
        ax.set(title=heading, xlabel=UNIT)
        ax.tick_params(labelleft=first is None)
        first = first or ax
    _name(first, rows)
    if singles:
        ax = fig.add_subplot(cells[1, 0], sharex=first)
        single = pd.concat(part.assign(method=name) for name, part in singles.items())
        _draw_panel(
            ax, single, list(dict.fromkeys(zip(single["method"], single["backbone"], strict=True)))
        )
        ax.set(title=title, xlabel=UNIT)
        ax.set_yticks(range(len(singles)), list(singles))
    ax = fig.add_subplot(cells[1, 1:])
    ax.axis("off")
    handles = [
        Line2D([], [], label=METRIC_NAMES[name], markeredgewidth=0.8, **look)
        for name, look in LOOKS.items()
    ]
    ax.legend(handles=handles, loc="lower right", ncols=2)
    return fig


def _of(measured: pd.DataFrame, key: Key) -> pd.DataFrame:
    return measured[(measured["effect"] == key[0]) & (measured["held"] == key[1])]


def _rows(measured: pd.DataFrame) -> list[Key]:
    """(method, backbone) from above: each backbone, as a heading with the method "", its systems,
    then the mean."""
    systems = measured[["method", "backbone"]].drop_duplicates()
    rows = []
    for backbone, own in systems.groupby("backbone", sort=False):
        rows += [("", backbone)] * (backbone != "all")
        rows += [(method, backbone) for method in own["method"]]
    return sorted(rows, key=lambda row: row[1] == "all")


def _draw_panel(ax, measured: pd.DataFrame, rows: list[Key]) -> None:
    """Draw the estimates at the heights of their rows."""
    for y, (method, _) in enumerate(rows):
        if method == "mean":
            ax.axhspan(y - 0.5, y + 0.5, color="0.92", linewidth=0, zorder=0)
        elif method:
            _guide(ax, y)
    for row in measured.itertuples():
        _estimate(ax, rows.index((row.method, row.backbone)), row)
    _frame(ax, len(rows))


def _estimate(ax, y: float, row) -> None:
    look, y = LOOKS[row.metric], y + OFFSETS[row.metric]
    if not np.isnan(row.low):
        bar = {"color": look["color"], "linewidth": 1, "solid_capstyle": "butt"}
        ax.plot([row.low, row.high], [y, y], **bar)
    ax.plot(row.value, y, linestyle="none", markeredgewidth=0.8, **look)


def _guide(ax, y: float) -> None:
    ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)


def _frame(ax, n: int) -> None:
    """A line at 0 and room for `n` rows, the first on top."""
    ax.axvline(0, color="0.45", linewidth=0.6, zorder=1)
    ax.set_ylim(n - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _name(ax, rows: list[Key]) -> None:
    """Write methods as tick labels, and headings in bold."""
    n = sum(method not in ("", "mean", *NOT_IN_PAPER) for method, _ in rows)
    mean = f"Mean of {n} system{'s' * (n > 1)}"
    labels = [mean if method == "mean" else label(method or backbone) for method, backbone in rows]
    ax.set_yticks(range(len(rows)), labels)
    for text, (method, _) in zip(ax.get_yticklabels(), rows, strict=True):
        text.set_weight("normal" if method else "bold")
        text.set_style("italic" if method in NOT_IN_PAPER else "normal")


@style.styled
def correlations(
    measured: pd.DataFrame, names: dict[str, str], scopes: dict[str, str], metrics: Sequence[str]
) -> Figure:
    """Rank correlations, a panel for each of the `metrics`, and last the gain over RankMe in the
    first of them.

    `measured` is lib.analysis.correlation.correlate's. A row is a measure, in the order of `names`,
    under a heading a scope, in the order of `scopes`; both give titles. A scope with too few points
    for any rho is left out. Every rho is drawn in the direction in which its paper expects it:
    further right ranks better. Intervals are those of runs like these; filled: decided. Beside a
    heading stands what is decided under it, in the first metric.
    """
    metric = metrics[0]
    measured = measured[measured.groupby("scope")["rho"].transform("count") > 0]
    scopes = {scope: title for scope, title in scopes.items() if scope in set(measured["scope"])}
    present = set(measured["measure"])
    shown = ["", *(name for name in names if name in present)]
    rows = [(scope, measure) for scope in scopes for measure in shown]
    panels = {f"{METRIC_NAMES[m]}: ρ": (m, "rho", "") for m in metrics}
    panels[f"{METRIC_NAMES[metric]}: ρ minus RankMe’s"] = (metric, "gain", "gain_")
    fig, (axes,) = style.panels(1, len(panels), ROW * len(rows) + 0.75, sharey=True)
    for ax, (title, (name, value, prefix)) in zip(axes, panels.items(), strict=True):
        for y, (_, measure) in enumerate(rows):
            if measure:
                _guide(ax, y)
        for row in measured[measured["metric"] == name].to_dict("records"):
            _correlation(ax, rows.index((row["scope"], row["measure"])), row, value, prefix)
        _frame(ax, len(rows))
        ax.set(title=title, xlabel="Difference" if prefix else "ρ, times the expected sign")
        ax.xaxis.set_major_locator(MultipleLocator(1 if prefix else 0.5))
        end = 2 if prefix else 1  # beyond it no rho, and no difference of two, can lie
        ax.set_xlim(-1.05 * end, 1.05 * end)
    labels = [names.get(measure, scopes[scope]) for scope, measure in rows]
    axes[0].set_yticks(range(len(rows)), labels)
    for text, (_, measure) in zip(axes[0].get_yticklabels(), rows, strict=True):
        text.set_weight("normal" if measure else "bold")
    across = axes[0].get_yaxis_transform()  # the last axes are drawn last, so above all zero lines
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    for scope, sentence in correlation.summaries(measured, metric).items():
        look = {"va": "center", "color": "0.3", "in_layout": False, "bbox": plate}
        place = (0, rows.index((scope, "")))
        axes[-1].text(*place, f"{METRIC_NAMES[metric]}: {sentence}", transform=across, **look)
    return fig


def _correlation(ax, y: float, row: dict, value: str, prefix: str) -> None:
    """Draw one estimate with its interval: a gain in its verdict's colour, a rho in black."""
    if np.isnan(row[value]):
        return
    sign, colour = (1, DECIDED[row["verdict"]]) if prefix else (row["sign"], "#000000")
    low, high = (sign * row[f"{prefix}{end}_runs"] for end in ("low", "high"))
    ax.plot([low, high], [y, y], color=colour, solid_capstyle="butt")
    look = {"color": colour, "markerfacecolor": colour if low * high > 0 else "white"}
    ax.plot(sign * row[value], y, "o", markersize=2.8, markeredgewidth=0.8, **look)
