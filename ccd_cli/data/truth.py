"""Ground truth of real images: what a reader gives, and its crops, which keep every measured value as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ccd_cli.data.crops import Region, crop_map


class GroundTruth(Protocol):
    """The true disparity of one image: its unit, 1 / meter where `metric`, and its camera.

    `focal`: focal length in pixels of the image, None where nobody knows it.
    """

    @property
    def metric(self) -> bool:
        """Whether it is in 1 / meter, and not in a unit of its own."""
        ...

    @property
    def focal(self) -> float | None:
        """Focal length in pixels of the image, None where nobody knows it."""
        ...

    def crop(self, region: Region, size: int) -> np.ndarray:
        """Return the disparity of a square region at (size, size), float32, NaN where it is unknown."""
        ...


@dataclass(frozen=True)
class RenderedTruth:
    """Exact disparity float32 (H, W) of a rendered scene, in 1 / meter; sky is 0."""

    disparity: np.ndarray
    focal: float | None = None
    metric: bool = True

    def crop(self, region: Region, size: int) -> np.ndarray:
        """See `GroundTruth`: by area when smaller, else bilinear."""
        return crop_map(self.disparity, region, size)


@dataclass(frozen=True)
class MeasuredTruth:
    """Measured depth float32 (h, w) of an image of `shape` (H, W), NaN where it is unknown, infinite in the sky.

    It may have another size than the image, of the same view. `metric`: in meters, else in a unit of its own.
    """

    depth: np.ndarray
    shape: tuple[int, int]
    metric: bool
    focal: float | None = None

    def crop(self, region: Region, size: int) -> np.ndarray:
        """See `GroundTruth` and `crop_truth`."""
        depth = crop_truth(self.depth, self.shape, region, size)
        return np.divide(1.0, depth, where=depth > 0, out=np.full_like(depth, np.nan))


class Pairs(Protocol):
    """Images with ground truth, by number."""

    @property
    def paths(self) -> list[Path]:
        """Return the files of the images."""
        ...

    @property
    def names(self) -> list[Path]:
        """Return what each is called: its image, and its ground truth where the image has another one as well."""
        ...

    @property
    def metric(self) -> bool:
        """Whether all of the ground truth is in meters."""
        ...

    def read(self, number: int) -> tuple[np.ndarray, MeasuredTruth]:
        """Return (uint8 RGB (H, W, 3), its truth); raises ImageError for files that are damaged or do not belong together."""
        ...

    def truth(self, number: int, shape: tuple[int, int]) -> MeasuredTruth:
        """Return the truth of an image that was read, of (height, width) `shape`; raises ImageError as `read`."""
        ...

    def part(self, numbers: Sequence[int]) -> Pairs:
        """Return some of them, numbered anew in that order, without what only the others need."""
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
