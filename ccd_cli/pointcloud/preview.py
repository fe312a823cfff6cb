"""A picture of a point cloud, drawn with numpy alone: no display, no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.core.files import atomic_write

ASIDE, ABOVE, BEHIND = 0.35, 0.2, 0.1
"""Where the viewer stands beside the photo's camera, in depths of the nearest 5 %: far enough that depth shows as parallax, near
enough that every thing is recognized.
"""
FAR = 0.98
"""Quantile of depth beyond which points are left out: a few of them would make the rest small."""
BACKGROUND = (26, 28, 32)
MOST_POINTS = 1_500_000
MAX_SPLAT = 6
_FILL = 2.5
"""How often points should cover the picture; sets the size of their squares."""


def preview(
    points: NDArray[np.float32], colors: NDArray[np.uint8], size: tuple[int, int] = (720, 960)
) -> NDArray[np.uint8]:
    """Return a picture uint8 [H, W, 3] of points [N, 3] (x right, y down, z forward) from a little beside the camera.

    The viewer stands to the right, above and behind, and looks at what is near; the focal length is as long as lets everything
    fit. Points are squares in a depth buffer: the nearest wins, whatever the order.
    """
    if len(points) > MOST_POINTS:
        picked = np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)
        points, colors = points[picked], colors[picked]
    if points[:, 2].min() <= 0:  # no photo's cloud
        points = points + np.array([0, 0, 1 - points[:, 2].min()], np.float32)
    near, middle, far = (float(each) for each in np.quantile(points[:, 2], (0.05, 0.5, FAR)))
    kept = points[:, 2] <= far
    points, colors = points[kept], colors[kept]
    eye = np.array([ASIDE * near, -ABOVE * near, -BEHIND * near])
    turned = ((points - eye) @ _look_at(eye, 2 / (1 / near + 1 / max(middle, near))).T).astype(np.float32)
    u, v, z = _framed(turned, size)
    height, width = size
    splat = int(np.clip(np.sqrt(_FILL * height * width / max(1, len(points))).round(), 2, MAX_SPLAT))
    return _draw(u, v, z, colors, size, splat)


def write_preview(path: Path, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> Path:
    """Write `preview` as a PNG, whole or not at all, and return its path."""
    with atomic_write(path) as temporary:
        Image.fromarray(preview(points, colors)).save(temporary)
    return path


def _look_at(eye: NDArray[np.float64], depth: float) -> NDArray[np.float64]:
    """Return the rotation [3, 3] of a viewer at `eye` who looks at the middle of the photo at `depth`, without a tilt."""
    forward = np.array([0.0, 0.0, depth]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _framed(
    turned: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return (u, v, z): pixels of points seen by the viewer, as large as fits into the picture, and their depth."""
    height, width = size
    z = turned[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = turned[:, 0] / z, turned[:, 1] / z
    seen = z > 0
    if not seen.any():
        return x, y, z
    spans = [np.quantile(axis[seen], (0.002, 0.998)) for axis in (x, y)]
    across, down = (max(float(high - low), 1e-6) for low, high in spans)
    focal = 0.94 * min(width / across, height / down)
    u, v = (
        (focal * (axis - span.mean()) + side / 2).astype(np.float32)
        for axis, span, side in ((x, spans[0], width), (y, spans[1], height))
    )
    return u, v, z


def _draw(
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    z: NDArray[np.float32],
    colors: NDArray[np.uint8],
    size: tuple[int, int],
    splat: int,
) -> NDArray[np.uint8]:
    height, width = size
    sound = (z > 0) & (u > -splat) & (u < width + splat) & (v > -splat) & (v < height + splat)
    column, row = np.floor(u[sound]).astype(np.int64), np.floor(v[sound]).astype(np.int64)
    order = np.argsort(-z[sound], kind="stable")  # painter's order: repeated indices keep the last, the nearest
    column, row, z, colors = column[order], row[order], z[sound][order], colors[sound][order]
    picture = np.full((height * width, 3), BACKGROUND, np.uint8)
    depth = np.full(height * width, np.inf, np.float32)
    offsets = np.arange(splat) - splat // 2
    for dv in offsets:
        for du in offsets:
            x, y = column + du, row + dv
            there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            at, here = y[there] * width + x[there], np.nonzero(there)[0]
            nearest = np.full(height * width, -1, np.int64)
            nearest[at] = here
            drawn = np.nonzero(nearest >= 0)[0]
            drawn = drawn[z[nearest[drawn]] < depth[drawn]]
            depth[drawn] = z[nearest[drawn]]
            picture[drawn] = colors[nearest[drawn]]
    return picture.reshape(height, width, 3)
