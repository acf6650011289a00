"""How tables and figures look, and how they are saved: style, heatmaps, tables, captions, footers. Knows no torch.

fig = report.heatmap({"F1": frame}, xlabel="Validation share", ylabel="Train share")
report.save("fig2", fig, measured, facts, caption="...", output=output)
"""

import os
import textwrap
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from lib import metrics, paths, seeds, study

if TYPE_CHECKING:
    from lib.tables import Table

SINGLE, DOUBLE = 89 / 25.4, 183 / 25.4  # inches: one column and two of a journal page
DPI = 300

# Okabe and Ito (2008), told apart with any colour vision; one colour a method, everywhere.
PALETTE = {
    "supervised": "#000000", "byol": "#0072B2", "barlow": "#56B4E9", "simclr": "#009E73", "dino": "#E69F00",
    "mae": "#D55E00", "mae-released": "#CC79A7", "random": "#999999",
}  # fmt: skip
# Of added methods, over again where there are more: the yellow left of those eight, then Tol's muted (2021).
PALETTE |= dict(zip(study.ADDED, cycle(("#F0E442", "#332288", "#44AA99", "#882255", "#999933")), strict=False))
APART = (*study.ADDED, *study.UNTRAINED)  # rows of ours, not of the paper: set off from the others
METRICS = {
    "f1": "F1", "f2ciw": "F2CIW", "f1_normal": "F1Normal", "precision": "Precision", "recall": "Recall",
    "auroc": "AUROC", "ap": "AP", "recall_at_5": "Recall at 5 % false alarms",
}  # fmt: skip
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 6.5, "axes.titlesize": 7, "axes.labelsize": 6.5, "legend.fontsize": 6,
    "xtick.labelsize": 6, "ytick.labelsize": 6, "axes.linewidth": 0.5, "lines.linewidth": 1, "grid.linewidth": 0.4,
    "axes.spines.top": False, "axes.spines.right": False,
    "pdf.fonttype": 42, "svg.hashsalt": "ssl-anomaly",
}  # fmt: skip
NOTE = 5.5  # points, of captions and footers
KEYS = ("method", "backbone", "train_share", "validation_share", "metric")  # what one value of the grid belongs to


VERDICTS = ("diverged", "collapsed", "no better than random", "healthy")  # of lib.runs.health, worst first
MARKS = {"diverged": "†", "collapsed": "†", "no better than random": "°", "healthy": ""}


def marked(facts: dict[str, Any]) -> str:
    """What the marks of unhealthy runs mean, as a sentence with a leading blank; "" where all are healthy.

    `facts` is lib.provenance.of_runs.
    """
    counts, every = facts["health"], sum(facts["health"].values())
    dead = counts.get("collapsed", 0) + counts.get("diverged", 0)
    told = f" †: collapsed or diverged ({dead} of {every} runs)." * bool(dead)
    weak = counts.get("no better than random", 0)
    return told + (f" °: AUROC not above that of the backbone as initialised ({weak} of {every})." if weak else "")


def share(value: float | None) -> str:
    """A share as the tables print it: `1 %`, or `natural`."""
    return "natural" if value is None or np.isnan(value) else f"{100 * value:g} %"


def label(part: Any) -> str:
    """The printed name of a method, a backbone, a share, or anything else."""
    return share(part) if part is None or isinstance(part, float) else study.NAMES.get(part, str(part))


