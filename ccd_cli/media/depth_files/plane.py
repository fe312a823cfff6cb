"""One channel of numbers from a file, before anybody said what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import ImageError
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.media.photos import MAX_PIXELS

DEPTH_NAMES = ("depth", "z")
"""Names, in small letters, of the array or channel that is taken where a file holds several."""
_INVERSE = ("disparity", "disp", "inverse_depth", "inv_depth", "inversedepth", "invdepth")


@dataclass(frozen=True)
class RawMap:
    """A map as a file holds it: `values` float32 [H, W] in the file's own unit.

    `bits`: of a whole number in the file (1: a mask), None for floating point. `valid` [H, W] and `camera`, where the file
    has them. `name` is that of the array or channel, where it was chosen among several. `notes` are sentences about what the
    file says and is not applied.
    """

    values: NDArray[np.float32]
    bits: int | None = None
    valid: NDArray[np.bool_] | None = None
    camera: Camera | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def inverse(self) -> bool:
        """Whether its name says disparity."""
        return self.name.lower() in _INVERSE

    @property
    def looks_like_codes(self) -> bool:
        """Whether all values are whole and most are over 100: millimeters or codes, and hardly meters."""
        known = self.values[np.isfinite(self.values) & (self.values > 0)]
        return known.size > 0 and float(np.median(known)) > 100 and bool((known == np.rint(known)).all())


def plane(values: np.ndarray, path: Path, name: str = "") -> RawMap:
    """Return a map of an array [H, W] with any number of axes of length 1; raises ImageError for anything else."""
    shape = "x".join(map(str, values.shape))
    check_size(values.shape, path)
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise ImageError(f"{path}: not a map of numbers ({values.dtype} {shape})")
    sides = [side for side in values.shape if side != 1]
    if len(sides) > 2:
        raise ImageError(f"{path}: not a map of one channel ({shape})")
    if len(sides) < 2:
        raise ImageError(f"{path}: not a map, but a row of numbers ({shape})")
    kind = values.dtype.kind
    bits = None if kind == "f" else 1 if kind == "b" else 8 * values.dtype.itemsize
    with np.errstate(over="ignore"):
        return RawMap(np.array(values, np.float32).reshape(sides), bits, name=name)


def check_size(shape: Sequence[int], path: Path) -> None:
    """Raise ImageError for a shape beyond the limit of pixels, before memory is taken."""
    if math.prod(shape) > MAX_PIXELS:
        raise ImageError(f"{path}: {'x'.join(map(str, shape))} is over {MAX_PIXELS // 1_000_000} megapixels")


def is_plane(shape: Sequence[int], kind: str = "f") -> bool:
    """Tell whether an array of a shape and a dtype's kind letter can be a map; a camera's matrix is none."""
    sides = [side for side in shape if side != 1]
    return kind in "fiu" and len(shape) <= 4 and len(sides) == 2 and 0 not in sides and max(sides) > 4


def choose(names: Sequence[str], maps: Sequence[str], key: str | None, path: Path) -> str:
    """Return which array of a file is the depth: `key` if given, one called depth, or the only map among them.

    `maps` are those of `names` whose shape is one of a map. Raises ImageError that lists them all.
    """
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    if key is not None:
        if key in names:
            return key
        raise ImageError(f"{path}: no '{key}' in it ({listed or 'empty'})")
    called = [name for name in names if name.rpartition("/")[2].lower() in DEPTH_NAMES]
    found = called if len(called) == 1 else list(maps)
    if len(found) == 1:
        return found[0]
    raise ImageError(
        f"{path}: no array 'depth' in it, nor a single map ({listed or 'empty'}); say which one: --depth-key NAME"
    )
