"""Score a student on a user's own pairs while it trains."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ccd_cli.core.errors import ImageError
from ccd_cli.metrics.alignment import align_disparity
from ccd_cli.metrics.depth import depth_metrics


def score_disparity(disparity: np.ndarray, depth: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Return the metrics of one predicted disparity against true depth (h, w) on its valid pixels.

    A prediction of another size is resized bilinearly to the truth's.
    Scale and shift are fitted by least squares in disparity, floor 1 / largest true depth (MiDaS protocol).
    """
    if disparity.shape != depth.shape:
        disparity = np.asarray(
            cv2.resize(disparity, dsize=(depth.shape[1], depth.shape[0]), interpolation=cv2.INTER_LINEAR), np.float32
        )
    pred, target = disparity[valid], depth[valid]
    return depth_metrics(align_disparity(pred, target), target)


def mean_scores(count: int, one: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """Return the plain mean over images of each metric, and `images`, their number; unreadable images are left out.

    Raises ImageError where none can be read.
    """
    rows = []
    for i in range(count):
        try:
            rows.append(one(i))
        except ImageError as error:
            bad = error
    if not rows:
        raise bad
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} | {"images": float(len(rows))}
