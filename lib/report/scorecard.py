"""The claims scorecard: estimates with intervals, and verdicts by protocol and reading of MAE.

card = scorecard.Scorecard(lib.analysis.claims.score(boards))
saving.save("claims", card, card.scored, facts, protocol=protocols, caption="...", output=output)
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.analysis import wording
from lib.report import markup, style
from lib.study import names

SIGNS = {"supported": "✓", "contradicted": "✗", "inconclusive": "?", "not run": "–"}
INK = {
    "supported": style.PALETTE["byol"],
    "contradicted": style.RED,
    "inconclusive": "0.35",
    "not run": "0.6",
}
COLOURS = {"clean": "#000000", "paper": "#44AA99"}  # of a protocol's estimates
MARKERS = {"described": "o", "released": "s"}
COLUMNS = ("claim", "text", "protocol", "mae", "statistic", "limits")
COLUMNS += ("value", "low", "high", "verdict", "note")
GLUE = "\N{NO-BREAK SPACE}"  # before a sign that must not start a line
HEIGHT = 0.49  # inches a claim
LEFT, FOREST, VERDICT = 3.15, 1.4, 1.35  # widths of the columns, about inches


def read(file: Path) -> pd.DataFrame:
    """The scorecard that was saved in `file`.

    Raises ValueError for a file without the scorecard's columns, or with an unknown verdict.
    """
    scored = pd.read_csv(file, keep_default_na=False, na_values={c: [""] for c in COLUMNS[6:9]})
    if missing := set(COLUMNS) - set(scored.columns):
        columns = ", ".join(sorted(missing))
        raise ValueError(f"{file} lacks the columns {columns}: make claims renews it.")
    for verdict in scored["verdict"].unique():
        names.nearest(verdict, SIGNS, f"verdict in {file.name}")
    return scored


@dataclass
class Scorecard:
    """`scored` is what `lib.analysis.claims.score` returns: a row per claim, protocol and reading
    of MAE, as the paper describes it or as its code was released."""

    scored: pd.DataFrame

    @property
    def protocols(self) -> list[str]:
        return list(self.scored["protocol"].unique())

    def claims(self) -> list[tuple[int, str, str]]:
        """Number, text and statistic of every claim."""
        claims = self.scored.drop_duplicates("claim").sort_values("claim")
        return list(claims[["claim", "text", "statistic"]].itertuples(index=False, name=None))

    def run(self) -> list[tuple[int, str, str]]:
        """Those of `claims` that were tried; `not_run` names the others."""
        ran = set(self.scored.loc[self.scored["verdict"] != "not run", "claim"])
        return [claim for claim in self.claims() if claim[0] in ran]

    def not_run(self) -> str:
        """A line on the claims that could not be tried, "" where all were."""
        ran = self.run()
        absent = ", ".join(str(claim[0]) for claim in self.claims() if claim not in ran)
        return f"Claims not run: {absent}. The CSV says why." if absent else ""

    def limits(self, claim: int) -> list[float]:
        """The values of its statistic on whose sides the claim's verdict differs."""
        own = self.scored[self.scored["claim"] == claim]
        return list(map(float, str(own["limits"].iloc[0]).split()))

    def readings(self, claim: int, protocol: str) -> list[pd.Series]:
        """The rows to show: one, with both notes, where both readings of MAE give the same numbers
        and verdict; else both, as described first; none where `protocol` was not judged."""
        own = (self.scored["claim"] == claim) & (self.scored["protocol"] == protocol)
        rows = [row.copy() for _, row in self.scored[own].iterrows()]
        if len({(wording.of_row(row), row["verdict"]) for row in rows}) != 1:
            return rows
        rows[0]["note"] = "; ".join(dict.fromkeys(row["note"] for row in rows))
        return rows[:1]

    def header(self) -> list[str]:
        return ["#", "Claim of the paper", "Statistic", *(f"Protocol {p}" for p in self.protocols)]

    def lines(self) -> list[list[str]]:
        """Of each claim that was tried, as text: number, claim, statistic, a cell a protocol."""
        lines = []
        for claim, *texts in self.run():
            cells = [
                [f"{row['verdict']}, {wording.of_row(row)}" for row in self.readings(claim, p)]
                for p in self.protocols
            ]
            lines.append([str(claim), *texts, *map("; as released: ".join, cells)])
        return lines

    def markdown(self) -> str:
        alignments = ["---:", *["---"] * (2 + len(self.protocols))]
        table = markup.markdown(self.header(), alignments, self.lines())
        return "\n\n".join(filter(None, (table, self.not_run())))

    def latex(self) -> str:
        widths = "".join(f"p{{{w}cm}}" for w in (0.4, 4, 4, *[3.5] * len(self.protocols)))
        lines = [list(map(markup.escape, line)) for line in self.lines()]
        return markup.latex(self.header(), lines, widths)

    _repr_markdown_ = markdown  # how Jupyter shows it

    @style.styled
    def draw(self) -> Figure:
        """Claim and statistic, a forest of estimates, and a verdict a protocol, as wide as a
        journal page."""
        claims = self.run()
        lines, right = len(claims) + 2, LEFT + FOREST
        width = right + VERDICT * len(self.protocols)
        ax = style.page(HEIGHT * lines, (0, width), (len(claims) + 0.6, -1.4))
        left_out = textwrap.fill(self.not_run(), 52)
        ax.text(0.25, len(claims) - 0.4, left_out, va="top", color="0.3")
        if not claims:
            return ax.figure
        for y in range(0, len(claims), 2):
            ax.axhspan(y - 0.5, y + 0.5, color="0.95", linewidth=0)
        place = (LEFT / width, 1.1 / lines, FOREST / width, len(claims) / lines)
        forest = ax.inset_axes(place, zorder=2)
        forest.set(ylim=(len(claims) - 0.5, -0.5), facecolor="none", yticks=[])
        forest.set_xlabel("Value and 95 % interval")
        forest.spines["left"].set_visible(False)
        centres = {p: right + (i + 0.5) * VERDICT for i, p in enumerate(self.protocols)}
        for y, (claim, text, statistic) in enumerate(claims):
            _write_claim(ax, y, claim, text, statistic)
            readings = {protocol: self.readings(claim, protocol) for protocol in centres}
            _draw_limits(forest, y, self.limits(claim))
            _draw_estimates(forest, y, [row for rows in readings.values() for row in rows])
            for protocol, x in centres.items():
                _write_verdicts(ax, x, y, readings[protocol])
        _add_legend(forest, self.protocols)
        for protocol, x in centres.items():
            ax.text(x, -0.75, protocol, ha="center", va="center", weight="bold")
        return ax.figure


