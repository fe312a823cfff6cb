"""The alignment of an evaluation: one method for each kind of map, and what a set says about the fit."""

from __future__ import annotations

import numpy as np

from ccd_cli.benchmarks import Prediction, Sample, Spec, is_custom_suite
from ccd_cli.benchmarks.prediction_files import resized
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import (
    AUTO,
    IN_DISPARITY,
    METHODS,
    SUBSAMPLED,
    Limits,
    Method,
    align,
    positive_only,
    resolve,
)

MOGE = "moge"  # start of the names of MoGe's suite and its sets
MOGE_AUTO: dict[str, Method] = {
    "disparity": "moge-disparity",
    "depth": "moge-scale",
    "affine-depth": "moge-affine",
    "metric": "moge-scale",
}
"""Method of each kind under `auto` on MoGe's sets. Not all of them have meters, so metric models get a scale as well; `none`
scores their meters."""


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

    def limits(self, spec: Spec, method: Method) -> Limits:
        """Return what a set says about the fit."""
        return spec.limits(self.max_res(spec, method))

    def unfitted(self, spec: Spec, prediction: Prediction, sample: Sample) -> float:
        """Return the fraction of the scored pixels that a published fit leaves out because they are not predicted > 0.

        Raises CcdError where that leaves none: the values of an affine-invariant disparity may all be negative.
        """
        method = self.method(prediction.kind)
        values = prediction.values[prediction.known]
        if (
            prediction.kind != "disparity"
            or not positive_only(method, self.limits(spec, method))
            or not (values <= 0).any()
        ):
            return 0.0
        there = resized(prediction, sample.depth.shape)
        values = there.values[there.known & sample.mask]
        fraction = float(np.mean(values <= 0)) if values.size else 0.0
        if fraction == 1:
            raise CcdError(
                f"nothing is predicted > 0, and {method} (Marigold) fits on such pixels alone; --alignment midas fits all pixels"
            )
        return fraction

    def check(self, kind: Kind | None) -> None:
        """Raise UsageProblem where the method does not fit in a space in which maps of this kind can be."""
        ramp = np.arange(1.0, 5.0).reshape(2, 2)
        align(self.method(kind), ramp, ramp, ramp > 0, self.taken_as(kind))

    def taken_as(self, kind: Kind | None) -> Kind:
        """Return the kind; maps that nobody told about are taken to be in the space of the method."""
        return kind or ("disparity" if self.method(kind) in IN_DISPARITY else "affine-depth")
