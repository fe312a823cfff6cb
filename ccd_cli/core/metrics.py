"""Depth metrics of one image (Eigen et al. 2014), over vectors of valid pixels."""

from __future__ import annotations

import numpy as np


def depth_metrics(pred: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return abs_rel, rmse, delta1, delta2, delta3 for two vectors of positive depths of equal length.

    Ratios are fractions (0.045, not 4.5); rmse is in the target's unit.
    """
    p, t = pred.astype(np.float64), target.astype(np.float64)
    ratio = np.maximum(p / t, t / p)
    return {
        "abs_rel": float(np.mean(np.abs(p - t) / t)),
        "rmse": float(np.sqrt(np.mean((p - t) ** 2))),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
    }
