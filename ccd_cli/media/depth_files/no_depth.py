"""Values that say "no depth here": codes of sensors, and the far value of a renderer where it sees nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import Kind

LARGEST_CODE = 65535.0
"""Of 16 bits: where a sensor has no depth, or none that it can tell."""
LARGEST_HALF = 65504.0
"""The largest 16-bit floating-point number, which renderers write for the sky."""
FAR = 1e9
"""Beyond it nothing is depth: Blender writes 1e10 for the background, others the largest number there is."""


def parse_no_depth(text: str | None) -> tuple[float, ...] | None:
    """Return the values of `--no-depth`: a comma list of numbers, or `none`. Raises UsageProblem."""
    if text is None:
        return None
    if text.strip().lower() == "none":
        return ()
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise UsageProblem(f"--no-depth {text}: not a list of numbers.", "For instance --no-depth 0,65535, or none.")
    return values


def has_depth(
    values: NDArray[np.float32], kind: Kind, codes: bool, listed: tuple[float, ...] | None = None
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return the pixels [H, W] that hold depth, and notes about values that were taken for none.

    `values` are those of the file, before any scale; `codes`: whole numbers in the file. `listed` are the values that mean no
    depth. None: code 0; for metric and scale-invariant depth also negative values, 65535 and, as the sky of 16-bit renders,
    65504; for every depth, though not for disparity, what is 1e9 or more. NaN and infinity never are depth.
    """
    known = np.isfinite(values)
    if listed is not None:
        return known & ~np.isin(values, np.array(listed, np.float32)), []
    if codes:
        known &= values != 0
    notes = []
    for text, wrong in _suspects(values, kind, codes):
        if (known & wrong).any():
            notes.append(f"{text} is taken for no depth (--no-depth VALUES or none says otherwise)")
            known &= ~wrong
    return known, notes


def _suspects(values: NDArray[np.float32], kind: Kind, codes: bool) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if kind in ("metric", "depth"):
        yield "a negative value", values < 0
        yield "the value 65535", values == LARGEST_CODE
        if not codes:
            yield "the value 65504", values == LARGEST_HALF
    if kind != "disparity":
        yield f"a value of {FAR:g} or more", values >= FAR
