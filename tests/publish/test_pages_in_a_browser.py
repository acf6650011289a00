"""The report in a real browser, from disk: without a complaint, at every width, with and without
scripts."""

import re

import browser
import pytest
from report_files import MADE, PAGES

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


WINDOWS = [(390, "light"), (390, "dark"), (830, "light"), (1280, "dark"), (1600, "light")]
CHART = "document.querySelectorAll('#chart .main-svg').length"
CELLS = "[...document.querySelectorAll('#numbers tbody tr')].filter(r => !r.hidden).map(r => {})"


def press(chromium, key, code):
    """Press a key."""
    for kind in ("keyDown", "keyUp"):
        chromium.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )


def typed(text, selector="input"):
    """A script that types into an input."""
    find = f"const i = document.querySelector('{selector}')"
    return f"{{{find}; i.value = '{text}'; i.dispatchEvent(new Event('input'))}}"


@needs_chromium
@pytest.mark.parametrize("width, scheme", WINDOWS)
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
def test_without_scripts_all_but_charts_and_search_is_there(report, chromium):
    chromium.show(1280, "light")
    chromium.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(report / "fig2.html")
        assert chromium.run(IMAGES) == []
        assert chromium.run("document.querySelector('figure img').offsetWidth") > 50
        assert chromium.run(CELLS.format("r.offsetHeight > 0")) == 16 * [True]
        hidden = "[...document.querySelectorAll('#chart, .search')].map(e => e.offsetHeight)"
        assert chromium.run(hidden) == [0, 0]
    finally:
        chromium.call("Emulation.setScriptExecutionDisabled", value=False)


@needs_chromium
def test_charts_are_drawn_from_the_numbers_of_the_page(report, chromium):
    chromium.show(830, "light")
    for page, values in {"fig2.html": [0.123456, 0.123456], "table1.html": [0.123456, 0.5]}.items():
        chromium.complaints.clear()
        chromium.open(report / page)
        assert chromium.run(CHART) > 0
        assert chromium.run("document.querySelector('#chart .chart').offsetHeight") > 200
        first = "const {z, y} = document.querySelector('.chart')._fullData[0]; [...(z?.[0] ?? y)]"
        assert chromium.run(f"{{{first}}}") == values
        assert chromium.complaints == []
    chromium.open(report / "claims.html")
    assert chromium.run("document.querySelector('#chart')") is None


@needs_chromium
def test_numbers_sort_by_value_and_rows_are_found_by_words(report, chromium):
    (report / "fig2.html").write_text(
        re.sub(r"0\.1235", "-1.5", (report / "fig2.html").read_text(), count=1)
    )
    chromium.open(report / "fig2.html")
    heads = "[...document.querySelectorAll('#numbers th')]"
    names = chromium.run(f"{heads}.map(th => th.textContent)")
    column = names.index("value")
    for order, first in {"ascending": "-1.5", "descending": "0.5"}.items():
        chromium.run(f"{heads}[{column}].querySelector('button').click()")
        assert chromium.run(CELLS.format(f"r.cells[{column}].textContent"))[0] == first
        assert chromium.run(f"{heads}.map(th => th.ariaSort).filter(Boolean)") == [order]
    chromium.run(typed("Supervised auroc"))
    assert chromium.run(CELLS.format(f"r.cells[{names.index('metric')}].textContent")) == 4 * [
        "auroc"
    ]
    assert chromium.run("document.querySelector('.search output').value") == "4 of 16"


@needs_chromium
def test_search_looks_through_claims_titles_and_captions(report, chromium):
    chromium.open(report / "index.html")
    shown = "[...document.querySelectorAll('.card')].filter(e => e.offsetHeight).map(e => e.id)"
    nothing = "document.querySelector('.nothing').offsetHeight > 0"
    for words, cards in {
        "CAPTION of fig2": ["fig2"],
        "claims tested": ["claims"],
        "zzz": [],
    }.items():
        chromium.run(typed(words))
        assert chromium.run(shown) == cards
        assert chromium.run(nothing) == (not cards)
    chromium.run(typed(""))
    assert chromium.run(shown) == list(MADE)
    folds = "[...document.querySelectorAll('details.absent')].map(e => e.offsetHeight > 0)"
    assert chromium.run(folds) == [True] * 3
    chromium.run(typed("augmentation"))  # a title that is not rendered: its fold stays
    assert chromium.run(folds) == [False, True, False] and not chromium.run(nothing)


@needs_chromium
def test_a_picture_opens_enlarged_and_escape_closes_it(report, chromium):
    chromium.show(1280, "light")
    chromium.open(report / "fig2.html")
    chromium.run("document.querySelector('a.zoom').click()")
    is_open = "document.querySelector('dialog').open"
    assert chromium.run(is_open)
    width = "document.querySelector('.sheet img').offsetWidth"
    assert chromium.run(width) > 1000
    chromium.run("document.querySelector('dialog [type=button]').click()")
    assert chromium.run(width) == 110
    assert chromium.run("getComputedStyle(document.querySelector('.sheet img')).maxWidth") == "none"
    press(chromium, "Escape", 27)
    assert not chromium.run(is_open)


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
    press(chromium, "Tab", 9)
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
