"""Markdown whose formulas matplotlib draws, so that a page needs neither scripts nor a network."""

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
    """An `<img>` that shows a TeX formula as SVG on the text's baseline; the formula as code, where
    matplotlib's mathtext does not know it."""
    alt = " ".join(formula.split())
    text, font = f"${alt}$", FontProperties(size=SIZE, math_fontfamily="dejavusans")
    try:
        width, height, depth, *_ = MathTextParser("path").parse(text, dpi=72, prop=font)
    except ValueError:
        return f"<code>{html.escape(formula.strip())}</code>"
    width, height, depth = width + 2 * EDGE, height + 2 * EDGE, depth + EDGE
    svg = io.BytesIO()
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(width / 72, height / 72))
        fig.text(EDGE / width, depth / height, text, fontproperties=font)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        fig.savefig(svg, format="svg", transparent=True, metadata=nothing)
    source = base64.b64encode(svg.getvalue()).decode()
    size = f"height: {height / SIZE:.2f}em; vertical-align: {-depth / SIZE:.2f}em"
    look = f'class="formula" alt="{html.escape(alt)}" style="{size}"'
    return f'<img {look} src="data:image/svg+xml;base64,{source}">'


class _Renderer(IPythonRenderer):
    def heading(self, text: str, level: int) -> str:
        return super().heading(text, min(level + 2, 6))  # below those of the page

    def inline_math(self, body: str) -> str:
        return image(body)

    def block_math(self, body: str) -> str:
        # mathtext knows nothing of TeX's display style but its larger fractions.
        large = body.replace(r"\frac", r"\dfrac")
        return f'<span class="display">{image(large)}</span>'


def markdown(source: str) -> str:
    """Markdown as Jupyter reads it, in HTML; `$...$` and `$$...$$` become images."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    return MarkdownWithMath(renderer=renderer).render(source)
