"""Where teacher and student look: square regions of a photo and patches of a region (Distill Any Depth, section 3.2).

Boxes come from a generator alone, so that labels made earlier and a run that resumes see the same ones.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np


class Region(NamedTuple):
    """A square of a photo in whole pixels: rows top..top+side, columns left..left+side."""

    top: int
    left: int
    side: int


class Patch(NamedTuple):
    """A square of a region as fractions of its side: all of top, left, side and their sums lie in [0, 1]."""

    top: float
    left: float
    side: float


def draw_region(rng: np.random.Generator, height: int, width: int, min_side: int) -> Region:
    """Draw a square with its side uniform in [min_side, shorter side], or the whole shorter side of a smaller photo."""
    shorter = min(height, width)
    side = int(rng.integers(min(min_side, shorter), shorter + 1))
    return Region(int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1)), side)


def draw_patches(rng: np.random.Generator, count: int, low: float, high: float) -> list[Patch]:
    """Draw patches with sides uniform in [low, high] of the region, anywhere inside it; they may overlap."""
    sides = rng.uniform(low, high, size=count)
    return [Patch(float(rng.uniform(0, 1 - s)), float(rng.uniform(0, 1 - s)), float(s)) for s in sides]


def draw_boxes(
    rng: np.random.Generator, height: int, width: int, min_side: int, patches: int, low: float, high: float
) -> tuple[Region, Region, list[Patch]]:
    """Draw (shared region, own region, patches) of a photo, always all three and in this order."""
    region = draw_region(rng, height, width, min_side)
    own = draw_region(rng, height, width, min_side)
    return region, own, draw_patches(rng, patches, low, high)


def inside(region: Region, patch: Patch) -> Region:
    """Return the patch in whole photo pixels; never outside the region."""
    side = min(max(1, round(patch.side * region.side)), region.side)
    top = min(round(patch.top * region.side), region.side - side)
    left = min(round(patch.left * region.side), region.side - side)
    return Region(region.top + top, region.left + left, side)


def footprint(region: Region, part: Region) -> Patch:
    """Return a pixel box as fractions of the region: the exact footprint of what was cropped."""
    return Patch(
        (part.top - region.top) / region.side, (part.left - region.left) / region.side, part.side / region.side
    )


def crop_image(photo: np.ndarray, region: Region, size: int) -> np.ndarray:
    """Crop a region out of uint8 (H, W, 3) and resize it to (size, size, 3): by area when smaller, else bicubic."""
    return _crop(photo, region, size, cv2.INTER_CUBIC)


def crop_map(values: np.ndarray, region: Region, size: int) -> np.ndarray:
    """Crop a region out of a float32 map (H, W) and resize it to (size, size): by area when smaller, else bilinear."""
    return _crop(values, region, size, cv2.INTER_LINEAR)


def _crop(pixels: np.ndarray, region: Region, size: int, enlarge: int) -> np.ndarray:
    square = pixels[region.top : region.top + region.side, region.left : region.left + region.side]
    if region.side == size:
        return np.ascontiguousarray(square)
    interpolation = cv2.INTER_AREA if size < region.side else enlarge
    return cv2.resize(square, dsize=(size, size), interpolation=interpolation)
