"""How sharp and how well placed the edges of a depth map are: Depth Pro's and MoGe's boundary scores, iBims' geometry.

Maps are [H, W]; depth in any unit for the scale-invariant scores, in meters for iBims. Ratios are fractions.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError

MOGE_RADII = (1, 2, 3)
"""Radii at which MoGe scores; papers report the first."""
IBIMS_FAR = 10.0
"""Pixels: predicted edges farther from every true edge are ignored; the score of a map without edges."""
IBIMS_PIXELS = 640 * 480
"""Size of iBims' photos; planes of less than 5 % of it are not scored."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def depth_pro_f1(pred: Floats, gt: Floats, mask: Mask | None = None) -> float:
    """Return Depth Pro's scale-invariant boundary F1 of two depth maps (src/depth_pro/eval/boundary_metrics.py).

    An edge is a pair of neighbors whose inverse depths, 1 / max(d, 1e-6), differ by a factor > t; precision and recall are
    means over the four directions, F1 is averaged over ten t in 1.05..1.25 with weights t. Two flat maps score 0. The peer
    knows no mask; with one, pairs that touch an invalid pixel are left out. Raises CcdError for different shapes.
    """
    _same_shape(pred, gt, mask)
    thresholds = np.linspace(1.05, 1.25, 10)
    recall, precision = np.zeros(10), np.zeros(10)
    for p, g, known in zip(_steps(_inverse(pred)), _steps(_inverse(gt)), _known_pairs(mask, gt.shape), strict=True):
        level_p, level_g = _levels(p, thresholds) * known, _levels(g, thresholds) * known
        both = _above(np.minimum(level_p, level_g))
        recall += both / np.maximum(_above(level_g), 1) / 4
        precision += both / np.maximum(_above(level_p), 1) / 4
    return _weighted_f1(precision, recall, thresholds)


def depth_pro_recall(pred: Floats, alpha: Floats, above: float = 0.1) -> float:
    """Return Depth Pro's boundary recall of a depth map against a matte [H, W] (foreground: alpha > `above`).

    Predicted edges as in `depth_pro_f1`, thinned to the largest ratio of every run along a row or column; mean over the
    four directions and, weighted, over the ten thresholds. Raises CcdError for different shapes.
    """
    _same_shape(pred, alpha, None)
    front = alpha > above
    thresholds = np.linspace(1.05, 1.25, 10)
    ground_truth = (
        front[:, :-1] & ~front[:, 1:],
        front[:-1] & ~front[1:],
        front[:, 1:] & ~front[:, :-1],
        front[1:] & ~front[:-1],
    )
    recall = np.zeros(10)
    for direction, (ratio, edges) in enumerate(zip(_steps(_inverse(pred)), ground_truth, strict=True)):
        along = ratio if direction % 2 == 0 else ratio.T
        true = edges if direction % 2 == 0 else edges.T
        count = max(int(true.sum()), 1)
        recall += [np.count_nonzero(thinned(along, t) & true) / count / 4 for t in thresholds]
    return float(recall @ thresholds / thresholds.sum())


def thinned(ratio: Floats, threshold: float) -> Mask:
    """Return where `ratio` [H, W] is the (first) largest of its run of neighbors > threshold along a row."""
    result = np.zeros(ratio.shape, bool)
    hit = np.flatnonzero(ratio > threshold)
    if hit.size == 0:
        return result
    starts = np.ones(hit.size, bool)
    starts[1:] = (np.diff(hit) != 1) | (hit[1:] % ratio.shape[1] == 0)
    values, first = ratio.ravel()[hit], np.flatnonzero(starts)
    run = np.cumsum(starts) - 1
    largest = np.flatnonzero(values == np.maximum.reduceat(values, first)[run])
    result.ravel()[hit[largest[np.unique(run[largest], return_index=True)[1]]]] = True
    return result


def moge_f1(pred: Floats, gt: Floats, mask: Mask, radius: int = 1) -> float:
    """Return MoGe's boundary F1 of two depth maps (moge/test/metrics.py): for sets with sharp true edges only.

    An edge is a pixel and a neighbor in a disc of `radius` that is farther by a factor > 1 + t, both valid, the outermost
    `radius` pixels left out; ten t in 0.05..0.25 with weights t. In single precision, as the peer. The prediction is the
    aligned depth. Raises CcdError for different shapes.
    """
    _same_shape(pred, gt, mask)
    t = np.linspace(0.05, 0.25, 10).astype(np.float32)
    limits = np.float32(1) + t
    p, g = pred.astype(np.float32), gt.astype(np.float32)
    height, width = (max(0, side - 2 * radius) for side in g.shape)
    inner = (slice(radius, radius + height), slice(radius, radius + width))
    both, predicted, true = (np.zeros(10, np.float32) for _ in range(3))
    for dy, dx in np.argwhere(np.ones((2 * radius + 1,) * 2)) - radius:
        if not 0 < dy * dy + dx * dx <= radius * radius:
            continue
        there = (slice(radius + dy, radius + dy + height), slice(radius + dx, radius + dx + width))
        known = mask[inner] & mask[there]
        with np.errstate(divide="ignore", invalid="ignore"):
            level_p = _levels(p[there] / p[inner], limits) * known
            level_g = _levels(g[there] / g[inner], limits) * known
        both += _above(np.minimum(level_p, level_g))
        predicted += _above(level_p)
        true += _above(level_g)
    return _weighted_f1(both / np.maximum(predicted, 1), both / np.maximum(true, 1), t.astype(np.float64))


