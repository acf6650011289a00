"""The report opens from disk: all that it names is there, nothing comes from a network, nothing
absent is hidden."""

import csv
import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import browser
import nbformat
import pytest
from nbformat import v4
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lib.__main__ import main
from lib.publish.entries import ALT, command, picture, table, thumbnail
from lib.publish.pages import HONEST, write
from lib.publish.verdicts import EVIDENCE, groups
from lib.report import saving, scorecard
from lib.study import artefacts, profiles
from lib.system import paths

MADE = ("table1", "fig2", "claims")
ROW = {
    "text": "A claim",
    "statistic": "F1 − F1",
    "value": "0.1",
    "low": "0.05",
    "high": "0.15",
    "note": "",
}
TABLE = f"<table><tr>{60 * '<td>cell</td>'}</tr></table>"  # wider than any window
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
PIXEL += "awAAAABJRU5ErkJggg=="
PAGES = ("index.html", "table1.html", "fig2.html", "claims.html")


class Page(HTMLParser):
    """What a page links to and loads, its ids, its text, and the text of each card."""

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
        if tag == "article":
            self.card = given["id"]
            self.texts[self.card] = ""

    def handle_endtag(self, tag):
        if tag == "article":
            self.card = None

    def handle_data(self, data):
        self.texts[self.card] += data


def write_claims(folder, *changes):
    """Write a scorecard of these rows; each starts as ROW under the protocol clean, with MAE as
    described."""
    base = {"claim": 1, **ROW, "protocol": "clean", "mae": "described", "verdict": "supported"}
    with (folder / "claims.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, scorecard.COLUMNS)
        writer.writeheader()
        writer.writerows(base | change for change in changes)


def both(**change):
    """The same row for both readings of MAE."""
    return [change | {"mae": mae} for mae in ("described", "released")]


def png(path, size, caption=""):
    """A white picture; with a `caption`, as lib.report.saving writes it: its last tenth is red."""
    texts, image = PngInfo(), Image.new("RGB", size, "white")
    if caption:
        rows = size[1] * 9 // 10
        image.paste("red", (0, rows, *size))
        for key, text in {"Description": caption, "Comment": "A note", saving.ROWS: rows}.items():
            texts.add_text(key, str(text))
    image.save(path, pnginfo=texts)
    return path


def measured(path):
    """The numbers of Figure 2 and Table 1: two methods, two backbones, F1 and AUROC by shares."""
    rows = [
        f"{method},{backbone},{share},{seen},42,healthy,{metric},{value},0.1,0.9"
        for method in ("byol", "supervised")
        for backbone in ("resnet18", "vit_tiny")
        for share, value in ((0.01, 0.123456), (0.45, 0.5))
        for seen in (0.01, 0.45)
        for metric in ("f1", "auroc")
        if path.stem != "table1" or seen == 0.45
        if path.stem != "fig2" or backbone == "resnet18"
    ]
    keys = "method,backbone,train_share,validation_share,seed,health,metric,value,low,high"
    path.write_text("\n".join([keys, *rows]) + "\n")


def book(path):
    """An executed notebook with every kind of output."""
    cells = [
        v4.new_markdown_cell(
            "# A title\n\nWith $x^2$ in it, and\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
        ),
        v4.new_code_cell("profile = 'mini'", metadata={"tags": ["parameters"]}),
        v4.new_code_cell(
            "profile = 'smoke'  # injected", metadata={"tags": ["injected-parameters"]}
        ),
        v4.new_code_cell(
            "wide = '" + 300 * "x" + "'",
            execution_count=3,
            outputs=[
                v4.new_output(
                    "stream", text=f"saved to {paths.ROOT}/figures/a.png and {400 * '-'}\n"
                ),
                v4.new_output("execute_result", {"text/plain": "a  b", "text/html": TABLE}),
                v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}),
                v4.new_output(
                    "display_data",
                    {"application/javascript": "alert('script')", "text/plain": "plain instead"},
                ),
                v4.new_output(
                    "error",
                    ename="ValueError",
                    evalue="no <such> thing",
                    traceback=["Traceback", "line 9"],
                ),
            ],
        ),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(
        v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}}), path
    )


@pytest.fixture
def rendered(workspace):
    """Three artefacts of `smoke` in figures/, two of them with an executed notebook."""
    figures = workspace / "figures" / "smoke"
    figures.mkdir(parents=True)
    for name, size in zip(MADE, [(200, 300), (110, 240), (210, 70)], strict=True):
        png(figures / f"{name}.png", size, f"A caption of {name} with a – dash")
        measured(figures / f"{name}.csv")
        for ending in ("pdf", *(("md", "tex") if name != "fig2" else ())):
            (figures / f"{name}.{ending}").write_text(f"{name} in {ending}")
    differ = [
        {"claim": 2, "verdict": "contradicted"},
        {"claim": 2, "mae": "released", "verdict": "inconclusive"},
    ]
    none = {
        "claim": 12,
        "verdict": "not run",
        "value": "",
        "low": "",
        "high": "",
        "note": "dino was not trained",
    }
    write_claims(
        figures,
        *both(),
        *both(protocol="paper", value="-0.2", low="-0.3", high="-0.1", verdict="contradicted"),
        *differ,
        *both(**none),
    )
    for name in ("table1", "fig2"):
        book(workspace / "build" / "smoke" / "notebooks" / f"{name}.ipynb")
    return workspace


