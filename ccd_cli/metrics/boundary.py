"""How sharp the edges of a depth map are: Depth Pro's and MoGe's boundary scores. Maps are [H, W], depth in any unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError

MOGE_RADII = (1, 2, 3)
"""Radii at which MoGe scores; papers report the first."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def depth_pro_f1(pred: Floats, gt: Floats, mask: Mask | None = None) -> float:
    """Return Depth Pro's scale-invariant boundary F1 of two depth maps (src/depth_pro/eval/boundary_metrics.py).

    An edge is a pair of neighbors whose inverse depths, 1 / max(d, 1e-6), differ by a factor > t; precision and recall are
    means over the four directions, F1 is averaged over ten t in 1.05..1.25 with weights t. Two flat maps score 0. The peer
    knows no mask; with one, pairs that touch an invalid pixel are left out. Raises CcdError for different shapes.
    """
    check_shapes(pred, gt, mask)
    thresholds = np.linspace(1.05, 1.25, 10)
    recall, precision = np.zeros(10), np.zeros(10)
    steps = (neighbor_steps(inverse_depth(depth)) for depth in (pred, gt))
    for p, g, known in zip(*steps, _known_pairs(mask, gt.shape), strict=True):
        level_p, level_g = _levels(p, thresholds) * known, _levels(g, thresholds) * known
        both = _above(np.minimum(level_p, level_g))
        recall += both / np.maximum(_above(level_g), 1) / 4
        precision += both / np.maximum(_above(level_p), 1) / 4
    return _weighted_f1(precision, recall, thresholds)


def moge_f1(pred: Floats, gt: Floats, mask: Mask, radius: int = 1) -> float:
    """Return MoGe's boundary F1 of two depth maps (moge/test/metrics.py): for sets with sharp true edges only.

    An edge is a pixel and a neighbor in a disc of `radius` that is farther by a factor > 1 + t, both valid, the outermost
    `radius` pixels left out; ten t in 0.05..0.25 with weights t. In single precision, as the peer. The prediction is the
    aligned depth. Raises CcdError for different shapes.
    """
    check_shapes(pred, gt, mask)
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


def check_shapes(pred: Floats, gt: NDArray[Any], mask: Mask | None) -> None:
    """Raise CcdError unless all are maps [H, W] of one size."""
    if pred.ndim != 2 or pred.shape != gt.shape or (mask is not None and mask.shape != gt.shape):
        raise CcdError(f"Maps [H, W] of one size are compared, not {pred.shape} and {gt.shape}.")


def inverse_depth(depth: Floats) -> Array:
    """Return 1 / max(depth, 1e-6)."""
    return 1.0 / np.maximum(depth.astype(np.float64), 1e-6)


def neighbor_steps(values: Array) -> tuple[Array, Array, Array, Array]:
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
