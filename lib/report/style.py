"""Colours, sizes and marks of every figure."""

from itertools import cycle
from typing import TYPE_CHECKING

from lib.study import names

if TYPE_CHECKING:
    pass

SINGLE, DOUBLE = 89 / 25.4, 183 / 25.4  # inches: one column and two of a journal page
DPI = 300

# Okabe and Ito (2008), told apart with any colour vision; one colour a method, everywhere.
PALETTE = {
    "supervised": "#000000",
    "byol": "#0072B2",
    "barlow": "#56B4E9",
    "simclr": "#009E73",
    "dino": "#E69F00",
    "mae": "#D55E00",
    "mae-released": "#CC79A7",
    "random": "#999999",
}
# Of added methods, over again where there are more: the yellow left of those eight, then Tol's
# muted (2021).
PALETTE |= dict(
    zip(names.ADDED, cycle(("#F0E442", "#332288", "#44AA99", "#882255", "#999933")), strict=False)
)
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 6.5,
    "axes.titlesize": 7,
    "axes.labelsize": 6.5,
    "legend.fontsize": 6,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "axes.linewidth": 0.5,
    "lines.linewidth": 1,
    "grid.linewidth": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ssl-anomaly",
}
NOTE = 5.5  # points, of captions and footers
MARKS = {"diverged": "†", "collapsed": "†", "no better than random": "°", "healthy": ""}


def ink(colour: tuple[float, ...]) -> str:
    """Black or white, whichever stands out on `colour` (relative luminance, WCAG 2)."""
    rgb = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return "black" if 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] > 0.18 else "white"
