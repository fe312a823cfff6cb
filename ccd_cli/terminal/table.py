"""Tables that never cut a name: long texts wrap between words, everything else stays whole, whatever the width."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

SHORT = 24
"""Characters of a cell that never wraps, even with spaces in it."""
_BETWEEN = 2  # spaces between columns


def show_table(console: Console, rows: Sequence[Mapping[str, Any]], title: str = "", right: Sequence[str] = ()) -> None:
    """Print rows that share their keys; columns of numbers, and those in `right`, are right-aligned.

    On a terminal texts wrap to its width where words allow it; lines that need more than that are left to the terminal.
    Elsewhere (a pipe, a file) each row is one line.
    """
    if not rows:
        return
    table = Table(title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
    least = most = -_BETWEEN
    for key, value in rows[0].items():
        cells = [str(key), *(_text(row[key]) for row in rows)]
        wraps = console.is_terminal and any(" " in cell and cell_len(cell) > SHORT for cell in cells)
        whole = max(map(cell_len, cells))
        narrow = max(cell_len(word) for cell in cells for word in cell.split() or [""]) if wraps else whole
        least, most = least + narrow + _BETWEEN, most + whole + _BETWEEN
        table.add_column(
            Text(str(key)),
            justify="right" if key in right or isinstance(value, float) else "left",
            no_wrap=not wraps,
            min_width=narrow,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(_text(value)) for value in row.values()))
    width = max(min(console.width, most), least) if console.is_terminal else max(most, cell_len(title))
    page = io.StringIO()
    Console(
        file=page,
        force_terminal=console.is_terminal,
        color_system="standard" if console.color_system else None,
        no_color=console.no_color,
        width=width,
    ).print(table)
    lines = page.getvalue().splitlines()
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))
    console.file.flush()


def _text(value: Any) -> str:
    """A cell's text; numbers that are not whole have four digits behind the point."""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
