"""Rows of texts as Markdown and as LaTeX (booktabs)."""

from collections.abc import Iterable

import pandas as pd

# What LaTeX reads as a command, and signs that not every compiler prints as they are.
SPECIAL = {character: f"\\{character}" for character in "%_&#${}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"°": r"$^\circ$", "−": "$-$", "<": "$<$", ">": "$>$", "|": r"\textbar{}"}


def markdown(header: Iterable[str], lines: Iterable[Iterable[str]], texts: int = 1) -> str:
    """A Markdown table; the columns after the first `texts` hold numbers, set flush right."""
    header = list(header)
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    cells = ([cell.replace("|", r"\|") for cell in line] for line in (header, rule, *lines))
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def escape(text: str) -> str:
    """`text` as LaTeX that prints it; a percent sign stands a thin space behind its number."""
    return "".join(SPECIAL.get(c, c) for c in text).replace(r" \%", r"\,\%")


def latex(header: list[str], lines: list[list[str]], layout: str, title: str = "") -> str:
    """A tabular with the columns `layout`, as "llr", below a line with `title`, if there is one.

    Header and title are escaped here, `lines` by the caller, as they may hold commands.
    """
    columns = pd.Index(map(escape, header))
    if title:
        columns = pd.MultiIndex.from_product([[escape(title)], columns])
    style = pd.DataFrame(lines, columns=columns).style.hide(axis=0)
    return style.to_latex(hrules=True, column_format=layout, multicol_align="c").strip()
