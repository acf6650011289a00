"""Photographs in a grid, with captions and boxes."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.report.style import DOUBLE, STYLE

MARKED, OTHER = (
    "#E3001B",
    "#00D5FF",
)  # boxes on grey and brown pipes: the class that the paper marks in red, the rest


def draw(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    boxes: Sequence[pd.DataFrame],
    red: Sequence[bool],
    *,
    marked: str = "OS",
    columns: int = 6,
) -> Figure:
    """Frames (h, w, 3) uint8 with captions above, and boxes (Class, x0, y0, x1, y1 in their pixels)
    where known.

    Boxes of the class `marked` are red and solid, the others cyan and dashed: told apart in grey,
    too. `red` says which frames show that class: so are their captions.
    """
    rows = -(-len(images) // columns)
    tall = max(image.shape[0] / image.shape[1] for image in images)
    wrapped = [textwrap.fill(text, 27) for text in captions]
    lines = [
        1 + max(text.count("\n") for text in wrapped[i : i + columns])
        for i in range(0, len(wrapped), columns)
    ]
    height = rows * (DOUBLE / columns * tall + 0.02) + 0.105 * sum(lines) + 0.2
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            rows, columns, figsize=(DOUBLE, height), squeeze=False, layout="constrained"
        )
        fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
        for ax in axes.flat:
            ax.axis("off")
        for ax, image, text, found, is_red in zip(
            axes.flat, images, wrapped, boxes, red, strict=False
        ):
            ax.imshow(image, interpolation="bicubic")
            ax.set_title(
                text,
                fontsize=5.8,
                loc="left",
                pad=2,
                linespacing=1.05,
                color=MARKED if is_red else "black",
            )
            for row in found.itertuples():
                _box(ax, row, row.Class == marked)
        present = {row for found in boxes for row in found["Class"]}
        handles = [_box_handle(f"{marked}, which the paper marks in red", True)] * (
            marked in present
        )
        handles += [_box_handle("other defects, where they were drawn", False)] * bool(
            present - {marked}
        )
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
    line.set_path_effects(
        [
            patheffects.Stroke(linewidth=line.get_linewidth() + 0.7, foreground="black", alpha=0.5),
            patheffects.Normal(),
        ]
    )


def _box_handle(name: str, red: bool) -> Line2D:
    return Line2D([], [], label=name, **_edge(red))
