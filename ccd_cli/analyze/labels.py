"""A model's map as the label of a pair: fitted to the ground truth in 1 / depth, with its error at every pixel.

Labels are disparity, as in training: depth and metric maps become 1 / depth before the fit. Affine depth has no disparity of
its own and is fitted in depth. The fit is least squares over all valid pixels, per image, as `eval.pairs` of a recipe has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.benchmarks.prediction_files import resized
from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import Kind
from ccd_cli.losses.disparity import to_disparity
from ccd_cli.metrics.alignment import Aligned, Method, align, describe

MIN_PIXELS = 500
"""Pixels with ground truth that an image needs; sparse LiDAR has tens of thousands."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Label:
    """The label of one image; maps [h, w] of the ground truth's size.

    `disparity`: 1 / unit of the ground truth, the fitted map without any floor. `depth`: the same as depth, ended where `ccd eval`
    ends it. `known`: where there is ground truth and a prediction; `error`: abs(depth - gt) / gt there, else NaN.
    """

    disparity: NDArray[np.float64]
    depth: NDArray[np.float64]
    known: Mask
    error: NDArray[np.float64]


def method_for(kind: Kind) -> Method:
    """Return how maps of a kind are fitted: in 1 / depth, affine depth in depth."""
    return "least-squares" if kind == "affine-depth" else "least-squares-disparity"


def in_words(kind: Kind, spec: Spec) -> str:
    """Return the fit in words."""
    return describe(method_for(kind), replace(spec, floor="image").limits())


def usable(prediction: Prediction) -> Prediction:
    """Return a prediction [h, w] whose depth that has no disparity is unknown; see `invertible`. Sky, infinitely far, is known."""
    kind: Kind = prediction.kind or "disparity"
    if kind not in ("depth", "metric"):
        return prediction
    return replace(prediction, known=invertible(prediction.told))


def invertible(depth: NDArray[Any]) -> Mask:
    """Return where depth [h, w] has a disparity that may be learned, by the rule of training."""
    return to_disparity(torch.from_numpy(np.asarray(depth, np.float32))[None], "depth")[1][0].numpy()


def fit(prediction: Prediction, gt: NDArray[Any], mask: Mask, spec: Spec) -> Aligned:
    """Return a `usable` map [h, w] fitted to ground-truth depth on `mask`.

    Raises CcdError where nothing can be fitted, and for a map that is constant or runs against the ground truth.
    """
    kind: Kind = prediction.kind or "disparity"
    limits = replace(spec, floor="image").limits()
    fitted = align(method_for(kind), prediction.told, gt, mask, kind, limits)
    if not fitted.scale > 0:
        raise CcdError("the map is constant or runs against the ground truth (its fitted scale is not positive)")
    return fitted


def make_label(prediction: Prediction, sample: Sample, spec: Spec) -> Label:
    """Return the label that a prediction is. Raises CcdError with too little ground truth, and for a map that runs against it."""
    valid = sample.mask & (sample.depth > 0)
    if (count := int(np.count_nonzero(valid))) < MIN_PIXELS:
        raise CcdError(f"{count} pixels have ground truth, {MIN_PIXELS} are needed")
    kind: Kind = prediction.kind or "disparity"
    prediction = usable(resized(prediction, sample.depth.shape))
    fitted = fit(prediction, sample.depth, valid, spec)
    known = valid & prediction.known
    with np.errstate(divide="ignore", invalid="ignore"):
        if fitted.space == "disparity":
            values = (prediction.values if kind == "disparity" else 1.0 / prediction.told).astype(np.float64)
            disparity = fitted.scale * values + fitted.shift
        else:
            depth = fitted.scale * prediction.told.astype(np.float64) + fitted.shift
            known &= invertible(np.where(known, depth, np.nan))
            disparity = 1.0 / depth
    known &= np.isfinite(disparity) & np.isfinite(fitted.depth)
    if (count := int(np.count_nonzero(known))) < MIN_PIXELS:
        raise CcdError(f"{count} pixels have ground truth and a prediction, {MIN_PIXELS} are needed")
    error = np.full(known.shape, np.nan)
    error[known] = np.abs(fitted.depth[known] / sample.depth[known] - 1.0)
    return Label(disparity, fitted.depth, known, error)
