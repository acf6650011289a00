"""The claims scorecard: estimates with intervals on F1 and on AUROC, and verdicts by protocol.

card = scorecard.Scorecard(lib.analysis.judgement.score(boards, claims))
saving.save("claims", card, card.scored, facts, protocol=protocols, caption="...", output=output)
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lib.analysis import judgement, wording
from lib.analysis.claim_parts import PLACES
from lib.report import markup, style
from lib.study import names

# Verdicts as they are drawn; above, below and across are places in these runs, no verdicts.
SHORT = {word: word for word in (*judgement.VERDICTS, *PLACES)}
SHORT |= {"not answerable": "no answer", "not run": "–"}
INK = dict.fromkeys(SHORT, "0.35") | {
    "supported": style.PALETTE["byol"],
    "contradicted": style.RED,
    "above": "black",
    "below": "black",
    "not answerable": "0.45",
}
SUPPORTING, FAR = "#CFE6F5", 10.0  # the shade of the side that supports a claim, and its reach
COLOURS = {"clean": "#000000", "paper": "#117733"}  # of a protocol's estimates
MARKERS = {"described": "o", "released": "s"}
GLYPHS = {"described": "●", "released": "□"}
KEYS = ("claim", "line", "text", "statistic", "unit", "limits")
KEYS += ("protocol", "mae", "metric", "seeds")
NUMBERS = ("value", "low", "high", "limit")
COLUMNS = (*KEYS, *NUMBERS, "claimed", "verdict", "part", "parts", "note")
GLUE = "\N{NO-BREAK SPACE}"  # before a sign that must not start a line
METRICS = judgement.SCORES
HEIGHT = 0.52  # inches a line
TEXT, FOREST, VERDICT = 2.6, 0.9, 0.8  # widths of the columns, about inches
AXIS = 1.15  # lines that the axis below the rows of a unit takes


def read(file: Path) -> pd.DataFrame:
    """The scorecard that was saved in `file`.

    Raises ValueError for a file without the scorecard's columns, or with an unknown verdict.
    """
    scored = pd.read_csv(file, keep_default_na=False, na_values={c: [""] for c in NUMBERS})
    if missing := set(COLUMNS) - set(scored.columns):
        columns = ", ".join(sorted(missing))
        raise ValueError(f"{file} lacks the columns {columns}: make claims renews it.")
    for verdict in scored["verdict"].unique():
        names.nearest(verdict, SHORT, f"verdict in {file.name}")
    return scored


@dataclass
class Scorecard:
    """`scored` is what `lib.analysis.judgement.score` returns: a row per claim, line, protocol,
    metric and reading of MAE, as the paper describes it or as its code was released."""

    scored: pd.DataFrame

    @property
    def protocols(self) -> list[str]:
        return list(self.scored["protocol"].unique())

    def claims(self) -> list[tuple[int, str, str, str]]:
        """Number, line, text and statistic of every line of every claim."""
        lines = self.scored[self.scored["line"] != ""]
        several = self.scored["claim"].isin(lines["claim"]) & (self.scored["line"] == "")
        own = self.scored[~several].drop_duplicates(["claim", "line"])
        own = own.sort_values("claim", kind="stable")
        return list(own[["claim", "line", "text", "statistic"]].itertuples(index=False, name=None))

    def run(self) -> list[tuple[int, str, str, str]]:
        """Those of `claims` that were tried; `not_run` names the others."""
        ran = self.scored[self.scored["verdict"] != "not run"]
        ran = set(ran[["claim", "line"]].itertuples(index=False, name=None))
        return [claim for claim in self.claims() if claim[:2] in ran]

    def not_run(self) -> str:
        """A line on the claims that could not be tried, "" where all were."""
        ran = {claim[0] for claim in self.run()}
        absent = dict.fromkeys(str(claim[0]) for claim in self.claims() if claim[0] not in ran)
        return f"Claims not run: {', '.join(absent)}. The CSV says why." if absent else ""

    def limits(self, claim: int) -> list[float]:
        """The values of its statistic on whose sides the claim's verdict differs."""
        own = self.scored[self.scored["claim"] == claim]
        return list(map(float, str(own["limits"].iloc[0]).split()))

    def readings(self, claim: int, line: str, protocol: str, metric: str) -> list[pd.Series]:
        """The rows to show: one, with both notes, where both readings of MAE give the same numbers
        and verdict; else both, as described first; none where the claim was not read so. A claim of
        no metric stands under the first."""
        at = self.scored
        own = at[
            (at["claim"] == claim) & at["line"].isin({line, ""}) & (at["protocol"] == protocol)
        ]
        own = own[own["metric"].isin({metric, judgement.CURVES} if metric == "f1" else {metric})]
        rows = [row.copy() for _, row in own.iterrows()]
        if len({(wording.of_row(row), row["verdict"]) for row in rows}) != 1:
            return rows
        rows[0]["note"] = "; ".join(dict.fromkeys(row["note"] for row in rows))
        return rows[:1]

    def header(self) -> list[str]:
        columns = [f"{names.METRIC_NAMES[m]}, `{p}`" for p in self.protocols for m in METRICS]
        return ["#", "Claim of the paper", "Statistic", *columns]

    def lines(self) -> list[list[str]]:
        """Of each line that was tried, as text: number, claim, statistic, a cell per protocol and
        metric."""
        lines = []
        for claim, line, text, statistic in self.run():
            title = f"{text} ({line})" if line else text
            cells = [
                "; as released: ".join(map(_cell, self.readings(claim, line, p, m))) or "–"
                for p in self.protocols
                for m in METRICS
            ]
            lines.append([str(claim), title, statistic, *cells])
        return lines

    def markdown(self) -> str:
        table = markup.markdown(self.header(), self.lines(), len(self.header()))
        return "\n\n".join(filter(None, (table, self.not_run())))

    def latex(self) -> str:
        cells = [2.6] * len(METRICS) * len(self.protocols)
        widths = "".join(f"p{{{w}cm}}" for w in (0.4, 3, 3, *cells))
        lines = [list(map(markup.escape, line)) for line in self.lines()]
        return markup.latex(self.header(), lines, widths)

    _repr_markdown_ = markdown  # how Jupyter shows it

    def blocks(self) -> list[tuple[str, list[tuple[int, str, str, str]]]]:
        """Unit and lines of `run`, a block per axis: values of unlike units share none."""
        units = dict(self.scored[["claim", "unit"]].itertuples(index=False, name=None))
        run = self.run()
        blocks = [(unit, [c for c in run if units[c[0]] == unit]) for unit in judgement.UNITS]
        return [block for block in blocks if block[1]]

    def reach(self, unit: str) -> tuple[float, float]:
        """The ends of a unit's axis: all values and limits, and the intervals of what is decided.
        An interval that decides nothing may pass them; it ends in an arrow there."""
        own = self.scored[(self.scored["unit"] == unit) & self.scored["value"].notna()]
        decided = own[~own["verdict"].isin(judgement.OPEN)]
        limits = [float(limit) for text in own["limits"].astype(str) for limit in text.split()]
        values = np.concatenate([limits, own["value"], decided["low"], decided["high"]])
        values = values[np.isfinite(values)]
        margin = 0.06 * max(np.ptp(values), 0.1)
        return values.min() - margin, values.max() + margin

    @style.styled
    def draw(self) -> Figure:
        """Claim and statistic, and for each metric a forest of estimates and a verdict per
        protocol, as wide as a journal page; one block below another for each unit."""
        blocks, protocols = self.blocks(), self.protocols
        group = FOREST + VERDICT * len(protocols)
        width = TEXT + group * len(METRICS)
        end = sum(len(claims) + AXIS for _, claims in blocks)
        fig = plt.figure(figsize=(style.DOUBLE, HEIGHT * (end + 0.9)))
        ax = fig.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(end - 0.5, -1.4))
        ax.axis("off")
        left_out = textwrap.fill(self.not_run(), 44)
        ax.text(0.25, end - AXIS, left_out, va="center", color="0.3")
        _add_legend(ax, protocols)
        top = 0.0
        for unit, claims in blocks:
            for left, metric in zip(np.arange(TEXT, width, group), METRICS, strict=False):
                if not top:
                    _write_heads(ax, left, names.METRIC_NAMES[metric], protocols)
                self._draw_block(ax, left, top, unit, claims, metric)
            for y, claim in enumerate(claims):
                _write_claim(ax, top + y, *claim)
                if y % 2 == 0:
                    ax.axhspan(top + y - 0.5, top + y + 0.5, color="0.95", linewidth=0)
            top += len(claims) + AXIS
        return fig

    def _draw_block(self, ax, left: float, top: float, unit: str, claims: list, metric: str):
        """The forest and the verdicts of one unit's claims on one metric, from row `top` down."""
        protocols, n = self.protocols, len(claims)
        width, (low, high) = ax.get_xlim()[1], ax.get_ylim()
        place = ((left + 0.05) / width, (low - top - n + 0.5) / (low - high))
        forest = ax.inset_axes((*place, 0.9 * FOREST / width, n / (low - high)), zorder=2)
        forest.set(xlim=self.reach(unit), ylim=(n - 0.5, -0.5), facecolor="none", yticks=[])
        forest.set_xlabel(f"{unit.capitalize()}, 95 %\ninterval; shaded: supports", loc="left")
        forest.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
        forest.xaxis.set_major_formatter(lambda x, _: wording.minus("{:g}")(x))
        forest.spines["left"].set_visible(False)
        for y, claim in enumerate(claims):
            shown = [self.readings(*claim[:2], protocol, metric) for protocol in protocols]
            if any(shown):
                sides = {row["claimed"] for rows in shown for row in rows}
                _draw_limits(forest, y, self.limits(claim[0]), sides)
            if any(row["metric"] == judgement.CURVES for row in shown[0]):
                shown = shown[:1]  # curves are read by no protocol
            _draw_estimates(forest, y, [row for rows in shown for row in rows])
            across = VERDICT * len(protocols) / len(shown)
            for i, rows in enumerate(shown):
                _write_verdicts(ax, left + FOREST + (i + 0.5) * across, top + y, rows)


