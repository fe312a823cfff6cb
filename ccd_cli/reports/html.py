"""HTML pages by jinja2, from one base with one style. Every value is escaped, and a policy says what a page may load: nothing,
or the files that lie beside it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from ccd_cli.media.colorize import color_table

TEMPLATES = Path(__file__).with_name("templates")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
_DECIMALS = 4
_LONG = 40  # characters of a cell that stay in one line


class Column(NamedTuple):
    """A column of a table: its name, whether its values are numbers, and with how many decimals these are shown (None: each as
    it is)."""

    name: str
    numeric: bool
    decimals: int | None


def render(template: str, **values: Any) -> str:
    """Return the page `templates/<template>.html` with these values, whatever characters they hold.

    What is not Unicode in the name of a file becomes a question mark. Raises jinja2.UndefinedError for a value that the template
    uses and that is not given.
    """
    page = _environment().get_template(f"{template}.html").render(**values)
    return page.encode("utf-8", "replace").decode()


def number(value: Any, digits: int = _DECIMALS) -> str:
    """Return a number as text: integers as they are, a dash for what is missing or not finite."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if isinstance(value, float) and math.isfinite(value) else "–"


def human(value: Any) -> str:
    """Return any plain value as people write it.

    12 for 12.0, four significant digits without exponent for other numbers, yes and no, a dash for what is missing, lists with
    commas, and of settings their names and values.
    """
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _digits(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {human(each)}" for name, each in value.items()) or "–"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(human, value)) or "–"
    return str(value)


def _digits(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if not 1e-9 <= abs(value) < 1e15:
        return f"{value:.4g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def data_uri(path: Path) -> str:
    """Return the content of a PNG or JPEG file as a data URI."""
    return image_uri(path.read_bytes(), path.suffix)


def image_uri(content: bytes, suffix: str = ".jpg") -> str:
    """Return an encoded PNG or JPEG as a data URI."""
    return f"data:{_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"


def link(path: PurePath) -> str:
    """Return the address of a file by its path relative to the page: a name can hold anything, also what looks like a scheme."""
    return "./" + quote(os.fsencode(path.as_posix()))


def gradient(cmap: str) -> str:
    """Return a matplotlib color map as a CSS gradient, for a legend."""
    colors = (f"rgb({r}, {g}, {b})" for r, g, b in color_table(cmap)[::32].tolist())
    return f"linear-gradient(to right, {', '.join(colors)})"


def columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the columns of a table that hold anything, in the order of its first row."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return [_column(name, found[name]) for name in rows[0] if name in found] if rows else []


def _column(name: str, values: list[Any]) -> Column:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return Column(name, False, None)
    finite = [float(value) for value in values if math.isfinite(value)]
    if any(value != 0 and round(value, _DECIMALS) == 0 for value in finite):
        return Column(name, True, None)
    enough = (d for d in range(_DECIMALS) if all(round(v, d) == round(v, _DECIMALS) for v in finite))
    return Column(name, True, next(enough, _DECIMALS))


def cell(value: Any, column: Column) -> str:
    """Return the text of a table's cell: numbers of a column all with its decimals."""
    if not column.numeric or column.decimals is None or value is None or not math.isfinite(value):
        return human(value)
    return f"{value:,.{column.decimals}f}"


def markdown(text: str) -> Markup:
    """Return a document in Markdown as HTML, without links, pictures and HTML of its own: what stands in it was not all ours."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    made = parser.disable(["link", "image", "autolink", "reference"]).render(text)
    for level in (4, 3, 2, 1):  # below the headings of the page
        made = made.replace(f"<h{level}>", f"<h{level + 2}>").replace(f"</h{level}>", f"</h{level + 2}>")
    return Markup(made.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>"))


def text_class(value: Any) -> str:
    """Return the class of a cell of text: long ones are broken into lines."""
    return "text long" if len(human(value)) > _LONG else "text"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, human, data_uri, link, gradient, columns, cell, markdown, text_class)
    environment.filters |= {each.__name__: each for each in filters}
    script = environment.get_template("page.js").render()
    # the policy names the one script that may run: even an unescaped name could not run another
    environment.globals["script_hash"] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment
