"""A robust line between two noisy maps: Deming regression without outliers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLAT = 0.05  # MAD over standard deviation (normal: 0.67) below which one flat surface fills over half of the pixels


def fit_line(x: Array, y: Array, ratio: float, iterations: int = 5) -> tuple[float, float] | None:
    """Return (scale, shift) of y = scale * x + shift with noise in both: Deming regression without outliers.

    `x`, `y`: vectors. `ratio`: variance of y's noise over that of (scaled) x's noise. Initialized from medians and MADs; where one
    flat surface (sky) fills over half of the pixels, from means and standard deviations, which also bound the outliers: medians
    would keep that surface alone, whose values are noise. Returns None where the two are not positively correlated or one is
    constant.
    """
    (mid_x, mad_x), (mid_y, mad_y) = median_mad(x), median_mad(y)
    if mad_x <= 0 or mad_y <= 0:
        return None
    flat = mad_x < FLAT * x.std() or mad_y < FLAT * y.std()
    if flat:
        mid_x, mad_x, mid_y, mad_y = x.mean(), x.std(), y.mean(), y.std()
    scale = mad_y / mad_x
    shift = mid_y - scale * mid_x
    for _ in range(iterations):
        aligned = scale * x + shift
        error = np.abs(aligned - y)
        inliers = error <= 2.5 * (error.std() if flat else 1.4826 * np.median(error)) + 1e-9 * mad_y
        a, b = aligned[inliers], y[inliers]
        da, db = a - a.mean(), b - b.mean()
        aa, bb, ab = float(da @ da), float(db @ db), float(da @ db)
        if ab <= 0.3 * np.sqrt(aa * bb) or ab <= 0:
            return None
        gap = bb - ratio * aa
        slope = (gap + np.sqrt(gap * gap + 4 * ratio * ab * ab)) / (2 * ab)
        scale, shift = slope * scale, float(b.mean() + slope * (shift - a.mean()))
    return float(scale), float(shift)


def median_mad(values: Array) -> tuple[float, float]:
    """Return (median, MAD); the standard deviation replaces a MAD of zero."""
    middle = float(np.median(values))
    mad = float(np.median(np.abs(values - middle)))
    return middle, mad if mad > 0 else float(values.std())
