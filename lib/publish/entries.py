"""What there is of an artefact under a profile: its files, picture, texts and numbers."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from PIL import Image

from lib.study import artefacts
from lib.system import atomic, paths

TEMPLATES = Path(__file__).with_name("templates")
ENDINGS = ("png", "pdf", "csv", "md", "tex")
THUMBNAIL = (720, 540)  # pixels, twice the size of a card; what is taller shows its top
LONGEST = 500  # rows of a table; the CSV holds all
ALT = tomllib.loads((TEMPLATES / "pictures.toml").read_text(encoding="utf-8"))


def templates(**options) -> jinja2.Environment:
    """The templates of the pages, or of the documentation; an unknown name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


@dataclass(frozen=True)
class Entry:
    """An artefact as the pages show it."""

    name: str
    kind: str  # "table", "fig" or ""
    label: str  # e.g. "Table 1"
    heading: str
    alt: str  # what is seen on the picture
    command: str  # remakes it
    files: tuple[str, ...]
    caption: str  # as the picture prints it; "" where it holds none
    note: str  # where the numbers come from, likewise
    size: tuple[int, int] | None  # width, height of the picture; None where it is not rendered

    @property
    def page(self) -> str:
        """The file name of its page, "" where it is not rendered."""
        return f"{self.name}.html" if self.size else ""


def entry(name: str, profile: str) -> Entry:
    """What there is of an artefact under `profile`."""
    title, folder = artefacts.ARTEFACTS[name].title, paths.FIGURES / profile
    kind, number = re.fullmatch(r"(table|fig|)(.*)", name).groups()
    label = f"{'Table' if kind == 'table' else 'Figure'} {number}" if kind else name.capitalize()
    files = tuple(f"{name}.{e}" for e in ENDINGS if (folder / f"{name}.{e}").exists())
    texts, size = {}, None
    if f"{name}.png" in files:
        with Image.open(folder / f"{name}.png") as image:
            texts, size = image.text, (image.width, _rows(image))
    return Entry(
        name=name,
        kind=kind,
        label=label,
        heading=f"{label}. {title}" if kind else title,
        alt=ALT[name],
        command=command(name, profile),
        files=files,
        caption=texts.get("Description", "").removeprefix(f"{label}. "),
        note=texts.get("Comment", ""),
        size=size,
    )


def command(name: str, profile: str) -> str:
    """The make command that renders an artefact, or all of them (`replicate`), again with the
    choices that a stamp records. `profile` may be a folder of chosen renderings."""
    stamps = paths.BUILD / profile / "stamps"
    own = [stamps / f"{name}.json", *sorted(stamps.glob("[!.]*.json")) * (name == "replicate")]
    stamp = next(filter(None, map(atomic.read_json, own)), {})
    given = stamp.get("inputs", {}).get("parameters", {})
    return artefacts.command(name, {"profile": profile.partition("/")[0], **given})


def _rows(image: Image.Image) -> int:
    """How many rows of pixels of a PNG lie above the caption that is drawn into it."""
    from lib.report import saving  # slow: not needed where the pages are up to date

    return int(image.text.get(saving.ROWS, image.height))


def picture(png: Path) -> Image.Image:
    """The picture without the caption that is drawn below it: a page shows that as text."""
    with Image.open(png) as image:
        return image.convert("RGB").crop((0, 0, image.width, _rows(image)))


def thumbnail(image: Image.Image) -> Image.Image:
    """The picture at the width of `THUMBNAIL`, cut below its height."""
    width, height = image.size
    small = image.crop((0, 0, width, min(height, width * THUMBNAIL[1] // THUMBNAIL[0])))
    small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    return small


def table(file: Path) -> dict | None:
    """The numbers in a CSV as a page shows them: `columns`, `rows` of text, `shared` (what is the
    same in every row, by column), and `total`, the rows that the file has; None without a file."""
    if not file.exists():
        return None
    frame = pd.read_csv(file)
    varies = (frame.nunique(dropna=False) > 1) | (len(frame) < 2)
    first = frame.loc[:, ~varies].dropna(axis=1, how="all").head(1)
    shown = frame.loc[:, varies].head(LONGEST)
    return {
        "columns": list(shown.columns),
        "rows": shown.map(_text).to_numpy().tolist(),
        "shared": {name: _text(values.iloc[0]) for name, values in first.items()},
        "total": len(frame),
    }


def seeds(folder: Path) -> list[int]:
    """The seeds of the runs behind the numbers that are rendered in `folder`, ascending."""
    files = folder.glob("[!.]*.csv")
    columns = [pd.read_csv(file, usecols=lambda name: name == "seed") for file in files]
    return sorted({int(seed) for column in columns for seed in column.dropna().to_numpy().flat})


def _text(value: object) -> str:
    """A cell: a number with four digits, nothing where there is none."""
    if pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
