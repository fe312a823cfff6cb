"""What a sensor measured wrong: depth mixed at edges, and points seen past them from beside the camera."""

from __future__ import annotations

import cv2
import numpy as np

from ccd_cli.data.corruptions import EDGE, Map, boundaries


def without_edges(depth: Map, pixels: int) -> Map:
    """Return depth [H,W] that is NaN within `pixels` of a depth edge, on both sides of it; what is infinitely far stays.

    An edge lies between neighbors whose depths differ by more than the factor `EDGE`; 0 pixels leaves the map as it is.
    """
    if not pixels:
        return depth
    known = np.isfinite(depth) & (depth > 0)
    disparity = np.divide(1.0, depth, where=known, out=np.zeros_like(depth))
    on_edge = boundaries(disparity, known).astype(np.uint8)
    wide = cv2.dilate(on_edge, np.ones((2 * pixels - 1, 2 * pixels - 1), np.uint8)) > 0
    return np.where(wide & known, np.float32(np.nan), depth)


def without_seen_past(depth: Map, radius: int) -> Map:
    """Return depth [H,W] that is NaN where a point at most `radius` rows and columns away is nearer by more than the factor `EDGE`.

    What is infinitely far stays; a radius of 0 leaves the map as it is.
    """
    if not radius:
        return depth
    known = np.isfinite(depth) & (depth > 0)
    side = 2 * radius + 1
    nearest = cv2.erode(np.where(known, depth, np.float32(3e38)), np.ones((side, side), np.uint8))
    return np.where(known & (depth > EDGE * nearest), np.float32(np.nan), depth)
