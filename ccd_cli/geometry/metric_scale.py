"""Metric depth from maps of any kind: by assumed near and far distances, or by a robust fit to a reference depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import FAR, NEAR, Kind

LOW, HIGH = 0.01, 0.99
MIN_COMMON = 16
"""Minimum number of pixels that are valid in both a map and its reference."""
_TUKEY = 4.685
_MAD_TO_SIGMA = 1.4826
_PAIRS, _EVALUATED, _MAX_POINTS = 512, 4096, 262_144


@dataclass(frozen=True)
class ToDepth:
    """Converts values to meters: z = 1 / (scale * value + shift) for disparity, z = scale * value + shift for the rest."""

    kind: Kind
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, depth_map: DepthMap) -> NDArray[np.float32]:
        """Return float32 [H, W] in meters; NaN where the map is invalid, or z is not finite and positive."""
        linear = depth_map.values.astype(np.float64) * self.scale + self.shift
        with np.errstate(divide="ignore", over="ignore"):
            depth = (1.0 / linear if self.kind == "disparity" else linear).astype(np.float32)
        valid = np.isfinite(depth) & (depth > 0)
        if depth_map.valid is not None:
            valid &= depth_map.valid
        return np.where(valid, depth, np.float32(np.nan))


@dataclass(frozen=True)
class Fit:
    """A robust fit: the conversion, the number of common pixels, and the fraction of inliers among them."""

    to_depth: ToDepth
    pixels: int
    inliers: float


def value_quantiles(depth_map: DepthMap) -> tuple[float, float]:
    """Return the 1 % and 99 % quantiles of a map's valid values; for `depth` and `metric`, of the positive ones.

    Raises CcdError where no value is valid.
    """
    values = depth_map.values if depth_map.valid is None else depth_map.values[depth_map.valid]
    if depth_map.kind in ("depth", "metric"):
        values = values[values > 0]
    if values.size == 0:
        raise CcdError("The map is empty: it has no valid value.")
    low, high = np.quantile(values, (LOW, HIGH))
    return float(low), float(high)


def to_depth_by_range(kind: Kind, quantiles: tuple[float, float], near: float = NEAR, far: float = FAR) -> ToDepth:
    """Return the conversion of a map (or clip) with these 1 % and 99 % value quantiles to depth from `near` to `far` meters.

    disparity: 1 / (a * d + b), the 99 % quantile exactly at `near` and the 1 % quantile exactly at `far`.
    affine-depth: a * d + b, the 1 % quantile exactly at `near` and the 99 % quantile exactly at `far`.
    depth: a * d. One scale cannot match both ends, so the quantiles' geometric mean is mapped to sqrt(near * far), the
    least-squares solution in log depth.
    metric: unchanged. Raises UsageProblem unless 0 < near < far, CcdError where the quantiles coincide.
    """
    if not (0 < near < far and np.isfinite(far)):
        raise UsageProblem(f"--near and --far must be 0 < near < far, not {near:g} and {far:g}.")
    low, high = quantiles
    if kind == "metric":
        return ToDepth(kind)
    if kind == "depth":
        return ToDepth(kind, float(np.sqrt(near * far / (low * high))))
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        raise CcdError(f"The map is flat: 98 % of its values are {low:g}, so near and far cannot be distinguished.")
    at_low, at_high = (1 / far, 1 / near) if kind == "disparity" else (near, far)
    scale = (at_high - at_low) / (high - low)
    return ToDepth(kind, scale, at_low - scale * low)


def to_depth_by_reference(depth_map: DepthMap, reference: NDArray[np.float32]) -> Fit:
    """Return the robust fit of a map to `reference`, float32 [h, w] in meters, NaN or <= 0 where invalid.

    Every valid reference pixel is paired with the map's nearest pixel, so that a sparse or small reference counts each
    measurement once. Fitted: scale and shift to 1 / z for `disparity`, scale and shift to z for `affine-depth`, scale
    alone (in log depth) for `depth` and `metric`. Robust to outliers, see `robust_line`. Raises CcdError for
    another aspect ratio, fewer than 16 common pixels, a flat map, or a scale that is not positive.
    """
    x, z = _common(depth_map, reference)
    if x.size < MIN_COMMON:
        raise CcdError(
            f"The map and its reference share {x.size} valid pixels; a fit needs {MIN_COMMON}.",
            "Check --ref-scale (meters = code / S) and that the reference belongs to this image.",
        )
    if depth_map.kind in ("depth", "metric"):
        log_scale, inliers = _robust_mean(np.log(z / x))
        return Fit(ToDepth(depth_map.kind, float(np.exp(log_scale))), x.size, inliers)
    scale, shift, inliers = robust_line(x, 1 / z if depth_map.kind == "disparity" else z)
    if scale <= 0:
        raise CcdError(
            f"The fit to the reference has a scale that is not positive ({scale:.3g}): the map and its reference have "
            "opposite directions.",
            "Check the map's kind (disparity: larger = nearer) and that the reference belongs to this image.",
        )
    return Fit(ToDepth(depth_map.kind, scale, shift), x.size, inliers)


def robust_line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return (scale, shift, fraction of inliers) of y = scale * x + shift; up to half of the points may be outliers.

    Initialized by least median of squares (Rousseeuw 1984) over 512 seeded pairs, then iteratively reweighted least
    squares with Tukey's biweight (4.685 sigma, sigma from the median absolute residual), which gives gross outliers zero
    weight. Deterministic. Raises CcdError where x is constant.
    """
    rng = np.random.default_rng(0)
    if x.size > _MAX_POINTS:
        picked = rng.choice(x.size, _MAX_POINTS, replace=False)
        x, y = x[picked], y[picked]
    evaluated = rng.choice(x.size, min(x.size, _EVALUATED), replace=False)
    one, two = rng.integers(0, x.size, (2, _PAIRS))
    rise, run = y[two] - y[one], x[two] - x[one]
    usable = np.abs(run) > 1e-9 * max(float(np.abs(x).max()), 1e-30)
    if not usable.any():
        raise CcdError("The map is flat where its reference is valid, so a scale and shift cannot be fitted.")
    slopes = rise[usable] / run[usable]
    shifts = y[one[usable]] - slopes * x[one[usable]]
    typical = np.median(np.abs(slopes[:, None] * x[evaluated] + shifts[:, None] - y[evaluated]), axis=1)
    scale, shift = float(slopes[typical.argmin()]), float(shifts[typical.argmin()])
    weights = np.ones_like(x)
    for _ in range(30):
        weights = _biweight(scale * x + shift - y, float(np.median(np.abs(y))))
        total = weights.sum()
        mx, my = weights @ x / total, weights @ y / total
        spread = weights @ (x - mx) ** 2
        if not spread > 0:
            break
        new = float(weights @ ((x - mx) * (y - my)) / spread)
        done = abs(new - scale) <= 1e-10 * abs(scale)
        scale, shift = new, float(my - new * mx)
        if done:
            break
    return scale, shift, float((weights > 0).mean())


