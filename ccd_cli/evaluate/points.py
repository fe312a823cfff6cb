"""Point scores (MoGe) of a depth map: unprojected with a camera, brought to the true points, compared in space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample, Spec
from ccd_cli.benchmarks.predictors import Prediction
from ccd_cli.geometry.unproject import unproject
from ccd_cli.metrics.methods import CameraChoice
from ccd_cli.metrics.points import PointFit, align_points, point_metrics

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

    `values` are the prediction [H, W] as predicted, NaN where unknown. Aligned as MoGe does, whatever the depth is aligned by:
    a shift (metric, only on sets in meters), a scale, a scale and a shift. Raises CcdError where nothing can be scored.
    """
    camera = sample.camera if camera_choice == "set" else prediction.camera
    if not spec.points or sample.camera is None or camera is None:
        return {}
    fits = [fit for fit in FITS.get(prediction.kind or "", ()) if fit != "metric" or spec.metric]
    if not fits:
        return {}
    pred, true = unproject(values, camera), unproject(sample.depth, sample.camera)
    scores: dict[str, float] = {}
    for fit in fits:
        made = point_metrics(align_points(fit, pred, true, sample.mask), true, sample.mask)
        scores |= {f"points_{fit}_rel": made["rel_p"], f"points_{fit}_delta1": made["delta_p"]}
    return scores
