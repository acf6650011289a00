"""Forest plots: paired differences, a row a system, a panel an effect; and rank correlations. Knows
no torch.

fig = forest.draw(measured, {"Probe": ("probe", "clean images")}, ("MAE", {"protocol clean": ("mae", "clean")}))
fig = forest.correlations(association.correlate(points), {"lidar": "LiDAR"}, association.SCOPES, "f1")
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from lib.report.style import DOUBLE, STYLE
from lib.study.names import APART, METRIC_NAMES, label

# Told apart by shape, fill and side of the row as well: they read in grey, and with any colour
# vision.
LOOK = {
    "f1": {"color": "#000000", "marker": "o", "markerfacecolor": "#000000", "markersize": 3},
    "auroc": {"color": "#D55E00", "marker": "s", "markerfacecolor": "white", "markersize": 2.9},
}
OFFSET = {"f1": -0.17, "auroc": 0.17}  # of a row
ROW = 0.165  # inches
UNIT = "Difference, 95 % interval"
Key = tuple[str, str]  # effect, what is held fixed


def draw(
    measured: pd.DataFrame, panels: dict[str, Key], below: tuple[str, dict[str, Key]]
) -> Figure:
    """Panels side by side on one scale, title -> (effect, held), of `measured` as
    lib.analysis.protocol_effects.measure returns it.

    Rows are systems, grouped by backbone, those that are not the paper's in italics; the mean of
    the paper's systems comes last. `below`, a title and name -> (effect, held), are single
    differences, on the same scale below the first panel, left out where they were not measured. F1
    is a filled circle, AUROC a hollow square.
    """
    rows = _rows(measured[measured["effect"].isin([effect for effect, _ in panels.values()])])
    strip = {name: found for name, key in below[1].items() if len(found := _of(measured, key))}
    with plt.rc_context(STYLE):
        heights = [len(rows), max(len(strip), 1)]
        fig = plt.figure(
            figsize=(DOUBLE, ROW * sum(heights) + (1.15 if strip else 0.75)), layout="constrained"
        )
        cells = fig.add_gridspec(2, len(panels), height_ratios=heights)
        first = None
        for i, (title, key) in enumerate(panels.items()):
            ax = fig.add_subplot(cells[0, i], sharex=first, sharey=first)
            _panel(ax, _of(measured, key), [row[:2] for row in rows])
            ax.set(title=title, xlabel="" if strip and i == 0 else UNIT)
            ax.tick_params(labelleft=first is None)
            first = first or ax
        _names(first, rows)
        if strip:
            _strip(fig.add_subplot(cells[1, 0], sharex=first), below[0], strip)
        ax = fig.add_subplot(cells[1, 1:])
        ax.axis("off")
        handles = [
            Line2D([], [], label=METRIC_NAMES[name], markeredgewidth=0.8, **look)
            for name, look in LOOK.items()
        ]
        ax.legend(handles=handles, loc="lower right", ncols=2, frameon=False)
        plt.close(fig)
        return fig


def _of(measured: pd.DataFrame, key: Key) -> pd.DataFrame:
    return measured[(measured["effect"] == key[0]) & (measured["held"] == key[1])]


def _rows(measured: pd.DataFrame) -> list[tuple[str, str, bool]]:
    """(method, backbone, whether it is a heading), from above: each backbone, its systems, then the
    mean."""
    systems = measured[["method", "backbone"]].drop_duplicates()
    rows = []
    for backbone in dict.fromkeys(systems["backbone"]):
        methods = systems.loc[systems["backbone"] == backbone, "method"]
        if backbone != "all":
            rows.append(("", backbone, True))
        rows += [(method, backbone, False) for method in methods]
    return sorted(rows, key=lambda row: row[1] == "all")


def _panel(ax, found: pd.DataFrame, rows: list[tuple[str, str]]) -> None:
    """The estimates of `found` at the heights of their rows."""
    height = {row: y for y, row in enumerate(rows)}
    for y, (method, _) in enumerate(rows):
        if method == "mean":
            ax.axhspan(y - 0.5, y + 0.5, color="0.92", linewidth=0, zorder=0)
        elif method:
            ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)
    for row in found.itertuples():
        _estimate(ax, height[row.method, row.backbone], row)
    _frame(ax, len(rows))


def _strip(ax, title: str, strip: dict[str, pd.DataFrame]) -> None:
    """Single differences, a row each."""
    for y, found in enumerate(strip.values()):
        ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)
        for row in found.itertuples():
            _estimate(ax, y, row)
    _frame(ax, len(strip))
    ax.set(title=title, xlabel=UNIT)
    ax.set_yticks(range(len(strip)), list(strip))


def _estimate(ax, y: float, row) -> None:
    look, y = LOOK[row.metric], y + OFFSET[row.metric]
    if not np.isnan(row.low):
        ax.plot(
            [row.low, row.high], [y, y], color=look["color"], linewidth=1, solid_capstyle="butt"
        )
    ax.plot(row.value, y, linestyle="none", markeredgewidth=0.8, **look)


def _frame(ax, n: int) -> None:
    ax.axvline(0, color="0.45", linewidth=0.6, zorder=1)
    ax.set_ylim(n - 0.5, -0.5)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _names(ax, rows: list[tuple[str, str, bool]]) -> None:
    """Methods as tick labels, headings in bold."""
    n = sum(method not in ("", "mean", *APART) for method, _, _ in rows)
    mean = f"Mean of {n} system{'s' * (n > 1)}"
    named = [
        mean if method == "mean" else label(method or backbone) for method, backbone, _ in rows
    ]
    ax.set_yticks(range(len(rows)), named)
    for text, (method, _, heading) in zip(ax.get_yticklabels(), rows, strict=True):
        text.set_weight("bold" if heading else "normal")
        text.set_style("italic" if method in APART else "normal")


# Correlations of measures

DECIDED = {
    "better": "#0072B2",
    "worse": "#D55E00",
    "inconclusive": "0.45",
    "": "#000000",
}  # ink of a gain, by verdict


def correlations(
    measured: pd.DataFrame, names: dict[str, str], scopes: dict[str, str], metric: str
) -> Figure:
    """Rank correlations, a panel a metric, and last the gain over RankMe in `metric`.

    `measured` is lib.analysis.correlation.correlate's. A row is a measure, in the order of `names`,
    under a heading a scope, in the order of `scopes`; both give titles. Every rho is drawn in the
    direction expected of it, so what lies to the right ranks as its paper says. Thick: the interval
    of these runs; thin: of runs like these. Filled: decided.
    """
    present = set(measured["measure"])
    rows = [
        (scope, measure)
        for scope in scopes
        for measure in ("", *(m for m in names if m in present))
    ]
    height = {row: y for y, row in enumerate(rows)}
    panels = {f"{METRIC_NAMES[m]}: rho": (m, "rho", "") for m in measured["metric"].unique()}
    panels[f"{METRIC_NAMES[metric]}: rho over RankMe’s"] = (metric, "gain", "gain_")
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            1,
            len(panels),
            figsize=(DOUBLE, ROW * len(rows) + 0.75),
            sharey=True,
            layout="constrained",
        )
        for ax, (title, (name, value, prefix)) in zip(axes, panels.items(), strict=True):
            for y in (y for y, (_, measure) in enumerate(rows) if measure):
                ax.axhline(y, color="0.93", linewidth=0.5, zorder=0)
            for row in measured[measured["metric"] == name].to_dict("records"):
                _correlation(ax, height[row["scope"], row["measure"]], row, value, prefix)
            _frame(ax, len(rows))
            ax.set(title=title, xlabel="Difference" if prefix else "As expected: right")
            ax.xaxis.set_major_locator(MultipleLocator(1 if prefix else 0.5))
            if not prefix:
                ax.set_xlim(-1.05, 1.05)
        axes[0].set_yticks(
            range(len(rows)), [names.get(measure, scopes[scope]) for scope, measure in rows]
        )
        for text, (_, measure) in zip(axes[0].get_yticklabels(), rows, strict=True):
            text.set_weight("normal" if measure else "bold")
        plt.close(fig)
        return fig


def _correlation(ax, y: float, row: dict, value: str, prefix: str) -> None:
    """One estimate with both intervals; a gain in the ink of its verdict, a rho in black."""
    if np.isnan(row[value]):
        return
    sign = 1 if prefix else row["sign"]
    colour = DECIDED[row["verdict"]] if prefix else DECIDED[""]
    for suffix, weight in (("_runs", 0.7), ("", 2)):
        ends = [sign * row[f"{prefix}low{suffix}"], sign * row[f"{prefix}high{suffix}"]]
        ax.plot(ends, [y, y], color=colour, linewidth=weight, solid_capstyle="butt")
    decided = row[f"{prefix}low_runs"] * row[f"{prefix}high_runs"] > 0
    ax.plot(
        sign * row[value],
        y,
        "o",
        color=colour,
        markersize=2.8,
        markeredgewidth=0.8,
        markerfacecolor=colour if decided else "white",
    )
