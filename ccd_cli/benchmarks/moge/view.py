"""MoGe's view of a sample: turned so that the optical axis meets the picture's middle, cut and scaled to one size.

Written from the rules of MoGe's evaluation loader and checked against its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.benchmarks.decode import FloatMap
from ccd_cli.core.errors import ImageError

FARTHEST = 1000.0
"""Depth beyond this many times the nearest one per cent is dropped."""
TINY = 1e-12

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]


LEAST = 1 / 8
"""Share of the picture's width and height that a view has at least; no real camera looks past the middle of its picture so far."""


@dataclass(frozen=True)
class View:
    """What the loader gives: `focal` are (fx, fy) in shares of width and height, the principal point is the middle."""

    rgb: NDArray[np.uint8]
    depth: FloatMap
    mask: Mask
    focal: tuple[float, float]


def rectify(rgb: NDArray[np.uint8], depth: FloatMap, camera: Matrix, size: tuple[int, int]) -> View:
    """Return the view at (height, width) `size` of a photo [h, w, 3] with depth [h, w] (not finite: invalid).

    `camera` is 3x3 in shares of width and height. Raises ImageError where the view is empty.
    """
    height, width = size
    turn = _turn_to_axis(np.linalg.inv(camera) @ np.array([0.5, 0.5, 1.0]))
    wide, high = _field(camera, turn, width / height)
    target = np.array([[1 / wide, 0, 0.5], [0, 1 / high, 0.5], [0, 0, 1]])
    shares = wide * camera[0, 0], high * camera[1, 1]
    if not min(shares) >= LEAST:
        raise ImageError("its camera leaves no view")
    scaled = int(width / shares[0]), int(height / shares[1])
    photo = np.asarray(Image.fromarray(rgb).resize(scaled, Image.Resampling.LANCZOS))
    finite = np.isfinite(depth)
    near, known = masked_nearest(np.where(finite, depth, 1.0).astype(np.float32), finite, (scaled[1], scaled[0]))
    distance = (near * _ray_lengths(camera, near.shape)).astype(np.float32)
    x, y = _source_pixels(camera @ np.linalg.inv(turn) @ np.linalg.inv(target), size, scaled)
    seen = cv2.remap(distance, x, y, interpolation=cv2.INTER_NEAREST) / (_ray_lengths(target, size) + TINY)
    mask = cv2.remap(known.astype(np.uint8), x, y, interpolation=cv2.INTER_NEAREST) > 0
    if not mask.any():
        raise ImageError("no pixel of its depth is known in the view that is scored")
    mask &= seen <= np.quantile(seen[mask], 0.01) * FARTHEST
    color = cv2.remap(photo, x, y, interpolation=cv2.INTER_LINEAR)
    return View(color.astype(np.uint8), seen.astype(np.float32), mask, (1 / wide, 1 / high))


def masked_nearest(values: FloatMap, mask: Mask, size: tuple[int, int]) -> tuple[FloatMap, Mask]:
    """Shrink or enlarge `values` [h, w] to (H, W) `size`: a cell takes the valid pixel of its window that is nearest to
    its center, the first in reading order where several are; a cell without one is invalid.

    When enlarging, the window is one pixel: a valid pixel is given to cells whose center is in it.
    """
    rows, row_far = _window(values.shape[0], size[0])
    columns, column_far = _window(values.shape[1], size[1])
    best = np.full(size, np.inf)
    result = np.zeros(size, dtype=np.float32)
    for i in range(rows.shape[1]):
        for j in range(columns.shape[1]):
            r, c = rows[:, i].clip(0, mask.shape[0] - 1), columns[:, j].clip(0, mask.shape[1] - 1)
            inside = np.outer(rows[:, i] == r, columns[:, j] == c) & mask[r][:, c]
            far = row_far[:, i, None] ** 2 + column_far[None, :, j] ** 2
            closer = inside & (far < best)
            np.copyto(best, far, where=closer)
            np.copyto(result, values[r][:, c], where=closer)
    return result, np.isfinite(best)


def _window(length: int, cells: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return ([cells, n] source indices of each cell's window, [cells, n] their distance to the cell's center)."""
    step = max(1.0, length / cells)
    center = (np.arange(cells) + 0.5) * (length / cells)
    first = np.round(center - step / 2).astype(np.int64)
    index = first[:, None] + np.arange(ceil(step))
    return index, index + 0.5 - center[:, None]


def _turn_to_axis(direction: Matrix) -> Matrix:
    """Return the smallest rotation that takes `direction` to (0, 0, 1)."""
    x, y, z = direction / np.linalg.norm(direction)
    across = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    return np.eye(3) + across + across @ across / (1 + z)


def _field(camera: Matrix, turn: Matrix, aspect: float) -> tuple[float, float]:
    """Return the view's (width, height) at depth 1: the largest of that aspect inside the turned picture."""
    corners = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1]]) @ (np.linalg.inv(camera).T @ turn.T)
    flat = corners[:, :2] / corners[:, 2:]
    reach = [1 / camera[0, 0], aspect / camera[1, 1]]
    for start, end in zip(np.roll(flat, 1, axis=0), flat, strict=True):
        for diagonal in ((aspect, 1.0), (aspect, -1.0)):
            sides = np.array([diagonal, start - end]).T
            if abs(np.linalg.det(sides)) > TINY:
                reach.append(2 * aspect * abs(np.linalg.solve(sides, start)[0]))
    wide = float(min(reach))
    return wide, wide / aspect


def _grid(size: tuple[int, ...]) -> Matrix:
    """Return [H, W, 3] (u, v, 1) of the pixel centers in shares of width and height."""
    u, v = np.meshgrid((np.arange(size[1]) + 0.5) / size[1], (np.arange(size[0]) + 0.5) / size[0])
    return np.stack([u, v, np.ones_like(u)], axis=-1)


def _ray_lengths(camera: Matrix, size: tuple[int, ...]) -> Matrix:
    """Return [H, W]: the length of each pixel's ray at depth 1."""
    return np.asarray(np.linalg.norm(_grid(size) @ np.linalg.inv(camera).T, axis=-1))


def _source_pixels(transform: Matrix, size: tuple[int, int], scaled: tuple[int, int]) -> tuple[FloatMap, FloatMap]:
    """Return (x, y) [H, W]: where each pixel of the view lies in the picture of (width, height) `scaled`."""
    points = _grid(size) @ transform.T
    u, v = points[..., 0] / (points[..., 2] + TINY), points[..., 1] / (points[..., 2] + TINY)
    return (u * scaled[0] - 0.5).astype(np.float32), (v * scaled[1] - 0.5).astype(np.float32)
