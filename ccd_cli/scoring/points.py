"""Point scores (MoGe) of a depth map: unprojected with a camera, brought to the true points, compared in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.geometry.unproject import unproject
from ccd_cli.metrics.methods import CameraChoice
from ccd_cli.metrics.points import PointFit, align_points, local_point_metrics, point_metrics

FITS: dict[str, tuple[PointFit, ...]] = {"metric": ("metric", "scale", "affine"), "depth": ("scale", "affine")}
"""What is scored of each kind, the more specific output also as the less specific one. Disparity and affine depth have no
points: their depth is known up to a shift, which bends a surface in space."""
ABOUT: dict[str, str] = {
    "set": "predicted depth unprojected with the set's camera, which models that take a focal length are told",
    "own": "predicted depth unprojected with the camera that the model predicts; models are told no focal length",
}


def point_scores(
    spec: Spec, sample: Sample, prediction: Prediction, values: NDArray[np.float32], camera_choice: CameraChoice
) -> dict[str, float]:
    """Return `points_<fit>_rel` and `points_<fit>_delta1` for every fit in FITS of the kind; empty where there are none.

    Where the sample knows its objects, `local_points_rel` and `local_points_delta1` too: each object aligned on its own (MoGe).

    `values` are the prediction [h, w] as predicted, at the size of the ground truth, NaN where unknown. Aligned as MoGe does,
    whatever the depth is aligned by: a shift (metric, only on sets in meters), a scale, a scale and a shift. Raises CcdError
    where nothing can be scored.
    """
    true_camera = sample.depth_camera
    camera = true_camera if camera_choice == "set" else prediction.camera
    if not spec.points or true_camera is None or camera is None:
        return {}
    fits = [fit for fit in FITS.get(prediction.kind or "", ()) if fit != "metric" or spec.metric]
    if not fits:
        return {}
    pred, true = unproject(values, camera), unproject(sample.depth, true_camera)
    scores: dict[str, float] = {}
    for fit in fits:
        made = point_metrics(align_points(fit, pred, true, sample.mask), true, sample.mask)
        scores |= {f"points_{fit}_rel": made["rel_p"], f"points_{fit}_delta1": made["delta_p"]}
    if sample.segments is not None:
        known = sample.mask & np.isfinite(values)
        labels = np.unique(sample.segments[sample.segments > 0])
        local = local_point_metrics(pred, true, known, sample.segments, labels.tolist())
        if np.isfinite(local["rel_p"]):
            scores |= {"local_points_rel": local["rel_p"], "local_points_delta1": local["delta_p"]}
    return scores
