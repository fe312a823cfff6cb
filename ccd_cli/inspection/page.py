"""inspect.html: one page that needs nothing else. Every name in it is escaped, and a policy lets it fetch nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ccd_cli.reports.style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_OWN = "img { max-width: 100%; height: auto; } pre { overflow-x: auto; }"


def page(
    title: str, about: Sequence[str], tables: Mapping[str, Sequence[Mapping[str, Any]]], picture: Path, text: str
) -> str:
    """Return the page: a heading, a paragraph for each line of `about`, tables, the sheet, and `text` as it is."""
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in about)]
    for name, rows in tables.items():
        parts += [f"<h2>{escape(name)}</h2>", _table(rows)]
    data = base64.b64encode(picture.read_bytes()).decode()
    parts += ["<h2>Pictures</h2>", f'<img alt="contact sheet" src="data:image/png;base64,{data}">']
    if text:
        parts.append(f"<details open><summary>Details</summary><pre>{escape(text)}</pre></details>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_OWN}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th class=text>{escape(str(key))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"<td>{value:.4f}</td>"
    return f"<td class=text>{escape('–' if value is None else str(value))}</td>"