def over_seeds(measured: pd.DataFrame, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """One row per combination of `keys`: the mean over seeds, and its 95 % interval by draws of seeds, then of videos.

    With one seed the interval is its own, and knows nothing of the spread over seeds. `health`: the worst of the runs.
    Raises KeyError for several seeds without the column `draws` of lib.runs.measure.
    """
    reduced = (
        measured.assign(health=pd.Categorical(measured["health"], VERDICTS, ordered=True))
        .groupby(list(keys), sort=False, dropna=False, observed=True)
        .agg(value=("value", "mean"), low=("low", "mean"), high=("high", "mean"),
             seeds=("seed", "nunique"), health=("health", "min"))
        .reset_index()
        .astype({"health": str})
    )  # fmt: skip
    if measured["seed"].nunique() > 1:
        groups = measured.groupby(list(keys), sort=False, dropna=False, observed=True)
        ends = [metrics.interval(seeds.mean(rows["seed"], rows["draws"])) for _, rows in groups]
        reduced["low"], reduced["high"] = np.array(ends).T
    return reduced


def known(reduced: pd.DataFrame, metrics: list[str]) -> list[str]:
    """Those of `metrics` that have a value anywhere: without class columns F2CIW has none."""
    return [name for name in metrics if reduced.loc[reduced["metric"] == name, "value"].notna().any()]


def grid(reduced: pd.DataFrame, metric: str, rows: list[str], column: str, what: str = "value") -> pd.DataFrame:
    """The rows of one metric as a rectangle, `rows` by `column`, in the order in which they come."""
    one = reduced[reduced["metric"] == metric]
    wide = one.set_index([*rows, column])[what].unstack(column, sort=False)
    return wide.rename_axis(columns=None)


def ink(colour: tuple[float, ...]) -> str:
    """Black or white, whichever stands out on `colour` (relative luminance, WCAG 2)."""
    rgb = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "black" if 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] > 0.18 else "white"


def _group_lines(ax, frame: pd.DataFrame, labelled: bool) -> None:
    """Lines between groups of rows, doubled before the rows set apart, and the groups' names on the left."""
    groups = frame.index.get_level_values(0)
    starts = [i for i in range(len(groups)) if i == 0 or groups[i] != groups[i - 1]]
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        apart = groups[start] in APART
        if start:
            ax.axhline(start - 0.5, color="white", linewidth=4 if apart else 2)
            ax.axhline(start - 0.5, color="black", linewidth=0.6, linestyle=(0, (4, 2)) if apart else "-")
        if labelled:
            name = study.NAMES.get(groups[start], str(groups[start])).replace(" ", "\n", 1)
            ax.annotate(name, (0, (start + end - 1) / 2), xycoords=("axes fraction", "data"), xytext=(-24, 0),
                        textcoords="offset points", ha="right", va="center", style="italic" if apart else "normal",
                        annotation_clip=False)  # fmt: skip


def _write_cell(ax, i: int, j: int, value: float, mark: str, theirs: float, colour: Callable[[float], tuple]) -> None:
    """A cell's value and mark; the paper's below it, if there is one: a hollow circle in its colour, and its number."""
    around = ink(colour(value))
    below = not np.isnan(theirs)
    look = {"ha": "center", "va": "center", "fontsize": 5.5, "color": around}
    ax.text(j, i - 0.24 * below, "–" if np.isnan(value) else f"{value:.2f}", **look)
    beside = {"xytext": (6.2, 0), "textcoords": "offset points", "ha": "left", "va": "center"}
    ax.annotate(mark, (j, i - 0.24 * below), fontsize=5, color=around, **beside)
    if below:
        left = offset_copy(ax.transData, ax.figure, x=-8, units="points")
        circle = {"marker": "o", "markerfacecolor": "none", "transform": left}
        ax.plot(j, i + 0.17, markersize=4.4, markeredgecolor=colour(theirs), markeredgewidth=1.5, **circle)
        ax.plot(j, i + 0.17, markersize=6.2, markeredgecolor=around, markeredgewidth=0.4, **circle)
        ax.annotate(f"{theirs:.2f}", (j, i + 0.19), xytext=(3.5, 0), textcoords="offset points", **look)


def _outline(ax, frame: pd.DataFrame, cell: tuple[Any, Any]) -> None:
    """A frame around the cell (row, column), if there is one; seen on light and on dark."""
    if cell[0] in frame.index and cell[1] in frame.columns:
        corner = (frame.columns.get_loc(cell[1]) - 0.5, frame.index.get_loc(cell[0]) - 0.5)
        for weight, colour in ((2.4, "white"), (1, "black")):
            ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=weight, clip_on=False,
                                       zorder=3))  # fmt: skip


