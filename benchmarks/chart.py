"""speed.png: what benchmarks/results/measured.csv holds, in three panels."""

from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from benchmarks import measure
from lib.publish import docs
from lib.report import style
from lib.study import names
from lib.system.errors import DataError

OURS, MODEL, OTHER = "#0072B2", "#000000", "#E69F00"


def read(part: str) -> pd.DataFrame | None:
    """The part's rows, or None if it was not measured."""
    with suppress(FileNotFoundError, DataError):
        return docs.read_part(measure.RESULTS / "measured.csv", part)
    return None


def on(table: pd.DataFrame) -> str:
    return f", {table['device'].iloc[0]}"


def _whiskers(frame: pd.DataFrame, middle: str) -> np.ndarray:
    low, high = (
        f"{middle}_q1" if middle == "speed" else "q1",
        f"{middle}_q3" if middle == "speed" else "q3",
    )
    return np.abs(np.stack([frame[middle] - frame[low], frame[high] - frame[middle]]))


def inputs(ax, table: pd.DataFrame) -> None:
    """Samples a second of each pipeline, grouped by size of view and of file."""
    table = table[table["unit"] == "two-view samples/s"].reset_index(drop=True)
    groups = table.groupby(["px", "files"], sort=False).ngroup()
    y = np.arange(len(table)) + 0.8 * groups
    colours = [OURS if name.startswith("ours") else OTHER for name in table["measured"]]
    ax.errorbar(
        table["median"],
        y,
        xerr=_whiskers(table, "median"),
        fmt="none",
        ecolor=colours,
        elinewidth=1,
    )
    ax.scatter(table["median"], y, 12, color=colours)
    for at, row in zip(y, table.itertuples(), strict=True):
        ax.annotate(f"  {row.median:,.0f}", (row.q3, at), va="center", fontsize=style.SIZE)
    labels = [f"{row.measured}, {row.px} px from {row.files}" for row in table.itertuples()]
    ax.set(
        yticks=y,
        yticklabels=labels,
        xscale="log",
        xlabel="two-view samples a second",
        title=f"(a) input, {table['device'][0]}",
    )
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter("")
    ax.set_xlim(table["median"].min() / 2, 3 * table["median"].max())
    ax.invert_yaxis()


def steps(ax, table: pd.DataFrame) -> None:
    """Our speed by system, over the model alone and over lightly."""
    systems = table[["method", "backbone"]].drop_duplicates().reset_index(drop=True)
    at = {(row.method, row.backbone): i for i, row in enumerate(systems.itertuples())}
    marks = {"model alone": ("o", MODEL), "lightly": ("s", OTHER), "lightly, 32-true": ("D", OURS)}
    for name, (mark, colour) in marks.items():
        part = table[table["measured"] == name]
        y = [at[row.method, row.backbone] for row in part.itertuples()]
        if len(part):
            ax.errorbar(
                part["speed"],
                y,
                xerr=_whiskers(part, "speed"),
                fmt=mark,
                color=colour,
                markersize=3,
                elinewidth=0.5,
                label=f"over {name}",
            )
    for bar, colour in ((0.85, MODEL), (1.0, OTHER)):
        ax.axvline(bar, color=colour, linewidth=0.5, linestyle="--")
    labels = [
        f"{names.NAMES[row.method]}, {names.NAMES[row.backbone]}" for row in systems.itertuples()
    ]
    ax.set(
        yticks=range(len(labels)),
        yticklabels=labels,
        xlabel="speed of ours end to end (dashed: bars)",
    )
    sizes = " and ".join(map(str, table["px"].unique()))
    ax.set_title(f"(b) training step, {sizes} px{on(table)}")
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="lower right")


def shares(grid: pd.DataFrame | None, redraw: pd.DataFrame | None) -> dict[str, tuple[float, str]]:
    """Of what is allowed, how much was taken, and in words."""
    shares_taken = {}
    for row in () if grid is None else grid.itertuples():
        shares_taken[f"grid, {row.measured}, {row.device}"] = (
            row.ratio / row.bar,
            f"{row.ratio:.2f} of {row.bar:g} x ideal",
        )
        if row.peak_gb == row.peak_gb:  # nan: not known of stored runs
            shares_taken[f"memory of a process, {row.device}"] = (
                row.peak_gb / row.peak_bar,
                f"{row.peak_gb:.1f} of {row.peak_bar:g} GB",
            )
    for row in () if redraw is None else redraw.itertuples():
        shares_taken[row.measured] = row.median / row.bar, f"{row.median:.1f} of {row.bar:g} s"
    return shares_taken


def limits(ax, shares_taken: dict[str, tuple[float, str]]) -> None:
    y, values = np.arange(len(shares_taken)), [value for value, _ in shares_taken.values()]
    ax.barh(y, values, color=OURS)
    for at, (value, words) in zip(y, shares_taken.values(), strict=True):
        ax.annotate(f" {words}", (value, at), va="center", fontsize=style.SIZE)
    ax.axvline(1, color=MODEL, linewidth=0.5, linestyle="--")
    ax.set(
        yticks=y,
        yticklabels=list(shares_taken),
        xlabel="share of what is allowed",
        title="(c, e) grid and figure",
    )
    ax.set_xlim(0, 1.5 * max(1.0, *values))
    ax.invert_yaxis()


def draw() -> Path:
    """Draw the parts that are there to benchmarks/results/speed.png; at least one of (a), (b), (c)
    and (e) is."""
    plots = {
        "input": inputs,
        "steps": steps,
        "input-cuda": inputs,
        "steps-cuda": steps,
        "steps-224-cuda": steps,
    }
    tables = {name: table for name in plots if (table := read(name)) is not None}
    panels = [(plots[name], table) for name, table in tables.items()]
    redraw, grids = read("redraw"), [read("grid"), read("grid-cuda")]
    shares_taken = {words: share for grid in grids for words, share in shares(grid, redraw).items()}
    if shares_taken:
        panels.append((limits, shares_taken))
    where = next(table for table in (*tables.values(), *grids, redraw) if table is not None).iloc[0]
    with plt.rc_context(style.STYLE):
        fig, axes = plt.subplots(
            len(panels),
            squeeze=False,
            figsize=(style.DOUBLE * 0.7, 2.2 * len(panels)),
            layout="constrained",
        )
        for ax, (plot, table) in zip(axes[:, 0], panels, strict=True):
            plot(ax, table)
        fig.text(
            0.5,
            -0.02,
            f"{where['machine']}, {where['cores']} cores, {where['threads']} thread a process, "
            f"torch {where['torch']}; median and quartiles",
            ha="center",
            fontsize=style.SIZE,
        )
        file = measure.RESULTS / "speed.png"
        fig.savefig(file, dpi=200, bbox_inches="tight")
        plt.close(fig)
    return file
