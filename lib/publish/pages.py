"""The report: every rendered table and figure on static pages that open from disk, without a
network or a server.

    make report

Reads figures/<profile>/ and the executed notebooks, writes
build/<profile>/report/.
"""

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jinja2
from PIL import Image

from lib.store import fingerprints
from lib.study import artefacts, names, profiles
from lib.study.protocols import PROTOCOLS
from lib.system import paths

TITLE = "Self-supervised anomaly detection in the wild: a replication"
TEMPLATES = Path(__file__).with_name("templates")
ENDINGS = ("png", "pdf", "csv", "md", "tex")
KINDS = {"table": "Tables", "fig": "Figures", "": "Beyond the paper"}
THUMBNAIL = (720, 540)  # pixels, twice the size of a card; what is taller shows its top

HONEST = {
    "simulated": "The images are simulated: drawings in Sewer-ML’s format. These results show that the code works and "
    "say nothing about real sewers.",
    "sewer-ml": "Measured on Sewer-ML (licence CC BY-NC-SA 4.0, inherited by every figure that shows its frames).",
    "own": "Measured on the user’s own images, not on Sewer-ML: agreement with the paper is not to be expected. "
    "The walkthrough alone shows simulated frames.",
}
COLUMNS = (
    "claim",
    "text",
    "protocol",
    "mae",
    "statistic",
    "value",
    "low",
    "high",
    "verdict",
    "note",
)
VARIANTS = {"described": "MAE as described", "released": "MAE as released"}
VERDICTS = ("supported", "contradicted", "inconclusive", "not run")
# The richest form of an output that needs no script.
RICHEST = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
LOCAL = re.compile(
    rf"(?<![\w+/])(?:{'|'.join(re.escape(str(p)) for p in (paths.WORKSPACE, paths.ROOT))})/"
)


@dataclass(frozen=True)
class Entry:
    """An artefact as the pages show it; `thumbnail` (width, height) is None where it has not been
    rendered."""

    name: str
    kind: str  # a key of KINDS
    label: str  # e.g. "Table 1"
    heading: str
    command: str  # remakes it
    files: tuple[str, ...]
    thumbnail: tuple[int, int] | None
    page: str  # of the executed notebook, or ""


def entry(name: str, profile: str) -> Entry:
    """What there is of an artefact under `profile`."""
    title = artefacts.ARTEFACTS[name].title
    kind, number = re.fullmatch(r"(table|fig|)(.*)", name).groups()
    label = f"{'Table' if kind == 'table' else 'Figure'} {number}" if kind else name.capitalize()
    files = tuple(
        f"{name}.{e}" for e in ENDINGS if (paths.FIGURES / profile / f"{name}.{e}").exists()
    )
    shown = f"{name}.png" in files
    return Entry(
        name=name,
        kind=kind,
        label=label,
        heading=f"{label}. {title}" if kind else title,
        command=command(name, profile),
        files=files,
        thumbnail=thumbnail(paths.FIGURES / profile / f"{name}.png").size if shown else None,
        page=f"{name}.html" if shown and executed(name, profile).exists() else "",
    )


def executed(name: str, profile: str) -> Path:
    """The executed notebook that made an artefact."""
    return paths.BUILD / profile / "notebooks" / f"{name}.ipynb"


def command(name: str, profile: str) -> str:
    """The make command that renders an artefact as it was rendered, with what its stamp knows of
    the choices made."""
    stamp, given = paths.BUILD / profile / "stamps" / f"{name}.json", {}
    if stamp.exists():
        given = json.loads(stamp.read_text())["inputs"]["parameters"]
    return artefacts.command(name, {"profile": profile, **given})


