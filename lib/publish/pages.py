"""The report: every rendered table and figure on static pages that open from disk. Reads
figures/<profile>/ and the executed notebooks, writes build/<profile>/report/."""

import re
import shutil
from pathlib import Path

from lib.publish import entries
from lib.publish.entries import TEMPLATES, Entry, templates
from lib.store import fingerprints, run_directory
from lib.study import artefacts, profiles
from lib.system import atomic, paths

TITLE = "Self-supervised anomaly detection in the wild: a replication"
KINDS = {"table": "Tables", "fig": "Figures", "": "Beyond the paper"}

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
# The richest form of an output that needs no script.
RICHEST = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
FOLDERS = "|".join(re.escape(str(path)) for path in (paths.WORKSPACE, paths.ROOT))
LOCAL = re.compile(rf"(?<![\w+/])(?:{FOLDERS})/")


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
    equal renderings give equal bytes. Raises FileNotFoundError where nothing is rendered."""
    from lib.data import archive  # slow: not needed where the pages are up to date
    from lib.publish import charts, verdicts

    figures, report = paths.FIGURES / profile, paths.BUILD / profile / "report"
    facts, remake = profiles.load(profile.partition("/")[0]), entries.command("replicate", profile)
    every = {name: entries.entry(name, profile) for name in artefacts.ARTEFACTS}
    paged = [one for one in every.values() if one.page]
    if not paged:
        redraw = entries.command("redraw", profile)
        raise FileNotFoundError(f"nothing is rendered in {figures}: {redraw} or {remake} first.")
    environment = templates(autoescape=True)
    about = {"study": TITLE, "profile": profile, "facts": facts, "remake": remake}
    source = "simulated" if archive.is_simulated(facts["data"]) else facts["data"]["source"]
    about |= {"honest": HONEST[source], "entries": every}
    environment.globals |= about

    with atomic.new_folder(report, replace=True) as beside:
        thumbnails = _copy(paged, figures, beside)
        shutil.copyfile(charts.SCRIPT, beside / "plotly.min.js")

        def put(page: str, template: str, **content) -> None:
            text = environment.get_template(template).render(**content)
            (beside / page).write_text(text, encoding="utf-8")

        kinds = []
        for kind, name in KINDS.items():
            members = [one for one in every.values() if one.kind == kind]
            kinds.append({"id": name.lower().replace(" ", "-"), "name": name, "entries": members})
        shown = {"kinds": kinds, "thumbnails": thumbnails, "seeds": entries.seeds(figures)}
        shown |= {"scorecard": verdicts.groups(figures / "claims.csv")}
        put("index.html", "index.html.j2", **shown)
        for before, one, after in zip([None, *paged], paged, [*paged[1:], None], strict=False):
            csv = figures / f"{one.name}.csv"
            notebook = paths.BUILD / profile / "notebooks" / f"{one.name}.ipynb"
            content = {"chart": charts.chart(one.name, csv), "table": entries.table(csv)}
            content["cells"] = cells(notebook) if notebook.exists() else ""
            put(one.page, "artefact.html.j2", entry=one, before=before, after=after, **content)
    return report / "index.html"


def _copy(paged: list[Entry], figures: Path, report: Path) -> dict[str, tuple[int, int]]:
    """Put the rendered files, their pictures, the style sheet and the script into `report`; return
    the sizes of the thumbnails."""
    for folder in ("artefacts", "pictures", "thumbnails"):
        (report / folder).mkdir(parents=True)
    for file in ("style.css", "report.js"):
        shutil.copyfile(TEMPLATES / file, report / file)
    sizes = {}
    for one in paged:
        image = entries.picture(figures / f"{one.name}.png")
        image.save(report / "pictures" / f"{one.name}.png")
        small = entries.thumbnail(image)
        small.save(report / "thumbnails" / f"{one.name}.png", optimize=True)
        sizes[one.name] = small.size
        for file in one.files:
            shutil.copyfile(figures / file, report / "artefacts" / file)
    return sizes


def inputs(profile: str) -> str:
    """Hash of every file that the report of `profile` is made from."""
    build, here = paths.BUILD / profile, Path(__file__).parent
    folders = [(paths.FIGURES / profile, "[!.]*"), (build / "notebooks", "[!.]*.ipynb")]
    folders += [(build / "stamps", "[!.]*.json"), (paths.PROFILES, "*.toml")]
    folders += [(TEMPLATES, "*"), (here, "*.py")]
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
