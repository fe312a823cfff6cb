"""HTML pages by jinja2: one file each that needs nothing else. Every value is escaped, and a policy lets a page fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ccd_cli.media.colorize import color_table

TEMPLATES = Path(__file__).with_name("templates")
_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}


def render(template: str, **values: Any) -> str:
    """Return the page `templates/<template>.html` with these values, whatever characters they hold.

    Raises jinja2.UndefinedError for a value that the template uses and that is not given.
    """
    return _environment().get_template(f"{template}.html").render(**values)


def number(value: Any, digits: int = 4) -> str:
    """Return a number as text: integers as they are, a dash for what is missing or not finite."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}f}" if isinstance(value, float) and math.isfinite(value) else "–"


def data_uri(path: Path) -> str:
    """Return the content of a PNG or JPEG file as a data URI."""
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def gradient(cmap: str) -> str:
    """Return a matplotlib color map as a CSS gradient, for a legend."""
    colors = (f"rgb({r}, {g}, {b})" for r, g, b in color_table(cmap)[::32].tolist())
    return f"linear-gradient(to right, {', '.join(colors)})"


def columns(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """Return (name, whether its values are numbers) of the columns of a table that hold anything."""
    found: dict[str, bool] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                found[name] = found.get(name, True) and isinstance(value, int | float)
    return [(name, found[name]) for name in rows[0] if name in found] if rows else []


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "data_uri": data_uri, "gradient": gradient, "columns": columns}
    script = environment.get_template("tables.js").render()
    # the policy names the one script that may run: even an unescaped name could not run another
    environment.globals["script_hash"] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment
