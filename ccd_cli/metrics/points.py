"""Point maps against true points (MoGe's scores), and depth of a clip against itself from frame to frame.

Points are [H, W, 3] or [N, 3] in camera coordinates, the unit of the ground truth; masks [H, W]. Ratios are fractions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.unproject import project, unproject
from ccd_cli.metrics.alignment_moge import affine_l1, nearest_valid, scale_l1, shift_l1

PointFit = Literal["metric", "scale", "affine"]
POINT_FITS: tuple[str, ...] = get_args(PointFit)
FEWEST = 10
"""Samples below which MoGe does not score a segment."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Seen = tuple[Floats, Camera, Floats, Mask | None]
"""A frame of a clip: depth [H, W], camera, pose [4, 4] (camera to world), and the pixels to compare."""


def align_points(fit: PointFit, pred: Floats, gt: Floats, mask: Mask) -> Array:
    """Return predicted points brought to true ones, [H, W, 3] float64, as MoGe's harness does.

    `metric`: a shift only; `scale`: a scale only; `affine`: one scale and a shift. Weighted L1, weights 1 / distance, on the
    64x64 sample of the valid pixels. Raises UsageProblem for other fits, CcdError for other shapes and an empty mask.
    """
    if fit not in POINT_FITS:
        raise UsageProblem(f"There is no alignment of points '{fit}'.", f"Alignments: {', '.join(POINT_FITS)}.")
    source, target = _sampled(pred, gt, mask)
    weight = 1.0 / np.maximum(np.linalg.norm(target, axis=1), 1e-12)
    values = pred.astype(np.float64)
    if fit == "metric":
        return values + shift_l1(target - source, weight)
    if fit == "scale":
        return values * scale_l1(source.ravel(), target.ravel(), np.repeat(weight, 3))
    scale, shift, _ = affine_l1(source, target, weight)
    return values * scale + shift


def point_metrics(pred: Floats, gt: Floats, mask: Mask) -> dict[str, float]:
    """Return rel_p, mean |e| / (|g| + 1e-6), and delta_p, the share of |e| < 0.25 min(|g|, |p|), e = p - g, over `mask`.

    pred, gt [H, W, 3], aligned before (`align_points`). Points that are not finite are wrong in delta_p and left out of rel_p.
    Raises CcdError for other shapes, an empty mask, and where nothing is predicted.
    """
    p, g = _masked(pred, gt, mask)
    known = np.isfinite(p).all(axis=1)
    if not known.any():
        raise CcdError("The prediction has no finite point on the valid pixels.")
    p, g = p[known], g[known]
    error, size = np.linalg.norm(p - g, axis=1), np.linalg.norm(g, axis=1)
    right = error < 0.25 * np.minimum(size, np.linalg.norm(p, axis=1))
    return {"rel_p": float((error / (size + 1e-6)).mean()), "delta_p": float(right.sum()) / known.size}


def local_point_metrics(
    pred: Floats, gt: Floats, mask: Mask, segments: NDArray[np.integer[Any]], labels: Iterable[int]
) -> dict[str, float]:
    """Return rel_p and delta_p of single objects: every segment aligned on its own, errors over its extent.

    `segments` [H, W] holds a label per pixel; of `labels`, those with fewer than FEWEST samples are left out. The extent is
    the longest side of the segment's true bounding box; delta_p: error < 0.25 of it. Mean over segments; NaN where none is left.
    Raises CcdError as `align_points`.
    """
    _masked(pred, gt, mask)
    rows, columns, there = nearest_valid(mask)
    scores = []
    for label in labels:
        sampled = there & (segments[rows, columns] == label)
        if sampled.sum() < FEWEST:
            continue
        whole = mask & (segments == label)
        p, g = pred[whole].astype(np.float64), gt[whole].astype(np.float64)
        extent = float((g.max(axis=0) - g.min(axis=0)).max())
        source = pred[rows, columns][sampled].astype(np.float64)
        target = gt[rows, columns][sampled].astype(np.float64)
        scale, shift, _ = affine_l1(source, target, np.full(len(source), 1.0 / extent))
        error = np.linalg.norm(p * scale + shift - g, axis=1)
        scores.append(((error / extent).mean(), (error < 0.25 * extent).mean()))
    rel, delta = np.mean(scores, axis=0) if scores else (np.nan, np.nan)
    return {"rel_p": float(rel), "delta_p": float(delta)}


def reprojection_errors(before: Seen, now: Seen) -> list[float]:
    """Return the errors of two frames (depth, camera, pose, mask or None) carried into each other, there and back.

    Their mean over a clip of a still scene is the temporal alignment error of Video Depth Anything
    (benchmark/eval/eval_tae.py): depth is carried by the true poses (camera to world) and cameras to the nearest pixel; each
    error is mean |carried - there| / there over the pixels that both see and the other's mask has. The depths are aligned
    before, by one scale and shift a clip. The authors print it times 100; they count pairs without common pixels as 0, here a
    direction without one is left out; and where several points fall on a pixel they keep the last, here the nearest.
    """
    errors = []
    for one, two in ((before, now), (now, before)):
        move = np.linalg.inv(two[2].astype(np.float64)) @ one[2].astype(np.float64)
        there = two[0]
        carried = _carried(one[0], one[1], two[1], move, there.shape)
        common = np.isfinite(carried) & np.isfinite(there) & (there > 0)
        if two[3] is not None:
            common &= two[3]
        if common.any():
            errors.append(float((np.abs(carried[common] - there[common]) / there[common]).mean()))
    return errors


def _carried(depth: Floats, own: Camera, other: Camera, move: Array, shape: tuple[int, ...]) -> Array:
    """Return the depth that the points of one frame have in the other, NaN where none falls; the nearest wins."""
    height, width = shape
    points = unproject(np.asarray(depth, np.float32), own).reshape(-1, 3).astype(np.float64)
    points = points[(points[:, 2] > 0) & np.isfinite(points).all(axis=1)] @ move[:3, :3].T + move[:3, 3]
    pixels, z = project(points[points[:, 2] > 0], other)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    cells = pixels[inside].astype(np.int64)
    result = np.full(height * width, np.inf)
    np.minimum.at(result, cells[:, 1] * width + cells[:, 0], z[inside])
    return np.where(np.isinf(result), np.nan, result).reshape(height, width)


def _masked(pred: Floats, gt: Floats, mask: Mask) -> tuple[Array, Array]:
    if pred.ndim != 3 or pred.shape != gt.shape or pred.shape[2] != 3 or mask.shape != gt.shape[:2]:
        raise CcdError(f"Points are [H, W, 3] with a mask [H, W], not {pred.shape}, {gt.shape} and {mask.shape}.")
    if not mask.any():
        raise CcdError("There is no valid pixel to score.", "Check the mask and the depth range of the set.")
    return pred[mask].astype(np.float64), gt[mask].astype(np.float64)


def _sampled(pred: Floats, gt: Floats, mask: Mask) -> tuple[Array, Array]:
    """Return predicted and true points [n, 3] of the 64x64 sample; predictions that are not finite are left out."""
    _masked(pred, gt, mask)
    rows, columns, there = nearest_valid(mask & np.isfinite(pred).all(axis=2))
    if not there.any():
        raise CcdError("The prediction has no finite point on the valid pixels.")
    return pred[rows, columns][there].astype(np.float64), gt[rows, columns][there].astype(np.float64)
