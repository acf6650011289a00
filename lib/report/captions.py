"""Captions and footers: where the numbers come from and what the marks mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure

from lib.measures.seeds import ENOUGH
from lib.report import style
from lib.study.names import PROTOCOLS, SOURCES, label

SEWERS = ("sewer-ml", "simulated")


def named(caption: str, facts: dict[str, Any]) -> str:
    """The caption with what its images show before it, where that is no sewer."""
    source = facts["source"]
    title = SOURCES[source].title
    return caption if source in SEWERS else f"{title[0].upper()}{title[1:]}. {caption}"


def marked(facts: dict[str, Any]) -> str:
    """What the marks of unhealthy runs mean, as sentences after a blank; "" where all are healthy.

    `facts` is lib.analysis.provenance.of_runs.
    """
    counts, marks = facts["health"], facts["marks"]
    runs, cells = (sum(each.values()) for each in (counts, marks))
    dead, crossed = (each.get("collapsed", 0) + each.get("diverged", 0) for each in (counts, marks))
    weak = marks.get("no better than random", 0)
    text, several = "", len(facts["seeds"]) > 1
    if dead:
        text = f" †: collapsed or diverged ({dead} of {runs} trained runs"
        text += "; a mean over seeds bears the mark if any of its runs does)." if several else ")."
    if weak:
        what = "systems and shares" if several else "trained runs"
        text += f" °: {'mean ' * several}AUROC minus that of the untrained backbone is not above 0 "
        text += f"at 95 % ({weak} of {cells - crossed} {what}{' without †' * bool(crossed)})."
    return text


def footer(facts: dict[str, Any], protocol: str | list[str]) -> str:
    """Where the numbers come from: data, profile, protocol, seeds, n, intervals, runs.

    What does not apply is left out: protocols where the list is empty, intervals where
    `bootstrap_unit` is, and all that concerns runs where `facts` holds none
    (lib.analysis.provenance.of_data).
    """
    start = f"Data: {facts['data']}. Profile {facts['profile']}: "
    if "fresh" not in facts:
        images = f"{facts['n_training']:,} training and {facts['n_validation']:,} validation images"
        if groups := facts.get("n_groups"):
            images += f" of {groups:,} {facts['groups']}"
        return f"{start}{images}. No run is read."
    fixed = ", fixed, so small train shares get fewer steps" * (facts["train_shares"] > 1)
    epochs = f"{' or '.join(map(str, facts['epochs']))} epoch{'s' * (facts['epochs'] != [1])}"
    seeds = "Means over seeds " if len(facts["seeds"]) > 1 else "One seed, "
    seeds += ", ".join(map(str, facts["seeds"]))
    return (
        f"{start}{_networks(facts['networks'])}; {epochs}{fixed}. "
        f"{_protocols(protocol)}{seeds}. {_images(facts)}. "
        f"Runs: {_origin(facts)}."
    )


def _origin(facts: dict[str, Any]) -> str:
    """`3 trained here, 5 of the committed results`."""
    kinds = {"trained here": facts["fresh"], "of the committed results": facts["reference"]}
    return ", ".join(f"{n:,} {kind}" for kind, n in kinds.items() if n)


def _networks(networks: dict[str, dict]) -> str:
    """`ResNet-18 at 64 px, width × 0.25; ViT-Tiny at 48 px, width × 0.5, 4 blocks`."""
    parts = []
    for backbone, facts in networks.items():
        part = f"{label(backbone)} at {', '.join(map(str, facts['px']))} px"
        part += f", width × {facts['width']:g}"
        parts.append(part + (f", {facts['blocks']} blocks" if "blocks" in facts else ""))
    return "; ".join(parts)


def _protocols(protocol: str | list[str]) -> str:
    """A sentence with a blank behind it, or "" where no protocol applies."""
    names = [protocol] if isinstance(protocol, str) else protocol
    chosen = ((name, PROTOCOLS[name]) for name in names)
    images = {"clean": "plain", "augmented": "augmented"}
    rules = [
        f"{name}: {images[rule.table]} images, {rule.probe} probe, shares by {rule.sampling}"
        for name, rule in chosen
    ]
    return f"Protocol {'; '.join(rules)}. " if rules else ""


def _images(facts: dict[str, Any]) -> str:
    """How many validation images, of how many groups, and what the intervals are drawn over."""
    text, unit = f"n = {facts['n_validation']:,} validation images", facts["bootstrap_unit"]
    if unit == facts["groups"]:
        text += f" of {facts['n_groups']:,} {unit}"
    if not unit:
        return text
    if facts.get("few"):
        return f"{text}; no 95 % intervals ({facts['few']})"
    if len(facts["seeds"]) >= ENOUGH:
        text += f"; 95 % intervals: Student’s t over seeds, joined with a bootstrap over {unit}"
    else:
        few = " (two are too few)" * (len(facts["seeds"]) == 2)
        text += f"; 95 % intervals: bootstrap over {unit}, without the spread over seeds{few}"
    if unit == "images" and facts["groups"] == "videos":
        text += "; videos are not named, and images of one are alike, so intervals are too narrow"
    return text


@contextmanager
def below(fig: Figure, caption: str, note: str) -> Iterator[float]:
    """Within the block, the figure is taller and shows caption and footer below its content; after
    it, the figure is as before. Yields the height of the content in inches.

    A figure with a layout engine is laid out above them; one without is the
    scorecard, which keeps its size.
    """
    width, height = fig.get_size_inches()
    texts = [text.replace(" %", "\N{NO-BREAK SPACE}%") for text in (caption, note)]
    blocks = [style.wrapped(text, width) for text in texts]
    counts = [block.count("\n") + 1 for block in blocks]
    added = style.LINE * (sum(counts) + 1)
    total = height + added
    fig.set_size_inches(width, total)
    above = (0, added / total, 1, height / total)
    paged = fig.get_layout_engine() is None
    if paged:
        fig.axes[0].set_position(above)
    else:
        fig.set_layout_engine("constrained", rect=above)
        fig.get_layout_engine().execute(fig)
        fig.set_layout_engine("none")  # laid out once, not once a file
    y, texts = (added - 0.3 * style.LINE) / total, []
    look = {"va": "top", "size": style.SIZE, "linespacing": 1.2}
    for block, count, colour in zip(blocks, counts, ("black", "0.35"), strict=True):
        texts.append(fig.text(0.04 / width, y, block, color=colour, **look))
        y -= style.LINE * (count + 0.2) / total
    try:
        yield height
    finally:
        for text in texts:
            text.remove()
        fig.set_size_inches(width, height)
        if paged:
            fig.axes[0].set_position((0, 0, 1, 1))
