"""The report: every rendered table and figure on static pages that open from disk.

    make report

Reads figures/<profile>/ and the executed notebooks, writes build/<profile>/report/. The pages need
neither a network nor a server.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image

from lib.analysis import wording
from lib.store import fingerprints, run_directory
from lib.study import artefacts, profiles
from lib.study.names import PROTOCOLS
from lib.system import atomic, paths

TITLE = "Self-supervised anomaly detection in the wild: a replication"
TEMPLATES = Path(__file__).with_name("templates")
ENDINGS = ("png", "pdf", "csv", "md", "tex")
KINDS = {"table": "Tables", "fig": "Figures", "": "Beyond the paper"}
THUMBNAIL = (720, 540)  # pixels, twice the size of a card; what is taller shows its top

HONEST = {
    "simulated": "The images are simulated: drawings in Sewer-ML’s format. These results show that "
    "the code works and say nothing about real sewers.",
    "sewer-ml": "Measured on Sewer-ML (licence CC BY-NC-SA 4.0, inherited by every figure that "
    "shows its frames).",
    "solar": "Measured on ELPV, photographs of solar cells (Deitsch et al. 2019; licence CC "
    "BY-NC-SA 4.0, inherited by every figure that shows them), not on Sewer-ML: agreement with the "
    "paper is not to be expected. The walkthrough alone shows simulated frames.",
    "own": "Measured on the user’s own images, not on Sewer-ML: agreement with the paper is not to "
    "be expected. The walkthrough alone shows simulated frames.",
}
READINGS = {"described": "MAE as described", "released": "MAE as released"}
# The richest form of an output that needs no script.
RICHEST = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
FOLDERS = "|".join(re.escape(str(path)) for path in (paths.WORKSPACE, paths.ROOT))
LOCAL = re.compile(rf"(?<![\w+/])(?:{FOLDERS})/")


@dataclass(frozen=True)
class Entry:
    """An artefact as the pages show it."""

    name: str
    kind: str  # a key of KINDS
    label: str  # e.g. "Table 1"
    heading: str
    command: str  # remakes it
    files: tuple[str, ...]
    thumbnail: tuple[int, int] | None  # width, height; None where it is not rendered
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
    """The make command that renders an artefact again with the choices that its stamp records."""
    stamp = atomic.read_json(paths.BUILD / profile / "stamps" / f"{name}.json") or {}
    given = stamp.get("inputs", {}).get("parameters", {})
    return artefacts.command(name, {"profile": profile, **given})


def thumbnail(png: Path) -> Image.Image:
    """The picture at the width of `THUMBNAIL`, cut below its height."""
    with Image.open(png) as image:
        width, height = image.size
        shown = min(height, width * THUMBNAIL[1] // THUMBNAIL[0])
        image = image.convert("RGB").crop((0, 0, width, shown))
    image.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    return image


def claims(file: Path) -> dict | None:
    """The scorecard in `file` as rows with a cell per protocol, or None where there is none.

    Raises ValueError as lib.report.scorecard.read does.
    """
    if not file.exists():
        return None
    from lib.report import scorecard  # slow: not needed where the pages are up to date

    card = scorecard.Scorecard(scorecard.read(file))
    protocols = [name for name in ("clean", "paper") if name in card.protocols]
    rows = [
        {
            "number": number,
            "text": text,
            "statistic": statistic,
            "cells": [_cell(card.readings(number, name)) for name in protocols],
        }
        for number, text, statistic in card.claims()
    ]
    columns = [
        {
            "name": name,
            "probe": PROTOCOLS[name].probe,
            "counts": _counts([row["cells"][i] for row in rows], scorecard.SIGNS),
        }
        for i, name in enumerate(protocols)
    ]
    return {"columns": columns, "rows": rows}


def _cell(readings: list[pd.Series]) -> list[dict]:
    """Verdicts, each with what was measured, with true minus signs; readings of MAE are named where
    they differ."""
    verdicts: dict[str, list[dict]] = {}
    for row in readings:
        reading = {
            "variant": READINGS[row["mae"]] if len(readings) > 1 else "",
            "estimate": wording.of_row(row).strip("–").replace("-", "−"),
            "note": row["note"],
        }
        verdicts.setdefault(row["verdict"], []).append(reading)
    return [{"verdict": verdict, "readings": own} for verdict, own in verdicts.items()]


def _counts(cells: list[list[dict]], verdicts: Iterable[str]) -> str:
    """How many claims got which of the verdicts, in words."""
    split = "with a verdict that depends on how MAE is read"
    counts = Counter(cell[0]["verdict"] if len(cell) == 1 else split for cell in cells if cell)
    words = (*verdicts, split)
    return ", ".join(f"{counts[word]} {word}" for word in words if counts[word])


def cells(notebook: Path) -> str:
    """The cells of an executed notebook in HTML, without the folders in which this checkout and its
    workspace lie."""
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
    """Write the report of `profile`, which appears when complete, and return its opening page;
    equal renderings give equal bytes.

    Raises ValueError for an unknown profile and FileNotFoundError where nothing is rendered.
    """
    figures, report = paths.FIGURES / profile, paths.BUILD / profile / "report"
    facts, remake = profiles.load(profile), command("replicate", profile)
    entries = [entry(name, profile) for name in artefacts.ARTEFACTS]
    if not any(one.thumbnail for one in entries):
        raise FileNotFoundError(f"nothing is rendered in {figures}: {remake} first.")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    honest = HONEST[facts["data"]["source"]]
    about = {"study": TITLE, "profile": profile, "facts": facts}
    environment.globals |= about | {"remake": remake, "honest": honest}

    with atomic.new_folder(report, replace=True) as beside:
        _copy(entries, figures, beside)

        def put(page: str, template: str, **content) -> None:
            text = environment.get_template(template).render(**content)
            (beside / page).write_text(text, encoding="utf-8")

        kinds = []
        for kind, name in KINDS.items():
            members = [one for one in entries if one.kind == kind]
            kinds.append({"id": name.lower().replace(" ", "-"), "name": name, "entries": members})
        card = claims(figures / "claims.csv")
        put("index.html", "index.html.j2", entries=entries, kinds=kinds, scorecard=card)
        paged = [one for one in entries if one.page]
        for before, one, after in zip([None, *paged], paged, [*paged[1:], None], strict=False):
            html = cells(executed(one.name, profile))
            put(one.page, "notebook.html.j2", entry=one, before=before, after=after, cells=html)
    return report / "index.html"


def _copy(entries: list[Entry], figures: Path, report: Path) -> None:
    """Put the rendered files, their thumbnails and the style sheet into `report`."""
    for folder in ("artefacts", "thumbnails"):
        (report / folder).mkdir(parents=True)
    shutil.copyfile(TEMPLATES / "style.css", report / "style.css")
    for one in entries:
        if one.thumbnail:
            picture = thumbnail(figures / f"{one.name}.png")
            picture.save(report / "thumbnails" / f"{one.name}.png", optimize=True)
            for file in one.files:
                shutil.copyfile(figures / file, report / "artefacts" / file)


def inputs(profile: str) -> str:
    """Hash of every file that the report of `profile` is made from."""
    build = paths.BUILD / profile
    folders = [
        (paths.FIGURES / profile, "[!.]*"),
        (build / "notebooks", "[!.]*.ipynb"),
        (build / "stamps", "[!.]*.json"),
        (TEMPLATES, "*"),
        (paths.PROFILES, "*.toml"),
        (Path(__file__).parent, "*.py"),
    ]
    files = [f for folder, pattern in folders for f in folder.glob(pattern) if f.is_file()]
    return fingerprints.digest({str(f): fingerprints.digest(f.read_bytes()) for f in files})


def renew(profile: str) -> Path:
    """The report's first page; what is up to date is left alone."""
    report = paths.BUILD / profile / "report"
    stamp, now = report / ".inputs.json", inputs(profile)
    then = atomic.read_json(stamp) or {}
    if then.get("inputs") != now or run_directory.damaged(report, then):
        write(profile)
        pages = {file: file.relative_to(report).as_posix() for file in report.rglob("[!.]*.*")}
        files = {name: atomic.checksum(file) for file, name in pages.items() if file.is_file()}
        atomic.put_json(stamp, {"inputs": now, "files": files})
    return report / "index.html"
