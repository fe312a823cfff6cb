"""From one prediction to its scores."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ccd_cli.benchmarks import Sample, Spec
from ccd_cli.benchmarks.predictors import Prediction, is_custom_suite
from ccd_cli.core.errors import UsageProblem
from ccd_cli.evaluate.points import CameraChoice, point_scores
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import AUTO, IN_DISPARITY, METHODS, SUBSAMPLED, Aligned, Method, align, resolve
from ccd_cli.metrics.boundary import depth_pro_f1, moge_f1
from ccd_cli.metrics.depth import image_metrics, moge_depth_metrics
from ccd_cli.metrics.depth_gpu import score_on, scores_on

MOGE = "moge"  # start of the names of MoGe's suite and its sets
MOGE_AUTO: dict[str, Method] = {
    "disparity": "moge-disparity",
    "depth": "moge-scale",
    "affine-depth": "moge-affine",
    "metric": "moge-scale",
}
"""Method of each kind under `auto` on MoGe's sets. Not all of them have meters, so metric models get a scale as well; `none`
scores their meters."""
CPU = torch.device("cpu")


class Alignment:
    """The alignment that was asked for, settled for each kind and set.

    `max_res` replaces that of the sets (0: fit on every pixel). Raises UsageProblem for an unknown method, and for a
    `max_res` that it does not know.
    """

    def __init__(self, method: str, suite: str, max_res: int | None) -> None:
        if method != "auto" and method not in METHODS:
            raise UsageProblem(f"--alignment {method}: no such method.", f"Choose from auto, {', '.join(METHODS)}.")
        if max_res and method != "auto" and method not in SUBSAMPLED:
            known = " and ".join(sorted(SUBSAMPLED))
            raise UsageProblem(f"--alignment-max-res does not go with --alignment {method}.", f"It is for {known}.")
        self.name = method
        self._auto = MOGE_AUTO if suite.split("-")[0] == MOGE and not is_custom_suite(suite) else AUTO
        self._max_res = max_res

    def method(self, kind: Kind | None) -> Method:
        """Return the method for maps of a kind. Raises UsageProblem under `auto` where the kind is not told."""
        if self.name != "auto":
            return resolve(self.name, kind or "depth")
        if kind is None:
            raise UsageProblem(
                "--alignment auto needs to know what the predictions are.",
                f"Give --prediction-kind {'|'.join(AUTO)}, or an --alignment.",
            )
        return self._auto[kind]

    def max_res(self, spec: Spec, method: Method) -> int | None:
        """Return the largest side for the fit on a set; None: every pixel."""
        if method not in SUBSAMPLED:
            return None
        return spec.max_res if self._max_res is None else self._max_res or None

    def check(self, kind: Kind | None) -> None:
        """Raise UsageProblem where the method does not fit in a space in which maps of this kind can be."""
        ramp = np.arange(1.0, 5.0).reshape(2, 2)
        align(self.method(kind), ramp, ramp, ramp > 0, self.taken_as(kind))

    def taken_as(self, kind: Kind | None) -> Kind:
        """Return the kind; maps that nobody told about are taken to be in the space of the method."""
        return kind or ("disparity" if self.method(kind) in IN_DISPARITY else "affine-depth")


def score(
    spec: Spec,
    sample: Sample,
    prediction: Prediction,
    alignment: Alignment,
    camera_choice: CameraChoice = "set",
    device: torch.device = CPU,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Return a record (without index and mark) of one image, and the prediction as depth in the truth's unit.

    `lens` is the camera for points. Alignment and metrics run on `device` where it can (see `scores_on`). Raises CcdError where
    nothing can be scored.
    """
    method = alignment.method(prediction.kind)
    values = np.where(prediction.known, prediction.values, np.float32("nan"))
    aligned, scores = _aligned(spec, sample, values, prediction.kind, alignment, device)
    scores |= more_scores(spec, sample, aligned.depth)
    if method.startswith("moge-"):  # as its tables count: a negative depth is correct in delta1
        own = moge_depth_metrics(aligned.depth, sample.depth, sample.mask)
        scores["abs_rel"], scores["delta1"] = own["rel"], own["delta1"]
    scores |= point_scores(spec, sample, prediction, values, camera_choice)
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
    """Return the boundary scores of an aligned depth [H, W] on sets with sharp truth; empty on others."""
    if not spec.boundary:
        return {}
    return {
        "boundary_f1": depth_pro_f1(depth, sample.depth, sample.mask),
        "moge_boundary_f1": moge_f1(depth, sample.depth, sample.mask),
    }


def _aligned(
    spec: Spec,
    sample: Sample,
    values: NDArray[np.float32],
    said: Kind | None,
    alignment: Alignment,
    device: torch.device,
) -> tuple[Aligned, dict[str, float]]:
    """The aligned map and its metrics: on the device, and where its memory is full or it does not know how, on the CPU."""
    method, kind = alignment.method(said), alignment.taken_as(said)
    max_res, gt, mask = alignment.max_res(spec, method), sample.depth, sample.mask
    if scores_on(device, method):
        with suppress(torch.OutOfMemoryError):
            return score_on(device, method, values, gt, mask, kind, spec.depth_range, max_res)
    aligned = align(method, values, gt, mask, kind, spec.depth_range, max_res)
    return aligned, image_metrics(aligned.depth, gt, mask)