def _cell(row: pd.Series) -> str:
    return f"{judgement.words(row)}, {wording.of_row(row)}".removesuffix(", –")


def _spread(n: int, reach: float) -> np.ndarray:
    """`n` offsets around a row's middle, from above."""
    return np.linspace(-reach, reach, n) if n > 1 else np.zeros(n)


def _write_claim(ax, y: int, claim: int, line: str, text: str, statistic: str) -> None:
    title = f"{text} ({line})" if line else text
    statistic = re.sub(r" (?=%|[<>−]|\d)", GLUE, statistic.removeprefix("ours: "))
    widths = zip((title, statistic), (40, 43), strict=True)
    lines = [textwrap.wrap(words, width, break_on_hyphens=False) for words, width in widths]
    top = y - 0.115 * (len(lines[0]) + len(lines[1]) - 1)
    ax.text(0.17, top, str(claim), ha="right", va="center", weight="bold")
    for weight, colour, own in zip(("bold", "normal"), ("black", "0.3"), lines, strict=True):
        for words in own:
            ax.text(0.25, top, words, va="center", weight=weight, color=colour)
            top += 0.23


def _write_heads(ax, left: float, metric: str, protocols: list[str]) -> None:
    ax.text(left, -1.1, metric, va="center", weight="bold")
    for i, protocol in enumerate(protocols):
        x = left + FOREST + (i + 0.5) * VERDICT
        ax.text(x, -0.74, f"protocol\n{protocol}", ha="center", va="center")


