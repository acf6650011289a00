"""The documentation's numbers, from the committed reference and from `make benchmark`.

Pages named in `PAGES` are wholly generated: a template of the same name holds their words, this
module their numbers. The results have a page for each committed reference. The READMEs have marked
parts, each of them a block of a template in `PARTS`.
Tests compare every committed page with `pages()`, so that no number is ever typed.
"""

import inspect
import io
import re
import tomllib
from dataclasses import replace
from functools import cache, partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import pandas as pd

from lib.analysis import calibration, protocol_effects, wording
from lib.publish import entries, findings, reference
from lib.publish.findings import CALIBRATION
from lib.publish.reference import PROFILE
from lib.report import markup
from lib.store import stored
from lib.study import grid, names, settings
from lib.study.artefacts import ARTEFACTS, of_profile
from lib.study.grid import Run
from lib.study.settings import METHODS
from lib.system import paths
from lib.system.errors import DataError

PAGES = ("deviations", "artefacts", "add-a-method", "speed")
PARTS = {"README.md": "parts.md.j2", "README.ja.md": "parts.ja.md.j2"}  # a block per part
DOCS = paths.ROOT / "docs"
DEVIATIONS = DOCS / "deviations.toml"
BENCHMARK = paths.ROOT / "benchmarks" / "results" / "measured.csv"
GRID_IMAGES = 650_110  # of Sewer-ML that the grid reads: half of training, all of validation
FIELDS = ("item", "paper", "code", "here", "why", "effect")  # of a deviation, besides its group
BOUNDS = ["model alone", "lightly"]  # what a training step is compared with
EXAMPLE = "vicreg"  # the method that "Add a method" shows


def renew() -> None:
    """Write every generated page, and the generated parts of the READMEs, anew, after the table of
    simulated studies that a page shows."""
    calibration.table().to_csv(CALIBRATION, index=False)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Path -> the text that it should hold, for every page with a generated number."""
    words = entries.templates(keep_trailing_newline=True, autoescape=False)  # Markdown, not HTML
    references = {profile: findings.words(profile) for profile in findings.SUBJECTS}
    words.globals |= references[PROFILE] | {"table": markup.markdown, "solar": references["solar"]}
    words.globals |= {"agreement": findings.agreement(*references.values())}
    words.globals |= _effects() | _cache() | _artefacts() | _method() | _speed()
    texts = {DOCS / f"{name}.md": words.get_template(f"{name}.md.j2").render() for name in PAGES}
    for profile, numbers in references.items():
        page = "results" if profile == PROFILE else f"results-{profile}"
        texts[DOCS / f"{page}.md"] = words.get_template("results.md.j2").render(numbers)
    for readme, name in PARTS.items():
        text, template = (paths.ROOT / readme).read_text(encoding="utf-8"), words.get_template(name)
        for part, block in template.blocks.items():
            text = filled(text, part, "".join(block(template.new_context())), readme)
        texts[paths.ROOT / readme] = text
    return texts


def filled(text: str, part: str, content: str, readme: str) -> str:
    """`text` with `content` between the marks of `part`, or ValueError unless they exist once."""
    start, end = f"<!-- {part}: generated -->", f"<!-- /{part} -->"
    around = re.split(f"{re.escape(start)}.*?{re.escape(end)}", text, flags=re.S)
    if len(around) != 2:
        raise ValueError(f"{readme} has {len(around) - 1} places for '{part}', expected one.")
    return f"{around[0]}{start}\n{content}{end}{around[1]}"


def _effects() -> dict[str, Any]:
    measured = reference.values("protocol")
    rows = tomllib.loads(DEVIATIONS.read_text(encoding="utf-8"))["row"]
    chosen = {run.method: run.settings for run in grid.cells(PROFILE)}
    groups = {
        group: markup.markdown(
            ("what", "paper", "released code", "here", "why", "effect here"),
            [
                [*(row[f].format(**chosen) for f in FIELDS[:-1]), effects(measured, row["effect"])]
                for row in members
            ],
            texts=len(FIELDS),
        )
        for group, members in groupby(rows, key=lambda row: row["group"])
    }
    return {"deviations": groups}


def effects(measured: pd.DataFrame, wanted: str) -> str:
    """The cell of the effects in `wanted`, "effect, what is held fixed; ...": the mean over
    systems, or MAE's. Raises KeyError for an effect that `measured` lacks."""
    cells = []
    for effect, held in (one.split(", ") for one in wanted.split("; ") if one):
        system = ("mae", "vit_tiny") if effect == "mae" else ("mean", "all")
        what = f"described − released, `{held}`" if effect == "mae" else held
        one = partial(protocol_effects.one, measured, effect, held, *system)
        rows = {name: one(name) for name in protocol_effects.METRICS}
        values = [f"{names.METRIC_NAMES[n]} {wording.of_row(row)}" for n, row in rows.items()]
        cells.append(f"{what}: {', '.join(values)}")
    return "; ".join(cells) or "–"


