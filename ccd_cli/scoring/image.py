"""From one prediction to its scores."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.benchmarks.prediction_files import resized
from ccd_cli.geometry.unproject import unproject
from ccd_cli.metrics.alignment import Aligned
from ccd_cli.metrics.boundary import depth_pro_f1, moge_f1
from ccd_cli.metrics.clouds import cloud_metrics
from ccd_cli.metrics.depth_gpu import score_on, scores_on
from ccd_cli.metrics.methods import CameraChoice
from ccd_cli.metrics.score import as_published, score_map
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.distance import bin_scores
from ccd_cli.scoring.geometry import geometry_scores
from ccd_cli.scoring.points import point_scores

CPU = torch.device("cpu")


@dataclass(frozen=True)
class ScoringOptions:
    """How maps are scored: the alignment, the camera for points, and where alignment and metrics are computed."""

    alignment: Alignment
    camera_choice: CameraChoice = "set"
    device: torch.device = CPU


def score(
    spec: Spec, sample: Sample, prediction: Prediction, options: ScoringOptions
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return a record (without index and mark) of one image, and the prediction as depth [h, w] in the ground truth's unit.

    A prediction of another size than the ground truth is resized to it. Alignment and metrics run on the device where it can
    (see `scores_on`). Raises CcdError where nothing can be scored.
    """
    prediction = resized(prediction, sample.depth.shape)
    method = options.alignment.method(prediction.kind)
    values = np.where(prediction.known, prediction.values, np.float32("nan"))
    aligned, scores = _aligned(spec, sample, prediction, prediction.told, options)
    scores |= more_scores(spec, sample, aligned.depth)
    scores |= point_scores(spec, sample, prediction, values, options.camera_choice)
    record = {
        "image": sample.name,
        "pixels": int(np.count_nonzero(sample.mask)),
        "alignment": method,
        "scale": aligned.scale,
        "shift": aligned.shift,
        "scores": scores,
    }
    return record, aligned.depth


def more_scores(spec: Spec, sample: Sample, depth: NDArray[np.float64]) -> dict[str, float]:
    """Return what else is scored of an aligned depth [h, w]: boundary scores on sets with sharp ground truth, the geometry
    errors of iBims where a sample knows edges or planes, errors by distance and of clouds where the set asks for them.

    Raises CcdError where a cloud is asked for and Open3D is missing, or nothing of it is predicted.
    """
    scores = geometry_scores(sample, depth)
    if spec.bins:
        scores["coverage"] = float(np.mean(np.isfinite(depth[sample.mask])))
    scores |= bin_scores(depth, sample, spec.bins)
    if spec.clouds and (camera := sample.depth_camera) is not None:
        pred, true = (
            unproject(np.where(sample.mask, each, np.nan).astype(np.float32), camera) for each in (depth, sample.depth)
        )
        scores |= cloud_metrics(pred, true)
    if spec.boundary:
        scores["boundary_f1"] = depth_pro_f1(depth, sample.depth, sample.mask)
        scores["moge_boundary_f1"] = moge_f1(depth, sample.depth, sample.mask)
    return scores


def _aligned(
    spec: Spec, sample: Sample, prediction: Prediction, values: NDArray[np.float32], options: ScoringOptions
) -> tuple[Aligned, dict[str, float]]:
    """The aligned map and its metrics: on the device, and where its memory is full or it does not know how, on the CPU."""
    alignment, gt, mask = options.alignment, sample.depth, sample.mask
    method, kind = alignment.method(prediction.kind), alignment.taken_as(prediction.kind)
    limits = alignment.limits(spec, method)
    if scores_on(options.device, method):
        with suppress(torch.OutOfMemoryError):
            aligned, scores = score_on(options.device, method, values, gt, mask, kind, limits)
            return aligned, as_published(aligned, scores, gt, mask)
    return score_map(method, values, gt, mask, kind, limits)