def _draw_limits(ax, y: int, limits: list[float], sides: set[str]) -> None:
    """Draw a line at each limit, and shade what supports the claim: between two limits, or the one
    side of one; nothing where readings ask for different sides of it."""
    for limit in limits:
        ax.plot([limit, limit], [y - 0.5, y + 0.5], color="0.5", linewidth=0.7, zorder=0)
    ends = {("above",): (limits[-1], FAR), ("below",): (-FAR, limits[0])}.get(tuple(sides))
    if len(limits) > 1:
        ends = limits[0], limits[-1]
    if ends:
        side = Rectangle((ends[0], y - 0.5), ends[1] - ends[0], 1, color=SUPPORTING, linewidth=0)
        ax.add_artist(side)  # unlike a patch, it leaves the axis as the estimates need it
        side.set_zorder(-1)


def _draw_estimates(ax, y: int, readings: list[pd.Series]) -> None:
    for offset, row in zip(_spread(len(readings), 0.27), readings, strict=True):
        if np.isnan(row["value"]):
            continue
        colour, alpha = COLOURS[row["protocol"]], 0.5 if row["verdict"] in judgement.OPEN else 1
        look = {"markersize": 2.8, "markeredgewidth": 0.8, "color": colour, "alpha": alpha}
        face = colour if row["mae"] == "described" else "white"
        ends, shown = (row["low"], row["high"]), ax.get_xlim()
        ax.plot(ends, [y + offset] * 2, color=colour, alpha=alpha, linewidth=1)
        for beyond, at, arrow in zip(
            (ends[0] < shown[0], ends[1] > shown[1]), shown, "<>", strict=True
        ):
            if beyond:
                ax.plot(at, y + offset, arrow, **look, markerfacecolor=colour, clip_on=False)
        ax.plot(row["value"], y + offset, MARKERS[row["mae"]], markerfacecolor=face, **look)


def _write_verdicts(ax, x: float, y: int, readings: list[pd.Series]) -> None:
    """A verdict, or both where it depends on the reading of MAE; a dash where there is none."""
    if not readings:
        ax.text(x, y, SHORT["not run"], ha="center", va="center", color=INK["not run"])
    if len({row["verdict"] for row in readings}) == 1:
        readings = readings[:1]
    several = len(readings) > 1
    for offset, row in zip(_spread(len(readings), 0.18), readings, strict=True):
        text = SHORT[row["verdict"]]
        if several:
            text = f"{GLYPHS[row['mae']]} {text}"
        ax.text(x, y + offset, text, ha="center", va="center", color=INK[row["verdict"]])


def _add_legend(ax, protocols: list[str]) -> None:
    handles = [Line2D([], [], color=COLOURS[p], label=f"protocol {p}") for p in protocols]
    for reading, marker in MARKERS.items():
        look = {"color": "0.3", "linestyle": "", "marker": marker, "markersize": 3.2}
        look["markerfacecolor"] = "0.3" if reading == "described" else "white"
        handles.append(Line2D([], [], label=f"MAE as {reading}", **look))
    place = {"loc": "upper left", "bbox_to_anchor": (0.02, 1), "ncols": 2}
    ax.legend(handles=handles, columnspacing=1, handlelength=1.4, **place)