def heatmap(panels: dict[str, pd.DataFrame], *, xlabel: str, ylabel: str, label: str = "", width: float | None = None,
            health: dict[str, pd.DataFrame] | None = None, limits: tuple[float, float] = (0, 1),
            name: Callable[[Any], str] = share, paper: dict[str, pd.DataFrame] | None = None,
            outlined: tuple[Any, Any] | None = None) -> Figure:  # fmt: skip
    """Annotated heatmaps side by side on one colour scale.

    Rows are the frames' index (one level, or group and row), columns theirs; `name` turns both into tick labels. Cells
    whose verdict in `health` is not "healthy" get its mark, those with a number in `paper` a hollow circle of it; the
    cell (row, column) `outlined` gets a frame. The colours differ in lightness, so they also read in grey.
    """
    with plt.rc_context(STYLE):
        first = next(iter(panels.values()))
        width = width or (SINGLE if len(panels) == 1 else DOUBLE)
        two = paper is not None and any(frame.notna().any(axis=None) for frame in paper.values())
        height = (0.28 if two else 0.165) * len(first)
        size = (width, height + 0.75 + 0.12 * bool(label))
        fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
        colours, norm = plt.get_cmap("cividis"), mpl.colors.Normalize(*limits)
        for ax, (title, frame) in zip(axes[0], panels.items(), strict=True):
            image = ax.imshow(frame.to_numpy(float), cmap=colours, norm=norm, aspect="auto")
            for (i, j), value in np.ndenumerate(frame.to_numpy(float)):
                mark = MARKS[health[title].iat[i, j]] if health else ""
                theirs = paper[title].iat[i, j] if two else np.nan
                _write_cell(ax, i, j, value, mark, theirs, lambda v: colours(norm(v)))
            if outlined:
                _outline(ax, frame, outlined)
            ax.set_title(title)
            ax.set_xticks(range(frame.shape[1]), [name(c) for c in frame.columns])
            ax.set_yticks(range(len(frame)), [name(r) for r in frame.index.get_level_values(-1)])
            ax.set_xlabel(xlabel)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            if frame.index.nlevels == 2:
                _group_lines(ax, frame, labelled=ax is axes[0][0])
        if first.index.nlevels == 2:  # the groups' names stand where the label would
            axes[0][0].annotate(ylabel, (0, 1), xycoords="axes fraction", xytext=(-4, 4), textcoords="offset points",
                                ha="right", va="bottom")  # fmt: skip
        else:
            axes[0][0].set_ylabel(ylabel)
        thick = 0.08  # inches, whatever the number of rows
        bar = fig.colorbar(image, ax=list(axes[0]), location="bottom", fraction=thick / height, label=label,
                           pad=0.05 / height, aspect=(width - 0.8) / thick)  # fmt: skip
        bar.outline.set_visible(False)
        return fig


def footer(facts: dict[str, Any], protocol: str | list[str]) -> str:
    """Where the numbers come from: data, profile, protocol, seeds, n, intervals, runs.

    What does not apply is left out: protocols where the list is empty, intervals where `bootstrap_unit` is, and all
    that concerns runs where `facts` holds none (lib.provenance.of_data).
    """
    if "fresh" not in facts:
        images = f"{facts['n_training']:,} training and {facts['n_validation']:,} validation images"
        return f"Data: {facts['data']}. Profile {facts['profile']}: {images}. No run is read."
    rules = {name: study.PROTOCOLS[name] for name in ([protocol] if isinstance(protocol, str) else protocol)}
    read = "; ".join(f"{name}: {rule.probe} probe, shares by {rule.sampling}" for name, rule in rules.items())
    read = f"Protocol {read}. " if rules else ""
    several = len(facts["seeds"]) > 1
    drawn = f"{'Means over seeds' if several else 'One seed,'} {', '.join(map(str, facts['seeds']))}"
    epochs = " or ".join(str(e) for e in facts["epochs"]) + (" epoch" if facts["epochs"] == [1] else " epochs")
    images = f"n = {facts['n_validation']:,} validation images"
    if facts["bootstrap_unit"] == "videos":
        images += f" of {facts['n_groups']:,} videos"
    if facts["bootstrap_unit"]:
        nested = facts["bootstrap_unit"] in ("videos", "images")  # others are the runs themselves
        images += f"; 95 % intervals: bootstrap over {'seeds, then ' * (several and nested)}{facts['bootstrap_unit']}"
        images += ", without the spread over seeds" * (nested and not several)
    return (
        f"Data: {facts['data']}. Profile {facts['profile']}: {facts['px']} px, backbone width x {facts['width']:g}, "
        f"{epochs}{', fixed, so small train shares get fewer steps' * (facts['train_shares'] > 1)}. "
        f"{read}{drawn}. {images}. "
        f"Runs: {facts['fresh']} fresh, {facts['reference']} from the reference."
    )


