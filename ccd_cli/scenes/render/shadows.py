"""Cast shadows and contact darkening (ambient occlusion near other primitives)."""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.scenes.render import intersect
from ccd_cli.scenes.render.draft import PRIM
from ccd_cli.scenes.render.intersect import Vec
from ccd_cli.scenes.render.packing import Scenes
from ccd_cli.scenes.render.tiles import Pairs, extents, pairs, turn

_CONTACT = 0.35
"""Reach, in meters, of the darkening around a contact."""

_UNIT = 1 << 16  # darkening is summed as integers, so that the result does not depend on the order


def shadows(scenes: Scenes, point: Vec, index: Tensor, lit: Tensor, sky: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for points [B,T,S], whether `lamp` reaches them, and their openness 0..1 near contacts.

    `index` is the primitive that a point lies on, which does not darken itself. Points with `lit` False are skipped for
    shadows, those with `sky` True for both.
    """
    shape = index.shape
    hidden = torch.zeros(index.numel() // shape[2], shape[2], dtype=torch.int32, device=index.device)
    dark = torch.zeros_like(hidden)
    shaded, touched = _reached(scenes, point, lit, sky)
    lamp, is_point = scenes.triple("lamp"), scenes.value("lamp_point")
    end = torch.where(is_point > 0, 0.999, torch.inf)
    for group in pairs(scenes.prims, shaded):
        spot = _take(group, point)
        at, near = _take(group, lamp), group.take(is_point)
        way = (at[0] - near * spot[0], at[1] - near * spot[1], at[2] - near * spot[2])
        enter, leave = group.span(spot, way)
        blocked = (enter <= leave) & (leave > 1e-4) & (enter < group.take(end)) & (group.take(index) != group.number)
        hidden = hidden.scatter_reduce(0, _tile(group, blocked), blocked.to(torch.int32), "amax")
    for group in pairs(scenes.prims, touched):
        local = group.place(_take(group, point))
        x, y, z = ((p.abs() - h).clamp(min=0) for p, h in zip(local, group.half, strict=True))
        near = (1 - (x * x + y * y + z * z) * (1 / _CONTACT**2)).clamp(min=0)
        thin = (torch.minimum(torch.minimum(group.half[0], group.half[1]), group.half[2]) * 8).clamp(0.1, 1)
        part = torch.where(group.take(index) != group.number, near * near * thin * _UNIT, 0.0).to(torch.int32)
        dark = dark.scatter_add(0, _tile(group, part), part)
    return (hidden == 0).reshape(shape), 1 / (1 + dark.reshape(shape).float() * (0.9 / _UNIT))


def _take(group: Pairs, vector: Vec) -> Vec:
    return group.take(vector[0]), group.take(vector[1]), group.take(vector[2])


def _tile(group: Pairs, like: Tensor) -> Tensor:
    return group.tile[:, None].expand_as(like)


def _reached(scenes: Scenes, point: Vec, lit: Tensor, sky: Tensor) -> tuple[Tensor, Tensor]:
    """Which primitives can shade points of which tiles, and which can darken them by contact: [B,N,T] each.

    A tile's points are bounded by a sphere; a primitive's box, enlarged by the sphere's radius, must intersect the segment
    from the sphere's center to the lamp, or the sphere itself.
    """
    low = [torch.where(sky, torch.inf, p).amin(2)[:, None] for p in point]
    high = [torch.where(sky, -torch.inf, p).amax(2)[:, None] for p in point]
    used = torch.isfinite(low[0])
    x, y, z = (torch.where(used, (a + b) / 2, 0.0) for a, b in zip(low, high, strict=True))
    arms = [torch.where(used, b - a, 0.0) for a, b in zip(low, high, strict=True)]
    radius = torch.sqrt(arms[0] * arms[0] + arms[1] * arms[1] + arms[2] * arms[2]) * 0.501 + 1e-3
    row = scenes.prims[..., None].unbind(2)
    frame = list(row[6:15])
    is_point = scenes.value("lamp_point")
    lamp = scenes.triple("lamp")
    way = turn((lamp[0] - is_point * x, lamp[1] - is_point * y, lamp[2] - is_point * z), frame, True)
    local = turn((x - row[0], y - row[1], z - row[2]), frame, True)
    hx, hy, hz = extents(scenes.prims)[..., None].unbind(2)
    inv = (intersect.inverse(way[0]), intersect.inverse(way[1]), intersect.inverse(way[2]))
    enter, leave = intersect.box(local, inv, (hx + radius, hy + radius, hz + radius))
    casts = used & (row[PRIM.index("casts")] > 0)
    shaded = casts & lit.any(2)[:, None] & (enter <= leave) & (leave > 0)
    shaded &= (enter < 1) | (is_point == 0)
    gx, gy, gz = ((p.abs() - h).clamp(min=0) for p, h in zip(local, (hx, hy, hz), strict=True))
    reach = radius + _CONTACT
    return shaded, casts & (gx * gx + gy * gy + gz * gz < reach * reach)
