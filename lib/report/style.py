"""Colours, sizes and marks of every figure."""

import textwrap
from collections.abc import Callable
from functools import wraps
from itertools import cycle

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from lib.study import names

SINGLE, DOUBLE = 89 / 25.4, 183 / 25.4  # inches: one column and two of a journal page
DPI = 300

# Okabe and Ito (2008): colours that readers with any colour vision can tell apart, with Tol's wine
# in place of their second blue. A method has the same colour in every figure.
PALETTE = {
    "supervised": "#000000",
    "byol": "#0072B2",
    "barlow": "#882255",
    "simclr": "#009E73",
    "dino": "#E69F00",
    "mae": "#D55E00",
    "mae-released": "#56B4E9",
    "random": "#999999",
}
# Added methods take what is left of those eight, then Tol's muted colours (2021); with
# more methods than colours, the colours repeat.
SPARE = cycle(("#CC79A7", "#F0E442", "#332288", "#44AA99", "#999933"))
PALETTE |= dict(zip(names.ADDED, SPARE, strict=False))
# What DejaVu lacks, names of classes in Japanese, Chinese or Korean, comes from the first of these
# that is installed.
OTHERS = ("Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", "IPAexGothic", "IPAGothic")
OTHERS += (
    "Noto Sans CJK SC",
    "PingFang SC",
    "Microsoft YaHei",
    "WenQuanYi Zen Hei",
    "Malgun Gothic",
)
INSTALLED = {font.name for font in font_manager.fontManager.ttflist}
SIZE = 7  # points, the smallest text at print width
LINE, LETTER = 1.35 * SIZE / 72, 0.53 * SIZE / 72  # inches: height of a line, width of a letter
STYLE = {
    "font.family": ["DejaVu Sans", *[name for name in OTHERS if name in INSTALLED][:1]],
    "font.size": SIZE,
    "axes.titlesize": SIZE + 0.5,
    "legend.frameon": False,
    "axes.linewidth": 0.5,
    "lines.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
}
matplotlib.rcdefaults()  # a matplotlibrc of the user does not change what is drawn
matplotlib.rcParams["text.parse_math"] = False  # a "$" in a name of one's own is no formula
RED = PALETTE["mae"]  # what a reader should notice: a verdict against, a class without images
MARKS = {"diverged": "†", "collapsed": "†", "no better than random": "°", "healthy": ""}
LEGEND = {"†": "† collapsed or diverged", "°": "° AUROC not reliably above the untrained backbone"}
THICKNESS = 0.08  # inches, of a colour bar


def ink(colour: tuple[float, ...]) -> str:
    """Black or white, whichever stands out on `colour` (relative luminance, WCAG 2)."""
    rgb = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "black" if 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] > 0.18 else "white"


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator of a function that returns a figure: it draws in `STYLE`.

    pyplot forgets the figure; otherwise Jupyter shows it a second time.
    """

    @wraps(draw)
    def drawn(*args, **options) -> Figure:
        with plt.rc_context(STYLE):
            fig = draw(*args, **options)
        plt.close(fig)
        return fig

    return drawn


def steps(n: int) -> list[tuple]:
    """`n` ordered colours from dark to light; the lightest still shows on white paper."""
    return list(plt.get_cmap("viridis")([0.87 * i / max(n - 1, 1) for i in range(n)]))


def panels(
    rows: int, columns: int, height: float, width: float = DOUBLE, **shared
) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches and its axes (rows, columns), which lay themselves out."""
    size = (width, height)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **shared)


def wrapped(text: str, width: float) -> str:
    """The text in lines of at most so many inches."""
    return textwrap.fill(text, int(width / LETTER))


def beside(ax, text: str, xy: tuple, points: tuple[float, float], **look) -> Annotation:
    """Write `text` so many `points` (right, up) from `xy`, which is in data units by default."""
    return ax.annotate(text, xy, xytext=points, textcoords="offset points", **look)
