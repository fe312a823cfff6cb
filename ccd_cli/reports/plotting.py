"""Plots by matplotlib without pyplot: the caller's backend and figures stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

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


def literal(text: str, limit: int = 90) -> str:
    """Return text that matplotlib shows as it is, without formulas between dollar signs; of a longer one, the end."""
    return (text if len(text) <= limit else f"...{text[3 - limit :]}").replace("$", r"\$")
