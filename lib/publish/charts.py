"""Interactive charts from the numbers in an artefact's CSV; Plotly draws them in the browser."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lib.analysis import correlation, results
from lib.measures.representation import MEASURES
from lib.report import style
from lib.study import artefacts, names

SCRIPT = Path(px.__file__).parents[1] / "package_data" / "plotly.min.js"
COLOURS = {names.label(method): colour for method, colour in style.PALETTE.items()}
# Shapes of a run by its health, as near to those of lib.report.scatter_plot as Plotly has them.
SYMBOLS = {"healthy": "circle", "no better than random": "triangle-down"}
SYMBOLS |= {"collapsed": "x", "diverged": "cross"}
INTERVAL = "%{customdata[0]}, %{customdata[1]}"
CLEAR = "rgba(0,0,0,0)"  # white comes from the page, where a shadow shows overflow
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#1d1f21"},
    "legend": {"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
    "legend_title": "",
    "margin": {"l": 10, "r": 24, "t": 64},
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "modebar_remove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d"],
    "modebar_bgcolor": CLEAR,
    "modebar_color": "#5b6167",
    "dragmode": False,  # a finger scrolls the page; the toolbar zooms
}


def _over_seeds(measured: pd.DataFrame) -> pd.DataFrame:
    """results.over_seeds, with the interval as text. A CSV does not hold what an interval over
    seeds is made from: there it says how many seeds the mean is of."""
    reduced = results.over_seeds(measured)
    known = reduced["low"].notna()
    ends = reduced["low"].map("{:.2f}–".format) + reduced["high"].map("{:.2f}".format)
    seeds = reduced["seeds"].map(lambda n: f"mean of {n} seeds" if n > 1 else "one seed")
    return reduced.assign(interval=ends.where(known, seeds))


def by_share(measured: pd.DataFrame, _: str) -> go.Figure:
    """F1 and AUROC by share of defects in training: a line per method, a panel per backbone."""
    reduced = _over_seeds(measured[measured["metric"].isin(["f1", "auroc"])])
    reduced["train_share"] = reduced["train_share"].map(names.share)
    for column in ("method", "backbone"):
        reduced[column] = reduced[column].map(names.label)
    reduced["metric"] = reduced["metric"].map(names.METRIC_NAMES)
    fig = px.line(
        reduced,
        x="train_share",
        y="value",
        color="method",
        facet_row="metric",
        facet_col="backbone",
        markers=True,
        custom_data=["interval", "health"],
        color_discrete_map=COLOURS,
        labels={"train_share": "Share of defects in training", "value": "", "method": ""},
    )
    fig.update_traces(hovertemplate=f"%{{fullData.name}}, %{{x}}: %{{y:.2f}} ({INTERVAL})")
    return fig.update_yaxes(range=[0, 1.02]).update_layout(height=640)


def heatmaps(measured: pd.DataFrame, name: str) -> go.Figure:
    """A panel for each metric that the picture of the artefact shows: train by validation share."""
    reduced = _over_seeds(measured)
    metrics = results.measured_metrics(reduced, artefacts.ARTEFACTS[name].parameters["metrics"])
    titles = [names.METRIC_NAMES[metric] for metric in metrics]
    fig = make_subplots(1, len(metrics), shared_yaxes=True, subplot_titles=titles)
    rows, column = ["method", "train_share"], "validation_share"
    for i, metric in enumerate(metrics, 1):
        cut = partial(results.rectangle, reduced, metric, rows, column)
        parts = list(map(cut, ("value", "interval", "health")))
        one = go.Heatmap(
            x=[names.share(share) for share in parts[0].columns],
            y=[", ".join(map(names.label, index)) for index in parts[0].index],
            z=parts[0].to_numpy(),
            customdata=np.dstack([part.to_numpy(object) for part in parts[1:]]),
            texttemplate="%{z:.2f}",
            hovertemplate=f"%{{y}}, %{{x}}: %{{z:.2f}} ({INTERVAL})<extra></extra>",
            coloraxis="coloraxis",
        )
        fig.add_trace(one, 1, i)
    fig.update_xaxes(title="Share of defects in validation", type="category")
    fig.update_yaxes(autorange="reversed", type="category")
    colours = {"colorscale": "Cividis", "cmin": 0, "cmax": 1, "showscale": False}
    return fig.update_layout(coloraxis=colours, height=160 + 19 * len(parts[0]))


def against_rankme(points: pd.DataFrame, _: str) -> go.Figure:
    """F1 against rescaled RankMe: a panel per backbone, colours by method, shapes by verdict."""
    backbones = list(points["backbone"].unique())
    fig = make_subplots(1, len(backbones), subplot_titles=list(map(names.label, backbones)))
    for method in points["method"].unique():
        group = {"name": names.label(method), "legendgroup": method}
        key = {"color": COLOURS[names.label(method)], "size": 9}
        fig.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=key, **group))
        for column, backbone in enumerate(backbones, 1):
            own = points[(points["method"] == method) & (points["backbone"] == backbone)]
            marker = {"color": key["color"], "symbol": own["health"].map(SYMBOLS), "opacity": 1}
            marker |= {"size": 8 + 16 * own["train_share"], "line": {"color": "white", "width": 1}}
            dots = go.Scatter(
                x=own["rescaled"],
                y=own["f1"],
                mode="markers",
                marker=marker,
                customdata=np.stack([own["train_share"].map(names.share), own["health"]], axis=1),
                hovertemplate="%{customdata[0]}, %{customdata[1]}<br>F1 %{y:.2f}, RankMe %{x:.3f}",
                showlegend=False,
                **group,
            )
            fig.add_trace(dots, 1, column)
    ticks = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    fig.update_xaxes(type="log", title="RankMe / min(n, d), log", tickvals=ticks)
    fig.update_yaxes(range=[-0.03, 1.03])
    return fig.update_layout(yaxis_title="F1", height=480)


def label_free(correlated: pd.DataFrame, _: str) -> go.Figure:
    """Rank correlations of measures without labels with each metric, a panel per scope; above 0 is
    where the measure's paper expects them. The bars are the interval for runs like these."""
    shown = correlated[correlated.groupby("scope")["rho"].transform("count") > 0].copy()
    ends = shown["sign"].to_numpy()[:, None] * shown[["low_runs", "rho", "high_runs"]].to_numpy()
    shown["low"], shown["rho"], shown["high"] = np.sort(ends, axis=1).T
    shown["above"], shown["below"] = shown["high"] - shown["rho"], shown["rho"] - shown["low"]
    shown["measure"] = shown["measure"].map(lambda key: MEASURES[key].name)
    shown["metric"] = shown["metric"].map(names.METRIC_NAMES)
    shown["scope"] = shown["scope"].map(correlation.SCOPES)
    fig = px.scatter(
        shown,
        x="measure",
        y="rho",
        color="metric",
        facet_col="scope",
        facet_col_wrap=2,
        error_y="above",
        error_y_minus="below",
        custom_data=["low", "high", "n"],
        color_discrete_sequence=[style.PALETTE[m] for m in ("byol", "dino", "simclr")],
        labels={"measure": "", "rho": "ρ, as expected: up", "metric": ""},
    )
    fig.update_traces(hovertemplate=f"%{{x}}, %{{fullData.name}}: %{{y:.2f}} ({INTERVAL} points)")
    return fig.update_layout(scattermode="group", height=760)


CHARTS: dict[str, Callable[[pd.DataFrame, str], go.Figure]] = {
    "table1": by_share,
    **dict.fromkeys(["fig2", "fig4", "fig5"], heatmaps),
    **dict.fromkeys(["fig9", "fig10"], against_rankme),
    "labelfree": label_free,
}


def chart(name: str, file: Path) -> dict | None:
    """Plotly's `data` and `layout` of the artefact's chart from its CSV; None where it has none."""
    if name not in CHARTS or not file.exists():
        return None
    fig = CHARTS[name](pd.read_csv(file), name)
    # Plotly heads a panel with "column=value".
    fig.for_each_annotation(lambda note: note.update(text=note.text.rpartition("=")[2]))
    fig.update_layout(LAYOUT)
    fig.update_layout(margin_b=110 if any(trace.name for trace in fig.data) else 10)
    fig.update_xaxes(automargin=True)
    fig.update_yaxes(automargin=True)
    return json.loads(fig.to_json())
