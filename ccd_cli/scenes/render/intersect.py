"""Intersection of rays with convex shapes: entry and exit parameters, by IEEE-exact operations only.

Origins and directions are triples of tensors that broadcast against each other (a scalar per scene or one value per
ray), already in the shape's own axes and relative to its center; sizes are scalars per scene. A ray o + t d misses
where enter > leave. No fused or transcendental operation is used, so results do not depend on vector width, threads
or neighbors in a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

Vec = tuple[Tensor, Tensor, Tensor]
Span = tuple[Tensor, Tensor]

MISS = 1e30


def inverse(direction: Tensor) -> Tensor:
    """1 / direction, finite everywhere."""
    return 1.0 / torch.where(direction.abs() < 1e-9, 1e-9, direction)


def slab(origin: Tensor, inv: Tensor, half: Tensor) -> Span:
    """Where a ray is between -half and +half of one axis."""
    middle, reach = origin * -inv, inv.abs() * half
    return middle - reach, middle + reach


def box(origin: Vec, inv: Vec, half: Vec) -> Span:
    """A box of half sizes `half`; `inv` is the inverse direction."""
    (ax, bx), (ay, by), (az, bz) = (slab(o, i, h) for o, i, h in zip(origin, inv, half, strict=True))
    return torch.maximum(torch.maximum(ax, ay), az), torch.minimum(torch.minimum(bx, by), bz)


def wedge(origin: Vec, direction: Vec, inv: Vec, half: Vec, taper: Tensor) -> Span:
    """A prism along z, |y| <= half[1], |x| <= half[0] + taper * y."""
    (ox, oy, _), (dx, dy, _) = origin, direction
    ay, by = slab(oy, inv[1], half[1])
    az, bz = slab(origin[2], inv[2], half[2])
    enter, leave = torch.maximum(ay, az), torch.minimum(by, bz)
    rise, lean = half[0] + taper * oy, taper * dy
    for gap, speed in ((rise - ox, dx - lean), (rise + ox, -dx - lean)):  # inside where speed * t <= gap
        cross = gap * inverse(speed)
        enter = torch.where(speed < 0, torch.maximum(enter, cross), enter)
        leave = torch.where(speed < 0, leave, torch.minimum(leave, cross))
    return enter, leave


def cone(origin: Vec, direction: Vec, inv_y: Tensor, half: Vec, taper: Tensor) -> Span:
    """A truncated cone about y, |y| <= half[1], radius half[0] + taper * y (never negative inside)."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    radius, lean = half[0] + taper * oy, taper * dy
    gx, gz = dx * radius - lean * ox, dz * radius - lean * oz
    across = ox * dz - oz * dx
    root = gx * gx + gz * gz - across * across
    a = dx * dx + dz * dz - lean * lean
    b = ox * dx + oz * dz - lean * radius
    size = torch.sqrt(root.clamp(min=0))
    inv_a = inverse(a)
    first, second = (-b - size) * inv_a, (size - b) * inv_a
    enter, leave = slab(oy, inv_y, half[1])
    round_enter, round_leave = torch.minimum(first, second), torch.maximum(first, second)
    steep = a < 0  # inside the double cone outside the two roots: keep the nappe whose radius is positive
    upper = lean > 0
    enter = torch.maximum(enter, torch.where(steep, torch.where(upper, round_leave, -MISS), round_enter))
    leave = torch.minimum(leave, torch.where(steep, torch.where(upper, MISS, round_enter), round_leave))
    none = (root < 0) & ~steep
    return torch.where(none, MISS, enter), torch.where(none, -MISS, leave)


def ball(origin: Vec, direction: Vec) -> Span:
    """The unit sphere (an ellipsoid is one after division by its half sizes)."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    cx, cy, cz = oy * dz - oz * dy, oz * dx - ox * dz, ox * dy - oy * dx
    inv_a = inverse(dx * dx + dy * dy + dz * dz)
    a = dx * dx + dy * dy + dz * dz
    root = a - (cx * cx + cy * cy + cz * cz)
    size = torch.sqrt(root.clamp(min=0))
    middle = ox * dx + oy * dy + oz * dz
    enter, leave = (-middle - size) * inv_a, (size - middle) * inv_a
    return torch.where(root < 0, MISS, enter), torch.where(root < 0, -MISS, leave)
