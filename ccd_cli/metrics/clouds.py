"""Clouds of points against each other, whichever pixel they come from: Chamfer distance and F-score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.open3d_library import load_open3d

THRESHOLD = 0.1
"""Meters within which a point counts as found (Ornek et al.; the Monocular Depth Estimation Challenge)."""


def cloud_metrics(
    pred: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]], threshold: float = THRESHOLD
) -> dict[str, float]:
    """Return `chamfer` and `f_score` of predicted points [N, 3] against true points [M, 3], both in meters.

    chamfer: mean distance of a predicted point to the nearest true one plus mean distance of a true point to the nearest predicted
    one, in meters. f_score: 2 P R / (P + R) as a fraction, P (precision) the share of predicted points with a true one nearer than
    `threshold`, R (recall) that of true points with a predicted one; 0 where both are 0. As Ornek et al. (arXiv 2203.08122) and the
    Monocular Depth Estimation Challenge, which prints the F-score times 100; UniDepth's "F_A" is the area under such scores over
    thresholds, and its Chamfer distance the half of this one. Predicted points that are not finite are left out of P and chamfer.

    Raises CcdError where a cloud has no finite point, and where Open3D is missing.
    """
    p, g = (points.reshape(-1, 3)[np.isfinite(points.reshape(-1, 3)).all(axis=1)] for points in (pred, true))
    if not len(p) or not len(g):
        raise CcdError(f"The {'true' if len(p) else 'predicted'} cloud has no finite point.")
    to_true, to_pred = nearest_distances(p, g), nearest_distances(g, p)
    precision, recall = float((to_true < threshold).mean()), float((to_pred < threshold).mean())
    found = precision + recall
    return {
        "chamfer": float(to_true.mean() + to_pred.mean()),
        "f_score": 2 * precision * recall / found if found else 0.0,
    }


def nearest_distances(points: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return [N], the distance of each of `points` [N, 3] to the nearest of `others` [M, 3]; all finite."""
    open3d = load_open3d("Chamfer distance and F-score", "or leave `clouds` out of the suite file")
    first, second = (
        open3d.geometry.PointCloud(open3d.utility.Vector3dVector(each.astype(np.float64))) for each in (points, others)
    )
    return np.asarray(first.compute_point_cloud_distance(second), np.float64)
