"""The catalog as rows, for people and for scripts. No torch here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ccd_cli.teachers.custom import plugins
from ccd_cli.teachers.download.lock import installed_at, is_pulled
from ccd_cli.teachers.registry import BUILTINS, CARDS, Card, all_cards

MARKDOWN_BEGIN, MARKDOWN_END = "<!-- teachers:begin -->", "<!-- teachers:end -->"


SETTLED: dict[str, bool | None] = {"yes": True, "no": False, "disputed": None, "unknown": None}
"""Words of commercial use in JSON: null where it is not settled; a disputed license says so itself."""


def rows() -> list[dict[str, Any]]:
    """Return one row for each teacher; of an installed package's, only its name and package (family) are known."""
    known = [_row(card) for card in all_cards().values()]
    keys = list(known[0])
    return known + [
        dict.fromkeys(keys) | {"name": name, "family": package, "requires": ""} for name, package in plugins().items()
    ]


def chosen_rows(family: str | None, commercial: bool | None, pulled: bool) -> list[dict[str, Any]]:
    """Return the rows of models whose family contains a name, whose license allows commercial use or not (True, False; None:
    all), and, with `pulled`, whose weights are on this machine.
    """
    return [
        row
        for row in rows()
        if (family is None or family.lower() in row["family"].lower())
        and (commercial is None or (row["commercial"] is True) is commercial)
        and (not pulled or row["pulled"])
    ]


def commercial_words() -> dict[str, str]:
    """Return {name: yes, no, disputed or unknown} of every teacher; what a package offers is unknown until it is imported."""
    known: dict[str, str] = {one.name: one.commercial_use for one in all_cards().values()}
    return known | dict.fromkeys(plugins(), "unknown")


def full(card: Card) -> dict[str, Any]:
    """Return everything that is known about one teacher, as plain values."""
    return {
        **asdict(card),
        "path": str(installed_at(card)),
        "options": dict(card.options),
        "url": card.url,
        "direction": card.direction,
        "unit": card.unit,
        "commercial_use": card.commercial_use,
        "pulled": is_pulled(card),
    }


def megabytes(size: int | None) -> str:
    """Return a size for eyes."""
    if size is None:
        return "?"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def markdown_table() -> str:
    """Return the guide's table (docs/teachers.md) of the published and built-in teachers."""
    lines = ["| name | family | kind | size | license | commercial | needs |", "|---|---|---|---|---|---|---|"]
    for card in (*CARDS.values(), *BUILTINS.values()):
        cells = (
            f"`{card.name}`",
            card.family,
            card.kind,
            megabytes(card.size_bytes),
            card.license,
            card.commercial_use,
            f"`{card.requires}`" if card.requires else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _row(card: Card) -> dict[str, Any]:
    return {
        "name": card.name,
        "family": card.family,
        "kind": card.kind,
        "repo": card.repo,
        "file": card.file or " ".join(card.files),
        "size_bytes": card.size_bytes,
        "parameters": card.parameters,
        "license": card.effective_license,
        "commercial": SETTLED[card.commercial_use],
        "requires": card.requires,
        "pulled": is_pulled(card),
    }
