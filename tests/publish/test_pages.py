"""The report opens from disk: all that it names is there, nothing comes from a network, nothing
absent is hidden."""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from PIL import Image
from report_files import MADE, PAGES, book, png

from lib.__main__ import main
from lib.publish.entries import ALT, command, picture, table, thumbnail
from lib.publish.pages import HONEST, write
from lib.study import artefacts, profiles
from lib.system import paths


class Page(HTMLParser):
    """What a page links to and loads, its ids, its text, and the text of each card and of each
    line on what is absent."""

    def __init__(self, path):
        super().__init__()
        self.named, self.ids, self.tags, self.texts, self.card = [], set(), [], {None: ""}, None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.named += [
            given[name] for name in ("href", "src", "srcset", "data", "action") if given.get(name)
        ]
        self.ids |= {given["id"]} if "id" in given else set()
        if tag in ("article", "li") and "id" in given:
            self.card = given["id"]
            self.texts[self.card] = ""

    def handle_endtag(self, tag):
        if tag in ("article", "li"):
            self.card = None

    def handle_data(self, data):
        self.texts[self.card] += data


def text(report, page="index.html"):
    return (report / page).read_text()


# Every page


def test_what_pages_name_is_there_and_none_of_it_in_a_network(report):
    pages = {path.name: Page(path) for path in report.glob("*.html")}
    assert set(pages) == set(PAGES)
    for name, page in pages.items():
        for link in page.named:
            if link.startswith("data:"):
                continue
            file, _, anchor = unquote(link).partition("#")
            assert not re.match(r"\w+:|//", link), f"{name} names {link}"
            assert (report / file).is_file() or not file, f"{name} names {link}"
            assert not anchor or anchor in pages[file or name].ids, f"{name} names {link}"
        assert all("alt" in given for tag, given in page.tags if tag == "img")
    assert not re.search(r"url\(|@import", text(report, "style.css"))


def test_pages_say_what_the_images_are(report):
    for page in PAGES:
        assert "simulated: drawings" in text(report, page)


def test_every_source_of_images_has_its_sentence():
    assert {profiles.load(name)["data"]["source"] for name in profiles.available()} <= set(HONEST)


def test_equal_renderings_give_equal_bytes(rendered):
    def contents():
        folder = write("smoke").parent
        return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    before = contents()
    for name in ("table1", "fig2"):
        book(
            rendered / "build" / "smoke" / "notebooks" / f"{name}.ipynb"
        )  # new random ids of cells
    assert contents() == before


def test_what_is_no_longer_rendered_leaves_the_report(rendered, report):
    for file in (rendered / "figures" / "smoke").glob("fig2.*"):
        file.unlink()
    write("smoke")
    assert not list(report.rglob("fig2.*"))
    assert not list(report.parent.glob("*.partial"))


# The opening page


def test_cards_come_in_the_order_of_the_grid_and_lead_to_pages(report):
    page = Page(report / "index.html")
    cards = [name for name in page.texts if name]
    kinds = ("table", "fig", "(?!table|fig)")
    every = sorted(artefacts.ARTEFACTS, key=lambda name: name not in MADE)  # the absent ones last
    assert cards == [name for kind in kinds for name in every if re.match(kind, name)]
    assert all(f"{name}.html" in page.named for name in MADE)
    assert "A caption of fig2 with a – dash" in page.texts["fig2"]


def test_the_seeds_are_those_of_the_runs_that_were_drawn(rendered):
    """Whatever the profile trains: the reference may hold more, and SEEDS may name others."""
    figures = rendered / "figures" / "smoke"
    file = figures / "table1.csv"
    file.write_text(file.read_text().replace(",42,", ",43,", 1))
    assert "<dt>Seeds</dt><dd>42, 43</dd>" in write("smoke").read_text()
    for numbers in figures.glob("*.csv"):
        numbers.unlink()
    assert "<dt>Seeds</dt>" not in write("smoke").read_text()


def test_what_is_absent_is_said_with_the_command_that_makes_it(report):
    page = Page(report / "index.html")
    absent = [name for name in artefacts.ARTEFACTS if name not in MADE]
    assert all(f"make {name} PROFILE=smoke" in page.texts[name] for name in absent)
    assert not [name for name in MADE if f"make {name}" in page.texts[name]]
    counts = [int(n) for n in re.findall(r"Not rendered yet: (\d+)", page.texts[None])]
    assert sum(counts) == len(absent)


def test_commands_repeat_the_choices_that_were_made(rendered):
    stamp = rendered / "build" / "smoke" / "stamps" / "fig2.json"
    stamp.parent.mkdir()
    given = {"profile": "smoke", "protocol": "paper", "methods": ["byol", "dino"], "seeds": [1, 2]}
    stamp.write_text(json.dumps({"inputs": {"parameters": given}, "files": []}))
    assert (
        command("fig2", "smoke")
        == "make fig2 PROFILE=smoke PROTOCOL=paper METHODS=byol,dino SEEDS=1,2"
    )
    assert command("table1", "smoke") == "make table1 PROFILE=smoke"


SIZES = [((2160, 3240), (720, 540)), ((2160, 1080), (720, 360)), ((300, 150), (300, 150))]


