"""Frames at which a detector without labels errs, with heat maps where it has them.

rows = gallery.strips(view, detectors.ends(view, 8))
fig = gallery.draw(rows)
"""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lib.analysis import wording
from lib.analysis.detectors import NAMES
from lib.data import gallery as frames
from lib.data import sources
from lib.report import style
from lib.report.image_grid import MARKED
from lib.store import measured
from lib.store.measured import Detected
from lib.study.names import CLASS_NAMES, label


@dataclass
class Strip:
    """A row of frames (h, w, 3) uint8 with captions and boxes; `maps` holds a heat map (p, p) of
    each, of what was not reconstructed, or nothing."""

    title: str
    images: list[np.ndarray]
    captions: list[str]
    boxes: list[pd.DataFrame]
    maps: list[np.ndarray] = field(default_factory=list)


def strips(view: Detected, chosen: pd.DataFrame) -> list[Strip]:
    """A strip for each end in `chosen` (lib.analysis.detectors.ends)."""
    data, maps = view.run.data, {}
    if view.detector == "reconstruction":
        maps = measured.record(view).get("maps", {})
    boxes, images = frames.boxes(data), sources.images(data, "val")
    system = f"{label(view.run.method)}, {label(view.run.backbone)}, {NAMES[view.detector]}"
    rows = []
    for end, part in chosen.groupby("End", sort=False):
        names = list(part["Filename"])
        rows.append(
            Strip(
                f"{end} ({system})",
                [images.read(name) for name in names],
                [_caption(row) for _, row in part.iterrows()],
                [boxes[boxes["Filename"] == name] for name in names],
                [_square(maps[name]) for name in names] if maps else [],
            )
        )
    return rows


def _square(values: list[float]) -> np.ndarray:
    return np.reshape(values, (round(len(values) ** 0.5), -1))


def _caption(row: pd.Series) -> str:
    called = {} if "Class" in row else CLASS_NAMES
    classes = ", ".join(called.get(name, name) for name in frames.classes(row))
    classes = re.sub(r" (?=[\d.]+(,|$))", "\N{NO-BREAK SPACE}", classes)  # "probability 1"
    digits = 1 if abs(row["score"]) >= 0.05 else 2  # its sign decides
    score = wording.minus(f"{{:+.{digits}f}}")(row["score"])
    return f"{score} {classes or ('defect' if row['Defect'] else 'normal')}"


@style.styled
def draw(rows: list[Strip]) -> Figure:
    """The strips below one another; a strip's heat maps, on one scale, lie below its frames."""
    lines = sum(1 + bool(strip.maps) for strip in rows)
    across, image = max(len(strip.images) for strip in rows), rows[0].images[0]
    maps = [np.ravel(part) for strip in rows for part in strip.maps]
    tall = style.DOUBLE / across * image.shape[0] / image.shape[1]
    texts = [_wrapped(strip.captions, across) for strip in rows]
    height = lines * (tall + 0.02) + 0.4 * bool(maps)
    height += style.LINE * sum(2.5 + own[0].count("\n") for own in texts)
    fig, axes = style.panels(lines, across, height)
    fig.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    fig.suptitle(" ", size=style.SIZE)  # room for the first strip's title
    for ax in axes.flat:
        ax.axis("off")
        ax.set_anchor("N")  # of several shapes, one below its caption as the others
    norm = Normalize(*np.quantile(np.concatenate(maps), (0.02, 0.98))) if maps else None
    line = iter(axes)
    for strip, captions in zip(rows, texts, strict=True):
        _draw_frames(next(line), strip, captions)
        if strip.maps:
            _draw_maps(next(line), strip, norm)
    if maps:
        text = "Error of the masked patch (normalised pixels squared)"
        place = {"location": "bottom", "fraction": 0.06, "pad": 0.02, "aspect": 60}
        fig.colorbar(
            ScalarMappable(norm, "inferno"), ax=list(axes[-1]), label=text, extend="both", **place
        )
    return fig


def _wrapped(captions: list[str], across: int) -> list[str]:
    """Captions that fit above one of so many frames, all of equally many lines, the last at it."""
    texts = [style.wrapped(text, style.DOUBLE / across) for text in captions]
    most = max(text.count("\n") for text in texts)
    return ["\n" * (most - text.count("\n")) + text for text in texts]


def _draw_frames(axes: np.ndarray, strip: Strip, captions: list[str]) -> None:
    for ax, image, text, boxes in zip(axes, strip.images, captions, strip.boxes, strict=False):
        ax.imshow(image, interpolation="bicubic")
        # The first line of the title is the strip's.
        ax.set_title(f"\n{text}", fontsize=style.SIZE, loc="left", pad=1.5, linespacing=1.1)
        _draw_boxes(ax, boxes, MARKED)
    look = {"xycoords": "axes fraction", "weight": "bold", "annotation_clip": False}
    above = 3 + 1.32 * style.SIZE * (1 + captions[0].count("\n"))
    title = style.beside(axes[0], strip.title, (0, 1), (0, above), **look)
    title.set_in_layout(False)  # it runs on over the next frames


def _draw_maps(axes: np.ndarray, strip: Strip, norm: Normalize) -> None:
    """Draw heat maps, in the colours of their bar, with the boxes of the frames above them."""
    parts = zip(axes, strip.images, strip.maps, strip.boxes, strict=False)
    for ax, image, values, boxes in parts:
        height, width = image.shape[:2]
        look = {"cmap": "inferno", "norm": norm, "interpolation": "nearest"}
        ax.imshow(values, extent=(-0.5, width - 0.5, height - 0.5, -0.5), **look)
        _draw_boxes(ax, boxes, "white")


def _draw_boxes(ax, boxes: pd.DataFrame, colour: str) -> None:
    for box in boxes.itertuples():
        corner, size = (box.x0 - 0.5, box.y0 - 0.5), (box.x1 - box.x0, box.y1 - box.y0)
        ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=0.7))
