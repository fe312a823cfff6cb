"""Pinhole unprojection and projection, flying pixels, and normals from depth maps.

Points are in camera coordinates, the unit of the depth: x right, y down, z forward (OpenCV). Depth is z, not distance
along the ray. Pixel (0, 0) has its center at (0.5, 0.5). Depth [H, W] is float32 with NaN where invalid.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.geometry.depth_map import Camera

EDGE_JUMP = 0.03
"""Fraction of the nearer depth by which a flying pixel differs from both neighbors."""
EDGE_REACH = 9
"""Pixels: edges blurred over fewer pixels than this are detected; a longer slope counts as a surface."""
NORMAL_RADIUS = 3
"""Pixels on each side of the window in which planes are fitted."""
NORMAL_BAND = 0.03
"""Fraction of the center's inverse depth by which a pixel of its window may differ, per pixel of distance."""

Floats = NDArray[np.float32]


def unproject(depth: Floats, camera: Camera) -> Floats:
    """Return points float32 [H, W, 3] of a z-depth map: ((u - cx) / fx * z, (v - cy) / fy * z, z); NaN stays NaN."""
    height, width = depth.shape
    x = ((np.arange(width) + 0.5 - camera.cx) / camera.fx).astype(np.float32)
    y = ((np.arange(height) + 0.5 - camera.cy) / camera.fy).astype(np.float32)
    return np.stack([depth * x[None, :], depth * y[:, None], depth], axis=-1)


