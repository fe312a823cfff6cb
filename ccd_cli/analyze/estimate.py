"""A mean over images with its bootstrap interval, and what may be said of a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Verdict = Literal["shown", "contradicted", "not shown"]
MIN_IMAGES = 6
"""Images that a verdict needs: of fewer, all differ in the same direction by chance in more than 1 of 20 cases (0.5^5 = 0.06)."""
ROUNDING = 1e-5
"""An end of an interval this close to 0 is 0: two models of the same weights differ by as much."""
RESAMPLES = 10_000
LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over `n` images and the ends of its interval; NaN where there is no image, or one alone for the interval."""

    mean: float
    low: float
    high: float
    n: int

    def row(self, name: str) -> dict[str, float]:
        """Return `name`, `name_low` and `name_high`, for a table."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}

    def text(self, signed: bool = False) -> str:
        """Return the mean and the interval for a sentence."""
        form = "+.3f" if signed else ".3f"
        mean, low, high = (format(round(value, 3) + 0.0, form) for value in self[:3])  # no -0.000
        return mean if math.isnan(self.low) else f"{mean} [{low}, {high}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean over images and its 95 % percentile bootstrap interval; values that are NaN are not counted.

    10 000 resamples of the images, the same every time. For paired comparisons `values` are the differences.
    """
    known = np.asarray([value for value in values if not math.isnan(value)], np.float64)
    if known.size < 2:
        return Estimate(float(known[0]) if known.size else math.nan, math.nan, math.nan, known.size)
    drawn = np.random.default_rng(0).integers(known.size, size=(RESAMPLES, known.size))
    low, high = np.quantile(known[drawn].mean(1), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(float(known.mean()), float(low), float(high), known.size)


def judge(difference: Estimate, better: Literal["lower", "higher"]) -> Verdict:
    """Return `shown` where the whole interval lies on the better side of 0, `contradicted` on the other, else `not shown`.

    `not shown` as well with fewer than `MIN_IMAGES` images.
    """
    if difference.n < MIN_IMAGES:
        return "not shown"
    low, high = (difference.low, difference.high) if better == "lower" else (-difference.high, -difference.low)
    return "shown" if high < -ROUNDING else "contradicted" if low > ROUNDING else "not shown"


def too_few(difference: Estimate) -> str:
    """Return why there is no verdict with these few images; empty where there are enough."""
    if difference.n >= MIN_IMAGES:
        return ""
    return f"; {difference.n} image{'' if difference.n == 1 else 's'}, a verdict needs {MIN_IMAGES}"


def column(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return one value of each row, NaN where it is missing."""
    return [math.nan if row.get(name) is None else float(row[name]) for row in rows]
