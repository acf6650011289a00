"""Saves tables and figures as PNG, PDF, CSV, Markdown and LaTeX."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lib.report import captions, style
from lib.system import atomic, paths

if TYPE_CHECKING:
    from lib.tables import Table


def save(
    artefact: str,
    content: "Figure | Table",
    measured: pd.DataFrame,
    facts: dict[str, Any],
    *,
    protocol: str | list[str],
    caption: str,
    output: str | Path = "",
) -> list[Path]:
    """Write PNG, PDF and CSV, of a `lib.report.tables.Table` also Markdown and LaTeX, and return
    their paths.

    All but the CSV carry caption and footer. `output` is the folder; without it, as when a reader
    steps through, they go to `build/<profile>/stepped/`, beside what `make` rendered and never over
    it. Equal content gives equal bytes.
    """
    folder = Path(output) if output else paths.BUILD / facts["profile"] / "stepped"
    folder.mkdir(parents=True, exist_ok=True)
    note, path, plain = (
        captions.footer(facts, protocol),
        folder / artefact,
        measured.drop(columns="draws", errors="ignore"),
    )
    fig = content if isinstance(content, Figure) else content.draw()
    png = {"dpi": style.DPI, "metadata": {"Software": None}}
    pdf = {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}}
    with plt.rc_context(style.STYLE):
        captions._write_below(fig, caption, note)
        written = [
            atomic.put(path.with_suffix(".png"), lambda p: fig.savefig(p, **png)),
            atomic.put(path.with_suffix(".pdf"), lambda p: fig.savefig(p, **pdf)),
        ]
    written.append(
        atomic.put(
            path.with_suffix(".csv"), lambda p: plain.to_csv(p, index=False, float_format="%.6f")
        )
    )
    if not isinstance(content, Figure):
        markdown = f"{content.markdown()}\n\n{caption}\n\n*{note}*\n"
        comment = "".join(f"% {line}\n" for line in textwrap.wrap(f"{caption} {note}", 110))
        written.append(atomic.put(path.with_suffix(".md"), lambda p: p.write_text(markdown)))
        written.append(
            atomic.put(
                path.with_suffix(".tex"), lambda p: p.write_text(f"{content.latex()}\n{comment}")
            )
        )
        plt.close(fig)
    return written
