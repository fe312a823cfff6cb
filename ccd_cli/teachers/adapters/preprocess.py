"""From photos to what a network sees, the way its authors do it: their resizing rule, their interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.arch import Arch
from ccd_cli.teachers.adapters.sizes import network_size


def check_photo(rgb: NDArray[np.uint8]) -> None:
    """Raise `UsageProblem` unless `rgb` is a photo, uint8 [H, W, 3]."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise UsageProblem(f"A photo must be uint8 HxWx3, not {rgb.dtype} {'x'.join(map(str, rgb.shape))}.")


def resize_for(
    arch: Arch, rgb: NDArray[np.uint8], resolution: int | None = None, fixed: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """RGB photo uint8 [H, W, 3] -> float32 [h, w, 3] in about 0..1 (bicubic overshoots), sized for the network.

    `fixed` (height, width) is the one size of a network that takes no other.
    """
    import cv2

    check_photo(rgb)
    height, width = fixed or network_size(arch, rgb.shape[0], rgb.shape[1], resolution)
    values = rgb.astype(np.float64)  # in float32, OpenCV's positions are off by up to 1e-4 of the range
    resized = cv2.resize(src=values, dsize=(width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized / 255.0, dtype=np.float32)


def same_sizes(arrays: Sequence[NDArray]) -> list[list[int]]:
    """Return the indices of `arrays` in groups of one shape, in order of first appearance: what can be one batch."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, array in enumerate(arrays):
        groups.setdefault(array.shape, []).append(index)
    return list(groups.values())
