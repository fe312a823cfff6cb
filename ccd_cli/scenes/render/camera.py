"""Pinhole camera: intrinsics and the rays of all pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ccd_cli.scenes.render.intersect import Vec
from ccd_cli.scenes.render.packing import Scenes
from ccd_cli.scenes.render.tiles import Grid


def intrinsics(fov: Tensor, height: int, width: int) -> Tensor:
    """Return [B,4] fx, fy, cx, cy in pixels for the field of view (radians) of the longer side."""
    focal = [max(height, width) / 2 / math.tan(angle / 2) for angle in fov.tolist()]
    return torch.tensor([[f, f, width / 2, height / 2] for f in focal], device=fov.device)


def rays(scenes: Scenes, intrinsics: Tensor, grid: Grid) -> tuple[Vec, Vec]:
    """Return origins ([B,1,1] each) and directions ([B,T,S] each) of the pixel centers in world coordinates.

    Directions have length 1 along the optical axis, so that the ray parameter t is z-depth in meters.
    """
    fx, fy, cx, cy = (intrinsics[:, i, None, None] for i in range(4))
    x = (grid.column + 0.5 - cx) / fx
    y = (grid.row + 0.5 - cy) / fy
    right, up, forward = (scenes.frame[:, i, :, None, None] for i in range(3))
    dx, dy, dz = (x * right[:, i] - y * up[:, i] + forward[:, i] for i in range(3))
    ox, oy, oz = (scenes.origin[:, i, None, None] for i in range(3))
    return (ox, oy, oz), (dx, dy, dz)
