"""A depth map with its kind, validity mask and camera, validated on construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.kinds import DIRECTION, KINDS, UNIT, Kind


@dataclass(frozen=True)
class Camera:
    """Pinhole intrinsics in pixels of an image: focal lengths and principal point; pixel (0, 0) has its center at
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
    """A map float32 [H, W] of one kind, at the size of its image.

    `valid` [H, W] bool is False where the model marked a pixel invalid; None means valid everywhere. Valid values are
    finite (and positive for `metric`); `checked` masks those that are not. `camera` is set where the model predicts one, `sky`
    [H, W] bool where the model marks what is sky: infinite depth there is no valid value, and `infinite` tells where it is.
    Raises `CcdError` for an unknown kind, wrong shapes or types, and valid values that are not finite or positive.
    """

    values: NDArray[np.float32]
    kind: Kind
    valid: NDArray[np.bool_] | None = None
    camera: Camera | None = None
    sky: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CcdError(f"There is no kind of map '{self.kind}' ({', '.join(KINDS)}).")
        if self.values.ndim != 2 or 0 in self.values.shape or self.values.dtype != np.float32:
            shape = "x".join(map(str, self.values.shape))
            raise CcdError(f"A depth map is float32 HxW, not {self.values.dtype} {shape}.")
        if self.valid is not None and (self.valid.shape != self.values.shape or self.valid.dtype != np.bool_):
            raise CcdError("The mask of a depth map is bool and of the map's size.")
        if self.sky is not None and (self.sky.shape != self.values.shape or self.sky.dtype != np.bool_):
            raise CcdError("The sky of a depth map is bool and of the map's size.")
        values = self.values if self.valid is None else self.values[self.valid]
        if not np.isfinite(values).all() or (self.kind == "metric" and (values <= 0).any()):
            raise CcdError(
                f"A {self.kind} map holds values that are not {'positive' if self.kind == 'metric' else 'finite'}."
            )

    @property
    def infinite(self) -> NDArray[np.bool_] | None:
        """Where the model says that there is sky, infinitely far; None where it is nowhere."""
        if self.sky is None or self.kind == "disparity":
            return None
        found = self.sky & np.isposinf(self.values)
        return found if found.any() else None

    @property
    def raw(self) -> NDArray[np.float32]:
        """The values, NaN where invalid and infinite in the sky that a model puts there."""
        if self.valid is None:
            return self.values
        known = self.valid if self.infinite is None else self.valid | self.infinite
        return np.where(known, self.values, np.float32(np.nan))

    @property
    def solid(self) -> NDArray[np.bool_] | None:
        """Where there is a valid value that is not marked as sky; None: everywhere."""
        if self.sky is None:
            return self.valid
        return ~self.sky if self.valid is None else self.valid & ~self.sky

    @property
    def direction(self) -> str:
        """Whether larger values are nearer or farther."""
        return DIRECTION[self.kind]

    @property
    def unit(self) -> str:
        """The unit of the values: meter, or relative."""
        return UNIT[self.kind]


def checked(
    values: NDArray[np.float32],
    kind: Kind,
    valid: NDArray[np.bool_] | None = None,
    camera: Camera | None = None,
) -> DepthMap:
    """Return a `DepthMap` with invalid values (not finite; for metric also not positive) masked.

    `valid` stays None where every pixel is valid. Raises `CcdError` for wrong shapes and types.
    """
    possible = np.isfinite(values) & (values > 0) if kind == "metric" else np.isfinite(values)
    if valid is not None:
        possible &= valid
    return DepthMap(values, kind, None if possible.all() else possible, camera)