def _write_below(fig: Figure, caption: str, note: str) -> None:
    """Caption and footer under the figure, which grows by their height; a second call replaces the first."""
    for text in [t for t in fig.texts if t.get_gid() == "below"]:
        text.remove()
    height = fig.height_above = getattr(fig, "height_above", fig.get_figheight())
    width = fig.get_figwidth()
    columns = int(width * 72 / (0.53 * NOTE))  # a letter is about 0.53 of the size wide
    blocks = [textwrap.fill(part.replace(" %", "\N{NO-BREAK SPACE}%"), columns) for part in (caption, note)]
    line = 1.35 * NOTE / 72
    counts = [block.count("\n") + 1 for block in blocks]
    below = line * (sum(counts) + 1)
    fig.set_size_inches(width, height + below)
    above = (0, below / (height + below), 1, height / (height + below))
    if fig.axes[0].get_gid() == "page":  # a table places its text itself
        fig.axes[0].set_position(above)
    else:
        fig.set_layout_engine("constrained", rect=above)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # laid out once, not once a file
    y = (below - 0.3 * line) / (height + below)
    for block, count, colour in zip(blocks, counts, ("black", "0.35"), strict=True):
        fig.text(0.04 / width, y, block, va="top", size=NOTE, color=colour, linespacing=1.2, gid="below")
        y -= line * (count + 0.2) / (height + below)


def _put(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside, then rename into place: no reader sees half a file."""
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def save(artefact: str, content: "Figure | Table", measured: pd.DataFrame, facts: dict[str, Any], *,
         protocol: str | list[str], caption: str, output: str | Path = "") -> list[Path]:  # fmt: skip
    """Write PNG, PDF and CSV, of a `lib.tables.Table` also Markdown and LaTeX, and return their paths.

    All but the CSV carry caption and footer. `output` is the folder; without it, as when a reader steps through, they
    go to `build/<profile>/stepped/`, beside what `make` rendered and never over it. Equal content gives equal bytes.
    """
    folder = Path(output) if output else paths.BUILD / facts["profile"] / "stepped"
    folder.mkdir(parents=True, exist_ok=True)
    note, path, plain = footer(facts, protocol), folder / artefact, measured.drop(columns="draws", errors="ignore")
    fig = content if isinstance(content, Figure) else content.draw()
    png = {"dpi": DPI, "metadata": {"Software": None}}
    pdf = {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}}
    with plt.rc_context(STYLE):
        _write_below(fig, caption, note)
        written = [_put(path.with_suffix(".png"), lambda p: fig.savefig(p, **png)),
                   _put(path.with_suffix(".pdf"), lambda p: fig.savefig(p, **pdf))]  # fmt: skip
    written.append(_put(path.with_suffix(".csv"), lambda p: plain.to_csv(p, index=False, float_format="%.6f")))
    if not isinstance(content, Figure):
        markdown = f"{content.markdown()}\n\n{caption}\n\n*{note}*\n"
        comment = "".join(f"% {line}\n" for line in textwrap.wrap(f"{caption} {note}", 110))
        written.append(_put(path.with_suffix(".md"), lambda p: p.write_text(markdown)))
        written.append(_put(path.with_suffix(".tex"), lambda p: p.write_text(f"{content.latex()}\n{comment}")))
        plt.close(fig)
    return written
