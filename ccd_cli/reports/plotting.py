"""Plots by matplotlib without pyplot: the caller's backend and figures stay as they are."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ccd_cli.core.files import atomic_write


def subplots(
    rows: int = 1,
    columns: int = 1,
    *,
    figsize: tuple[float, float],
    layout: Literal["constrained"] | None = None,
    **grid: Any,
) -> tuple[Figure, Any]:
    """Return a figure of `figsize` inches and its axes, as `pyplot.subplots` does; nobody but the caller holds it."""
    figure = Figure(figsize=figsize, layout=layout)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **grid)


def save(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", facecolor="white")


def inline(figure: Figure) -> Markup:
    """Return a figure as SVG that stands in an HTML page: sharp at any size, black in it being the page's color of text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ccd"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    drawing = text[text.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' xmlns(:xlink)?="[^"]*"', "", drawing, count=2)  # in HTML they are known
    drawing = re.sub(r"((?:stroke|fill): )#000000", r"\1currentColor", drawing)
    return Markup(drawing)  # matplotlib has escaped the names in it


def legend_below(figure: Figure, handles: list[Any], columns: int = 3) -> None:
    """Put a legend of `handles` under everything that is drawn, with as many of `columns` as its longest name leaves room for."""
    labels = [str(handle.get_label()) for handle in handles]
    fitting = max(1, int(figure.get_figwidth() * 11 / (max(map(len, labels), default=1) + 6)))
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, fitting), frameon=False)


def literal(text: str, limit: int = 90) -> str:
    """Return text that matplotlib shows as it is, without formulas between dollar signs; of a longer one, the end."""
    return (text if len(text) <= limit else f"...{text[3 - limit :]}").replace("$", r"\$")
