"""Exact weighted L1 fits, as MoGe scores with them (moge/utils/alignment.py), and its sample of the valid pixels.

MoGe tries every sample as the anchor through which the fit goes and solves a weighted median for each: n sorts of n
values. Here the same minimum is found by bounds. For one scale, the losses of all anchors and their slopes come out of one
sort, and every such slope bounds a convex function from below; only anchors whose bound lies under the best loss known are
solved. The result is the same, some hundred times sooner.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SAMPLE = 64
"""Rows and columns of the grid of samples that MoGe fits on."""
SPREAD = (1e-3, 3e-3, 1e-2, 2e-2, 4e-2, 8e-2, 0.15, 0.3, 0.6, 1.0, 2.0)
"""Distances from the first scale, as shares of the scale that the spreads suggest, at which all losses are bounded."""
ROUNDING = 1e-12
"""Share of the losses met on the way below which a gain is rounding and not looked for."""
SINGLE = 2.0**-24
"""Share of the target's own weighted size below which a gain is not looked for either: maps come in single precision, and where
a prediction is (nearly) perfect all samples are anchors of (nearly) the same fit."""

Array = NDArray[np.float64]


def nearest_valid(
    mask: NDArray[np.bool_], height: int = SAMPLE, width: int = SAMPLE
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return (rows, columns, valid), each [height, width]: for every cell of a grid the valid pixel nearest its center.

    A cell looks at a window of ceil(H / height) x ceil(W / width) pixels of `mask` [H, W] around its center; the first in
    row-major order wins a tie; cells without a valid pixel are not valid (rows and columns 0). MoGe's
    `mask_aware_nearest_resize`.
    """
    down, near_rows = _windows(mask.shape[0], height)
    right, near_columns = _windows(mask.shape[1], width)
    best = np.full((height, width), np.inf, np.float32)
    rows, columns = np.zeros((height, width), np.int64), np.zeros((height, width), np.int64)
    for i in range(down.shape[1]):
        inside_row = (down[:, i] >= 0) & (down[:, i] < mask.shape[0])
        row = np.where(inside_row, down[:, i], 0)
        for j in range(right.shape[1]):
            inside = inside_row[:, None] & ((right[:, j] >= 0) & (right[:, j] < mask.shape[1]))[None]
            column = np.where((right[:, j] >= 0) & (right[:, j] < mask.shape[1]), right[:, j], 0)
            distance = np.sqrt(near_rows[:, i, None] ** 2 + near_columns[None, :, j] ** 2)
            nearer = inside & mask[row[:, None], column[None]] & (distance < best)
            best = np.where(nearer, distance, best)
            rows, columns = np.where(nearer, row[:, None], rows), np.where(nearer, column[None], columns)
    return rows, columns, np.isfinite(best)


