"""The README's generated parts: claims, results, times, artefacts, deviations, from the committed
reference; speed, from what `make benchmark` measured.

A number in the README is generated here, never typed; tests hold the README against the committed
runs.
"""

import json
import re
import tomllib
from collections import Counter
from itertools import groupby

import pandas as pd

from lib.analysis import claims, protocol_effects, provenance, wording
from lib.analysis.results import difference, health, measure, validation
from lib.measures import metrics
from lib.publish.reference import PROFILE, committed
from lib.report import captions, scorecard, style
from lib.store.stored import Stored
from lib.study import grid as grid_module
from lib.study import names
from lib.study.artefacts import ARTEFACTS, drawn
from lib.study.grid import runs
from lib.system import paths

README = paths.ROOT / "README.md"
DEVIATIONS = paths.ROOT / "docs" / "deviations.toml"
BENCHMARKS = paths.ROOT / "benchmarks" / "results"
FIELDS = ("item", "paper", "code", "here", "why", "effect")  # of a row of it, besides its group
SHOWN = (0.01, 0.05, 0.45)  # train shares in the README's table


def renew() -> None:
    """Write the generated parts anew."""
    README.write_text(filled(README.read_text()))


def filled(readme: str) -> str:
    """The README's text with its generated parts renewed from the committed reference."""
    parts = {
        "claims": verdicts,
        "results": results,
        "times": times,
        "artefacts": artefacts,
        "speed": speed,
        "deviations": deviations,
    }
    for name, make in parts.items():
        start, end = f"<!-- {name}: generated -->", f"<!-- /{name} -->"
        around = re.split(f"{start}.*?{end}", readme, flags=re.S)
        if len(around) != 2:
            raise ValueError(f"README.md has {len(around) - 1} places for '{name}', expected one.")
        readme = f"{around[0]}{start}\n{make()}\n{end}{around[1]}"
    return readme


def verdicts() -> str:
    """The claims scorecard in Markdown, as the notebook `claims` renders it, and what its verdicts
    hang on."""
    scored = pd.read_csv(
        paths.REFERENCE_FIGURES / "claims.csv", keep_default_na=False, na_values=[""]
    )
    card = scorecard.Scorecard(scored)
    lines = [
        "| # | the paper claims | " + " | ".join(f"protocol `{p}`" for p in card.protocols) + " |"
    ]
    lines.append("| ---: | --- |" + " --- |" * len(card.protocols))
    for number, text, _, *cells in card.lines():
        lines.append(f"| {number} | {text} | " + " | ".join(cells) + " |")
    f1 = pd.read_csv(paths.REFERENCE_FIGURES / "table1.csv").query(
        "metric == 'f1' and method != 'random'"
    )["value"]
    facts = provenance.of_runs([committed(run) for run in grid_module.cells(PROFILE)])
    always = metrics.always_defect_f1(facts["defect_share"])
    hangs = {
        by: ", ".join(map(str, claims.disagreements(scored, by))) or "none"
        for by in ("protocol", "mae")
    }
    return "\n".join(
        [
            *lines,
            "",
            f"Verdicts that depend on the protocol: {hangs['protocol']}; on how MAE was trained: {hangs['mae']}. "
            "A value is the statistic that decides the claim, with its paired 95 % interval over validation videos "
            f"(one seed); `make claims` prints each formula. Under `clean`, {(f1 < always).sum()} of {len(f1)} systems and "
            f"train shares score below always answering “defect” ({always:.2f}): among those, F1 tells as much about the "
            "threshold as about the representation.",
        ]
    )


def artefacts() -> str:
    """A row per artefact: what it shows, its notebook, its command, and what that costs, in
    Markdown."""
    facts = _facts()
    lines = [
        "| artefact | notebook | command | minutes | needs |",
        "| --- | --- | --- | ---: | --- |",
    ]
    for name in drawn():
        wanted = runs(name, PROFILE)
        seconds = sum(committed(run).record["total_seconds"] for run in wanted)
        found, trained = ARTEFACTS[name], wanted and wanted[0].profile == PROFILE
        cost = f"{seconds / 60 / facts['cores']:.0f}" if trained else "<1"
        needs = (
            f"{len(wanted)} trainings"
            if trained
            else "images and committed weights"
            if wanted
            else "images"
        )
        lines.append(f"| {found.title} | `{found.notebook}` | `make {name}` | {cost} | {needs} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Minutes: its trainings in `{PROFILE}` on {facts['cores']} cores. Most are shared; once they are "
            "there, each artefact takes seconds.",
        ]
    )