def _cache() -> dict[str, Any]:
    """What `make benchmark PART=cache` measured: by side of the cache, and for Table 2."""
    rows = read_part(BENCHMARK, "cache")
    values = rows.set_index(["measured", "files", "px", "unit"])["median"]
    forms = {"grey levels": "{:.2f}", "dB": "{:.1f}", "share of detail": "{:.0%}"}

    def cells(what: str, files: str, px: int) -> list[str]:
        return [form.format(values[what, files, px, unit]) for unit, form in forms.items()]

    enlarged = rows[rows["measured"] == "enlarged"]
    by_side = []
    for row in enlarged[enlarged["files"].str.endswith("px")].itertuples():
        gigabytes = f"{GRID_IMAGES * 3 * int(row.files.split()[0]) ** 2 / 1e9:,.0f}"
        both = (cells(kind, row.files, row.px) for kind in ("training", "evaluation"))
        by_side.append([row.files, gigabytes, f"{row.median:.0%}", *chain(*both)])
    inputs = rows[rows["measured"] == "Table 2"][["px", "files"]].drop_duplicates()
    by_input = [[f"{px} px", files, *cells("Table 2", files, px)] for px, files in inputs.values]
    measures = ("grey levels", "dB", "detail")
    views = [f"{kind}: {name}" for kind in ("training", "evaluation") for name in measures]
    return {
        "caches": markup.markdown(("cache", "GB", "views enlarged", *views), by_side),
        "table2_inputs": markup.markdown(("input", "cache", *measures), by_input, texts=2),
    }


def _artefacts() -> dict[str, Any]:
    rows, cores = [], _machine()["cores"]
    for name in of_profile(PROFILE):
        artefact, runs = ARTEFACTS[name], grid.runs(name, PROFILE)
        needs, minutes = "images and committed weights" if runs else "images", "<1"
        if runs and runs[0].profile == PROFILE:
            needs = f"{len(runs)} trainings"
            minutes = f"{sum(map(_seconds, runs)) / 60 / cores:.0f}"
        rows.append([artefact.title, f"`make {name}`", f"`{artefact.notebook}`", needs, minutes])
    head = ("artefact", "command", "notebook", "needs", "minutes")
    return {"artefacts": markup.markdown(head, rows, texts=4)}


@cache
def _seconds(run: Run) -> float:
    """What the run took with the quickest seed of `_machine`, one thread."""
    twins = (stored.reference(replace(run, seed=seed)) for seed in _machine()["seeds"])
    return min(twin.record["total_seconds"] for twin in twins if twin)


def _machine() -> dict[str, Any]:
    """That on which most of the reference was made."""
    return findings.trained()["machines"][0]


def _method() -> dict[str, str]:
    """The three pieces that an added method consists of, as they stand in the sources."""
    texts = [paths.ROOT / f"lib/methods/{EXAMPLE}.py", paths.PROFILES / "paper.toml"]
    method, profile = (path.read_text(encoding="utf-8") for path in texts)
    first = f"[method.{EXAMPLE}]"
    return {
        "method": EXAMPLE,
        "method_file": method.strip(),
        "method_settings": inspect.getsource(METHODS[EXAMPLE]).strip(),
        "method_table": first + profile.split(first, 1)[1].split("\n\n", 1)[0].rstrip(),
        "method_listed": re.search("^ADDED = .*", inspect.getsource(settings), re.M)[0],
    }


def read_part(file: Path, part: str) -> pd.DataFrame:
    """The rows that a part of `make benchmark` wrote into `file`, with the columns that apply.
    Raises DataError where there are none."""
    every = pd.read_csv(file, dtype=str, keep_default_na=False)
    rows = every[every["part"] == part].drop(columns="part")
    if rows.empty:
        raise DataError(f"{file} has no rows of {part}: `make benchmark PART={part}` measures it.")
    applying = rows.loc[:, (rows != "").any()]
    return reference.read_values(io.StringIO(applying.to_csv(index=False)))


def _speed() -> dict[str, Any]:
    parts = ("input", "views", "steps", "grid", "evaluation", "redraw")
    measured = {part: read_part(BENCHMARK, part) for part in parts}
    where, grid_rows, redraw = measured["steps"].iloc[0], measured["grid"], measured["redraw"]
    medians = measured["evaluation"].set_index("measured")["median"]
    inputs, speeds = (_wide(measured["input"], "px", "files", v) for v in ("median", "speed"))
    other = "Pillow, 1 process"
    read = []
    for (px, files), row in inputs.iterrows():
        values = f"{row['ours']:,.0f}", f"{row[other]:,.0f}", f"{speeds.at[(px, files), other]:.1f}"
        read.append([f"{px} px, from PNGs of {files}", *values])
    views = _wide(measured["views"], "px", "files")
    made = [
        [f"{px} px, of {cached}", *(f"{value:,.0f}" for value in row)]
        for (px, cached), row in views.iterrows()
    ]
    steps, ratios = (_wide(measured["steps"], "method", "backbone", v) for v in ("median", "speed"))
    stepped = []
    for system, row in steps.iterrows():
        bounds = ("–" if pd.isna(r) else f"{r:.2f}" for r in ratios.loc[system, BOUNDS])
        stepped.append([", ".join(map(names.label, system)), f"{row['ours']:.0f}", *bounds])
    head = ("system", "ms a step", "share of the model-only bound", "times as fast as lightly")
    return {
        "where": where,
        "inputs": markup.markdown(("views", "ours, cached", "Pillow", "times as fast"), read),
        "views": markup.markdown(("views", *views), made),
        "views_machine": measured["views"]["machine"].iloc[0],
        "steps": markup.markdown(head, stepped),
        "grid": "; ".join(f"{row.measured}: {row.ratio:.2f}" for row in grid_rows.itertuples()),
        "peak": grid_rows["peak_gb"].max(),
        "from_scores": medians["ours, from stored scores"],
        "from_passes": medians["passes on every pair"],
        "redraw": ", ".join(f"`{row.measured}` {row.median:.1f} s" for row in redraw.itertuples()),
    }


def _wide(measured: pd.DataFrame, first: str, second: str, value: str = "median") -> pd.DataFrame:
    """A row per pair of `first` and `second`, a column per competitor, in the order of the rows."""
    return measured.set_index([first, second, "measured"])[value].unstack(sort=False)
