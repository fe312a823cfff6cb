"""Geometry errors of iBims-1 on samples that know their true depth edges or planes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample
from ccd_cli.metrics.ibims import PLANE_FRACTION, boundary_errors, normal_of, planarity

EDGES, PLANES = ("dbe_acc", "dbe_comp"), ("pe_flat", "pe_ori")
"""Depth boundary errors (accuracy, completeness) in pixels; planarity errors: flatness in cm, orientation in degrees."""


def geometry_scores(sample: Sample, depth: NDArray[np.float64]) -> dict[str, float]:
    """Return EDGES and PLANES of an aligned depth [h, w] in meters, those that the sample knows the ground truth of.

    Planes count by themselves, then their mean; the normal of a true plane is fitted to the ground truth. Planes under 5 % of
    the image, and images without an edge or plane that can be scored, have no score (iBims leaves them out).
    """
    scores: dict[str, float] = {}
    if sample.edges is not None and sample.edges.any():
        scores |= dict(zip(EDGES, boundary_errors(np.nan_to_num(depth), sample.edges), strict=True))
    camera = sample.depth_camera
    if sample.planes is None or camera is None:
        return scores
    # as the files of iBims have it: the principal point in the last row, for pixels that count from one
    calib = np.array([[camera.fx, 0, 0], [0, camera.fy, 0], [camera.cx + 0.5, camera.cy + 0.5, 1]])
    errors = []
    for label in np.unique(sample.planes[sample.planes > 0]):
        plane = (sample.planes == label) & sample.mask
        if plane.sum() >= PLANE_FRACTION * plane.size and np.isfinite(depth[plane]).any():
            normal = normal_of(np.where(plane, sample.depth, 0.0), plane, calib)
            errors.append(planarity(np.nan_to_num(depth), sample.depth, plane, normal, calib, fewest=3))
    if errors:
        scores |= dict(zip(PLANES, (float(value) for value in np.mean(errors, axis=0)), strict=True))
    return scores