def thumbnail(png: Path) -> Image.Image:
    """The picture at the width of `THUMBNAIL`, cut below its height."""
    with Image.open(png) as image:
        width, height = image.size
        image = image.convert("RGB").crop(
            (0, 0, width, min(height, width * THUMBNAIL[1] // THUMBNAIL[0]))
        )
    image.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    return image


def scorecard(file: Path) -> dict | None:
    """The claims as rows with a cell per protocol, or None where they have not been rendered.

    Raises ValueError for a file without the columns of the scorecard, or with an unknown verdict.
    """
    if not file.exists():
        return None
    with file.open(newline="") as text:
        reader = csv.DictReader(text)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(
                f"{file} lacks the columns {', '.join(sorted(missing))}: make claims renews it."
            )
        judged = [line | {"claim": int(line["claim"])} for line in reader]
    for line in judged:
        names.nearest(line["verdict"], VERDICTS, f"verdict in {file.name}")
    protocols = [
        name for name in ("clean", "paper") if any(line["protocol"] == name for line in judged)
    ]
    rows = []
    for number in sorted({line["claim"] for line in judged}):
        lines = [line for line in judged if line["claim"] == number]
        cells = [_cell([line for line in lines if line["protocol"] == name]) for name in protocols]
        rows.append(
            {
                "number": number,
                "text": lines[0]["text"],
                "statistic": lines[0]["statistic"],
                "cells": cells,
            }
        )
    columns = [
        {
            "name": name,
            "probe": PROTOCOLS[name].probe,
            "counts": _counts([row["cells"][i] for row in rows]),
        }
        for i, name in enumerate(protocols)
    ]
    return {"columns": columns, "rows": rows}


def _cell(lines: list[dict]) -> list[dict]:
    """Verdicts, each with what was measured: once where both readings of MAE say the same, else
    once a reading."""
    found: dict[str, list[dict]] = {}
    for line in lines:
        said = {"variant": VARIANTS[line["mae"]], "estimate": _estimate(line), "note": line["note"]}
        found.setdefault(line["verdict"], []).append(said)
    for verdict, said in found.items():
        if len(said) == len(lines) and all(
            one | {"variant": ""} == said[0] | {"variant": ""} for one in said
        ):
            found[verdict] = [said[0] | {"variant": ""}]
    return [{"verdict": verdict, "said": said} for verdict, said in found.items()]


def _estimate(line: dict) -> str:
    """`+0.10 [+0.08, +0.13]`, with true minus signs; nothing where nothing was measured."""
    value, low, high = (float(line[name] or "nan") for name in ("value", "low", "high"))
    if value != value:
        return ""
    interval = "" if low != low else f" [{low:+.2f}, {high:+.2f}]"
    return f"{value:+.2f}{interval}".replace("-", "−")


def _counts(cells: list[list[dict]]) -> str:
    """How many claims got which verdict, in words."""
    verdicts = [{one["verdict"] for one in cell} for cell in cells]
    split = "with a verdict that depends on how MAE is read"
    counts = Counter(next(iter(found)) if len(found) == 1 else split for found in verdicts if found)
    return ", ".join(f"{counts[name]} {name}" for name in (*VERDICTS, split) if counts[name])


def cells(notebook: Path) -> str:
    """The cells of an executed notebook in HTML; where this checkout and its workspace lie on disk
    is left out."""
    import nbformat  # slow: not needed where the pages are up to date
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    from lib.publish import formulas

    exporter = HTMLExporter(
        template_name=TEMPLATES.name,
        template_file="cells.html.j2",
        extra_template_basedirs=[str(TEMPLATES.parent)],
        filters={"markdown2html": formulas.markdown},
        config=Config(NbConvertBase={"display_data_priority": RICHEST}),
    )
    body, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4))
    return LOCAL.sub("", body)


def write(profile: str) -> Path:
    """Write the pages of `profile` and return the opening one; equal renderings give equal bytes.

    Raises ValueError for an unknown profile and FileNotFoundError where nothing has been rendered.
    """
    names.nearest(profile, profiles.available(), "profile")
    figures, target = paths.FIGURES / profile, paths.BUILD / profile / "report"
    entries = [entry(name, profile) for name in artefacts.ARTEFACTS]
    rendered = [e for e in entries if e.thumbnail]
    if not rendered:
        raise FileNotFoundError(
            f"nothing is rendered in {figures}: make replicate PROFILE={profile} first."
        )
    beside = target.with_name("report.partial")
    shutil.rmtree(beside, ignore_errors=True)
    for folder in ("artefacts", "thumbnails"):
        (beside / folder).mkdir(parents=True)
    shutil.copyfile(TEMPLATES / "style.css", beside / "style.css")
    for one in rendered:
        thumbnail(figures / f"{one.name}.png").save(
            beside / "thumbnails" / f"{one.name}.png", optimize=True
        )
        for file in one.files:
            shutil.copyfile(figures / file, beside / "artefacts" / file)

    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    facts = profiles.load(profile)
    pages.globals.update(
        study=TITLE,
        profile=profile,
        facts=facts,
        remake=command("replicate", profile),
        honest=HONEST[facts["data"]["source"]],
    )
    kinds = [
        {
            "id": name.lower().replace(" ", "-"),
            "name": name,
            "entries": [e for e in entries if e.kind == kind],
        }
        for kind, name in KINDS.items()
    ]
    opening = pages.get_template("index.html.j2")
    card = scorecard(figures / "claims.csv")
    (beside / "index.html").write_text(
        opening.render(entries=entries, kinds=kinds, scorecard=card), encoding="utf-8"
    )
    booked = [e for e in entries if e.page]
    for before, one, after in zip([None, *booked[:-1]], booked, [*booked[1:], None], strict=True):
        page = pages.get_template("notebook.html.j2").render(
            entry=one, before=before, after=after, cells=cells(executed(one.name, profile))
        )
        (beside / one.page).write_text(page, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
    return target / "index.html"


def inputs(profile: str) -> str:
    """Hash of every file that the report of `profile` is made from."""
    build = paths.BUILD / profile
    folders = [
        (paths.FIGURES / profile, "*"),
        (build / "notebooks", "*.ipynb"),
        (build / "stamps", "*.json"),
        (TEMPLATES, "*"),
        (paths.PROFILES, "*.toml"),
        (Path(__file__).parent, "*.py"),
    ]
    files = [f for folder, pattern in folders for f in folder.glob(pattern) if f.is_file()]
    return fingerprints.digest({str(f): fingerprints.digest(f.read_bytes()) for f in files})


def renew(profile: str) -> Path:
    """The report's first page; what is up to date is left alone."""
    page = paths.BUILD / profile / "report" / "index.html"
    stamp, now = page.with_name(".inputs"), inputs(profile)
    if not (page.exists() and stamp.exists() and stamp.read_text() == now):
        page = write(profile)
        stamp.write_text(now)
    return page
