"""How tables and figures look, and how they are saved: style, heatmaps, tables, captions, footers.
Knows no torch.

fig = report.heatmap({"F1": frame}, xlabel="Validation share", ylabel="Train share")
report.save("fig2", fig, measured, facts, caption="...", output=output)
"""

import textwrap
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from lib.report import style
from lib.study import protocols

if TYPE_CHECKING:
    pass


def marked(facts: dict[str, Any]) -> str:
    """What the marks of unhealthy runs mean, as a sentence with a leading blank; "" where all are
    healthy.

    `facts` is lib.analysis.provenance.of_runs.
    """
    counts, every = facts["health"], sum(facts["health"].values())
    dead = counts.get("collapsed", 0) + counts.get("diverged", 0)
    told = f" †: collapsed or diverged ({dead} of {every} runs)." * bool(dead)
    weak = counts.get("no better than random", 0)
    return told + (
        f" °: AUROC not above that of the backbone as initialised ({weak} of {every})."
        if weak
        else ""
    )


def footer(facts: dict[str, Any], protocol: str | list[str]) -> str:
    """Where the numbers come from: data, profile, protocol, seeds, n, intervals, runs.

    What does not apply is left out: protocols where the list is empty, intervals where
    `bootstrap_unit` is, and all that concerns runs where `facts` holds none
    (lib.analysis.provenance.of_data).
    """
    if "fresh" not in facts:
        images = f"{facts['n_training']:,} training and {facts['n_validation']:,} validation images"
        return f"Data: {facts['data']}. Profile {facts['profile']}: {images}. No run is read."
    rules = {
        name: protocols.PROTOCOLS[name]
        for name in ([protocol] if isinstance(protocol, str) else protocol)
    }
    read = "; ".join(
        f"{name}: {rule.probe} probe, shares by {rule.sampling}" for name, rule in rules.items()
    )
    read = f"Protocol {read}. " if rules else ""
    several = len(facts["seeds"]) > 1
    drawn = (
        f"{'Means over seeds' if several else 'One seed,'} {', '.join(map(str, facts['seeds']))}"
    )
    epochs = " or ".join(str(e) for e in facts["epochs"]) + (
        " epoch" if facts["epochs"] == [1] else " epochs"
    )
    images = f"n = {facts['n_validation']:,} validation images"
    if facts["bootstrap_unit"] == "videos":
        images += f" of {facts['n_groups']:,} videos"
    if facts["bootstrap_unit"]:
        nested = facts["bootstrap_unit"] in ("videos", "images")  # others are the runs themselves
        images += f"; 95 % intervals: bootstrap over {'seeds, then ' * (several and nested)}{facts['bootstrap_unit']}"
        images += ", without the spread over seeds" * (nested and not several)
    return (
        f"Data: {facts['data']}. Profile {facts['profile']}: {facts['px']} px, backbone width x {facts['width']:g}, "
        f"{epochs}{', fixed, so small train shares get fewer steps' * (facts['train_shares'] > 1)}. "
        f"{read}{drawn}. {images}. "
        f"Runs: {facts['fresh']} fresh, {facts['reference']} from the reference."
    )


def _write_below(fig: Figure, caption: str, note: str) -> None:
    """Caption and footer under the figure, which grows by their height; a second call replaces the
    first."""
    for text in [t for t in fig.texts if t.get_gid() == "below"]:
        text.remove()
    height = fig.height_above = getattr(fig, "height_above", fig.get_figheight())
    width = fig.get_figwidth()
    columns = int(width * 72 / (0.53 * style.NOTE))  # a letter is about 0.53 of the size wide
    blocks = [
        textwrap.fill(part.replace(" %", "\N{NO-BREAK SPACE}%"), columns)
        for part in (caption, note)
    ]
    line = 1.35 * style.NOTE / 72
    counts = [block.count("\n") + 1 for block in blocks]
    below = line * (sum(counts) + 1)
    fig.set_size_inches(width, height + below)
    above = (0, below / (height + below), 1, height / (height + below))
    if fig.axes[0].get_gid() == "page":  # a table places its text itself
        fig.axes[0].set_position(above)
    else:
        fig.set_layout_engine("constrained", rect=above)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # laid out once, not once a file
    y = (below - 0.3 * line) / (height + below)
    for block, count, colour in zip(blocks, counts, ("black", "0.35"), strict=True):
        fig.text(
            0.04 / width,
            y,
            block,
            va="top",
            size=style.NOTE,
            color=colour,
            linespacing=1.2,
            gid="below",
        )
        y -= line * (count + 0.2) / (height + below)
