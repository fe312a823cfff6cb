"""Pages from templates: nothing breaks out, nothing is missing silently, and numbers are what they are."""

from __future__ import annotations

import math

import pytest
from jinja2 import UndefinedError
from PIL import Image

from ccd_cli.reports.html import TEMPLATES, columns, data_uri, gradient, number, render
from tests.page import HOSTILE, Page

ROWS = [
    {HOSTILE: HOSTILE, "n": 3, "rate": 0.25, "empty": None},
    {HOSTILE: None, "n": None, "rate": math.nan, "empty": None},
]


def run_page(**values):
    given = {
        "title": HOSTILE,
        "summary": [(HOSTILE, HOSTILE)],
        "tables": {HOSTILE: ROWS},
        "plots": [],
        "finished": True,
    }
    return render("run", **{**given, "text": "</pre>" + HOSTILE, **values})


def test_every_value_is_escaped_wherever_it_stands(tmp_path):
    path = tmp_path / "page.html"
    plot = tmp_path / f"{HOSTILE}.png"  # its caption is its name, in an attribute and in text
    Image.new("RGB", (2, 2)).save(plot)
    path.write_text(run_page(plots=[plot]), encoding="utf-8")
    page = Page(path)
    assert page.needs_nothing_else() and page.tags.count("pre") == 1 and len(page.images) == 1
    assert (
        page.all_words.count(HOSTILE) == 9
    )  # title and heading, name and value, table: title, head, cell; caption, text
    assert "&amp;lt;" not in page.text and "&amp;#" not in page.text, "escaped once"


@pytest.mark.parametrize("missing", ["title", "summary", "text"])
def test_a_value_that_nobody_gave_is_an_error(missing):
    given = {"title": "a", "summary": [], "tables": {}, "plots": [], "finished": False, "text": ""}
    render("run", **given)
    with pytest.raises(UndefinedError, match=missing):
        render("run", **{name: value for name, value in given.items() if name != missing})


def test_numbers_and_columns():
    assert [number(value) for value in (3, 0.25, math.nan, math.inf, None)] == ["3", "0.2500", "–", "–", "–"]
    assert number(0.12345, 2) == "0.12" and columns([]) == []
    assert columns(ROWS) == [(HOSTILE, False), ("n", True), ("rate", True)], "an empty column is not shown"
    assert '<td data-value="0.25">0.2500</td>' in run_page() and '<td data-value="None">–</td>' in run_page()


def test_pictures_and_color_maps_are_inside(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(path)
    assert data_uri(path).startswith("data:image/png;base64,iVBOR")
    assert gradient("gray").startswith("linear-gradient(to right, rgb(0, 0, 0), rgb(32, 32, 32), ")


def test_style_and_script_survive_the_templates():
    page = run_page()
    for name in ("style.css", "tables.js"):
        assert (TEMPLATES / name).read_text(encoding="utf-8").strip() in page