def boundary_errors(pred: Floats, edges: Mask) -> tuple[float, float]:
    """Return iBims' depth boundary errors (accuracy, completeness) in pixels, of a depth map against true edges.

    Edges of the map, scaled to 0..1 (0 is unknown), by Canny (sigma sqrt(2), thresholds 0.1 and 0.2); accuracy is their mean
    distance to a true edge, those farther than 10 px ignored, completeness the mean distance of a true edge to them.
    (10, 10) where no predicted edge is left, (nan, nan) where there is no true edge: leave the image out. The official
    Python script v0.9, which says that the Matlab one of the paper finds other edges. Raises CcdError for different shapes.
    """
    _same_shape(pred, edges, None)
    if not edges.any():
        return float("nan"), float("nan")
    values = np.where(pred == 0, np.nan, pred).astype(np.float32)
    values -= np.nanmin(values)
    top = np.nanmax(values)
    found = canny(values / top if top > 0 else values, np.sqrt(2.0), 0.1, 0.2)
    to_true = _distances(edges)
    near = found & (to_true < IBIMS_FAR)
    if not near.any():
        return IBIMS_FAR, IBIMS_FAR
    return float(to_true[near].mean()), float(_distances(found)[edges].mean())


def canny(image: Floats, sigma: float, low: float, high: float) -> Mask:
    """Return Canny edges [H, W] of a map as scikit-image finds them.

    Smoothing ignores what lies outside the map; its outermost pixels are no edges, nor is what NaN touches. The gradient is
    Sobel's sum, not its mean: thresholds are in the map's unit times 8 per pixel. Every step is rounded to single precision,
    as there: on a sharp step two pixels tie, and rounding decides which of them is the edge.
    """
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 / (sigma * sigma) * np.arange(reach + 1) ** 2)
    kernel /= kernel[0] + 2 * kernel[1:].sum()
    values, inside = image.astype(np.float32), np.ones(image.shape, np.float32)
    for axis in (0, 1):
        values, inside = (_symmetric(v, kernel, axis, "constant") for v in (values, inside))
    values /= inside + np.finfo(np.float32).eps
    down = _symmetric(_difference(values, 0), np.array([2.0, 1.0]), 1, "symmetric")
    right = _symmetric(_difference(values, 1), np.array([2.0, 1.0]), 0, "symmetric")
    strength = np.sqrt(down * down + right * right)
    peaks = _peaks(down, right, strength) & (strength >= np.float32(low))
    count, labels = cv2.connectedComponents(peaks.astype(np.uint8), connectivity=8)
    strong = np.zeros(count, bool)
    strong[labels[peaks & (strength >= np.float32(high))]] = True
    return np.asarray(strong[labels])


def planarity(pred: Floats, gt: Floats, mask: Mask, normal: Floats, calib: Floats) -> tuple[float, float]:
    """Return iBims' planarity errors of one annotated plane: (flatness in cm, orientation in degrees).

    pred, gt [H, W] meters (0 is unknown), `mask` of the plane, `normal` [3] of the true plane (x right, y forward, z up),
    `calib` [3, 3] as in the set's files, where the principal point stands in the last row. The prediction is scaled by the
    ratio of the medians, a plane is fitted to its points; flatness is their deviation from it. (nan, nan) for planes under
    5 % of IBIMS_PIXELS. Raises CcdError for different shapes.
    """
    _same_shape(pred, gt, mask)
    if mask.sum() < 0.05 * IBIMS_PIXELS:
        return float("nan"), float("nan")
    rows, columns = np.nonzero(mask & (pred != 0) & np.isfinite(pred))
    known = mask & (gt != 0) & np.isfinite(gt)
    depth = pred[rows, columns].astype(np.float64)
    if depth.size < 3 or not known.any():
        return float("nan"), float("nan")
    depth *= float(np.median(gt[known])) / float(np.median(depth))
    x = (columns + 1 - calib[2, 0]) * depth / calib[0, 0]  # the set counts pixels from one
    z = -(rows + 1 - calib[2, 1]) * depth / calib[1, 1]
    points = np.stack([x, depth, z], axis=1)
    points -= points.mean(axis=0)
    found = np.linalg.eigh(points.T @ points)[1][:, 0]
    true = np.asarray(normal, np.float64)
    found = -found if found @ true < 0 else found
    angle = np.arctan2(np.linalg.norm(np.cross(true, found)), true @ found)
    return 100.0 * float((points @ found).std()), float(np.degrees(angle))


