"""The nearest known names to one that is not known: the only place that decides what a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LIKE = 0.55
"""Least similarity (difflib's ratio, 0 to 1) of a name that is suggested: two swapped letters of `cpu` are .67."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return at most `most` names of `known` that are like `word`, the nearest first; upper and lower case count as one."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(name.lower(), name)
    return [names[found] for found in get_close_matches(word.lower()[:200], names, n=most, cutoff=_LIKE)]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint `Did you mean a, b or c?`, or `otherwise` where no known name is like `word`."""
    found = nearest(word, known)
    if not found:
        return otherwise
    return f"Did you mean {', '.join(found[:-1])}{' or ' if found[1:] else ''}{found[-1]}?"


def choose_from(word: str, known: Iterable[str]) -> str:
    """Return the hint `Did you mean a? Choose from a, b, c.` for one of a few fixed words."""
    words = list(known)
    return f"{did_you_mean(word, words)} Choose from {', '.join(words)}.".strip()
