"""Bring a prediction of unknown scale and shift to ground truth: every published protocol by its own arithmetic.

The protocols are not interchangeable; each name below is one of them, and `describe` says in words what was done.

* `least-squares`: scale and shift by least squares in depth, clipped to the set's range (Marigold, script/depth/eval.py).
* `least-squares-disparity`: the same in 1 / depth, on pixels predicted > 0, floor 1e-3 1/m (Marigold's disparity option).
* `midas`: the same in 1 / depth on all pixels, floor 1 / cap (MiDaS and the Depth Anything line).
  Where `Limits.floor` is "image" or "range", as on a user's own sets, these two fit all pixels and have the floor named there.
* `moge-scale`, `moge-affine`, `moge-disparity`: MoGe, moge/test/metrics.py; weighted L1 on a 64x64 sample of the valid
  pixels for the first two, nothing clipped afterward; floor 1 / largest true depth for the last.
* `scale`: least-squares scale in depth. `median`: ratio of the medians. `none`: as predicted. All three clipped to the range.

Maps are [H, W] in, [H, W] float64 out; depth in the unit of the ground truth. All sums are in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.metrics.alignment_moge import affine_l1, nearest_valid, scale_l1
from ccd_cli.metrics.methods import METHODS, Method

Space = Literal["depth", "disparity"]
Floor = Literal["published", "image", "range"]

AUTO: dict[str, Method] = {
    "disparity": "least-squares-disparity",
    "depth": "least-squares",
    "affine-depth": "least-squares",
    "metric": "none",
}
"""Method of each kind under `auto`: fitted in the space in which the kind is affine; metric depth as predicted."""

IN_DISPARITY: frozenset[str] = frozenset({"least-squares-disparity", "midas", "moge-disparity"})
SUBSAMPLED: frozenset[str] = frozenset({"least-squares", "least-squares-disparity"})
"""Methods that know a largest side for the fit."""
UNCLIPPED: frozenset[str] = frozenset({"midas", "moge-scale", "moge-affine", "moge-disparity"})
"""Methods after which the set's range is not applied (`midas` and `moge-disparity` have a floor of their own)."""

LOWEST_DEPTH = 1e-6
"""Floor of every clipped depth, below the range of any set."""
LOWEST_DISPARITY = 1e-3
"""Floor of `least-squares-disparity`: nothing lies beyond 1000 m."""

ANY_DEPTH = (0.0, float("inf"))
"""A depth range that clips nothing."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Fit = tuple[float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """What a set says about the fit: where aligned depth ends, and how many columns the fit sees."""

    depth_range: Range = ANY_DEPTH
    """(nearest, farthest) depth to which the result is clipped."""
    max_res: int | None = None
    """Subsamples the fit as Marigold's `alignment_max_res` does; None: every pixel."""
    floor: Floor = "published"
    """Smallest disparity after a fit in 1 / depth. `published`: as the authors of the method have it; `image`: 1 / the largest
    ground truth of the image (of a clip: of all its frames); `range`: 1 / the farthest end of `depth_range`."""


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Aligned:
    """A prediction brought to ground truth.

    `depth` float64 [H, W] (NaN where the prediction was); `scale` and `shift` of the fit in `space`; `method` as resolved
    from `auto`; `fitted` pixels.
    """

    depth: Array
    scale: float
    shift: float
    space: Space
    method: Method
    fitted: int


