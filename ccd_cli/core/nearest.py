"""The nearest known names to one that is not known: the only place that decides what a user may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

_LIKE = 0.55
"""Least similarity (difflib's ratio, 0 to 1) of a name that is suggested: two swapped letters of `cpu` are .67."""
_BESIDE = 0.1
"""How much less like the word than the best name others may be."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return at most `most` names of `known` that are like `word`, the nearest first; upper and lower case count as one."""
    names: dict[str, str] = {}
    for name in known:
        names.setdefault(name.lower(), name)
    typed = word.lower()[:200]
    found = get_close_matches(typed, names, n=most, cutoff=_LIKE)
    likeness = {each: SequenceMatcher(None, each, typed).ratio() for each in found}
    return [names[each] for each in found if likeness[each] >= likeness[found[0]] - _BESIDE]


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint `Did you mean a, b or c?`, or `otherwise` where no known name is like `word`."""
    return ask(nearest(word, known)) or otherwise


def ask(names: Sequence[str]) -> str:
    """Return the question `Did you mean a, b or c?`; empty for no names."""
    if not names:
        return ""
    return f"Did you mean {', '.join(names[:-1])}{' or ' if names[1:] else ''}{names[-1]}?"


def choose_from(word: str, known: Iterable[str]) -> str:
    """Return the hint `Did you mean a? Choose from a, b, c.` for one of a few fixed words."""
    words = list(known)
    return f"{did_you_mean(word, words)} Choose from {', '.join(words)}.".strip()
