"""What `ccd inspect` found in a folder: for JSON, for a terminal and for a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccd_cli.core.files import plain
from ccd_cli.reports.html import Column, cell, columns, human
from ccd_cli.scoring.names import NAMES
from ccd_cli.scoring.rows import HEADLINES

Row = dict[str, Any]
Tables = dict[str, list[Row]]
WIDE = 8
"""Columns that a terminal has room for: of a wider table's only row, names and values are shown, of several rows some columns."""

MIXED = ("Settings",)
"""Tables with another quantity in each row."""
_ASIDE = {"log10", "missing"}
"""Further scores that a terminal has no room for."""


@dataclass(frozen=True)
class Inspected:
    """What was found: `what` is "labels", "run", "runs", "evaluation" or "predictions"; a summary of the whole; tables by title;
    the files that show it by name, of which `page` is the one to open.
    """

    folder: Path
    what: str
    summary: Row
    tables: Tables
    files: dict[str, Path]

    @property
    def page(self) -> Path:
        """Return the path of the page."""
        return self.files["page"]

    def document(self) -> dict[str, Any]:
        """Return all of it as strict JSON values; names in lower case with underscores."""
        tables = {_key(title): [_keys(row) for row in rows] for title, rows in self.tables.items()}
        files = {name: str(path) for name, path in self.files.items()}
        document: dict[str, Any] = plain(
            {"folder": str(self.folder), "what": self.what, "summary": _keys(self.summary), **tables, "files": files}
        )
        return document

    def shown(self) -> Tables:
        """Return the tables for a terminal: the summary as one of names and values, then the others that have rows."""
        shown = {self.what.capitalize(): _upright(self.lines())}
        for title, rows in self.filled().items():
            heads = columns(rows)
            if title in MIXED:
                shown[title] = [{name: human(value) for name, value in row.items()} for row in rows]
            elif len(heads) > WIDE and len(rows) == 1:
                shown[title] = _upright([(head.name, human(rows[0][head.name])) for head in heads])
            else:
                shown[title] = [
                    {head.name: _in_terminal(row[head.name], head) for head in _narrow(heads)} for row in rows
                ]
        return shown

    def lines(self) -> list[tuple[str, str]]:
        """Return the summary as (name, value) for eyes."""
        shown = {name: human(value) for name, value in self.summary.items() if value is not None}
        if "steps" in shown:
            shown["step"] += f" of {shown.pop('steps')}"
        return list(shown.items())

    def filled(self) -> Tables:
        """Return the tables that have rows, for eyes: scores by their names, settings within a cell as text."""
        return {title: [_for_eyes(row) for row in rows] for title, rows in self.tables.items() if rows}


def _narrow(heads: list[Column]) -> list[Column]:
    """WIDE columns of a wide table at most: what is no score, and the scores that are compared."""
    compared = {NAMES[key] for key in HEADLINES}
    others = (set(NAMES.values()) | _ASIDE) - compared if len(heads) > WIDE else set()
    return [head for head in heads if head.name not in others][:WIDE]


def _in_terminal(value: Any, head: Column) -> Any:
    """A cell as a terminal shows it, which aligns numbers of four decimals by itself."""
    return value if head.decimals == 4 and isinstance(value, float) else cell(value, head)


def _upright(lines: list[tuple[str, str]]) -> list[Row]:
    return [{"": name, "value": value} for name, value in lines]


def _for_eyes(row: Row) -> Row:
    """A row with the names of scores, and settings within a cell as text: of these, those that are on."""
    shown: Row = {}
    for name, value in row.items():
        if isinstance(value, dict):
            value = human({key: each for key, each in value.items() if each}) if any(value.values()) else None
        elif isinstance(value, list):
            value = human(value)
        shown[NAMES.get(name) or name.replace("_", " ")] = value
    return shown


def _keys(row: Row) -> Row:
    return {_key(name): value for name, value in row.items()}


def _key(name: str) -> str:
    return name.lower().replace(" ", "_")
