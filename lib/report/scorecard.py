"""The claims scorecard as Markdown, LaTeX and a drawing: estimates with intervals, and verdicts by
protocol and MAE."""

import re
import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.analysis import wording
from lib.report.style import DOUBLE, STYLE

INK = {"supported": "#0072B2", "contradicted": "#D55E00", "inconclusive": "0.35", "not run": "0.6"}
SIGN = {"supported": "✓", "contradicted": "✗", "inconclusive": "?", "not run": "–"}
COLOUR = {"clean": "#000000", "paper": "#E69F00"}  # of a protocol's estimates
MARKER = {"described": "o", "released": "s"}
GLUE = "\N{NO-BREAK SPACE}"  # before a sign that must not start a line
HEIGHT = 0.36  # inches a claim
NAMES, FOREST, VERDICT = 3.1, 1.7, 1.2  # widths of the columns, about inches


@dataclass
class Scorecard:
    """`scored` as `lib.analysis.claims.score` returns it: a row per claim, protocol and variant of
    MAE."""

    scored: pd.DataFrame

    @property
    def protocols(self) -> list[str]:
        return list(self.scored["protocol"].unique())

    def cell(self, claim: int, protocol: str) -> list[pd.Series]:
        """The rows to show: one where both variants of MAE give the same numbers, else both, as
        described first."""
        rows = self.scored[(self.scored["claim"] == claim) & (self.scored["protocol"] == protocol)]
        rows = [row for _, row in rows.iterrows()]
        return rows[:1] if len({(wording.of_row(r), r["verdict"]) for r in rows}) == 1 else rows

    def lines(self) -> list[list[str]]:
        """Number, claim, statistic, then a cell a protocol, as text."""
        lines = []
        for claim, rows in self.scored.groupby("claim"):
            cells = []
            for protocol in self.protocols:
                shown = self.cell(claim, protocol)
                parts = [f"{row['verdict']}, {wording.of_row(row)}" for row in shown]
                cells.append("; as released: ".join(parts))
            lines.append([str(claim), rows["text"].iloc[0], rows["statistic"].iloc[0], *cells])
        return lines

    def header(self) -> list[str]:
        return ["#", "Claim of the paper", "Statistic", *(f"Protocol {p}" for p in self.protocols)]

    def markdown(self) -> str:
        """A table in Markdown."""
        rows = [self.header(), ["---:", *["---"] * (2 + len(self.protocols))], *self.lines()]
        return "\n".join(
            "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows
        )

    def latex(self) -> str:
        """A tabular in LaTeX (booktabs)."""
        widths = "".join(f"p{{{w}cm}}" for w in (0.4, 4, 4, *[3.5] * len(self.protocols)))
        body = [" & ".join(row) + r" \\" for row in self.lines()]
        rows = [
            f"\\begin{{tabular}}{{{widths}}}",
            r"\toprule",
            " & ".join(self.header()) + r" \\",
            r"\midrule",
            *body,
        ]
        text = "\n".join([*rows, r"\bottomrule", r"\end{tabular}"])
        for sign, command in (
            (" %", r"\,\%"),
            ("−", "$-$"),
            ("<", "$<$"),
            ("|", r"\textbar{}"),
            ("#", r"\#"),
        ):
            text = text.replace(sign, command)
        return text

    _repr_markdown_ = markdown  # how Jupyter shows it

    def draw(self) -> Figure:
        """Claim and statistic, a forest of estimates, and a verdict a protocol, as wide as a
        journal page."""
        claims = list(self.scored["claim"].unique())
        right = NAMES + FOREST
        width = right + VERDICT * len(self.protocols)
        with plt.rc_context(STYLE):
            fig = plt.figure(figsize=(DOUBLE, HEIGHT * (len(claims) + 2)))
            ax = fig.add_axes(
                (0, 0, 1, 1), gid="page", xlim=(0, width), ylim=(len(claims) + 0.6, -1.4)
            )
            ax.axis("off")
            for y in range(0, len(claims), 2):
                ax.axhspan(y - 0.5, y + 0.5, color="0.95", linewidth=0)
            place = (
                NAMES / width,
                1.1 / (len(claims) + 2),
                FOREST / width,
                len(claims) / (len(claims) + 2),
            )
            forest = ax.inset_axes(place, zorder=2)
            forest.set(
                ylim=(len(claims) - 0.5, -0.5),
                facecolor="none",
                yticks=[],
                xlabel="Value and 95 % interval",
            )
            forest.spines["left"].set_visible(False)
            forest.axvline(0, color="0.5", linewidth=0.6)
            for y, claim in enumerate(claims):
                self._name(ax, y, claim)
                self._estimates(forest, y, claim)
                self._verdicts(ax, y, claim)
            self._legend(forest)
            for i, protocol in enumerate(self.protocols):
                ax.text(
                    right + (i + 0.5) * VERDICT,
                    -0.75,
                    protocol,
                    ha="center",
                    va="center",
                    weight="bold",
                )
            return fig

    def _name(self, ax, y: int, claim: int) -> None:
        rows = self.scored[self.scored["claim"] == claim]
        ax.text(0.17, y - 0.2, str(claim), ha="right", va="center", weight="bold")
        ax.text(0.25, y - 0.2, rows["text"].iloc[0], va="center", weight="bold")
        statistic = textwrap.fill(re.sub(r" (?=%|[<−]|\d)", GLUE, rows["statistic"].iloc[0]), 66)
        ax.text(0.25, y + 0.19, statistic, va="center", size=5.5, color="0.3", linespacing=1.05)

    def _estimates(self, ax, y: int, claim: int) -> None:
        shown = [row for protocol in self.protocols for row in self.cell(claim, protocol)]
        for offset, row in zip(
            np.linspace(-0.27, 0.27, len(shown)) if len(shown) > 1 else [0], shown, strict=True
        ):
            if np.isnan(row["value"]):
                continue
            colour = COLOUR[row["protocol"]]
            ax.plot([row["low"], row["high"]], [y + offset] * 2, color=colour, linewidth=1)
            ax.plot(
                row["value"],
                y + offset,
                MARKER[row["mae"]],
                color=colour,
                markersize=3.2,
                markerfacecolor=colour if row["mae"] == "described" else "white",
                markeredgewidth=0.8,
            )

    def _verdicts(self, ax, y: int, claim: int) -> None:
        for i, protocol in enumerate(self.protocols):
            shown = self.cell(claim, protocol)
            words = shown if len({row["verdict"] for row in shown}) > 1 else shown[:1]
            for offset, row in zip(
                np.linspace(-0.18, 0.18, len(words)) if len(words) > 1 else [0], words, strict=True
            ):
                text = f"{SIGN[row['verdict']]} {row['verdict']}"
                if len(words) > 1:
                    text = f"as {row['mae']}: {text}"
                ax.text(
                    NAMES + FOREST + (i + 0.5) * VERDICT,
                    y + offset,
                    text,
                    ha="center",
                    va="center",
                    color=INK[row["verdict"]],
                    size=5.5 if len(words) > 1 else 6,
                )

    def _legend(self, ax) -> None:
        handles = [
            plt.Line2D([], [], color=COLOUR[p], label=f"protocol {p}") for p in self.protocols
        ]
        handles += [
            plt.Line2D(
                [],
                [],
                color="0.3",
                linestyle="",
                marker=marker,
                markersize=3.2,
                label=f"MAE as {variant}",
                markerfacecolor="0.3" if variant == "described" else "white",
            )
            for variant, marker in MARKER.items()
        ]
        ax.legend(
            handles=handles,
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=2,
            frameon=False,
            columnspacing=1,
            handlelength=1.4,
        )
