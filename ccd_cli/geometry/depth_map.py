"""One depth map and what it means: checked where it is made, so that nothing downstream has to guess."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import DIRECTION, KINDS, UNIT, Kind


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels of a photo: focal lengths and principal point; pixel (0, 0) has its center at
    (0.5, 0.5). Raises `CcdError` for focal lengths that are not positive, and for anything not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise CcdError(f"A camera needs finite numbers and positive focal lengths, not {values}.")


@dataclass(frozen=True)
class DepthMap:
    """A map float32 [H, W] of one kind, at the size of the photo that it belongs to.

    `valid` [H, W] bool is False where the model said that it does not know; None means everywhere valid. Valid values are
    finite (and positive for `metric`); what is not becomes invalid when the map is made by `checked`. `camera` is set
    where the model predicts one.
    """

    values: NDArray[np.float32]
    kind: Kind
    valid: NDArray[np.bool_] | None = None
    camera: Camera | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CcdError(f"There is no kind of map '{self.kind}' ({', '.join(KINDS)}).")
        if self.values.ndim != 2 or 0 in self.values.shape or self.values.dtype != np.float32:
            shape = "x".join(map(str, self.values.shape))
            raise CcdError(f"A depth map is float32 HxW, not {self.values.dtype} {shape}.")
        if self.valid is not None and (self.valid.shape != self.values.shape or self.valid.dtype != np.bool_):
            raise CcdError("The mask of a depth map is bool and of the map's size.")
        known = self.values if self.valid is None else self.values[self.valid]
        if not np.isfinite(known).all() or (self.kind == "metric" and (known <= 0).any()):
            raise CcdError(
                f"A {self.kind} map holds values that are not {'positive' if self.kind == 'metric' else 'finite'}."
            )

    @property
    def direction(self) -> str:
        """Where larger values lie."""
        return DIRECTION[self.kind]

    @property
    def unit(self) -> str:
        """What one unit is."""
        return UNIT[self.kind]


def checked(
    values: NDArray[np.float32],
    kind: Kind,
    valid: NDArray[np.bool_] | None = None,
    camera: Camera | None = None,
) -> DepthMap:
    """Return a `DepthMap` whose impossible values (not finite; for metric also not positive) are marked invalid.

    `valid` stays None where nothing is. Raises `CcdError` for wrong shapes and types.
    """
    possible = np.isfinite(values) & (values > 0) if kind == "metric" else np.isfinite(values)
    if valid is not None:
        possible &= valid
    return DepthMap(values, kind, None if possible.all() else possible, camera)