def align(
    method: str,
    pred: Floats,
    gt: Floats,
    mask: NDArray[np.bool_],
    kind: Kind,
    limits: Limits = NO_LIMITS,
    force: bool = False,
) -> Aligned:
    """Return `pred` as depth in the unit of `gt`, fitted on `mask` by `method` (one of METHODS, or `auto`).

    pred, gt, mask: [H, W]; pixels of the mask without positive true depth are left out, and pixels without a finite
    prediction leave the fit. `pred` is of `kind` and is brought to the method's space where that is exact: `depth` and
    `metric` become 1 / depth for a method in disparity, as in MoGe. A disparity under a method in depth, and affine depth
    under one in disparity, cannot be converted: their shift is unknown. That is an error unless `force`, which fits the
    values as they stand, as published mistakes do. The depth range of `limits` clips the result or is the cap of `midas`.
    For one scale and one shift for the frames of a clip see `ClipFit`. Infinite depth (sky) leaves the fit and becomes the largest
    there is: the end of the depth range, or without one that of the true and the aligned depth.

    Raises UsageProblem for unknown names, wrong spaces and contradictory options, CcdError for different shapes and where
    nothing is valid or predicted.
    """
    name = resolve(method, kind)
    check_maps(name, pred, gt, mask, limits)
    values = in_space_of(name, pred.astype(np.float64), kind, force)  # a copy: filled in place below
    valid = mask & (gt > 0) & np.isfinite(gt)
    if not valid.any():
        raise CcdError("There is no valid pixel to align to.", "Check the mask and the depth range of the set.")
    usable = valid & np.isfinite(values) & np.isfinite(pred)
    if not usable.any():
        raise CcdError("The prediction has no finite value on the valid pixels.")
    positive = positive_only(name, limits)
    if name in SUBSAMPLED and limits.max_res is not None:
        columns = kept_columns(values.shape[0], values.shape[1], limits.max_res)
        scale, shift, fitted = _fit(name, values[:, columns], gt[:, columns], usable[:, columns], positive)
    else:
        scale, shift, fitted = _fit(name, values, gt, usable, positive)
    space: Space = "disparity" if name in IN_DISPARITY else "depth"
    farthest = float(gt[valid].max())
    apply_fit(name, values, (scale, shift), limits, farthest)
    set_infinite(values, pred, kind, limits, farthest)
    return Aligned(values, scale, shift, space, name, fitted)


def apply_fit(name: Method, values: Array, fit: Fit, limits: Limits, farthest: float) -> None:
    """Turn `values` (float64, in the method's space) into depth in place, with the floor and the clipping of the method.

    `farthest` is the largest true depth of the pixels that were fitted, which some floors go by.
    """
    with np.errstate(invalid="ignore"):  # 0 * inf
        values *= fit[0]
        values += fit[1]
    if name in IN_DISPARITY:
        np.maximum(values, disparity_floor(name, limits, farthest), out=values)
        np.divide(1.0, values, out=values)
    if name not in UNCLIPPED:
        least, most = limits.depth_range
        np.clip(values, max(least, LOWEST_DEPTH), max(most, LOWEST_DEPTH), out=values)


def set_infinite(values: Array, pred: Floats, kind: Kind, limits: Limits, farthest: float) -> None:
    """Put the infinite depth of a prediction [H, W] into its aligned `values`, in place: as far as `align` says."""
    if kind == "disparity" or not (infinite := np.isposinf(pred)).any():
        return
    most = limits.depth_range[1]
    if not np.isfinite(most):
        most = max(farthest, float(np.max(values, where=np.isfinite(values) & ~infinite, initial=0.0)))
    values[infinite] = most


def resolve(method: str, kind: str) -> Method:
    """Return the method that `method` means for a model of `kind` (`auto`: see AUTO). Raises UsageProblem for others."""
    if kind not in KINDS:
        raise UsageProblem(f"There is no kind of prediction '{kind}'.", choose_from(str(kind), KINDS))
    if method == "auto":
        return AUTO[kind]
    if method not in METHODS:
        raise UsageProblem(f"There is no alignment '{method}'.", choose_from(str(method), ("auto", *METHODS)))
    return cast(Method, method)


