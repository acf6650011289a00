"""The documentation holds what it says: links, commands, names, sections, numbers, length. The
table of deviations is whole, and its effects are measured, never typed."""

import importlib
import re
import tomllib
from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest

from lib.analysis import label_overflow, protocol_effects
from lib.analysis.claims import CLAIMS
from lib.measures.metrics import CIW
from lib.publish import docs
from lib.study import artefacts, grid, profiles
from lib.study.names import CLASS_NAMES
from lib.system import paths
from lib.system.errors import DataError

FOLDERS = ("docs", "lib", "tests", "notebooks", "benchmarks", "results", "figures")
PAGES = sorted(paths.ROOT.glob("*.md")) + sorted(
    page for folder in FOLDERS for page in (paths.ROOT / folder).rglob("*.md")
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
FENCED = re.compile(r"```.*?```", re.DOTALL)
CODE = re.compile(r"```.*?```|^ {4}\S[^\n]*$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
STUDY = docs.DOCS / "study.md"
MAKEFILE = (paths.ROOT / "Makefile").read_text()
README_LINES, README_WORDS = 150, 1800
FIRST_SCREEN = 12  # lines, within which the first commands stand


def name(path: Path) -> str:
    return str(path.relative_to(paths.ROOT))


each = pytest.mark.parametrize("page", PAGES, ids=name)


def code(page: Path) -> str:
    """The page's code alone, a piece a line."""
    return "\n".join(CODE.findall(page.read_text()))


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@each
def test_no_link_is_broken(page):
    for match in LINK.finditer(CODE.sub("", page.read_text())):
        target = match[1] or match[2]
        if re.match(r"https?://", target):
            continue
        file, _, section = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), f"{name(page)} links to {target}"
        if section:
            assert section in map(anchor, headings(linked)), f"{name(page)} links to {target}"


def test_links_are_found_in_every_form():
    text = '[a](b.md#c), ![d](e.png) and <img src="f.png" alt="">, not `[g](h)`'
    found = [match[1] or match[2] for match in LINK.finditer(CODE.sub("", text))]
    assert found == ["b.md#c", "e.png", "f.png"]
    assert anchor("Quirk 1: the encoder of MAE does not train") == (
        "quirk-1-the-encoder-of-mae-does-not-train"
    )


@each
def test_every_command_exists(page):
    rules = re.findall(r"^([a-z][a-z -]*):", MAKEFILE, re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()} | set(artefacts.ARTEFACTS)
    for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", code(page)):
        assert target in targets, f"{name(page)} names `make {target}`"


@each
def test_every_choice_of_a_command_exists(page):
    for line in code(page).splitlines():
        if not re.search(r"\bmake [a-z]", line):
            continue
        for variable, value in re.findall(r"\b([A-Z_]+)=([\w-]*)", line):
            where = f"{name(page)}: {line.strip()}"
            assert variable.startswith("SBATCH_") or re.search(rf"\b{variable}\b", MAKEFILE), where
            valid = {"PROFILE": profiles.available(), "ARTEFACT": artefacts.ARTEFACTS}
            assert value in valid.get(variable, [value]), where


@each
def test_every_name_of_the_library_can_be_imported(page):
    for dotted in set(re.findall(r"\blib(?:\.[A-Za-z_]\w*)+", code(page))):
        resolve(dotted)


def resolve(dotted: str) -> object:
    """The module, function or class of that name. Raises ImportError or AttributeError."""
    module, _, attribute = dotted.rpartition(".")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), attribute)


def test_a_name_that_the_library_lacks_is_noticed():
    with pytest.raises(AttributeError, match="no attribute 'score'"):
        resolve("lib.measures.metrics.score")


@each
def test_every_file_that_is_named_exists(page):
    for file in re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*(?!<)", code(page)):
        if not file.startswith("figures/"):  # of which make renders more, a folder a profile
            assert (paths.ROOT / file).exists(), f"{name(page)} names {file}"


def test_comments_cite_sections_that_exist():
    known = [heading.lower() for heading in headings(STUDY)]
    for path in sorted((paths.ROOT / "lib").rglob("*.py")):
        text = re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text())
        for section in re.findall(r"docs/study\.md, ([A-Za-z][a-z]+(?: [a-z]+| \d)*)", text):
            section = re.sub(r"^quirks \d.*", "quirk", section.lower())
            assert any(h.startswith(section) for h in known), f"{name(path)} cites {section!r}"