def deviations() -> str:
    """A table a group of `DEVIATIONS` in Markdown, with what the notebook `protocol` measured."""
    measured = pd.read_csv(
        paths.REFERENCE_FIGURES / "protocol.csv", keep_default_na=False, na_values=[""]
    )
    head = "| what | paper | released code | here | why | effect here |\n| --- | --- | --- | --- | --- | --- |"
    parts = []
    for group, rows in groupby(
        tomllib.loads(DEVIATIONS.read_text())["row"], key=lambda row: row["group"]
    ):
        lines = [
            [*(row[name] for name in FIELDS[:-1]), _effects(measured, row["effect"])]
            for row in rows
        ]
        parts.append(
            "\n".join([f"**{group}**", "", head, *(f"| {' | '.join(line)} |" for line in lines)])
        )
    return "\n\n".join(
        [
            *parts,
            f"Effects: paired differences on the simulated frames of `{PROFILE}`, mean over the paper's systems (of MAE: "
            "ViT-Tiny alone) and train shares, with 95 % intervals over validation videos; a dash where none was measured.",
            "\n".join(
                f"- {one}" for one in protocol_effects.verdicts(*protocol_effects.split(measured))
            ),
            "![What the protocol of the released code does to the results](figures/protocol.png)",
        ]
    )


def _effects(measured: pd.DataFrame, wanted: str) -> str:
    """The cell of the effects in `wanted`, "effect, what is held fixed; ...": the mean over
    systems, or MAE's."""
    cells = []
    for effect, held in (one.split(", ") for one in wanted.split("; ") if one):
        system = ("mae", "vit_tiny") if effect == "mae" else ("mean", "all")
        values = []
        for name in protocol_effects.METRICS:
            row = protocol_effects.one(measured, effect, held, *system, name)
            values.append(f"{names.METRIC_NAMES[name]} {wording.of_row(row)}")
        prefix = {"mae": f"described − released, `{held}`: ", "protocol": ""}.get(
            effect, f"{held}: "
        )
        cells.append(prefix + ", ".join(values))
    return "; ".join(cells) or "–"


def _facts() -> dict:
    return json.loads((paths.REFERENCE / PROFILE / "provenance.json").read_text())


def results() -> str:
    """F1 and AUROC by system and train share, the paired differences that matter, and a figure, in
    Markdown."""
    stored = [committed(run) for run in grid_module.cells(PROFILE) if run.share in SHOWN]
    measured = measure(stored, "clean")
    table, _ = validation(stored[0])
    always = metrics.always_defect_f1(table["Defect"].mean())
    marks = captions.marked({"health": Counter(map(health, stored))})
    head = "| system | " + " | ".join(f"F1, {s:.0%}" for s in SHOWN) + " | "
    head += " | ".join(f"AUROC, {s:.0%}" for s in SHOWN) + " |"
    lines = [head, "| --- |" + " ---: |" * 2 * len(SHOWN)]
    for (method, backbone), rows in measured.groupby(["method", "backbone"], sort=False):
        cells = [_cell(rows, name, share) for name in ("f1", "auroc") for share in SHOWN]
        lines.append(
            f"| {names.label(method)}, {names.label(backbone)} | " + " | ".join(cells) + " |"
        )
    lines.append(
        f"| always “defect” | {' | '.join([f'{always:.2f}'] * len(SHOWN))} |"
        + " 0.50 |" * len(SHOWN)
    )
    return "\n".join(
        [
            f"**Simulated frames**, profile `{PROFILE}`, protocol `clean` (converged probe, plain images), one seed. "
            f"Columns: share of defects in training; validation at its natural share ({table['Defect'].mean():.0%} of "
            f"{len(table)} images, {table['Video'].nunique()} videos). Brackets: 95 % bootstrap intervals over videos; "
            f"they do not hold the spread over seeds.{marks}",
            "",
            *lines,
            "",
            *_differences(stored),
            "",
            "![F1 by share of defects in training and validation, ResNet-18](figures/fig2.png)",
        ]
    )


def _cell(rows: pd.DataFrame, metric: str, share: float) -> str:
    (row,) = rows[(rows["metric"] == metric) & (rows["train_share"] == share)].itertuples()
    value = wording.estimate(row.value, row.low, row.high, wording.PLAIN)
    return value + style.MARKS[row.health]