def _robust_mean(y: NDArray[np.float64]) -> tuple[float, float]:
    """Return (Tukey's biweight mean, fraction of inliers), initialized at the median."""
    mean, weights = float(np.median(y)), np.ones_like(y)
    for _ in range(30):
        weights = _biweight(y - mean, 1.0)
        new = float(weights @ y / weights.sum())
        if abs(new - mean) <= 1e-12:
            break
        mean = new
    return mean, float((weights > 0).mean())


def _biweight(residual: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Return Tukey's weights; sigma has a floor of a millionth of `size`, so that an exact fit retains its points."""
    sigma = max(_MAD_TO_SIGMA * float(np.median(np.abs(residual))), 1e-6 * size, 1e-30)
    return np.square(np.clip(1 - np.square(residual / (_TUKEY * sigma)), 0, None))


def _common(depth_map: DepthMap, reference: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return map values and meters, vectors, at the reference pixels where both are valid."""
    height, width = depth_map.values.shape
    h, w = reference.shape
    if abs(height * w - width * h) > 0.02 * width * h:
        raise CcdError(
            f"The reference is {w}x{h}, which is not the aspect ratio of the map ({width}x{height}).",
            "Both must cover the whole of the same image.",
        )
    rows = (((np.arange(h) + 0.5) * height / h).astype(np.int64)).clip(0, height - 1)
    columns = (((np.arange(w) + 0.5) * width / w).astype(np.int64)).clip(0, width - 1)
    x = depth_map.values[np.ix_(rows, columns)].astype(np.float64)
    valid = np.isfinite(reference) & (reference > 0) & np.isfinite(x)
    if depth_map.valid is not None:
        valid &= depth_map.valid[np.ix_(rows, columns)]
    if depth_map.kind in ("depth", "metric"):
        valid &= x > 0
    return x[valid], reference[valid].astype(np.float64)
