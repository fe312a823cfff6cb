"""Bring a prediction of unknown scale and shift to ground truth."""

from __future__ import annotations

import numpy as np


def least_squares(pred: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return (scale, shift) that minimise sum((scale * pred + shift - target)^2) over two vectors of equal length.

    A constant prediction gets scale 0 and the target's mean. Raises ValueError for empty input.
    """
    if pred.size == 0:
        raise ValueError("nothing to align")
    x, y = pred.astype(np.float64).ravel(), target.astype(np.float64).ravel()
    dx = x - x.mean()
    spread = float(dx @ dx)
    scale = float(dx @ (y - y.mean())) / spread if spread > 1e-12 * max(1.0, float(x @ x)) else 0.0
    return scale, float(y.mean() - scale * x.mean())


def align_disparity(pred: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return depth for a predicted disparity, fitted to 1 / depth by least squares (MiDaS protocol).

    `pred` and `depth` are vectors of valid pixels, `depth` > 0. The fitted disparity has the floor 1 / max(depth), so
    that nothing lies farther than the farthest true pixel.
    """
    scale, shift = least_squares(pred, 1.0 / depth)
    return 1.0 / np.maximum(scale * pred.astype(np.float64) + shift, 1.0 / float(depth.max()))
