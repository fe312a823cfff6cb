"""Pictures of maps for eyes: near is warm, whatever the kind. They are no data: the raw formats are.

Colors follow *nearness*: disparity as it is; 1 / depth for depth and metric maps, as people know it from disparity pictures
(the near range, where the eye looks, gets most of the colors); minus depth for affine depth, whose 1 / d is undefined.
The default is inferno, perceptually uniform and readable in gray and for the color-blind; `Spectral` is what most papers
show. Invalid pixels are neutral gray, which is in none of these maps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.geometry.kinds import Kind

DEFAULT = "inferno"
INVALID = 128  # gray level of pixels without a value
LOW, HIGH = 0.02, 0.98  # quantiles of nearness that get the ends of the color map
_COLD_FIRST = frozenset({"Spectral", "RdYlBu", "RdYlGn", "RdBu", "RdGy", "PiYG", "PRGn", "BrBG", "PuOr"})
_MOST = 200_000  # pixels that a quantile is taken from

FOLLOW = 0.05  # part of the way to a frame's own range that a clip's range goes in one frame
STEP = 0.01  # and at most this part of its width


def nearness(values: NDArray[np.float32], valid: NDArray[np.bool_] | None, kind: Kind) -> NDArray[np.float32]:
    """Return float32 [H, W], larger = nearer, for a map of any kind; NaN where it is not known.

    Depth and metric at or below zero, where 1 / d is undefined, is not known.
    """
    known = np.isfinite(values) if valid is None else np.isfinite(values) & valid
    if kind in ("depth", "metric"):
        known &= values > np.finfo(np.float32).tiny
        return np.divide(np.float32(1), values, out=np.full(values.shape, np.nan, np.float32), where=known)
    if known.all():
        return values if kind == "disparity" else -values
    return np.where(known, values if kind == "disparity" else -values, np.float32(np.nan))


def color_range(near: NDArray[np.float32]) -> tuple[float, float]:
    """Return the 2 % and 98 % quantiles of the known nearness, from at most about 200 000 pixels; (0, 1) without any."""
    stride = max(1, int((near.size / _MOST) ** 0.5))
    known = near[::stride, ::stride]
    known = known[np.isfinite(known)]
    if not known.size:  # the only known pixels may lie between the strides
        known = near[np.isfinite(near)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.quantile(known, (LOW, HIGH))
    return float(low), float(high)


def colorize(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_] | None,
    kind: Kind,
    low: float | None = None,
    high: float | None = None,
    cmap: str = DEFAULT,
) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] of a map [H, W]: near = warm, invalid pixels gray.

    `low` and `high` are in units of `nearness` and get the ends of the color map (default: `color_range`); a map with no
    range gets its middle. `cmap` is any name that matplotlib knows. Raises UsageProblem for an unknown one.
    """
    table = color_table(cmap)
    near = nearness(values, valid, kind)
    if low is None or high is None:
        own = color_range(near)
        low, high = own[0] if low is None else low, own[1] if high is None else high
    width = float(high) - float(low)
    unknown = np.isnan(near)
    holes = bool(unknown.any())
    if width > 0 and 255.0 / width < 1e37:  # else: constant as far as float32 can tell
        level = near - np.float32(low)
        level *= np.float32(255.0 / width)
        np.clip(level, 0, 255, out=level)
        if holes:
            level[unknown] = 0.0
        codes = np.asarray(cv2.convertScaleAbs(level), np.uint8).reshape(near.shape)
    else:
        codes = np.full(near.shape, 128, np.uint8)
    picture = _looked_up(codes, table)
    if holes:
        picture[unknown] = INVALID
    return picture


def side_by_side(rgb: NDArray[np.uint8], color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return photo and colored map, uint8 [H, W, 3] both, as one strip [H, 2 W + gap, 3] with a thin white gap."""
    if rgb.shape != color.shape:
        raise UsageProblem(f"A photo of {rgb.shape[1]}x{rgb.shape[0]} and a map of {color.shape[1]}x{color.shape[0]}.")
    gap = np.full((rgb.shape[0], max(2, rgb.shape[1] // 100), 3), 255, np.uint8)
    return np.concatenate([rgb, gap, color], axis=1)


@lru_cache(maxsize=16)
def color_table(name: str) -> NDArray[np.uint8]:
    """Return the 256 colors [256, 3] of a matplotlib color map, from far to near.

    Diverging maps of papers that run from red to blue are turned, so that near is red. Raises UsageProblem, with names that
    are like it, for an unknown name.
    """
    from matplotlib import colormaps

    if name not in colormaps:
        hint = did_you_mean(name, colormaps, "Try inferno, magma, viridis, Spectral, turbo or gray.")
        raise UsageProblem(f"There is no color map '{name}'.", hint)
    spread = np.linspace(0, 1, 256)
    colors: Any = colormaps[name](spread[::-1] if name in _COLD_FIRST else spread)
    table = np.round(colors[:, :3] * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


class ClipRange:
    """One color range for a clip that follows what is seen so slowly that nobody sees it move.

    The first frame of a scene sets (low, high) to its 2 % and 98 % quantiles; afterward each end goes 5 % of the way to the
    frame's own, and at most 1 % of the range's width a frame. Only a scene cut, where the whole picture changes anyway, sets
    it anew.
    """

    def __init__(self) -> None:
        self._range: tuple[float, float] | None = None

    def update(self, near: NDArray[np.float32], cut: bool = False) -> tuple[float, float]:
        """Take a frame's `nearness` and return (low, high) for it; a frame without known pixels changes nothing."""
        if not np.isfinite(near).any():
            return self._range or (0.0, 1.0)
        own = color_range(near)
        if self._range is None or cut:
            self._range = own
        else:
            most = STEP * max(self._range[1] - self._range[0], 1e-3 * (own[1] - own[0]))
            low, high = (
                old + float(np.clip(FOLLOW * (new - old), -most, most))
                for old, new in zip(self._range, own, strict=True)
            )
            self._range = (low, max(low, high))
        return self._range

    def state(self) -> list[float] | None:
        """Return what `from_state` needs, as JSON."""
        return None if self._range is None else list(self._range)

    @classmethod
    def from_state(cls, state: list[float] | None) -> ClipRange:
        """Return the range that `state` describes."""
        made = cls()
        made._range = None if state is None else (float(state[0]), float(state[1]))
        return made


def _looked_up(codes: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same as table[codes], ten times faster for large pictures."""
    return np.asarray(cv2.applyColorMap(codes, table[:, None, :]), np.uint8)
