"""From a network's map to a checked depth map at the photo's size. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.models.arch import Arch
from ccd_cli.teachers.adapters.preprocess import resize_for, same_sizes
from ccd_cli.teachers.adapters.sizes import network_size

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""RGB float32 [B, 3, h, w] in about 0..1 -> map float32 [B, h, w], or several maps [B, h, w, C]."""


def predict_maps(
    arch: Arch,
    network: Network,
    photos: Sequence[NDArray[np.uint8]],
    resolution: int | None = None,
    fixed: tuple[int, int] | None = None,
) -> list[NDArray[np.float32]]:
    """RGB photos uint8 [H, W, 3] -> raw maps float32 [H, W] (or [H, W, C]), each at its photo's size.

    Photos that come to one size go through the network together; one that takes a single `fixed` (height, width) gets every photo
    resized to exactly that, one at a time.
    """
    inputs = [resize_for(arch, photo, resolution, fixed) for photo in photos]
    maps: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(photos)
    for group in same_sizes(inputs) if fixed is None else [[i] for i in range(len(inputs))]:
        images = np.ascontiguousarray(np.stack([inputs[i] for i in group]).transpose(0, 3, 1, 2))
        for i, made in zip(group, network(images), strict=True):
            maps[i] = resize_map(made, photos[i].shape[:2])
    return maps


def depth_maps(
    arch: Arch,
    maps: Sequence[NDArray[np.float32]],
    resolution: int | None,
    focals: Sequence[float | None] | None = None,
    fixed: tuple[int, int] | None = None,
) -> list[DepthMap]:
    """Raw maps float32 [H, W] -> checked maps.

    With `canonical_focal`, meters = output x focal length in pixels *of the resized photo* / canonical focal length
    (Depth Anything 3 metric: 300), which is the mean of both directions, as its authors say: rounded sides differ a little.
    """
    result = []
    for values, focal in zip(maps, focals or [None] * len(maps), strict=True):
        if arch.canonical_focal is None or focal is None:
            result.append(checked(values, arch.kind))
            continue
        height, width = values.shape
        rows, columns = fixed or network_size(arch, height, width, resolution)
        seen = (rows / height + columns / width) / 2
        result.append(checked(values * np.float32(focal * seen / arch.canonical_focal), "metric"))
    return result


def resize_map(values: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a map float32 [h, w] (or [h, w, C]) at `size` (height, width): bilinear with aligned corners, as torch does it.

    `cv2.resize` does not align corners, and `cv2.remap` rounds positions to 1/32 pixel.
    """
    for axis, count in ((0, size[0]), (1, size[1])):
        if values.shape[axis] != count:
            values = _stretch(values, axis, count)
    return np.ascontiguousarray(values, np.float32)


def _stretch(values: NDArray[np.float32], axis: int, count: int) -> NDArray[np.float32]:
    last = values.shape[axis] - 1
    position = np.arange(count, dtype=np.float32) * np.float32(last / (count - 1) if count > 1 else 0.0)
    below = np.minimum(position.astype(np.intp), last)
    above = np.minimum(below + 1, last)
    weight = (position - below).astype(np.float32)
    weight = weight.reshape(-1, *[1] * (values.ndim - axis - 1))
    low = values.take(below, axis)
    step = values.take(above, axis)
    step -= low
    step *= weight
    step += low
    return step
