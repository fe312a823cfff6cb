"""Nearest hits of camera rays."""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.scenes.render import intersect, terrain
from ccd_cli.scenes.render.intersect import Vec
from ccd_cli.scenes.render.packing import Scenes
from ccd_cli.scenes.render.tiles import SIDE, Grid, extents, pairs

NEAR = 0.02
"""Hits nearer than this, in meters, are ignored."""


def nearest(scenes: Scenes, origin: Vec, direction: Vec, intrinsics: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Return z-depth [B,T,S] (inf for sky) and the int32 index [B,T,S] of the primitive hit (0: the base)."""
    best = _base_hit(scenes, origin, direction)
    shape = best.shape
    best = best.reshape(-1, shape[2])
    index = torch.zeros_like(best, dtype=torch.int32)
    found = []
    for group in pairs(scenes.prims, _visible(scenes, intrinsics, grid)):
        start = (group.take(origin[0]), group.take(origin[1]), group.take(origin[2]))
        way = (group.take(direction[0]), group.take(direction[1]), group.take(direction[2]))
        enter, leave = group.span(start, way)
        enter = torch.where((enter <= leave) & (enter > NEAR), enter, torch.inf)
        tile = group.tile[:, None].expand_as(enter)
        best = best.scatter_reduce(0, tile, enter, "amin")
        found.append((group.number, tile, enter))
    for number, tile, enter in found:
        won = (enter == best[tile[:, 0]]) & (enter < torch.inf)
        index = index.scatter_reduce(0, tile, torch.where(won, number, 0), "amax")
    return best.reshape(shape), index.reshape(shape)


def _base_hit(scenes: Scenes, origin: Vec, direction: Vec) -> Tensor:
    tilt, waves = scenes.ground()
    if scenes.base == "plane":
        return terrain.plane_hit(origin, direction, tilt)
    if scenes.base == "terrain":
        return terrain.terrain_hit(origin, direction, tilt, waves, scenes.steepest[:, None, None])
    row = scenes.prims[:, 0, :, None, None].unbind(1)
    local = (origin[0] - row[0], origin[1] - row[1], origin[2] - row[2])
    inv = (intersect.inverse(direction[0]), intersect.inverse(direction[1]), intersect.inverse(direction[2]))
    return intersect.box(local, inv, (row[3], row[4], row[5]))[1]


def _visible(scenes: Scenes, intrinsics: Tensor, grid: Grid) -> Tensor:
    """Return which primitives can be visible in which tiles, [B,N,T], by their projected bounding boxes."""
    prims = scenes.prims.double()
    size = extents(prims)
    signs = torch.tensor([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], device=prims.device).double()
    arms = signs * size[:, :, None, :]  # [B,N,8,3] in the axes of the primitives
    axes = prims[..., 6:15].reshape(*prims.shape[:2], 1, 3, 3)
    corners = (arms[..., None] * axes).sum(-2) + (prims[..., :3] - scenes.origin.double()[:, None])[:, :, None]
    frame = scenes.frame.double()[:, None, None]
    right, up, forward = ((corners * frame[..., i, :]).sum(-1) for i in range(3))
    behind = (forward < 0.05).any(-1)
    away = (forward < 0).all(-1)
    fx, fy, cx, cy = (intrinsics[:, i, None, None].double() for i in range(4))
    depth = forward.clamp(min=0.05)
    x, y = right / depth * fx + cx, cy - up / depth * fy
    box = [b[..., None] for b in (x.amin(-1) - 1, x.amax(-1) + 1, y.amin(-1) - 1, y.amax(-1) + 1)]
    left, top = grid.column[:, None, :, 0], grid.row[:, None, :, 0]
    inside = (box[0] < left + SIDE) & (box[1] > left) & (box[2] < top + SIDE) & (box[3] > top)
    return (inside | behind[..., None]) & ~away[..., None]
