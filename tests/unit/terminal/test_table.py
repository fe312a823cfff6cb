"""Tables keep their names whole at every width."""

import io

import pytest
from rich.console import Console

from ccd_cli.terminal.table import show_table

NAMES = ["depth-anything-v2-metric-outdoor-large", "distill-any-depth-large-2w-iter", "[/b]mine[b]"]
TEXT = "the built-in teacher for global structure: whole images at low resolution"
ROWS = [
    {"name": name, "size": f"{i} MB", "abs_rel": 0.1 + i, "license": "CC-BY-NC-4.0 (disputed)", "description": TEXT}
    for i, name in enumerate(NAMES)
]


def shown(width, terminal, rows=ROWS, title="Models"):
    page = io.StringIO()
    show_table(Console(file=page, width=width, force_terminal=terminal, color_system=None), rows, title, right=["size"])
    return page.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_no_name_is_cut(width, terminal):
    text = shown(width, terminal)
    assert "…" not in text
    lines = text.splitlines()
    assert lines[0].strip() == "Models"
    for row in ROWS:
        (line,) = (line for line in lines if line.startswith(row["name"]))
        assert row["size"] in line and f"{row['abs_rel']:.4f}" in line and row["license"] in line
    for word in TEXT.split():
        assert text.count(word) >= len(ROWS)


def test_text_wraps_on_a_terminal_and_rows_are_lines_elsewhere():
    assert len(shown(120, False).splitlines()) == 2 + len(ROWS)
    assert all(TEXT in line for line in shown(40, False).splitlines()[2:])
    narrow = shown(130, True).splitlines()
    assert len(narrow) > 2 + len(ROWS)
    assert max(map(len, narrow)) <= 130
    assert len(shown(200, True).splitlines()) == 2 + len(ROWS)
    assert not any(line.endswith(" ") for line in shown(200, False).splitlines())


def test_nothing_is_shown_for_no_rows():
    assert shown(80, True, []) == ""
