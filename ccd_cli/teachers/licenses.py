"""Whether a license allows commercial use, and how strict it is: a student carries the strictest of its teachers. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

CommercialUse = Literal["yes", "no", "disputed", "unknown"]

DISPUTED_MARK = "disputed: treat as non-commercial"
GROUND_TRUTH_LICENSE = "CC0-1.0"
"""Of the teacher that is no network: it adds no condition. What a user's own images and measurements allow is theirs to know."""
NONCOMMERCIAL_RANK = 6
"""Of what is disputed or not known; what forbids commercial use is one above."""
_FORBIDDEN = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-?commercial|no-commercial|research|academic|amlr")
_V = r"(-?v?\.?\d+(\.\d+)*)?"  # a version; `-only`, `-or-later` and `-license` are taken off before
_RANKS: list[tuple[str, int]] = [
    (
        r"mit(-0)?|expat|cc0(-1\.0)?|cc-zero|unlicense|isc|zlib|0bsd|wtfpl|pddl|public-domain|bsl-1\.0|boost.*|x11|hpnd",
        0,
    ),
    (
        rf"bsd(-?[234]-?clause)?(-clear|-patent)?|bsd-(new|simplified|modified)|ncsa|postgresql|(psf|python){_V}|upl-1\.0",
        1,
    ),
    (rf"apache(-license)?(-version)?{_V}|afl{_V}|ms-pl|artistic{_V}|ecl-2\.0|mulanpsl{_V}", 2),
    (rf"cc-by{_V}(-[a-z]{{2,3}})?|ofl{_V}|odc-by{_V}|cdla-permissive{_V}|etalab{_V}|ogl-uk{_V}", 2),
    (rf"mpl{_V}|epl{_V}|cddl{_V}|(gnu-)?lgpl{_V}\+?|ms-rl|cecill-[bc]", 3),
    (r"(bigscience-|bigcode-|creativeml-)?openrail(\+\+)?(-m)?(\+\+)?(-m)?", 4),
    (rf"cc-by-sa{_V}(-[a-z]{{2,3}})?|(gnu-)?a?gpl{_V}\+?|eupl{_V}|osl{_V}|cdla-sharing{_V}|odbl{_V}|cecill(-2\.1)?", 5),
]
"""(pattern of a whole name in lower case with hyphens, rank); what matches nothing is not known."""


def license_rank(license_id: str) -> int:
    """Return how strict a license is: larger is stricter, `NONCOMMERCIAL_RANK` and more do not surely allow commercial use.

    Takes SPDX identifiers and expressions (`A OR B`: the user may choose; `A AND B`: both hold) and the hub's names.
    """
    text = license_id.strip()
    if "disputed" in text.lower():
        return NONCOMMERCIAL_RANK
    if len(parts := re.split(r"\s+OR\s+", text)) > 1 and "(" not in text:
        return min(license_rank(part) for part in parts)
    if len(parts := re.split(r"\s+AND\s+|\s*[;&]\s*", text)) > 1:
        return max(license_rank(part.strip("() ")) for part in parts)
    name = re.sub(r"[\s_,]+", "-", re.sub(r"\s+WITH\s+.*", "", text).lower()).removeprefix("the-")
    name = re.sub(r"(-only|-or-later|-licen[cs]e)+$", "", name)
    if _FORBIDDEN.search(name):
        return NONCOMMERCIAL_RANK + 1
    for pattern, rank in _RANKS:
        if re.fullmatch(pattern, name):
            return rank
    return NONCOMMERCIAL_RANK


def is_commercial(license_id: str) -> bool:
    """Return whether the license is known to allow commercial use."""
    return license_rank(license_id) < NONCOMMERCIAL_RANK


def commercial_use(license_id: str) -> CommercialUse:
    """Return whether the license allows commercial use: `unknown` where it is not one that ccd knows."""
    if "disputed" in license_id.lower():
        return "disputed"
    rank = license_rank(license_id)
    return "yes" if rank < NONCOMMERCIAL_RANK else "no" if rank > NONCOMMERCIAL_RANK else "unknown"


def strictest(license_ids: Iterable[str]) -> str:
    """Return the strictest of some licenses; the alphabetically first among equals. `ValueError` for none."""
    ids = sorted(set(license_ids))
    if not ids:
        raise ValueError("no licenses to compare")
    return max(ids, key=license_rank)