def _windows(size: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return, for each cell of one axis, the pixels of its window and their distances to its center."""
    step = max(1.0, size / cells)
    centers = ((np.arange(cells) + 0.5) * (size / cells)).astype(np.float32)
    first = np.round(centers - np.float32(step / 2)).astype(np.int64)  # half to even
    pixels = first[:, None] + np.arange(math.ceil(step))
    return pixels, (pixels.astype(np.float32) + np.float32(0.5)) - centers[:, None]


def scale_l1(x: Array, y: Array, weight: Array) -> float:
    """Return the a that minimizes sum(weight * |a * x - y|) over vectors: a weighted median of y / x.

    Where an interval is optimal, its lower end. 0 where nothing of `x` and `weight` is left.
    """
    share = weight * np.abs(x)
    there = share > 0
    if not there.any():
        return 0.0
    return _weighted_median(y[there] / x[there], share[there])


def shift_l1(residual: Array, weight: Array) -> Array:
    """Return the shift [c] that minimizes sum(weight * |residual - shift|) over residuals [n, c]; weight [n]."""
    return np.array([_weighted_median(column, weight) for column in residual.T])


def affine_l1(source: Array, target: Array, weight: Array) -> tuple[float, Array, float]:
    """Return (scale, shift [c], loss) that minimize sum(weight * |scale * source + shift - target|_1).

    source and target [n, c], weight [n] >= 0. The fit goes through one of the samples in all c coordinates: with c = 1
    (depth) that is the true optimum; with c = 3 (points) it is how MoGe defines its fit. Raises ValueError for empty input.
    """
    if source.shape[0] == 0:
        raise ValueError("nothing to align")
    anchors = np.flatnonzero(weight > 0)
    if anchors.size == 0:
        return 0.0, np.zeros(source.shape[1]), 0.0
    guess = _first_scale(source, target, weight)
    best = anchors[int(_losses(guess, source, target, weight)[0][anchors].argmin())]
    scale, loss = _through(best, source, target, weight)
    bounds = _lower_bounds(scale, source, target, weight) + SINGLE * float(weight @ np.abs(target).sum(axis=1))
    for anchor in anchors[np.argsort(bounds[anchors], kind="stable")]:
        if bounds[anchor] >= loss:
            break
        other, its_loss = _through(anchor, source, target, weight)
        if its_loss < loss:
            best, scale, loss = anchor, other, its_loss
    return scale, target[best] - scale * source[best], loss


def _weighted_median(values: Array, weight: Array) -> float:
    """Return the first value, from below, at which half the weight is reached."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    half = 0.5 * total[-1] * (1 - 1e-12)  # rounding must not step over an exact half
    return float(values[order[min(int(np.searchsorted(total, half)), values.size - 1)]])


def _first_scale(source: Array, target: Array, weight: Array) -> float:
    """Return the scale of a fit through the weighted medians: near enough to start from."""
    return scale_l1(
        (source - shift_l1(source, weight)).ravel(),
        (target - shift_l1(target, weight)).ravel(),
        np.repeat(weight, source.shape[1]),
    )


def _through(anchor: int, source: Array, target: Array, weight: Array) -> tuple[float, float]:
    """Return (scale, loss) of the best fit that goes through one sample."""
    x, y = (source - source[anchor]).ravel(), (target - target[anchor]).ravel()
    w = np.repeat(weight, source.shape[1])
    scale = scale_l1(x, y, w)
    return scale, float(w @ np.abs(scale * x - y))


def _losses(scale: float, source: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Return, for the fits of one scale through each sample, the loss [n] and a slope [n] of it in the scale.

    sum_j w_j |r_j - r_k| for all k at once, from prefix sums over the sorted residuals r = target - scale * source.
    """
    loss, slope = np.zeros(len(source)), np.zeros(len(source))
    for p, q in zip(source.T, target.T, strict=True):
        residual = q - scale * p
        order = np.argsort(residual, kind="stable")
        r, x, w = residual[order], p[order], weight[order]
        below = np.cumsum(w)
        balance = 2 * below - below[-1]
        sums, moments = np.cumsum(w * r), np.cumsum(w * x)
        loss[order] += r * balance + sums[-1] - 2 * sums
        slope[order] -= x * balance + moments[-1] - 2 * moments
    return loss, slope


def _lower_bounds(scale: float, source: Array, target: Array, weight: Array) -> Array:
    """Return a number [n] that the loss through each sample reaches at no scale less: tangents of convex functions."""
    spreads = [float(weight @ np.abs(v - shift_l1(v, weight)).sum(axis=1)) for v in (source, target)]
    size = max(abs(scale), spreads[1] / spreads[0]) if min(spreads) > 0 else 1.0
    steps = np.array(SPREAD) * size
    scales = np.concatenate([scale - steps[::-1], [scale], scale + steps])
    rows = [_losses(a, source, target, weight) for a in scales]
    loss, slope = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    bound = np.minimum(
        np.where(slope[0] <= 0, loss[0], -np.inf),  # left of all scales: falling to the right, or unknown
        np.where(slope[-1] >= 0, loss[-1], -np.inf),
    )
    for k in range(len(scales) - 1):
        width = scales[k + 1] - scales[k]
        turn = slope[k + 1] - slope[k]
        with np.errstate(divide="ignore", invalid="ignore"):
            where = (loss[k] - loss[k + 1] + slope[k + 1] * width) / turn  # the tangents meet here
        where = np.clip(np.where(turn > 0, where, 0.0), 0.0, width)
        meet = np.maximum(loss[k] + slope[k] * where, loss[k + 1] + slope[k + 1] * (where - width))
        bound = np.minimum(bound, meet)
    return np.asarray(bound + ROUNDING * loss.max(axis=0))
