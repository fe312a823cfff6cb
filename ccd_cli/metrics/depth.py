"""Depth metrics of one image (Eigen et al. 2014; names and arithmetic of Marigold's src/util/metric.py).

Arrays of equal shape in, plain floats out; ratios are fractions (0.045, not 4.5), `silog` is times 100 as published, lengths
are in the unit of the ground truth. Average over images, each image the same weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import DIRECTION, Kind

# Another one needs its formula in `image_metrics` below and, on CUDA tensors, in `depth_gpu`.
METRICS: tuple[str, ...] = (
    "abs_rel",
    "sq_rel",
    "rmse",
    "rmse_log",
    "log10",
    "silog",
    "irmse",
    "delta1",
    "delta2",
    "delta3",
)
"""Names of `image_metrics`, in the order of tables."""
LOWEST = 1e-6
"""Depth below which a prediction counts as this for logarithms and inverses."""

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]


def image_metrics(pred: Floats, gt: Floats, mask: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Return METRICS and `missing` of a predicted depth against true depth > 0, arrays of one shape, over `mask`.

    abs_rel mean |p-g|/g; sq_rel mean (p-g)^2/g; rmse; rmse_log (natural); log10 mean |log10 p - log10 g|; silog
    100 sqrt(mean d^2 - (mean d)^2), d = ln p - ln g; irmse of 1/p; delta_k the share of max(p/g, g/p) < 1.25^k, strict and in
    single precision, as published. A depth <= 0 is wrong in every delta, and LOWEST in logarithms and inverses.
    Predictions that are not finite are wrong in every delta and left out of the errors; `missing` is their share.

    Raises CcdError for different shapes, an empty mask, a true depth that is not positive, and where nothing is predicted.
    """
    p, g, missing = _pairs(pred, gt, mask)
    error = p - g
    relative = error / g
    positive = np.maximum(p, LOWEST)
    inverse = 1.0 / positive
    log = np.log(positive / g)
    mean_log, mean_square = float(log.mean()), float(log @ log) / log.size
    inverse -= 1.0 / g
    return {
        "abs_rel": float(np.abs(relative).mean()),
        "sq_rel": float(relative @ error) / p.size,
        "rmse": float(np.sqrt(error @ error / p.size)),
        "rmse_log": float(np.sqrt(mean_square)),
        "log10": float(np.abs(log).mean()) / float(np.log(10.0)),
        "silog": 100.0 * float(np.sqrt(max(mean_square - mean_log**2, 0.0))),
        "irmse": float(np.sqrt(inverse @ inverse / p.size)),
        **_deltas(p, g, missing),
        "missing": missing,
    }


def moge_depth_metrics(pred: Floats, gt: Floats, mask: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Return rel and delta1 as MoGe's harness computes them: rel over g + 1e-6, and a negative depth counts as correct.

    What is not predicted is wrong in delta1 and left out of rel, as in `image_metrics`. Only for comparison with MoGe's tables
    (`moge-*` alignments); the published affine scores contain such pixels. Raises CcdError as `image_metrics`.
    """
    p, g, missing = _pairs(pred, gt, mask)
    with np.errstate(divide="ignore"):
        ratio = np.maximum(p / g, g / p)
    right = float((ratio < 1.25).mean()) * (1 - missing)
    return {"rel": float((np.abs(p - g) / (g + 1e-6)).mean()), "delta1": right}


def pair_accuracy(pred: Floats, pairs: Sequence[tuple[tuple[int, int], tuple[int, int]]], kind: Kind) -> float:
    """Return the share of pairs whose first point is predicted closer (DA-2K; the closer point is always the first).

    pred [H, W] at the image's size; points as (row, column). Equal and unknown values count as wrong.
    Raises CcdError without pairs, and for points outside the map.
    """
    if not len(pairs):
        raise CcdError("There are no pairs of points to compare.")
    points = np.asarray(pairs, np.int64).reshape(-1, 2, 2)
    if (points < 0).any() or (points >= np.array(pred.shape)).any():
        raise CcdError(f"A point of a pair lies outside the map of {pred.shape[1]}x{pred.shape[0]} pixels.")
    first, second = pred[tuple(points[:, 0].T)], pred[tuple(points[:, 1].T)]
    closer = first > second if DIRECTION[kind] == "larger = nearer" else first < second
    return float(closer.mean())


def _pairs(pred: Floats, gt: Floats, mask: NDArray[np.bool_] | None) -> tuple[Array, Array, float]:
    """Return (predictions, truths) float64 of the valid and predicted pixels, and the share that is not predicted."""
    if pred.shape != gt.shape or (mask is not None and mask.shape != gt.shape):
        raise CcdError(f"Prediction {pred.shape} and ground truth {gt.shape} are not of one size.")
    p = (pred.ravel() if mask is None else pred[mask]).astype(np.float64, copy=False)
    g = (gt.ravel() if mask is None else gt[mask]).astype(np.float64, copy=False)
    if g.size == 0:
        raise CcdError("There is no valid pixel to score.", "Check the mask and the depth range of the set.")
    if not (g > 0).all() or not np.isfinite(g).all():
        raise CcdError(
            "A valid pixel has ground-truth depth that is not positive.", "Leave such pixels out of the mask."
        )
    finite = np.isfinite(p)
    if finite.all():
        return p, g, 0.0
    if not finite.any():
        raise CcdError("The prediction has no finite value on the valid pixels.")
    return p[finite], g[finite], 1.0 - float(finite.mean())


def _ratio(p: Array, g: Array) -> NDArray[np.float32]:
    """Return max(p/g, g/p), inf for p <= 0, in single precision: a ratio of 1.25 that was written as float32 is 1.25."""
    p32, g32 = p.astype(np.float32), g.astype(np.float32)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.maximum(p32 / g32, g32 / p32)
    ratio[p32 <= 0] = np.inf
    return ratio


def _deltas(p: Array, g: Array, missing: float) -> dict[str, float]:
    ratio = _ratio(p, g)
    return {f"delta{k}": float(np.count_nonzero(ratio < 1.25**k)) / p.size * (1 - missing) for k in (1, 2, 3)}
