"""The catalog: look up a teacher by its name. No torch here."""

from __future__ import annotations

from ccd_cli.core.errors import UnknownModel
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.teachers.card import Card, Source
from ccd_cli.teachers.catalog import BUILTINS, CARDS
from ccd_cli.teachers.custom import custom_card, custom_cards, custom_names
from ccd_cli.teachers.licenses import license_rank

__all__ = ["BUILTINS", "CARDS", "Card", "Source", "all_cards", "card", "license_rank"]


def all_cards() -> dict[str, Card]:
    """Return every card: published teachers, built-in ones, and the user's own (`$CCD_HOME/cards/*.yaml`).

    Teachers of installed packages are not in it: their cards are inside code that `card` imports when asked for one.
    """
    return {**CARDS, **BUILTINS, **custom_cards()}


def card(name: str) -> Card:
    """Return the card called `name`: published, built in, or the user's own.

    `UnknownModel` with the nearest names where there is none, `TeacherError` with the problem of a card that cannot be used.
    """
    if found := CARDS.get(name) or BUILTINS.get(name):
        return found
    if own := custom_card(name):
        return own
    hint = did_you_mean(name, [*CARDS, *BUILTINS, *custom_names()], "See the catalog with: ccd teachers list")
    raise UnknownModel(f"Unknown model '{name}'.", hint)
