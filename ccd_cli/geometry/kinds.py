"""The kinds of depth map, with direction and unit. Imports no torch, because model cards and recipes use it."""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal["disparity", "depth", "affine-depth", "metric"]
KINDS: tuple[str, ...] = get_args(Kind)

DIRECTION: dict[str, str] = {
    "disparity": "larger = nearer",
    "depth": "larger = farther",
    "affine-depth": "larger = farther",
    "metric": "larger = farther",
}
UNIT: dict[str, str] = {
    "disparity": "relative, unknown scale and shift",
    "depth": "relative, unknown scale",
    "affine-depth": "relative, unknown scale and shift",
    "metric": "meter",
}

NEAR, FAR = 0.5, 20.0
"""Meters on which the 99 % and 1 % disparity quantiles land where nothing better is known."""