def describe(method: Method, limits: Limits = NO_LIMITS, forced: bool = False) -> str:
    """Return the protocol in words, for tables and records: what is fitted, where, what is clipped, and if `force` was."""
    depth_range, max_res = limits.depth_range, limits.max_res
    if limits.floor != "published" and method in IN_DISPARITY:
        words = f"scale and shift by least squares in 1/depth, floor {floor_in_words(limits)}"
    else:
        words = _WORDS[method]
    if method in SUBSAMPLED and max_res is not None:
        words += f", fitted on columns subsampled to {max_res}"
    words += ", on predictions of another space (forced)" if forced else ""
    low, high = depth_range
    if method == "midas" and limits.floor == "published":
        cap = f"1/{high:g}" if np.isfinite(high) else "1 / largest true depth"
        return f"{words}, floor {cap}, per image"
    clip = "not clipped" if method in UNCLIPPED else f"clipped to [{low:g}, {high:g}]"
    return f"{words}, per image, {clip}"


def floor_in_words(limits: Limits) -> str:
    """Return the floor of disparity that a set names (not that of a published method)."""
    return "1 / largest ground truth of the image" if limits.floor == "image" else f"1 / {limits.depth_range[1]:g}"


_WORDS: dict[Method, str] = {
    "least-squares": "scale and shift by least squares in depth (Marigold)",
    "least-squares-disparity": "scale and shift by least squares in 1/depth on pixels predicted > 0, floor 0.001 (Marigold)",
    "midas": "scale and shift by least squares in 1/depth (MiDaS)",
    "moge-scale": "scale by weighted L1 in depth on a 64x64 sample (MoGe)",
    "moge-affine": "scale and shift by weighted L1 in depth on a 64x64 sample (MoGe)",
    "moge-disparity": "scale and shift by least squares in 1/depth, floor 1 / largest true depth (MoGe)",
    "scale": "scale by least squares in depth",
    "median": "scale by the ratio of the medians",
    "none": "no alignment",
}


def kept_columns(height: int, width: int, max_res: int) -> NDArray[np.int64]:
    """Return the columns that Marigold's `alignment_max_res` fits on; all rows stay.

    f = min(max_res / height, max_res / width); f >= 1: all columns, else floor(i / f) for i < floor(width * f). The peer
    hands the map to a 1-D upsampler, so that rows are taken for channels.
    """
    factor = min(max_res / height, max_res / width)
    if factor >= 1:
        return np.arange(width)
    count = max(1, int(np.floor(width * factor)))
    # As the peer's library does: one division, then products in single precision.
    step = np.float32(1.0 / factor)
    return np.minimum(np.floor(np.arange(count, dtype=np.float32) * step).astype(np.int64), width - 1)


def least_squares(pred: Floats, target: Floats) -> Fit:
    """Return (scale, shift) that minimize sum((scale * pred + shift - target)^2) over two vectors of equal length.

    A constant prediction gets scale 0 and the target's mean. Raises ValueError for empty input.
    """
    if pred.size == 0:
        raise ValueError("nothing to align")
    x, y = pred.astype(np.float64).ravel(), target.astype(np.float64).ravel()
    line = _line(x, y)
    return line if line is not None else (0.0, float(y.mean()))


def check_maps(
    name: str,
    pred: Floats,
    gt: Floats,
    mask: NDArray[np.bool_],
    limits: Limits,
) -> None:
    """Raise CcdError for maps of other shapes, UsageProblem for a range or a `max_res` that does not go with the method."""
    if pred.ndim != 2 or not pred.shape == gt.shape == mask.shape or mask.dtype != np.bool_:
        shapes = f"{pred.shape}, {gt.shape} and {mask.shape} {mask.dtype}"
        raise CcdError(f"Prediction, ground truth and a bool mask are maps [H, W] of one size, not {shapes}.")
    if not 0 <= limits.depth_range[0] < limits.depth_range[1]:
        raise UsageProblem(f"A depth range is (nearest, farthest), nearest >= 0, not {limits.depth_range}.")
    max_res = limits.max_res
    if max_res is not None and (max_res < 1 or name not in SUBSAMPLED):
        known = ", ".join(sorted(SUBSAMPLED))
        raise UsageProblem(f"max_res {max_res} does not go with the alignment '{name}'.", f"It is for {known}.")