def test_the_study_names_the_claims_and_the_classes_as_the_library_does():
    text = STUDY.read_text()
    assert re.findall(r"^(\d+)\. ", text, re.MULTILINE) == [str(c.number) for c in CLAIMS]
    rows = re.findall(r"^\| ([A-Z]{2}) \| (.*?) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert {key: meaning for key, meaning, _ in rows} == CLASS_NAMES
    assert {key: float(weight) for key, _, weight in rows} == CIW


def test_the_readme_is_short_and_begins_with_a_command():
    text = (paths.ROOT / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= README_LINES and len(text.split()) <= README_WORDS
    commands = [line.split()[1] for line in lines[:FIRST_SCREEN] if line.startswith("    make ")]
    assert commands[:3] == ["redraw", "report", "replicate"]  # the quickest success first


def test_the_readmes_say_the_same():
    """The translation has the same sections, commands and parts, in the same order."""
    english, japanese = (paths.ROOT / f"README{ending}" for ending in (".md", ".ja.md"))
    assert len(headings(english)) == len(headings(japanese))
    commands = [
        re.findall(r"make [a-z][^#`\n]*?(?= *(?:#|`|$))", code(p), re.M)
        for p in (english, japanese)
    ]
    assert commands[0] == commands[1]


def test_the_example_in_python_runs(workspace):
    (block,) = re.findall(r"```python\n(.*?)```", (paths.ROOT / "README.md").read_text(), re.DOTALL)
    *lines, last = block.strip().splitlines()
    scope = {}
    exec("\n".join(lines), scope)
    assert eval(last, scope)["f1"] > 0
    assert len(scope["run"].history) > 1


@pytest.fixture(scope="module")
def pages():
    return docs.pages()


def test_every_page_with_numbers_is_current(pages):
    stale = [name(path) for path, text in pages.items() if path.read_text() != text]
    assert not stale, f"{', '.join(stale)}: `make docs` renews them"


def test_a_readme_without_its_places_is_refused():
    with pytest.raises(ValueError, match=r"README.md has 0 places for 'claims', expected one"):
        docs.filled("no places", "claims", "", "README.md")


def test_a_part_is_replaced_between_its_marks():
    text = "a\n<!-- b: generated -->\nold\n<!-- /b -->\nc"
    assert docs.filled(text, "b", "new\n", "README.md") == text.replace("old", "new")


ROWS = tomllib.loads(docs.DEVIATIONS.read_text())["row"]
each_row = pytest.mark.parametrize("row", ROWS, ids=[row["item"] for row in ROWS])


@each_row
def test_every_row_says_everything(row):
    assert list(row) == ["group", *docs.FIELDS]
    assert all(row[name].strip() == row[name] != "" for name in row if name != "effect")
    assert not re.search(r"[|\n]", "".join(row.values()))  # a cell of a Markdown table


@each_row
def test_effects_are_asked_for_and_not_typed(row):
    assert not re.search(r"[-+−]0?\.\d\d", " ".join(row[name] for name in row))
    for effect, held in (one.split(", ") for one in row["effect"].split("; ") if one):
        known = protocol_effects.EFFECTS | {label_overflow.EFFECT: label_overflow.HELD}
        assert held in known.get(effect, protocol_effects.PROTOCOL)


def test_rows_are_grouped_and_named_once():
    assert [group for group, _ in groupby(ROWS, key=lambda row: row["group"])] == [
        "Data",
        "Training",
        "Methods",
        "Evaluation",
    ]
    assert len({row["item"] for row in ROWS}) == len(ROWS)


def test_the_four_quirks_carry_their_measured_effects():
    with_effect = [row["item"] for row in ROWS if row["effect"]]
    assert with_effect == [
        "Labels in 16 bits",
        "MAE's training",
        "Test images of Table 1 and the ablations",
        "Probe",
    ]


def test_an_effect_is_written_with_its_interval():
    measured = pd.DataFrame(
        [
            {
                "effect": "probe",
                "held": "clean images",
                "method": "mean",
                "backbone": "all",
                "metric": name,
                "value": value,
                "low": value - 0.01,
                "high": value + 0.02,
            }
            for name, value in (("f1", -0.05), ("auroc", 0.1))
        ]
    )
    assert docs.effects(measured, "probe, clean images") == (
        "clean images: F1 −0.05 [−0.06, −0.03], AUROC +0.10 [+0.09, +0.12]"
    )
    assert docs.effects(measured, "") == "–"
    with pytest.raises(KeyError):
        docs.effects(measured, "mae, clean")


def test_a_part_that_was_not_measured_names_its_command(tmp_path):
    """It was a traceback of a KeyError."""
    (tmp_path / "measured.csv").write_text("part,measured\nsteps,ours\n")
    with pytest.raises(DataError, match="has no rows of grid: `make benchmark PART=grid` measures"):
        docs.read_part(tmp_path / "measured.csv", "grid")


def test_the_page_holds_every_row():
    text = (docs.DOCS / "deviations.md").read_text()
    chosen = {run.method: run.settings for run in grid.cells("mini")}
    for row in ROWS:
        here = row["here"].format(**chosen)
        assert f"| {row['item']} | {row['paper']} | {row['code']} | {here} | {row['why']} |" in text


def test_what_mini_differs_in_is_read_from_its_settings():
    text = (docs.DOCS / "deviations.md").read_text()
    own = tomllib.loads((paths.PROFILES / "mini.toml").read_text())["method"]
    assert f"`mini`: {own['dino']['prototypes']} prototypes" in text
    assert f"`mini`: {own['byol']['tau_start']} to {own['byol']['tau_end']} (BYOL)" in text
    assert f"`mini`: decoder {own['mae']['decoder_width']} wide" in text