@pytest.mark.parametrize("size, expected", SIZES)
def test_thumbnails_are_small_and_show_the_top_of_what_is_tall(size, expected):
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0], size[1] // 4))
    small = thumbnail(image)
    assert small.size == expected
    assert small.getpixel((expected[0] // 2, 2)) == (255, 0, 0)
    assert small.getpixel((expected[0] // 2, expected[1] - 2)) == (255, 255, 255)


# The page of an artefact


def test_a_page_opens_with_the_picture_and_its_caption_as_text(report):
    page = text(report, "fig2.html")
    order = ["<h1>Figure 2", 'src="pictures/fig2.png"', "A caption of fig2 with a – dash", "A note"]
    order += ["make fig2 PROFILE=smoke", 'id="numbers"', "How it was made"]
    places = [page.index(part) for part in order]
    assert places == sorted(places)
    assert f'alt="{ALT["fig2"]}"' in page
    for file in (paths.FIGURES / "smoke").glob("fig2.*"):
        assert f'href="artefacts/{file.name}"' in page
        assert (report / "artefacts" / file.name).read_bytes() == file.read_bytes()


def test_the_shown_picture_ends_above_the_caption_that_is_drawn_into_it(report, tmp_path):
    with Image.open(report / "pictures" / "fig2.png") as shown:
        assert shown.size == (110, 216)
        assert shown.getpixel((5, 215)) == (255, 255, 255)
    assert picture(png(tmp_path / "foreign.png", (20, 30))).size == (20, 30)


def test_an_artefact_without_an_executed_notebook_says_so(report):
    assert "There is no executed notebook" in text(report, "claims.html")
    assert "There is no executed notebook" not in text(report, "fig2.html")


def test_a_table_names_once_what_is_the_same_in_every_row(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("run,seed,empty,value,n\nb,42,,0.1234567,1\na,42,,,123456\n")
    shown = table(file)
    assert shown["columns"] == ["run", "value", "n"]
    assert shown["rows"] == [["b", "0.1235", "1"], ["a", "", "123456"]]
    assert shown["shared"] == {"seed": "42"}
    assert table(tmp_path / "none.csv") is None


@pytest.mark.parametrize("content", ["run,value\na,1.5\n", "run,value\n"])
def test_a_table_of_one_row_or_none_keeps_its_columns(tmp_path, content):
    file = tmp_path / "a.csv"
    file.write_text(content)
    shown = table(file)
    assert shown["columns"] == ["run", "value"]
    assert len(shown["rows"]) == shown["total"] == content.count("a,")


def test_a_long_table_ends_early_and_says_so(rendered):
    numbers = "\n".join(f"f1,{i}" for i in range(1200))
    file = rendered / "figures" / "smoke" / "fig1.csv"
    file.write_text(f"metric,value\n{numbers}\n")
    png(file.with_suffix(".png"), (60, 40))
    assert table(file)["total"] == 1200
    write("smoke")
    page = (paths.BUILD / "smoke" / "report" / "fig1.html").read_text()
    assert "The first 500 of 1,200 rows of" in page
    assert page.count("<tr><td>") == 500


# The notebooks


def test_a_notebook_shows_its_parameters_and_outputs_and_no_traceback(report):
    page = text(report, "fig2.html")
    assert "injected" in re.search(r'<div class="cell injected">.*?</div>\n</div>', page, re.S)[0]
    assert "ValueError: no &lt;such&gt; thing" in page
    assert "Traceback" not in page
    assert "plain instead" in page
    assert "alert" not in page
    assert page.count("<td>cell</td>") == 60
    assert 'alt="x^2"' in page
    assert str(paths.ROOT) not in page
    assert "saved to figures/a.png" in page


def test_notebooks_lead_to_one_another(report):
    first, second = Page(report / "table1.html"), Page(report / "fig2.html")
    assert "fig2.html" in first.named
    assert "table1.html" in second.named
    assert all("index.html" in "".join(page.named[:5]) for page in (first, second))


# The command


def test_nothing_rendered_is_one_sentence_and_status_2(workspace, monkeypatch, capsys):
    monkeypatch.setenv("PROFILE", "smoke")
    assert main(["report"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: nothing is rendered")
    assert "make replicate PROFILE=smoke" in said
    assert len(said.splitlines()) == 1


def test_an_unknown_profile_names_the_nearest(workspace, monkeypatch, capsys):
    monkeypatch.setenv("PROFILE", "smok")
    assert main(["report"]) == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err


def test_a_report_that_is_up_to_date_is_left_alone(rendered, monkeypatch, capsys):
    monkeypatch.setenv("PROFILE", "smoke")
    assert main(["report"]) == 0
    page = rendered / "build" / "smoke" / "report" / "index.html"
    written = page.stat().st_mtime_ns
    assert main(["report"]) == 0
    assert page.stat().st_mtime_ns == written
    (rendered / "figures" / "smoke" / "fig2.png").unlink()
    assert main(["report"]) == 0
    assert page.stat().st_mtime_ns > written
    assert capsys.readouterr().out.count("report: ") == 3
