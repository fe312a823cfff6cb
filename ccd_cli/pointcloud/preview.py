"""A picture of a point cloud, drawn with numpy alone: no display, no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.core.files import atomic_write

YAW, PITCH = 22.0, 15.0
"""Degrees by which the viewer walks around the cloud, to the right and up, so that depth shows."""
BACKGROUND = (26, 28, 32)
MOST_POINTS = 1_500_000
MAX_SPLAT = 6
_FILL = 2.5
"""How often points should cover the picture; sets the size of their squares."""


def preview(
    points: NDArray[np.float32], colors: NDArray[np.uint8], size: tuple[int, int] = (720, 960)
) -> NDArray[np.uint8]:
    """Return a picture uint8 [H, W, 3] of points [N, 3] (x right, y down, z forward) from above and to the side.

    The viewer turns about the middle of the cloud (medians, so that a few far points do not matter) and stands where
    the middle 96 % fit into the picture. Points are squares in a depth buffer: the nearest wins, whatever the order.
    """
    if len(points) > MOST_POINTS:
        picked = np.random.default_rng(0).choice(len(points), MOST_POINTS, replace=False)
        points, colors = points[picked], colors[picked]
    height, width = size
    low, high = np.quantile(points, (0.02, 0.98), axis=0).astype(np.float32)
    middle = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, np.median(points[:, 2])], np.float32)
    turned = ((points - middle) @ _turn().T).astype(np.float32, copy=False)
    inside = ((points >= low) & (points <= high)).all(axis=1)
    framed = turned[inside] if inside.any() else turned
    focal = 1.1 * width
    u, v, z = _look(turned, framed, focal, size)
    splat = int(np.clip(np.sqrt(_FILL * height * width / max(1, len(points))).round(), 2, MAX_SPLAT))
    return _draw(u, v, z, colors, size, splat)


def write_preview(path: Path, points: NDArray[np.float32], colors: NDArray[np.uint8]) -> Path:
    """Write `preview` as a PNG, whole or not at all, and return its path."""
    with atomic_write(path) as temporary:
        Image.fromarray(preview(points, colors)).save(temporary)
    return path


def _turn() -> NDArray[np.float32]:
    """Return the rotation [3, 3] from the photo's camera to the viewer."""
    yaw, pitch = np.radians([YAW, PITCH])
    around = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    over = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return (over @ around).astype(np.float32)


def _look(
    turned: NDArray[np.float32], framed: NDArray[np.float32], focal: float, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return (u, v, z) seen from as near as lets the framed points fit, moved so that they lie in the middle."""
    height, width = size
    reach = np.maximum(np.abs(framed[:, 0]) * focal / (0.48 * width), np.abs(framed[:, 1]) * focal / (0.48 * height))
    away = max(float(np.quantile(reach - framed[:, 2], 0.99)), 1e-3)
    z = turned[:, 2] + away
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = focal * turned[:, 0] / z, focal * turned[:, 1] / z
        near = framed[:, 2] + away
        seen = near > 0
        middle_u, middle_v = (
            np.quantile(focal * framed[seen, i] / near[seen], (0.01, 0.99)).mean() if seen.any() else 0.0
            for i in (0, 1)
        )
    return u + np.float32(width / 2 - middle_u), v + np.float32(height / 2 - middle_v), z


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
