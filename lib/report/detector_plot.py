"""Detectors without labels, and the probe, by train share.

fig = detector_plot.draw(results.over_seeds(measured, detectors.KEYS))
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.analysis.detectors import NAMES
from lib.report import style
from lib.study.names import METRIC_NAMES, label, share

# The probe is black; shapes differ too, so that curves read in grey.
LOOKS = {
    name: {"color": colour, "marker": marker, "markersize": 2.6, "linewidth": 0.9}
    for name, colour, marker in zip(
        NAMES, ["black", *style.steps(4), style.RED], "Dos^vX", strict=True
    )
}
LINES = {"labels": "-", "normals": "-", "unlabelled": (0, (3, 1.5))}  # of a setting
FITTED = {"normals": "normals alone", "unlabelled": "the unlabelled subset"}
ACROSS = 4  # panels side by side


@style.styled
def draw(reduced: pd.DataFrame, metric: str = "auroc") -> Figure:
    """`metric` by train share, a panel a system and a curve a detector: solid where it is fitted on
    normals, dashed where on the unlabelled subset."""
    rows = reduced[reduced["metric"] == metric]
    systems = rows.groupby(["method", "backbone"], sort=False)
    places = {p: place for place, p in enumerate(sorted(rows["train_share"].unique()))}
    lines = -(-(systems.ngroups + 1) // ACROSS)  # the legend takes a panel's room
    fig, grid = style.panels(lines, ACROSS, 1.25 * lines + 0.2, sharex=True, sharey=True)
    axes = list(grid.flat)
    for ax, ((method, backbone), own) in zip(axes, systems, strict=False):
        ax.axhline(0.5, color="0.8", linewidth=0.5, zorder=0)
        for (detector, setting), curve in own.groupby(["detector", "setting"], sort=False):
            curve = curve.sort_values("train_share")
            x = curve["train_share"].map(places)
            ax.plot(x, curve["value"], linestyle=LINES[setting], **LOOKS[detector])
        for row in own[own["detector"] == "probe"].itertuples():
            point = (places[row.train_share], row.value)
            style.beside(ax, style.MARKS[row.health], point, (0, 2.5), ha="center")
        ax.set_title(f"{label(method)}, {label(backbone)}", pad=3)
    for ax in axes[systems.ngroups :]:
        ax.axis("off")
    for ax in axes[max(0, systems.ngroups - ACROSS) : systems.ngroups]:
        ax.set_xticks(range(len(places)), map(share, places))
        ax.set_xlabel("Defects in training")
        ax.tick_params(labelbottom=True)
    for ax in grid[:, 0]:
        ax.set_ylabel(METRIC_NAMES[metric])
    present = set(rows["detector"])
    handles = [Line2D([], [], label=NAMES[n], **LOOKS[n]) for n in NAMES if n in present]
    for setting, data in FITTED.items():
        look = {"color": "0.3", "linewidth": 0.9, "linestyle": LINES[setting]}
        handles.append(Line2D([], [], label=f"fitted on {data}", **look))
    axes[systems.ngroups].legend(handles=handles, loc="center left", frameon=False)
    return fig