def project(points: NDArray[np.floating], camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (pixel positions [N, 2] as (u, v), depth [N]) of points [N, 3] in front of the camera (z > 0)."""
    x, y, z = points.astype(np.float64).T
    return np.stack([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy], axis=-1), z


def flying_pixels(
    depth: Floats, upsampling: float = 1.0, jump: float = EDGE_JUMP, reach: int = EDGE_REACH
) -> NDArray[np.bool_]:
    """Return bool [H, W], True where a pixel lies between two surfaces at a depth edge (flying pixel).

    Along rows and along columns, a difference between neighbors counts when it exceeds the fraction `jump` of the nearer
    depth *after* differences that persist for `reach` pixels or more are removed (white top-hat of the differences of
    1 / z). On a plane 1 / z is linear in the image, so a floor or wall retains all its pixels at any slant. A pixel is
    flying when it has such differences of one sign (both farther or both nearer) on both sides; next to an invalid pixel
    one side is enough. Both sides of a sharp step, and thin objects in front of both neighbors, are retained.

    `upsampling` is the upsampling factor of the map: its pixels per pixel of the network's output. An enlarged map has
    edges that much wider, so it is tested, and masked, in blocks of that size.
    """
    block = max(1, min(round(upsampling), *(side // 2 for side in depth.shape)))
    coarse = depth[block // 2 :: block, block // 2 :: block]
    inverse: Floats = np.reciprocal(coarse)
    flying = _flying_along_rows(inverse, jump, reach) | _flying_along_rows(inverse.T, jump, reach).T
    if block == 1:
        return flying
    rows, columns = (
        np.minimum(np.arange(side) // block, n - 1) for side, n in zip(depth.shape, flying.shape, strict=True)
    )
    return flying[np.ix_(rows, columns)] & ~np.isnan(depth)


def _flying_along_rows(inverse: Floats, jump: float, reach: int) -> NDArray[np.bool_]:
    if inverse.shape[1] < 3:
        return np.zeros(inverse.shape, bool)
    step = np.diff(inverse, axis=1)
    missing = np.isnan(step)
    size = np.where(missing, np.float32(0), np.abs(step))
    kernel = np.ones((1, reach), np.uint8)
    peak = cv2.morphologyEx(np.ascontiguousarray(size), cv2.MORPH_TOPHAT, kernel)
    with np.errstate(invalid="ignore"):
        big = ~missing & (peak > jump * np.minimum(inverse[:, 1:], inverse[:, :-1]))
        up, down = big & (step > 0), big & (step < 0)
    flying = np.zeros(inverse.shape, bool)
    left, right = np.s_[:, :-1], np.s_[:, 1:]
    flying[:, 1:-1] = (up[left] & up[right]) | (down[left] & down[right])
    flying[:, 1:-1] |= (big[left] & missing[right]) | (missing[left] & big[right])
    return flying & ~np.isnan(inverse)


def normals_from_depth(depth: Floats, camera: Camera) -> Floats:
    """Return unit normals float32 [H, W, 3] that face the camera; NaN where depth is NaN.

    A plane n . X = 1 is, in the image, 1 / z = n_x (u - cx) / fx + n_y (v - cy) / fy + n_z: so a least-squares plane
    fit of 1 / z in a 7 x 7 window is exact on planes of any slant. Pixels of other surfaces (differing from the center's
    1 / z by more than 3 % per pixel of distance) are excluded. Using the pixel grid is faster than a nearest-neighbor
    search in 3D, and the orientation is unambiguous. A pixel without two neighbors in different directions gets
    (0, 0, -1).
    """
    inverse = np.where(np.isnan(depth), np.float32(0), np.reciprocal(depth))
    normals = np.empty((*depth.shape, 3), np.float32)
    rows = 256
    padded = np.pad(inverse, NORMAL_RADIUS)
    for top in range(0, depth.shape[0], rows):
        band = padded[top : top + rows + 2 * NORMAL_RADIUS]
        normals[top : top + rows] = _band_normals(band, camera, top)
    normals[np.isnan(depth)] = np.nan
    return normals


def _band_normals(padded: Floats, camera: Camera, top: int) -> Floats:
    """Normals of the rows from `top` on, from inverse depth padded by the radius; 0 = invalid."""
    r = NORMAL_RADIUS
    height, width = padded.shape[0] - 2 * r, padded.shape[1] - 2 * r
    center = padded[r : r + height, r : r + width]
    sums = [np.zeros((height, width), np.float32) for _ in range(9)]
    for dv in range(-r, r + 1):
        for du in range(-r, r + 1):
            there = padded[r + dv : r + dv + height, r + du : r + du + width]
            change = there - center
            reach = np.float32(NORMAL_BAND * np.hypot(du, dv))
            weight = ((there > 0) & (np.abs(change) <= reach * center)).astype(np.float32)
            change *= weight
            moments = ((weight, 1), (weight, du), (weight, dv), (weight, du * du), (weight, du * dv), (weight, dv * dv))
            for total, (part, factor) in zip(sums, (*moments, (change, 1), (change, du), (change, dv)), strict=True):
                if factor:
                    total += part * np.float32(factor)
    return _to_normals(_solve_planes(sums), center, camera, top)


def _solve_planes(sums: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return (slope per pixel to the right, slope per pixel down, offset at the center) from the nine weighted sums."""
    s, su, sv, suu, suv, svv, sd, sdu, sdv = sums
    s = np.maximum(s, np.float32(1))
    cuu, cuv, cvv = suu - su * su / s, suv - su * sv / s, svv - sv * sv / s
    cdu, cdv = sdu - sd * su / s, sdv - sd * sv / s
    determinant = cuu * cvv - cuv * cuv
    solvable = determinant > 0.1
    safe = np.where(solvable, determinant, np.float32(1))
    right = np.where(solvable, (cdu * cvv - cdv * cuv) / safe, np.float32(0))
    down = np.where(solvable, (cdv * cuu - cdu * cuv) / safe, np.float32(0))
    offset = np.asarray((sd - right * su - down * sv) / s, np.float32)
    return right, down, offset


def _to_normals(planes: tuple[Floats, Floats, Floats], center: Floats, camera: Camera, top: int) -> Floats:
    right, down, offset = planes
    height, width = center.shape
    x = (np.arange(width) + 0.5 - camera.cx).astype(np.float32)
    y = (np.arange(top, top + height) + 0.5 - camera.cy).astype(np.float32)
    nx, ny = right * np.float32(camera.fx), down * np.float32(camera.fy)
    nz = center + offset - right * x[None, :] - down * y[:, None]
    normals = np.stack([nx, ny, nz], axis=-1)
    return -normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), np.float32(1e-30))
