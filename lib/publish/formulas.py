"""Markdown whose formulas are drawn by matplotlib, so that a page needs neither scripts nor a
network. Knows no torch.

formulas.markdown("The loss is $-\\cos(z_1, z_2)$.")
"""

import base64
import html
import io

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

SIZE = 12  # points, of which an em of the page's text is made
EDGE = 1  # points around a formula, for strokes that leave its box
STYLE = {"svg.fonttype": "path", "svg.hashsalt": "formula"}


def image(formula: str) -> str:
    """An `<img>` with TeX, in the subset that matplotlib's mathtext knows, as SVG on the text's
    baseline.

    A formula outside of that subset comes back as code, as it was written.
    """
    text, font = (
        f"${' '.join(formula.split())}$",
        FontProperties(size=SIZE, math_fontfamily="dejavusans"),
    )
    try:
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    except ValueError:
        return f"<code>{html.escape(formula.strip())}</code>"
    width, height, depth = width + 2 * EDGE, height + 2 * EDGE, depth + EDGE
    drawn = io.BytesIO()
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width / 72, height / 72))
        fig.text(EDGE / width, depth / height, text, fontproperties=font)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        fig.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    source = base64.b64encode(drawn.getvalue()).decode()
    size = f"height: {height / SIZE:.2f}em; vertical-align: {-depth / SIZE:.2f}em"
    alt = html.escape(" ".join(formula.split()))
    return (
        f'<img class="formula" alt="{alt}" style="{size}" src="data:image/svg+xml;base64,{source}">'
    )


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return image(body)

    def block_math(self, body: str) -> str:
        large = body.replace(
            r"\frac", r"\dfrac"
        )  # TeX's display style, of which mathtext knows only this
        return f'<span class="display">{image(large)}</span>'


def markdown(source: str) -> str:
    """Markdown as Jupyter reads it, in HTML; `$...$` and `$$...$$` become images."""
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(
        source
    )
