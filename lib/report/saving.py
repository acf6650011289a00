"""Saves tables and figures as PNG, PDF, CSV, Markdown and LaTeX."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from lib.report import captions, style
from lib.system import atomic, paths

PNG = {"Software": None}  # no versions and dates: equal bytes
ROWS = "Rows of pixels above the caption"  # what a PNG calls them
PDF = {"CreationDate": None, "Creator": None, "Producer": None}


class Printed(Protocol):
    """What is drawn and also written as text: a table or the scorecard."""

    def draw(self) -> Figure: ...
    def markdown(self) -> str: ...
    def latex(self) -> str: ...


def save(
    artefact: str,
    content: Figure | Printed,
    measured: pd.DataFrame,
    facts: dict[str, Any],
    *,
    protocol: str | list[str],
    caption: str,
    output: str | Path = "",
) -> list[Path]:
    """Write PNG, PDF and CSV, of what is `Printed` also Markdown and LaTeX, and return their paths.

    All but the CSV carry caption and footer. The PNG holds both as text, too (the report reads
    them), and how many of its rows of pixels lie above them. `output` is the folder; without it, as
    when a reader steps through, they go to `build/<profile>/stepped/`, beside what `make` rendered
    and never over it. Equal content gives equal bytes.
    """
    folder = Path(output) if output else paths.BUILD / facts["profile"] / "stepped"
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def put(ending: str, write: Callable[[Path], object]) -> None:
        written.append(atomic.put(folder / f"{artefact}.{ending}", write))

    caption, note = captions.named(caption, facts), captions.footer(facts, protocol)
    fig = content if isinstance(content, Figure) else content.draw()
    with plt.rc_context(style.STYLE), captions.below(fig, caption, note) as height:
        # Straight to the canvas: savefig would draw each file twice.
        fig.set_dpi(style.DPI)
        own = {"Description": caption, "Comment": note, ROWS: f"{height * style.DPI:.0f}"}
        put("png", lambda path: FigureCanvasAgg(fig).print_png(path, metadata=PNG | own))
        fig.set_dpi(72)  # PDF's points
        put("pdf", lambda path: FigureCanvasPdf(fig).print_pdf(path, metadata=PDF))
    plain = measured.drop(columns="draws", errors="ignore")
    put("csv", lambda path: plain.to_csv(path, index=False, float_format="%.6f"))
    if not isinstance(content, Figure):
        comment = "".join(f"% {line}\n" for line in textwrap.wrap(f"{caption} {note}", 110))
        texts = {
            "md": f"{content.markdown()}\n\n{caption}\n\n*{note}*\n",
            "tex": f"{content.latex()}\n{comment}",
        }
        for ending, text in texts.items():
            written.append(atomic.put_text(folder / f"{artefact}.{ending}", text))
    return written
