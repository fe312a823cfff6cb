"""Ground truth of real images: what a reader gives, and its crops, which keep every measured value as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ccd_cli.data.crops import Region


@dataclass(frozen=True)
class Truth:
    """Measured depth of one image: float32 (h, w), NaN where it is unknown.

    It may have another size than the image, of the same view. `metric`: in meters, else in a unit of its own. `focal`: focal length
    in pixels of the *image*, None where nobody knows it.
    """

    depth: np.ndarray
    metric: bool
    focal: float | None = None


class Pairs(Protocol):
    """Images with ground truth, by number."""

    paths: list[Path]

    def read(self, index: int) -> tuple[np.ndarray, Truth]:
        """Return (uint8 RGB (H, W, 3), its truth); raises ImageError for files that are damaged or do not belong together."""
        ...

    @property
    def digest(self) -> str:
        """Return a hash of the pairs and of what their numbers mean."""
        ...


def crop_truth(truth: np.ndarray, shape: tuple[int, int], region: Region, size: int) -> np.ndarray:
    """Return the truth of a square region of an image of `shape` (H, W) at (size, size), float32, NaN where it is unknown.

    Values are never mixed: across an edge a mean would be a depth that is nowhere. Where the crop gets smaller, each of its pixels
    has the known value nearest to its center among those that fall into it, so that sparse points are not lost between samples;
    where it gets larger, the value of the pixel that its center falls into.
    """
    height, width = truth.shape
    down, across = height / shape[0], width / shape[1]  # pixels of the truth for one of the image
    if region.side * max(down, across) <= size:
        rows = _sources(region.top, region.side, size, down, height)
        columns = _sources(region.left, region.side, size, across, width)
        return np.ascontiguousarray(truth[rows[:, None], columns], np.float32)
    y, x = np.nonzero(np.isfinite(truth))
    v = ((y + 0.5) / down - region.top) * (size / region.side)  # in pixels of the crop
    u = ((x + 0.5) / across - region.left) * (size / region.side)
    inside = (v >= 0) & (v < size) & (u >= 0) & (u < size)
    y, x, v, u = y[inside], x[inside], v[inside], u[inside]
    row, column = v.astype(np.intp), u.astype(np.intp)
    distance = (v - row - 0.5) ** 2 + (u - column - 0.5) ** 2
    farthest_first = np.lexsort((x, y, -distance))  # what is written last stays
    made = np.full((size, size), np.nan, np.float32)
    made[row[farthest_first], column[farthest_first]] = truth[y[farthest_first], x[farthest_first]]
    if np.isinf(truth).any():  # sky: infinitely far, known, and behind whatever else falls into the pixel
        made = np.where(np.isnan(made), _sky(truth, shape, region, size), made)
    return made


def _sky(truth: np.ndarray, shape: tuple[int, int], region: Region, size: int) -> np.ndarray:
    """Infinity (size, size) where the pixel that a center falls into is infinitely far, NaN elsewhere."""
    height, width = truth.shape
    rows = _sources(region.top, region.side, size, height / shape[0], height)
    columns = _sources(region.left, region.side, size, width / shape[1], width)
    found = truth[rows[:, None], columns]
    return np.where(np.isposinf(found), found, np.float32(np.nan))


def _sources(first: int, side: int, size: int, per_pixel: float, count: int) -> np.ndarray:
    """The row or column of the truth that the center of each of `size` pixels of a crop falls into."""
    centers = (first + (np.arange(size) + 0.5) * (side / size)) * per_pixel
    return np.clip(centers.astype(np.intp), 0, count - 1)
