"""How far an exported network is from the one it was made from, on photos of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.paths import builtin_folder
from ccd_cli.models.arch import Arch
from ccd_cli.teachers.adapters.preprocess import resize_for

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""RGB float32 [B, 3, h, w] in about 0..1 -> map float32 [B, h, w]."""


@dataclass(frozen=True)
class Photo:
    """A photo to compare on: `rgb` uint8 [H, W, 3]."""

    name: str
    rgb: NDArray[np.uint8]


@dataclass(frozen=True)
class Difference:
    """What two networks say about one photo, seen at `size` (height, width): largest and mean absolute difference as a
    fraction of the range (maximum - minimum) of the original's map. `exact`: the bar applies; otherwise it is only shown.
    """

    name: str
    size: tuple[int, int]
    largest: float
    mean: float
    exact: bool = True


def difference(
    name: str, made: NDArray[np.float32], original: NDArray[np.float32], exact: bool = True
) -> Difference:
    """Compare two maps [h, w]; a map that is not finite or of another shape is infinitely far."""
    size = (original.shape[0], original.shape[1])
    if made.shape != original.shape or not np.isfinite(made).all():
        return Difference(name, size, float("inf"), float("inf"), exact)
    apart = np.abs(made.astype(np.float64) - original)
    span = float(original.max()) - float(original.min()) or 1.0
    return Difference(name, size, float(apart.max()) / span, float(apart.mean()) / span, exact)


def network_input(arch: Arch, rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """RGB photo uint8 [H, W, 3] -> float32 [1, 3, h, w] in about 0..1: by the network's rule, or at `size` (height, width)."""
    if size is None:
        values = resize_for(arch, rgb)
    else:
        import cv2

        double = rgb.astype(np.float64) / 255.0
        values = np.asarray(
            cv2.resize(src=double, dsize=(size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32
        )
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])
