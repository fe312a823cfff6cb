"""Procedural ground: a tilted plane plus smooth waves, and its intersection with rays."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ccd_cli.scenes.render import intersect
from ccd_cli.scenes.render.intersect import Vec

FAR = 1000.0
"""Ground beyond this z-depth, in meters, counts as sky."""

_ROUNDS, _STEPS, _HALVINGS = 7, 8, 5


def heights(x: Tensor, z: Tensor, tilt: Vec, waves: tuple[Tensor, ...]) -> Tensor:
    """Ground height in meters at (x, z); tilt is (slope x, slope z, offset), each wave [4,B,1,1] with its columns."""
    total = tilt[0] * x + tilt[1] * z + tilt[2]
    for amplitude, fx, fz, phase in waves:
        u = fx * x + fz * z + phase
        u = u - torch.floor(u) - 0.5
        total = total + amplitude * (u * (0.5 - u.abs()))
    return total


def slopes(x: Tensor, z: Tensor, tilt: Vec, waves: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Derivatives of the ground height along x and z."""
    along_x, along_z = tilt[0].expand_as(x), tilt[1].expand_as(x)
    for amplitude, fx, fz, phase in waves:
        u = fx * x + fz * z + phase
        u = u - torch.floor(u) - 0.5
        rate = amplitude * (0.5 - 2 * u.abs())
        along_x, along_z = along_x + fx * rate, along_z + fz * rate
    return along_x, along_z


def plane_hit(origin: Vec, direction: Vec, tilt: Vec) -> Tensor:
    """Distance t of each ray to the tilted plane, inf where it points away or beyond FAR."""
    above = origin[1] - tilt[0] * origin[0] - tilt[1] * origin[2] - tilt[2]
    fall = tilt[0] * direction[0] + tilt[1] * direction[2] - direction[1]
    t = above * intersect.inverse(fall)
    return torch.where((fall > 0) & (t < FAR), t, torch.inf)


def terrain_hit(origin: Vec, direction: Vec, tilt: Vec, waves: tuple[Tensor, ...], steepest: Tensor) -> Tensor:
    """Distance t of each ray to the ground, inf where there is no hit within FAR; directions are [B,T,S].

    Step lengths are bounded by the steepest slope, and at least a tenth of the distance so far; the crossing is refined by
    bisection and then false position, to about float32 precision. Only rays without a hit are advanced.
    """
    shape = direction[0].shape
    closing = steepest * torch.sqrt(direction[0] * direction[0] + direction[2] * direction[2]) - direction[1]
    rays = (closing > 1e-4).reshape(-1).nonzero()[:, 0]
    best = torch.full((closing.numel(),), torch.inf, device=closing.device)
    low = torch.full(rays.shape, 0.05, device=closing.device)
    found = []
    for _ in range(_ROUNDS):
        above = _gap(rays, origin, direction, tilt, waves)
        rate = intersect.inverse(closing.reshape(-1)[rays])
        gap = above(low)
        high, gap_high = torch.full_like(low, torch.inf), torch.zeros_like(low)
        for _ in range(_STEPS):
            t = low + torch.maximum(gap * rate, 0.02 + 0.1 * low)
            new = above(t)
            open_ = torch.isinf(high)
            below = open_ & (new <= 0)
            high, gap_high = torch.where(below, t, high), torch.where(below, new, gap_high)
            ahead = open_ & ~below
            low, gap = torch.where(ahead, t, low), torch.where(ahead, new, gap)
        done = high < FAR
        found.append([values[done] for values in (rays, low, high, gap, gap_high)])
        more = torch.isinf(high) & (low < FAR)
        rays, low = rays[more], low[more]
    rays, low, high, gap, gap_high = (torch.cat(parts) for parts in zip(*found, strict=True))
    best[rays] = _refine(_gap(rays, origin, direction, tilt, waves), low, high, gap, gap_high)
    return best.reshape(shape)


def _gap(rays: Tensor, origin: Vec, direction: Vec, tilt: Vec, waves: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
    """Return the height above ground of some rays, selected by flat indices, as a function of t."""
    batch = direction[0].shape[0]
    scene = rays // (direction[0].numel() // batch)

    def take(values: Tensor) -> Tensor:
        return values.reshape(-1) if batch == 1 else values.reshape(-1)[scene]

    ox, oy, oz = (take(o) for o in origin)
    dx, dy, dz = (d.reshape(-1)[rays] for d in direction)
    slope = (take(tilt[0]), take(tilt[1]), take(tilt[2]))
    swell = tuple(torch.stack([take(column) for column in wave]) for wave in waves)
    return lambda t: oy + t * dy - heights(ox + t * dx, oz + t * dz, slope, swell)


def _refine(above: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, gap: Tensor, gap_high: Tensor) -> Tensor:
    """Refine crossings between `low`, above the ground, and `high`, below it."""
    for step in range(_HALVINGS + 3):
        middle = (low + high) / 2
        if step >= _HALVINGS:
            secant = low + (high - low) * (gap * intersect.inverse(gap - gap_high))
            middle = torch.minimum(torch.maximum(secant, low), high)
        value = above(middle)
        up = value > 0
        low, gap = torch.where(up, middle, low), torch.where(up, value, gap)
        high, gap_high = torch.where(up, high, middle), torch.where(up, gap_high, value)
    secant = low + (high - low) * (gap * intersect.inverse(gap - gap_high))
    return torch.minimum(torch.maximum(secant, low), high)
