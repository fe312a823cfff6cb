"""A mean over images with its bootstrap interval, and what may be said of a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

Verdict = Literal["shown", "contradicted", "not shown"]
MIN_IMAGES = 6
"""Images that a verdict needs: resampling fewer says too little of how much they vary."""
ROUNDING = 1e-5
"""An end of an interval this close to 0 is 0: two models of the same weights differ by as much."""
RESAMPLES = 10_000
CHUNK = 1_000_000
"""Values that are drawn at once."""
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
        if math.isnan(self.mean):
            return "-"
        form = "+.3f" if signed else ".3f"
        mean, low, high = (format(round(value, 3) + 0.0, form) for value in self[:3])  # no -0.000
        return mean if math.isnan(self.low) else f"{mean} [{low}, {high}]"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean over images and its 95 % bootstrap interval; values that are NaN are not counted.

    10 000 resamples of the images, the same every time. For paired comparisons `values` are the differences. The percentiles are
    those of Hesterberg's expanded interval (arXiv 1411.5279, section 3.4): the plain ones are too narrow for few images, where they
    would see a difference that is not there in 15 of 100 cases for 6 images, and in 7 for 24.
    """
    known = np.asarray([value for value in values if not math.isnan(value)], np.float64)
    if known.size < 2:
        return Estimate(float(known[0]) if known.size else math.nan, math.nan, math.nan, known.size)
    rng, at_once = np.random.default_rng(0), max(1, CHUNK // known.size)
    counts = [min(at_once, RESAMPLES - first) for first in range(0, RESAMPLES, at_once)]
    means = np.concatenate([known[rng.integers(known.size, size=(count, known.size))].mean(1) for count in counts])
    outside = expanded_tail(known.size)
    low, high = np.quantile(means, (outside, 1 - outside))
    return Estimate(float(known.mean()), float(low), float(high), known.size)


def expanded_tail(n: int) -> float:
    """Return the share of resampled means of `n` values to leave out at each end, for an interval as wide as Student's t has it."""
    normal = NormalDist()
    return normal.cdf(-math.sqrt(n / (n - 1)) * student_t(n - 1))


def student_t(freedom: int) -> float:
    """Return the quantile (1 + LEVEL) / 2 of Student's t distribution: its expansion in 1 / freedom, to 1 in 1000 from 4 on.

    Abramowitz and Stegun 26.7.5.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


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