@pytest.fixture
def report(rendered):
    """The folder of the report on those."""
    return write("smoke").parent


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
    assert cards == [name for kind in kinds for name in artefacts.ARTEFACTS if re.match(kind, name)]
    assert all(f"{name}.html" in page.named for name in MADE)
    assert "A caption of fig2 with a – dash" in page.texts["fig2"]


def test_what_is_absent_is_said_with_the_command_that_makes_it(report):
    cards = Page(report / "index.html").texts
    absent = [name for name in artefacts.ARTEFACTS if "Not rendered yet" in cards[name]]
    assert absent == [name for name in artefacts.ARTEFACTS if name not in MADE]
    assert all(f"make {name} PROFILE=smoke" in cards[name] for name in absent)


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


# The scorecard


def test_one_reading_where_both_agree_and_each_where_they_do_not(rendered):
    (card,) = groups(rendered / "figures" / "smoke" / "claims.csv")
    assert [column["name"] for column in card["columns"]] == ["clean", "paper"]
    first, second, last = card["rows"]
    agreed = {"variant": "", "note": ""}
    assert first["cells"] == [
        [{"verdict": "supported", "readings": [agreed | {"estimate": "+0.10 [+0.05, +0.15]"}]}],
        [{"verdict": "contradicted", "readings": [agreed | {"estimate": "−0.20 [−0.30, −0.10]"}]}],
    ]
    clean, paper = second["cells"]
    assert [(c["verdict"], [s["variant"] for s in c["readings"]]) for c in clean] == [
        ("contradicted", ["MAE as described"]),
        ("inconclusive", ["MAE as released"]),
    ]
    assert paper == []
    assert last["cells"][0][0]["readings"] == [
        agreed | {"estimate": "", "note": "dino was not trained"}
    ]


def test_counts_name_claims_whose_verdict_hangs_on_mae(rendered):
    (card,) = groups(rendered / "figures" / "smoke" / "claims.csv")
    clean, paper = card["columns"]
    assert (
        clean["counts"]
        == "1 supported, 1 not run, 1 with a verdict that depends on how MAE is read"
    )
    assert paper["counts"] == "1 contradicted"


def test_one_verdict_with_two_estimates_is_one_pill(workspace):
    write_claims(workspace, {}, {"mae": "released", "value": "0.2"})
    ((cell,),) = (row["cells"][0] for row in groups(workspace / "claims.csv")[0]["rows"])
    assert [reading["estimate"] for reading in cell["readings"]] == [
        "+0.10 [+0.05, +0.15]",
        "+0.20 [+0.05, +0.15]",
    ]


def test_two_readings_that_were_not_run_keep_both_reasons(workspace):
    absent = {"verdict": "not run", "value": "", "low": "", "high": ""}
    write_claims(workspace, absent | {"note": "a"}, absent | {"mae": "released", "note": "b"})
    ((cell,),) = (row["cells"][0] for row in groups(workspace / "claims.csv")[0]["rows"])
    assert cell["readings"] == [{"variant": "", "estimate": "", "note": "a; b"}]


def test_questions_of_ours_are_counted_apart_and_every_claim_leads_to_its_figure(rendered):
    figures = rendered / "figures" / "smoke"
    numbers = [1, 3, 5, 13, 14]
    write_claims(figures, *({"claim": n, "statistic": "ours: a − b"} for n in numbers))
    theirs, ours = groups(figures / "claims.csv")
    assert [(g["ours"], g["columns"][0]["counts"]) for g in (theirs, ours)] == [
        (False, "3 supported"),
        (True, "2 supported"),
    ]
    evidence = [row["evidence"] for group in (theirs, ours) for row in group["rows"]]
    assert evidence == ["table1", "fig10", "fig5", "labelfree", "detectors"]
    png(figures / "fig5.png", (60, 40))
    page = write("smoke").read_text()
    claims, _, questions = page.partition("Questions of our own")
    assert '<a href="table1.html">Table 1</a>' in claims
    assert '<a href="fig5.html">Figure 5</a>' in claims
    assert "fig10.html" not in page  # not rendered, so there is nothing to lead to
    assert questions.count("supported</span>") == 2


def test_evidence_and_texts_are_of_artefacts_that_exist():
    assert set(EVIDENCE.values()) <= set(artefacts.ARTEFACTS)
    assert list(ALT) == list(artefacts.ARTEFACTS)


