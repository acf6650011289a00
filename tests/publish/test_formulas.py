"""Formulas stand on the text's baseline and need nothing from outside the page."""

import base64
import re

import pytest

from lib.publish import formulas


def measures(image: str) -> tuple[float, float]:
    """Height and how far it hangs below the baseline, in em."""
    height, below = re.search(r"height: ([\d.]+)em; vertical-align: -([\d.]+)em", image).groups()
    return float(height), float(below)


def drawing(image: str) -> str:
    return base64.b64decode(re.search(r"base64,([^\"]+)", image)[1]).decode()


def test_only_what_has_a_descender_hangs_below_the_line():
    edge = formulas.EDGE / formulas.SIZE
    assert measures(formulas.image("x"))[1] == pytest.approx(edge, abs=0.02)
    assert measures(formulas.image("y"))[1] > edge + 0.1


def test_a_fraction_is_higher_than_its_parts():
    assert measures(formulas.image(r"\frac{a}{b}"))[0] > measures(formulas.image("a"))[0] + 0.3


def test_fractions_are_larger_on_lines_of_their_own():
    inline, display = (formulas.markdown(f"{mark}\\frac{{a}}{{b}}{mark}") for mark in ("$", "$$"))
    assert measures(display)[0] > measures(inline)[0] + 0.3


def test_the_drawing_is_as_large_as_it_claims():
    image = formulas.image(r"\sum_{i} x_i^2")
    points = float(re.search(r'<svg[^>]* height="([\d.]+)pt"', drawing(image))[1])
    assert points / formulas.SIZE == pytest.approx(measures(image)[0], abs=0.01)


def test_equal_formulas_give_equal_bytes():
    assert formulas.image(r"\alpha + 1") == formulas.image(r"\alpha + 1")
    assert "date" not in drawing(formulas.image(r"\alpha")).lower()


def test_glyphs_are_outlines_so_no_font_is_needed():
    assert "<path" in drawing(formulas.image("x"))
    assert "<text" not in drawing(formulas.image("x"))


def test_markdown_draws_formulas_in_lines_and_on_lines_of_their_own():
    text = formulas.markdown(
        "The loss $-\\cos(a, b)$ is\n\n$$\nL = 2 - 2 a\n$$\n\nand `$x$` is code."
    )
    assert re.findall(r'alt="([^"]*)"', text) == [r"-\cos(a, b)", "L = 2 - 2 a"]
    assert text.count('class="display"') == 1
    assert "<code>$x$</code>" in text


def test_what_mathtext_does_not_know_is_shown_as_written():
    assert formulas.image(r"\undefinedmacro{<x>}") == r"<code>\undefinedmacro{&lt;x&gt;}</code>"
