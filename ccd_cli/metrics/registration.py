"""Do an image and its depth show the same view? Edges of both against each other, at every shift of a few pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 256
"""Longer side in pixels at which edges are compared."""
REACH = 12
"""Largest shift that is tried, in pixels at that size."""
DENSE = 0.3
"""Fraction of the pixels that must have a true depth: sparse points have no edges."""
_JUMP = 0.05  # natural logarithm of depth, from pixel to pixel: larger steps count as this
_DRAWS = 1000
_GAIN, _AGREE = 1.1, 0.1  # how much better, and how well at all, edges must fit before a shift is believed

Surface = NDArray[np.float64]
"""[2 REACH + 1, 2 REACH + 1] correlation of both edge maps; row and column REACH are no shift."""


class Shift(NamedTuple):
    """How far depth lies from its image: right and down, as fractions of the longer side; and whether that is certain.

    `gain`: correlation there over the correlation without a shift, of the mean over all images. `certain`: edges agree there, and
    in 95 of 100 draws of the images, with replacement, the best shift is two pixels at SIDE or more, not at the end of the reach.
    """

    right: float
    down: float
    gain: float
    certain: bool


def edge_agreement(rgb: NDArray[np.uint8], depth: NDArray[np.floating[Any]]) -> Surface | None:
    """Return the correlation of image edges and depth edges at shifts of the depth, None where there is nothing to compare.

    rgb [H,W,3]; depth [h,w] of the same view, NaN or infinity where it is unknown. Edge strength of the image is the gradient of
    its smoothed lightness, that of the depth the step of its logarithm between neighbors that are both known, up to 5 %. Both
    are compared at SIDE. None for sparse or flat depth, and for an image without edges.
    """
    scale = SIDE / max(rgb.shape[:2])
    size = (max(2 * REACH + 8, round(rgb.shape[1] * scale)), max(2 * REACH + 8, round(rgb.shape[0] * scale)))
    known = np.isfinite(depth) & (depth > 0)
    if known.mean() < DENSE:
        return None
    small = cv2.resize(rgb, dsize=size, interpolation=cv2.INTER_AREA)
    gray = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    image = np.sqrt(np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)))
    logs = np.where(known, np.log(np.where(known, depth, 1.0)), 0.0).astype(np.float32)
    log = np.asarray(cv2.resize(logs, dsize=size, interpolation=cv2.INTER_NEAREST_EXACT))
    there = np.asarray(cv2.resize(known.astype(np.uint8), dsize=size, interpolation=cv2.INTER_NEAREST_EXACT)) > 0
    steps = np.zeros(log.shape, np.float32)
    right = np.minimum(np.abs(np.diff(log, axis=1)), _JUMP) * (there[:, 1:] & there[:, :-1]) / 2
    below = np.minimum(np.abs(np.diff(log, axis=0)), _JUMP) * (there[1:] & there[:-1]) / 2
    steps[:, 1:] += right  # an edge lies between two pixels: half of it to each
    steps[:, :-1] += right
    steps[1:] += below
    steps[:-1] += below
    inner = steps[REACH:-REACH, REACH:-REACH]
    if not inner.std() or not image.std():
        return None
    template = cv2.GaussianBlur(steps, (0, 0), 1.0)[REACH:-REACH, REACH:-REACH]
    # at [i, j] the depth is laid i - REACH rows down and j - REACH columns right of where it says it is
    return cv2.matchTemplate(image.astype(np.float32), template, cv2.TM_CCOEFF_NORMED).astype(np.float64)


def shift_of(surfaces: Sequence[Surface], seed: int = 0) -> Shift:
    """Return the shift at which depth edges fit image edges best, over the mean of several images' surfaces.

    Where depth must be moved right to fit, it lies too far left: `right` is negative then. Raises ValueError without surfaces.
    """
    stack = np.stack(surfaces)
    mean = stack.mean(0)
    (row,), (column,) = _peaks(mean[None])
    rng = np.random.default_rng(seed)
    draws = np.stack([stack[rng.integers(0, len(stack), len(stack))].mean(0) for _ in range(_DRAWS)])
    away = np.quantile(np.hypot(*_peaks(draws)), 0.05) >= 2
    inside = max(abs(row), abs(column)) < REACH
    gain = mean.max() / max(mean[REACH, REACH], 1e-6)
    certain = bool(away and inside and gain > _GAIN and mean.max() > _AGREE)
    return Shift(float(-column / SIDE), float(-row / SIDE), float(gain), certain)


def _peaks(surfaces: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows, columns) of the highest value of each of [N,S,S], from the middle."""
    best = surfaces.reshape(len(surfaces), -1).argmax(1)
    rows, columns = np.unravel_index(best, surfaces.shape[1:])
    return rows - REACH, columns - REACH