def in_space_of(name: str, values: Array, kind: Kind, force: bool = False) -> Array:
    """Return a prediction in the space in which the method fits; raises UsageProblem where it has no place there."""
    disparity = name in IN_DISPARITY
    if force or disparity == (kind == "disparity"):
        return values
    if disparity and kind in ("depth", "metric"):
        with np.errstate(divide="ignore"):
            return 1.0 / values
    where = "1/depth" if disparity else "depth"
    hint = f"Use --alignment auto, which is {AUTO[kind]} here."
    raise UsageProblem(f"The alignment '{name}' fits in {where}, and a {kind} map of unknown shift has none.", hint)


def positive_only(name: Method, limits: Limits) -> bool:
    """Return whether a method fits on pixels predicted > 0 alone, as Marigold's fit in disparity does."""
    return name == "least-squares-disparity" and limits.floor == "published"


def _fit(
    name: Method, values: Array, gt: Floats, usable: NDArray[np.bool_], positive: bool
) -> tuple[float, float, int]:
    """Return (scale, shift, fitted pixels) of one method, from maps in the method's space and the usable pixels."""
    if name in ("moge-scale", "moge-affine"):
        rows, columns, valid = nearest_valid(usable)
        x, y = values[rows, columns][valid], gt[rows, columns][valid].astype(np.float64)
        if name == "moge-scale":
            return scale_l1(x, y, 1.0 / y), 0.0, x.size
        scale, shift, _ = affine_l1(x[:, None], y[:, None], 1.0 / y)
        return scale, float(shift[0]), x.size
    if positive:
        usable = usable & (values > 0)
    x, y = values[usable], gt[usable].astype(np.float64)
    if x.size == 0:  # nothing is predicted > 0: everything lies at the floor
        return 0.0, 0.0, 0
    return *_PLAIN[name](x, 1.0 / y if name in IN_DISPARITY else y), x.size


def _line(x: Array, y: Array) -> Fit | None:
    """Return (scale, shift) of the least-squares line, None where `x` is constant. The centered form loses no digits."""
    center = x.mean()
    dx = x - center
    spread = float(dx @ dx)
    if not spread > 1e-24 * float(x @ x):
        return None
    scale = float(dx @ y) / spread
    return scale, float(y.mean() - scale * center)


def _midas(x: Array, y: Array) -> Fit:
    """Return the line; (0, 0) where the determinant of the normal equations, size * spread of `x`, is not positive."""
    return _line(x, y) or (0.0, 0.0)


def _scale(x: Array, y: Array) -> Fit:
    square = float(x @ x)
    return (float(x @ y) / square if square > 0 else 0.0), 0.0


def _median(x: Array, y: Array) -> Fit:
    middle = float(np.median(x))
    return (float(np.median(y)) / middle if middle != 0 else 0.0), 0.0


_PLAIN: dict[str, Callable[[Array, Array], Fit]] = {
    "least-squares": least_squares,
    "least-squares-disparity": least_squares,
    "midas": _midas,
    "moge-disparity": least_squares,
    "scale": _scale,
    "median": _median,
    "none": lambda x, y: (1.0, 0.0),
}


def disparity_floor(name: str, limits: Limits, farthest: float) -> float:
    """Return the smallest disparity of a method in 1 / depth; `farthest` is the largest true depth."""
    cap = limits.depth_range[1]
    if limits.floor != "published":
        return 1.0 / (cap if limits.floor == "range" else farthest)
    if name == "least-squares-disparity":
        return LOWEST_DISPARITY
    if name == "midas" and np.isfinite(cap):
        return 1.0 / cap
    return 1.0 / farthest