def _same_shape(pred: Floats, gt: NDArray[Any], mask: Mask | None) -> None:
    if pred.ndim != 2 or pred.shape != gt.shape or (mask is not None and mask.shape != gt.shape):
        raise CcdError(f"Maps [H, W] of one size are compared, not {pred.shape} and {gt.shape}.")


def _inverse(depth: Floats) -> Array:
    return 1.0 / np.maximum(depth.astype(np.float64), 1e-6)


def _steps(values: Array) -> tuple[Array, Array, Array, Array]:
    """Return the ratios of neighbors, larger where the left, top, right, bottom one is in front (inverse depth)."""
    right, down = values[:, 1:] / values[:, :-1], values[1:] / values[:-1]
    return values[:, :-1] / values[:, 1:], values[:-1] / values[1:], right, down


def _known_pairs(mask: Mask | None, shape: tuple[int, ...]) -> tuple[Mask, Mask, Mask, Mask]:
    known = np.ones(shape, bool) if mask is None else mask
    across, down = known[:, 1:] & known[:, :-1], known[1:] & known[:-1]
    return across, down, across, down


def _levels(ratio: Floats, thresholds: Floats) -> NDArray[np.uint8]:
    """Return how many of the rising thresholds each ratio exceeds; 0 for NaN."""
    level = np.zeros(ratio.shape, np.uint8)
    hit = ratio > thresholds[0]
    level[hit] = np.searchsorted(thresholds, ratio[hit], side="left")
    return level


def _above(level: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many levels exceed each of ten thresholds."""
    return np.bincount(level.ravel(), minlength=11)[1:][::-1].cumsum()[::-1]


def _weighted_f1(precision: Array, recall: Array, weights: Array) -> float:
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(f1 @ weights / weights.sum())


def _distances(edges: Mask) -> Array:
    """Return each pixel's Euclidean distance to the nearest edge pixel."""
    found = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.sqrt(np.rint(found.astype(np.float64) ** 2)))  # squares of distances are whole numbers


def _symmetric(values: NDArray[np.float32], half: Array, axis: int, border: Any) -> NDArray[np.float32]:
    """Return the correlation along an axis with a symmetric kernel, given from its center outwards."""
    reach, size = len(half) - 1, values.shape[axis]
    padded = np.pad(values, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode=border).astype(np.float64)
    total = padded.take(range(reach, reach + size), axis) * half[0]
    for k in range(reach, 0, -1):
        pair = padded.take(range(reach - k, reach - k + size), axis) + padded.take(
            range(reach + k, reach + k + size), axis
        )
        total += pair * half[k]
    return total.astype(np.float32)


def _difference(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the next minus the previous value along an axis, the map mirrored at its border."""
    padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="symmetric")
    return padded[2:] - padded[:-2] if axis == 0 else padded[:, 2:] - padded[:, :-2]


def _peaks(down: NDArray[np.float32], right: NDArray[np.float32], strength: NDArray[np.float32]) -> Mask:
    """Return where the gradient is the largest along its own direction, between neighbors interpolated linearly."""
    result = np.zeros(strength.shape, bool)
    rows, columns = np.nonzero(strength[1:-1, 1:-1] > 0)
    rows, columns = rows + 1, columns + 1
    dy, dx, here = down[rows, columns], right[rows, columns], strength[rows, columns]
    same = (dy > 0) == (dx > 0)
    steep, flat = np.abs(dy), np.abs(dx)
    upright = steep > flat  # a tie has its neighbor on the diagonal either way
    weight = np.minimum(steep, flat) / np.maximum(steep, flat)
    slant = np.where(same, 1, -1)
    ahead_y, ahead_x = np.where(upright, slant, 0), np.where(upright, 0, 1)
    kept = np.ones(rows.size, bool)
    for sign in (1, -1):
        near = strength[rows + sign * ahead_y, columns + sign * ahead_x].astype(np.float64)
        corner = strength[rows + sign * slant, columns + sign]
        kept &= corner * weight + near * (1.0 - weight.astype(np.float64)) <= here
    result[rows[kept], columns[kept]] = True
    return result
