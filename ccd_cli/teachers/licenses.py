"""How strict a license is, so that a student can carry the strictest one among its teachers. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable

DISPUTED_MARK = "disputed: treat as non-commercial"

NONCOMMERCIAL_RANK = 5
# (pattern, rank), first match wins; what matches nothing is not known, and counts as non-commercial.
_RANKS: list[tuple[str, int]] = [
    (r"disputed", NONCOMMERCIAL_RANK),
    (r"\bNC\b|non-?commercial|research|amlr", NONCOMMERCIAL_RANK + 1),
    (r"GPL", 4),
    (r"OpenRAIL", 3),
    (r"^Apache-2\.0$", 2),
    (r"^BSD-[23]-Clause$", 1),
    (r"^(MIT|CC0-1\.0|Unlicense)$", 0),
]


def license_rank(license_id: str) -> int:
    """Return how strict a license is: larger is stricter, `NONCOMMERCIAL_RANK` and more forbid commercial use."""
    for pattern, rank in _RANKS:
        if re.search(pattern, license_id.strip(), re.IGNORECASE):
            return rank
    return NONCOMMERCIAL_RANK


def is_commercial(license_id: str) -> bool:
    """Return whether the license is known to allow commercial use."""
    return license_rank(license_id) < NONCOMMERCIAL_RANK


def strictest(license_ids: Iterable[str]) -> str:
    """Return the strictest of some licenses; the alphabetically first among equals. `ValueError` for none."""
    ids = sorted(set(license_ids))
    if not ids:
        raise ValueError("no licenses to compare")
    return max(ids, key=license_rank)
