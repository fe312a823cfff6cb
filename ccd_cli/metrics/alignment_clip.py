"""One scale and one shift for all frames of a clip, from one frame after the other: memory does not grow with the clip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.kinds import Kind
from ccd_cli.metrics.alignment import (
    IN_DISPARITY,
    NO_LIMITS,
    SUBSAMPLED,
    Array,
    Fit,
    Floats,
    Limits,
    Method,
    apply_fit,
    check_maps,
    in_space_of,
    kept_columns,
    positive_only,
    set_infinite,
)

CLIP_METHODS: tuple[Method, ...] = ("least-squares", "least-squares-disparity", "midas", "scale", "none")
"""Methods whose fit follows from sums over pixels."""


class ClipFit:
    """The fit of a clip: `add` every frame, then `depth` gives any of them in the unit of the ground truth.

    The arithmetic of `align` on all frames stacked, from centered moments of each frame. Raises UsageProblem for methods that
    need all pixels at once (CLIP_METHODS are those that do not).
    """

    def __init__(self, method: Method, kind: Kind, limits: Limits = NO_LIMITS) -> None:
        if method not in CLIP_METHODS:
            known = ", ".join(CLIP_METHODS)
            raise UsageProblem(f"The alignment '{method}' is for single images, not for clips.", f"For clips: {known}.")
        self.method, self.kind, self.limits = method, kind, limits
        self.count, self.farthest = 0, 0.0
        self._x = self._y = 0.0  # means
        self._xx = self._xy = 0.0  # centered sums of products

    def add(self, pred: Floats, gt: Floats, mask: NDArray[np.bool_]) -> None:
        """Take a frame: maps [H, W] as for `align`. Raises CcdError for different shapes; a frame without pixels is none."""
        check_maps(self.method, pred, gt, mask, self.limits)
        valid = mask & (gt > 0) & np.isfinite(gt)
        if valid.any():
            self.farthest = max(self.farthest, float(gt[valid].max()))
        values = in_space_of(self.method, pred.astype(np.float64), self.kind)
        usable = valid & np.isfinite(values) & np.isfinite(pred)
        if self.method in SUBSAMPLED and self.limits.max_res is not None:
            columns = kept_columns(values.shape[0], values.shape[1], self.limits.max_res)
            values, gt, usable = values[:, columns], gt[:, columns], usable[:, columns]
        if positive_only(self.method, self.limits):
            usable = usable & (values > 0)
        x, y = values[usable], gt[usable].astype(np.float64)
        if x.size:
            self._merge(x, 1.0 / y if self.method in IN_DISPARITY else y)

    def fit(self) -> Fit:
        """Return (scale, shift) in the method's space. Raises CcdError where no pixel was seen."""
        if self.method == "none":
            return 1.0, 0.0
        if not self.count:
            raise CcdError("The clip has no valid pixel with a prediction to align to.")
        square = self._xx + self.count * self._x**2
        if self.method == "scale":
            return (self._xy + self.count * self._x * self._y) / square if square > 0 else 0.0, 0.0
        if not self._xx > 1e-24 * square:
            return (0.0, 0.0) if self.method == "midas" else (0.0, self._y)
        scale = self._xy / self._xx
        return scale, self._y - scale * self._x

    def depth(self, pred: Floats) -> Array:
        """Return a frame's prediction as depth [H, W] float64, NaN where it was. Raises CcdError as `fit`."""
        values = in_space_of(self.method, pred.astype(np.float64), self.kind)
        apply_fit(self.method, values, self.fit(), self.limits, self.farthest)
        set_infinite(values, pred, self.kind, self.limits, self.farthest)
        return values

    def _merge(self, x: Array, y: Array) -> None:
        """Add centered moments to those there are (Chan, Golub and LeVeque 1979): no digits are lost."""
        here_x, here_y = float(x.mean()), float(y.mean())
        dx, total = x - here_x, self.count + x.size
        share = self.count * x.size / total
        self._xx += float(dx @ dx) + (here_x - self._x) ** 2 * share
        self._xy += float(dx @ y) + (here_x - self._x) * (here_y - self._y) * share
        self._x += (here_x - self._x) * x.size / total
        self._y += (here_y - self._y) * x.size / total
        self.count = total
