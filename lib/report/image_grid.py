"""Photographs in a grid, with captions and boxes.

fig = image_grid.draw(images, ["Normal", "OS"], [no_boxes, boxes], red=[False, True])
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageOps

from lib.data.pixels import square
from lib.report import style

SHOWN = 240  # px a side, of an image beside what networks read of it
# Boxes show on grey and on brown pipes; the class that the paper marks in red is red.
RED = "OS"
MARKED, OTHER = "#E3001B", "#00D5FF"


@style.styled
def draw(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    boxes: Sequence[pd.DataFrame],
    red: Sequence[bool],
    *,
    columns: int = 6,
) -> Figure:
    """Frames (h, w, 3) uint8, captions above, known boxes (Class, x0, y0, x1, y1 in their pixels).

    Boxes of the class `RED` are red and solid, the others cyan and dashed, so that they differ
    in grey, too. `red` says which frames show that class; their captions are red.
    """
    rows = -(-len(images) // columns)
    tall = max(image.shape[0] / image.shape[1] for image in images)
    wrapped = [style.wrapped(text, style.DOUBLE / columns) for text in captions]
    lines = sum(
        1 + max(text.count("\n") for text in wrapped[i : i + columns])
        for i in range(0, len(wrapped), columns)
    )
    height = rows * (style.DOUBLE / columns * tall + 0.02) + 0.125 * lines + 0.2
    fig, axes = style.panels(rows, columns, height)
    fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0.01, hspace=0.01)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, text, own, is_red in zip(axes.flat, images, wrapped, boxes, red, strict=False):
        ax.imshow(image, interpolation="bicubic")
        look = {"fontsize": style.SIZE, "color": MARKED if is_red else "black", "linespacing": 1.05}
        ax.set_title(text, loc="left", pad=2, **look)
        for box in own.itertuples():
            _draw_box(ax, box, _edge(box.Class == RED))
        if own["Class"].nunique() > 1:
            _name_boxes(ax, own, image.shape[1] * columns / style.DOUBLE)
    present = {name for own in boxes for name in own["Class"]}
    labels = {True: f"{RED}, which the paper marks in red"} if RED in present else {}
    if present - {RED}:
        labels[False] = "other defects, where they were drawn"
    if labels:
        handles = [Line2D([], [], label=text, **_edge(red)) for red, text in labels.items()]
        fig.legend(handles=handles, loc="outside upper left", ncols=2)
    return fig


def beside(image: np.ndarray, cache: int, px: int) -> np.ndarray:
    """The image (h, w, 3) uint8 as stored, whole on a white square, and right of it what networks
    read of it: `px` pixels a side, of a square of `cache` pixels."""
    stored = ImageOps.pad(Image.fromarray(image), (SHOWN, SHOWN), color="white")
    read = Image.fromarray(square(square(image, cache), px)).resize((SHOWN, SHOWN), Image.NEAREST)
    return np.hstack([stored, np.full((SHOWN, SHOWN // 30, 3), 255, np.uint8), read])


def _edge(red: bool) -> dict[str, Any]:
    if red:
        return {"color": MARKED, "linewidth": 1.3}
    return {"color": OTHER, "linewidth": 0.9, "linestyle": (0, (3, 1.5))}


def _draw_box(ax, box, edge: dict[str, Any]) -> None:
    """Draw a box's outline with a dark edge, so that it also shows on light walls."""
    (left, right), (top, bottom) = (box.x0 - 0.5, box.x1 - 0.5), (box.y0 - 0.5, box.y1 - 0.5)
    x, y = [left, right, right, left, left], [top, top, bottom, bottom, top]
    (line,) = ax.plot(x, y, **edge)
    dark = patheffects.Stroke(linewidth=edge["linewidth"] + 0.7, foreground="black", alpha=0.5)
    line.set_path_effects([dark, patheffects.Normal()])


def _name_boxes(ax, boxes: pd.DataFrame, inch: float) -> None:
    """Write the class of every box in that of its corners which is furthest from the classes that
    are there; `inch` is one in pixels."""
    high, plate = style.LINE * inch, {"facecolor": "black", "edgecolor": "none", "pad": 0.8}
    middles: list[np.ndarray] = []
    for box in boxes.itertuples():
        wide = (len(box.Class) * style.LETTER + 0.05) * inch
        x, y = (box.x0 + wide / 2, box.x1 - wide / 2), (box.y0 + high / 2, box.y1 - high / 2)
        corners = list(map(np.array, product(x, y)))
        apart = [min((np.abs(c - m).max() for m in middles), default=0) for c in corners]
        middles.append(corners[int(np.argmax(apart))])
        look = {"ha": "center", "va": "center", "bbox": plate}
        ax.text(*middles[-1], box.Class, color=_edge(box.Class == RED)["color"], **look)