def _spread(n: int, reach: float) -> np.ndarray:
    """`n` offsets around a row's middle, from above."""
    return np.linspace(-reach, reach, n) if n > 1 else np.zeros(n)


def _write_claim(ax, y: int, claim: int, text: str, statistic: str) -> None:
    statistic = re.sub(r" (?=%|[<−]|\d)", GLUE, statistic)
    lines = [textwrap.wrap(text, 46), textwrap.wrap(statistic, 52)]
    top = y - 0.12 * (len(lines[0]) + len(lines[1]) - 1)
    ax.text(0.17, top, str(claim), ha="right", va="center", weight="bold")
    for weight, colour, own in zip(("bold", "normal"), ("black", "0.3"), lines, strict=True):
        for line in own:
            ax.text(0.25, top, line, va="center", weight=weight, color=colour)
            top += 0.24


def _draw_limits(ax, y: int, limits: list[float]) -> None:
    for limit in limits:
        ax.plot([limit, limit], [y - 0.5, y + 0.5], color="0.5", linewidth=0.7, zorder=0)


def _draw_estimates(ax, y: int, readings: list[pd.Series]) -> None:
    for offset, row in zip(_spread(len(readings), 0.27), readings, strict=True):
        if np.isnan(row["value"]):
            continue
        colour = COLOURS[row["protocol"]]
        look = {"markersize": 3.2, "markeredgewidth": 0.8, "color": colour}
        face = colour if row["mae"] == "described" else "white"
        ax.plot([row["low"], row["high"]], [y + offset] * 2, color=colour, linewidth=1)
        ax.plot(row["value"], y + offset, MARKERS[row["mae"]], markerfacecolor=face, **look)


def _write_verdicts(ax, x: float, y: int, readings: list[pd.Series]) -> None:
    """A verdict, or both where it depends on the reading of MAE."""
    if len({row["verdict"] for row in readings}) == 1:
        readings = readings[:1]
    several = len(readings) > 1
    for offset, row in zip(_spread(len(readings), 0.18), readings, strict=True):
        text = f"{row['mae']}: " * several + f"{SIGNS[row['verdict']]} {row['verdict']}"
        look = {"color": INK[row["verdict"]]}
        ax.text(x, y + offset, text, ha="center", va="center", **look)


def _add_legend(ax, protocols: list[str]) -> None:
    handles = [Line2D([], [], color=COLOURS[p], label=f"protocol {p}") for p in protocols]
    for reading, marker in MARKERS.items():
        look = {"color": "0.3", "linestyle": "", "marker": marker, "markersize": 3.2}
        look["markerfacecolor"] = "0.3" if reading == "described" else "white"
        handles.append(Line2D([], [], label=f"MAE as {reading}", **look))
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "ncols": 2, "frameon": False}
    ax.legend(handles=handles, columnspacing=1, handlelength=1.4, **place)
