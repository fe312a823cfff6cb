"""Pages from templates: nothing breaks out, nothing is missing silently, and numbers are what they are."""

from __future__ import annotations

import math
from pathlib import PurePosixPath

import pytest
from jinja2 import UndefinedError
from PIL import Image

from ccd_cli.reports.html import (
    TEMPLATES,
    Column,
    cell,
    columns,
    data_uri,
    gradient,
    human,
    link,
    markdown,
    number,
    render,
)
from ccd_cli.reports.plotting import inline, legend_below, literal, subplots
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
        "resume": None,
        "scored": "",
        "meaning": HOSTILE,
        "scores": {},
        "scored_on": [],
        "curves": [],
        "samples": None,
        "finished": True,
    }
    return render("run", **{**given, "text": "</pre>" + HOSTILE, **values})


def test_every_value_is_escaped_wherever_it_stands(tmp_path):
    path = tmp_path / "page.html"
    figure, axes = subplots(figsize=(4, 3), layout="constrained")
    lines = axes.plot([1, 2], label=literal(HOSTILE))
    axes.set(xlabel=HOSTILE)
    legend_below(figure, lines)
    path.write_text(run_page(curves=[(HOSTILE, inline(figure))], resume=HOSTILE, scored=HOSTILE), encoding="utf-8")
    page = Page(path)
    assert page.needs_nothing_else() and "pre" not in page.tags and page.tags.count("svg") == 1
    # title and heading, to resume, name and value, what was scored and its meaning; curve: axis, legend, caption; table; text
    assert page.all_words.count(HOSTILE) == 14
    assert "&amp;lt;" not in page.text and "&amp;#" not in page.text, "escaped once"


def test_a_figure_in_a_page_has_the_colors_of_the_page():
    figure, axes = subplots(figsize=(4, 3))
    axes.plot([1, 2], color="black")
    drawing = inline(figure)
    assert drawing.startswith("<svg") and drawing.rstrip().endswith("</svg>")
    assert "#000000" not in drawing and "currentColor" in drawing and "#ffffff" not in drawing
    assert drawing == inline(figure), "the same figure is the same bytes"


@pytest.mark.parametrize("missing", ["title", "summary", "text"])
def test_a_value_that_nobody_gave_is_an_error(missing):
    given = {"title": "a", "summary": [], "tables": {}, "finished": False, "text": ""}
    given |= {"resume": None, "scored": "", "scores": {}, "scored_on": [], "curves": [], "samples": None}
    render("run", **given)
    with pytest.raises(UndefinedError, match=missing):
        render("run", **{name: value for name, value in given.items() if name != missing})


def test_numbers_and_columns():
    assert [number(value) for value in (3, 0.25, math.nan, math.inf, None)] == ["3", "0.2500", "–", "–", "–"]
    assert number(0.12345, 2) == "0.12" and columns([]) == []
    wanted = [Column(HOSTILE, False, None), Column("n", True, 0), Column("rate", True, 2)]
    assert columns(ROWS) == wanted, "an empty column is not shown"
    assert '<td data-value="0.25">0.25</td>' in run_page() and '<td data-value="None">–</td>' in run_page()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.0, "12"),
        (12, "12"),
        (1234567, "1,234,567"),
        (0.00001, "0.00001"),
        (2e-3, "0.002"),
        (0.123456, "0.1235"),
        (26.9791, "26.98"),
        (12345.678, "12,346"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (math.nan, "–"),
        (None, "–"),
        (True, "yes"),
        (False, "no"),
        ([64, 128.0], "64, 128"),
        ({"weight": 1.0, "normalization": "hybrid"}, "weight 1, normalization hybrid"),
        ("a", "a"),
        ([], "–"),
    ],
)
def test_values_as_people_write_them(value, text):
    assert human(value) == text


def test_a_column_has_as_many_decimals_as_its_numbers_need():
    rows = [
        {"step": 10.0, "weight": 0.5, "lr": 1e-5, "score": 0.12345},
        {"step": 2000.0, "weight": 0.25, "lr": 1.0, "score": 1.0},
    ]
    texts = [[cell(row[column.name], column) for column in columns(rows)] for row in rows]
    assert texts == [["10", "0.50", "0.00001", "0.1235"], ["2,000", "0.25", "1", "1.0000"]]


def test_a_document_has_tables_and_neither_links_nor_html_of_its_own(tmp_path):
    text = "# A\n\n**Apache-2.0** <b>x</b> [a](https://a.b) ![i](https://a.b/c.png) <https://a.b>\n"
    text += "\n| m | s |\n|---|---|\n| <i> | 0.5 |\n"
    (tmp_path / "page.html").write_text(str(markdown(text)))
    page = Page(tmp_path / "page.html")
    assert page.tags == ["h3", "p", "strong", "div", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert page.tables == [[["m", "s"], ["<i>", "0.5"]]] and not page.risky and not page.links
    assert "<b>x</b> [a](https://a.b)" in page.all_words


def test_addresses_are_relative_whatever_a_name_is():
    names = ["a b#c?.png", "javascript:alert(1)", "%41.png", "\udcff.png", "<b>/x.png"]
    assert [link(PurePosixPath(name)) for name in names] == [
        "./a%20b%23c%3F.png",
        "./javascript%3Aalert%281%29",
        "./%2541.png",
        "./%FF.png",
        "./%3Cb%3E/x.png",
    ]


def test_names_that_are_not_unicode_do_not_keep_a_page_from_being_written():
    assert "a?.png" in run_page(summary=[("photo", "a\udcff.png")]).encode("utf-8").decode()


def test_pictures_and_color_maps_are_inside(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2)).save(path)
    assert data_uri(path).startswith("data:image/png;base64,iVBOR")
    assert gradient("gray").startswith("linear-gradient(to right, rgb(0, 0, 0), rgb(32, 32, 32), ")


def test_style_and_script_survive_the_templates():
    page = run_page()
    for name in ("style.css", "page.js"):
        assert (TEMPLATES / name).read_text(encoding="utf-8").strip() in page