def test_pills_carry_a_word_and_a_class(report):
    pills = re.findall(r'<span class="pill ([\w-]+)">([\w ]+)</span>', text(report))
    assert [word for _, word in pills] == [
        "supported",
        "contradicted",
        "contradicted",
        "inconclusive",
        "not run",
    ]
    assert all(word.replace(" ", "-") == name for name, word in pills)
    assert all(f".{name} {{" in text(report, "style.css") for name, _ in pills)


def test_a_scorecard_that_was_not_rendered_is_named(rendered):
    (rendered / "figures" / "smoke" / "claims.csv").unlink()
    assert "make claims PROFILE=smoke" in write("smoke").read_text().split("<h2")[1]


def test_a_foreign_scorecard_is_refused(workspace):
    (workspace / "claims.csv").write_text("claim,text\n1,A\n")
    with pytest.raises(ValueError, match=r"lacks the columns high, low.*make claims"):
        groups(workspace / "claims.csv")
    write_claims(workspace, {"verdict": "suported"})
    with pytest.raises(ValueError, match="did you mean 'supported'"):
        groups(workspace / "claims.csv")


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
    numbers = "\n".join(map(str, range(2500)))
    (rendered / "figures" / "smoke" / "fig2.csv").write_text(f"metric,value\nf1,{numbers}\n")
    assert len(table(rendered / "figures" / "smoke" / "fig2.csv")["rows"]) == 2000


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


# In a real browser

needs_chromium = pytest.mark.skipif(
    browser.binary() is None, reason="no Chromium (apt-get install chromium)"
)
IMAGES = "[...document.images].filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80))"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
COLUMNS = "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
COLOURS = """[...document.querySelectorAll(
  '.pill, .hint, .absent, .honest, a:not(.thumbnail), small')].map(e => {
  let back = e;
  while (getComputedStyle(back).backgroundColor == 'rgba(0, 0, 0, 0)') back = back.parentElement;
  return [getComputedStyle(e).color, getComputedStyle(back).backgroundColor]})"""


@pytest.fixture(scope="module")
def chromium():
    """One browser for all of these tests."""
    with browser.Browser() as opened:
        yield opened


def contrast(*colours: str) -> float:
    """WCAG 2's ratio of two opaque CSS colours, from 1 to 21."""
    light = []
    for colour in colours:
        parts = [int(n) / 255 for n in re.findall(r"\d+", colour)]
        assert len(parts) == 3, colour
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        light.append(0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05)
    return max(light) / min(light)


@needs_chromium
@pytest.mark.parametrize(
    "width, scheme", [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]
)
def test_pages_open_from_disk_without_complaint(report, chromium, width, scheme):
    chromium.show(width, scheme)
    for page in PAGES:
        chromium.complaints.clear()
        chromium.asked.clear()
        chromium.open(report / page)
        assert chromium.complaints == [], page
        assert {url.split(":")[0] for url in chromium.asked} <= {"file", "data"}, page
        assert chromium.run(IMAGES) == [], page
        assert chromium.run(OVERFLOW) <= 0, page
        assert [pair for pair in chromium.run(COLOURS) if contrast(*pair) < 4.5] == [], page


@needs_chromium
def test_cards_stand_in_one_column_on_a_phone(report, chromium):
    columns = []
    for width in (390, 1280):
        chromium.show(width, "light")
        chromium.open(report / "index.html")
        columns.append(chromium.run(COLUMNS))
    assert columns == [1, 3]


@needs_chromium
def test_colours_follow_the_reader(report, chromium):
    seen = []
    for scheme in ("light", "dark"):
        chromium.show(1280, scheme)
        chromium.open(report / "index.html")
        seen.append(chromium.run("getComputedStyle(document.body).backgroundColor"))
    assert contrast(*seen) > 10


@needs_chromium
def test_the_keyboard_s_place_is_seen(report, chromium):
    chromium.show(1280, "light")
    chromium.open(report / "index.html")
    for kind in ("keyDown", "keyUp"):
        chromium.call(
            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
        )
    outline = (
        "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
    )
    assert chromium.run(outline) == ["A", "solid"]


@needs_chromium
def test_the_browser_would_tell(chromium, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        '<!doctype html><body><img src="none.png" alt="none"><div style="width: 2000px">wide</div>'
        '<script>console.error("heard"); nothing.there;</script>'
    )
    chromium.show(390, "light")
    chromium.complaints.clear()
    chromium.open(page)
    assert len(chromium.run(IMAGES)) == 1
    assert chromium.run(OVERFLOW) > 1000
    heard = " ".join(chromium.complaints)
    assert all(part in heard for part in ("heard", "Uncaught", "ERR_FILE_NOT_FOUND"))
    chromium.complaints.clear()


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
