"""From a predicted map and its ground truth to the metrics of one image: aligned, then measured, as every evaluation here does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import NO_LIMITS, Aligned, Limits, align
from ccd_cli.metrics.depth import image_metrics, moge_depth_metrics

Floats = NDArray[np.floating[Any]]


def score_map(
    method: str, pred: Floats, gt: Floats, mask: NDArray[np.bool_], kind: Kind, limits: Limits = NO_LIMITS
) -> tuple[Aligned, dict[str, float]]:
    """Return `pred` [H, W] aligned to `gt` on `mask` (see `align`), and its METRICS and `missing` (see `image_metrics`)."""
    aligned = align(method, pred, gt, mask, kind, limits)
    return aligned, as_published(aligned, image_metrics(aligned.depth, gt, mask), gt, mask)


def as_published(aligned: Aligned, scores: dict[str, float], gt: Floats, mask: NDArray[np.bool_]) -> dict[str, float]:
    """Return the scores as the tables of the alignment's authors count: MoGe's take a negative depth as correct in delta1."""
    if not aligned.method.startswith("moge-"):
        return scores
    own = moge_depth_metrics(aligned.depth, gt, mask)
    return {**scores, "abs_rel": own["rel"], "delta1": own["delta1"]}