def _differences(stored: list[Stored]) -> list[str]:
    """A line per backbone: SimCLR minus random at the largest share, paired over videos."""
    found = []
    for backbone in names.BACKBONES:
        pair = [
            [
                s
                for s in stored
                if (s.run.method, s.run.backbone, s.run.share) == (m, backbone, SHOWN[-1])
            ]
            for m in ("simclr", "random")
        ]
        gaps = [(name, difference(*pair, metric=name)) for name in ("f1", "auroc")]
        text = ", ".join(
            f"{wording.difference(gap)} in {names.METRIC_NAMES[name]}" for name, gap in gaps
        )
        found.append(
            f"- SimCLR minus random backbone, {names.label(backbone)}, {SHOWN[-1]:.0%} of defects: {text}."
        )
    return found


def times() -> str:
    """How long the reference took, and on what."""
    facts = _facts()
    minutes = sum(facts["core_minutes"].values())
    native = facts["precision"].startswith("bf16")
    other = (
        "without native bf16 it takes several times as long"
        if native
        else "with native bf16 it is faster"
    )
    return (
        f"The {facts['runs']} trainings of `{PROFILE}` took {minutes:.0f} core-minutes, so about "
        f"{minutes / facts['cores']:.0f} minutes on the {facts['cores']} cores at hand ({facts['processor']}, "
        f"precision {facts['precision']}); {other}. "
        "The first command also installs about 6 GB of packages (CUDA's among them on Linux)."
    )


def speed() -> str:
    """What `make benchmark` measured, on what, in Markdown."""
    found = {
        name: pd.read_csv(BENCHMARKS / f"{name}.csv")
        for name in ("input", "steps", "grid", "evaluation", "redraw")
    }
    where, grid = found["steps"].iloc[0], found["grid"]
    ratios = "; ".join(f"{row.measured}: {row.ratio:.2f}" for row in grid.itertuples())
    stored, passed = (
        found["evaluation"].set_index("measured")["median"][name]
        for name in ("ours, from stored scores", "passes on every pair")
    )
    figures = ", ".join(
        f"`{row.measured}` {row.median:.1f} s" for row in found["redraw"].itertuples()
    )
    return "\n".join(
        [
            f"`make benchmark` on {where['machine']}, {where['cores']} cores, one thread a process, precision "
            f"{where['precision']}, torch {where['torch']}: medians, competitors taking turns.",
            "",
            *_inputs(found["input"]),
            "",
            *_steps(found["steps"]),
            "",
            f"- (c) Wall time of the grid over its model-only work divided by cores: {ratios}. No worker took more than "
            f"{grid['peak_gb'].max():.1f} GB of memory.",
            f"- (d) All 25 pairs of a system's train and validation shares: {stored:.2f} s from stored scores, "
            f"{passed:.0f} s where the images of each pair pass through its network.",
            f"- (e) From the command to the figure, runs present: {figures}.",
            "",
            "![What make benchmark measured](benchmarks/results/speed.png)",
        ]
    )


def _inputs(found: pd.DataFrame) -> list[str]:
    """A row per size of view and of file."""
    head = "| (a) two views an image, samples/s a core | ours, cached | Pillow | times as fast |"
    lines = [head, "| --- | ---: | ---: | ---: |"]
    for (px, files), rows in found.groupby(["px", "files"], sort=False):
        by = rows.set_index("measured")
        ours, other = by.loc["ours"], by.loc["Pillow, 1 process"]
        cells = f"{ours['median']:,.0f} | {other['median']:,.0f} | {other['speed']:.1f}"
        lines.append(f"| {px} px, from PNGs of {files} | {cells} |")
    return lines


def _steps(found: pd.DataFrame) -> list[str]:
    """A row per system."""
    head = f"| (b) training step of `{PROFILE}` | ms | share of the model-only bound | times as fast as lightly |"
    lines = [head, "| --- | ---: | ---: | ---: |"]
    for (method, backbone), rows in found.groupby(["method", "backbone"], sort=False):
        by = rows.set_index("measured")
        lightly = f"{by['speed']['lightly']:.2f}" if "lightly" in by.index else "–"
        cells = f"{by['median']['ours']:.0f} | {by['speed']['model alone']:.2f} | {lightly}"
        lines.append(f"| {names.label(method)}, {names.label(backbone)} | {cells} |")
    return lines


if __name__ == "__main__":
    renew()
