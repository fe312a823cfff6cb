"""iBims' geometry: how well depth edges are placed, and how flat planes are. Maps are [H, W], depth in meters (0 is unknown)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.metrics.boundary import check_shapes

IBIMS_FAR = 10.0
"""Pixels: predicted edges farther from every true edge are ignored; the score of a map without edges."""
PLANE_FRACTION = 0.05
"""Planes of less than this fraction of the photo are not scored."""
IBIMS_PIXELS = 640 * 480
"""Size of iBims' photos."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def boundary_errors(pred: Floats, edges: Mask) -> tuple[float, float]:
    """Return iBims' depth boundary errors (accuracy, completeness) in pixels, of a depth map against true edges.

    Edges of the map, scaled to 0..1 (0 is unknown), by Canny (sigma sqrt(2), thresholds 0.1 and 0.2); accuracy is their mean
    distance to a true edge, those farther than 10 px ignored, completeness the mean distance of a true edge to them.
    (10, 10) where no predicted edge is left, (nan, nan) where there is no true edge: leave the image out. The official
    Python script v0.9, which says that the Matlab one of the paper finds other edges. Raises CcdError for different shapes.
    """
    check_shapes(pred, edges, None)
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


def planarity(
    pred: Floats,
    gt: Floats,
    mask: Mask,
    normal: Floats,
    calib: Floats,
    fewest: float = PLANE_FRACTION * IBIMS_PIXELS,
) -> tuple[float, float]:
    """Return iBims' planarity errors of one annotated plane: (flatness in cm, orientation in degrees).

    pred, gt [H, W] meters (0 is unknown), `mask` of the plane, `normal` [3] of the true plane (x right, y forward, z up),
    `calib` [3, 3] as in the set's files, where the principal point stands in the last row. The prediction is scaled by the
    ratio of the medians, a plane is fitted to its points; flatness is their deviation from it. (nan, nan) for planes of
    less than `fewest` pixels. Raises CcdError for different shapes.
    """
    check_shapes(pred, gt, mask)
    if mask.sum() < fewest:
        return float("nan"), float("nan")
    rows, columns = np.nonzero(mask & (pred != 0) & np.isfinite(pred))
    known = mask & (gt != 0) & np.isfinite(gt)
    depth = pred[rows, columns].astype(np.float64)
    if depth.size < 3 or not known.any():
        return float("nan"), float("nan")
    depth *= float(np.median(gt[known])) / float(np.median(depth))
    points, found = _plane(rows, columns, depth, calib)
    true = np.asarray(normal, np.float64)
    found = -found if found @ true < 0 else found
    angle = np.arctan2(np.linalg.norm(np.cross(true, found)), true @ found)
    return 100.0 * float((points @ found).std()), float(np.degrees(angle))


def normal_of(depth: Floats, mask: Mask, calib: Floats) -> Array:
    """Return the normal [3] (x right, y forward, z up) of the plane through the points of a depth map [H, W] on `mask`.

    `calib` as in `planarity`; pixels of unknown depth (0) are left out. Raises ValueError where fewer than three are left.
    """
    rows, columns = np.nonzero(mask & (depth != 0) & np.isfinite(depth))
    if rows.size < 3:
        raise ValueError("a plane needs three points")
    return _plane(rows, columns, depth[rows, columns].astype(np.float64), calib)[1]


def _plane(rows: NDArray[np.int64], columns: NDArray[np.int64], depth: Array, calib: Floats) -> tuple[Array, Array]:
    """Return the centered points [N, 3] of pixels with their depth, and the normal of the plane that fits them best."""
    x = (columns + 1 - calib[2, 0]) * depth / calib[0, 0]  # the set counts pixels from one
    z = -(rows + 1 - calib[2, 1]) * depth / calib[1, 1]
    points = np.stack([x, depth, z], axis=1)
    points -= points.mean(axis=0)
    return points, np.linalg.eigh(points.T @ points)[1][:, 0]


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
