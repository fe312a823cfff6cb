"""Surface attributes at a hit: normal, surface coordinates, pixel footprint and material."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ccd_cli.scenes.render import terrain
from ccd_cli.scenes.render.draft import PRIM, SHAPES
from ccd_cli.scenes.render.intersect import Vec
from ccd_cli.scenes.render.packing import Scenes

_AT = {name: number for number, name in enumerate(PRIM)}
_BOX, _WEDGE, _CONE, _ROD, _BALL = range(len(SHAPES))


@dataclass(frozen=True)
class Surface:
    """Per pixel [B,T,S]: unit normal facing the camera, (u, v) and the pixel's extent along both, all in meters."""

    normal: Vec
    u: Tensor
    v: Tensor
    size_u: Tensor
    size_v: Tensor
    material: Tensor  # int64 index
    corner: Tensor  # proximity to an edge of the enclosing room, 0..1


def surface(scenes: Scenes, point: Vec, direction: Vec, depth: Tensor, index: Tensor, pixel: Tensor) -> Surface:
    """Describe the surfaces hit at `point`; pixel is 1 / focal length [B,1,1], direction has z-depth 1 per unit."""
    count, height, width = index.shape
    spot = index.reshape(count, 1, -1).long().expand(-1, len(PRIM), -1)
    p = scenes.prims.transpose(1, 2).gather(2, spot).reshape(count, len(PRIM), height, width).unbind(1)
    away = (point[0] - p[0], point[1] - p[1], point[2] - p[2])
    local, way = _turned(away, p[6:15]), _turned(direction, p[6:15])
    relative = (local[0] / p[3], local[1] / p[4], local[2] / p[5])
    normal, face_x, face_y = _normals(p, local, relative)
    base = index == 0
    if scenes.base != "room":
        face_x, face_y = face_x & ~base, face_y | base
    inside_out = base & (scenes.base == "room")
    normal = tuple(torch.where(inside_out, -n, n) for n in normal)  # type: ignore[assignment]
    upper = torch.where(inside_out, normal[1], local[1]) > 0  # of a room the face whose normal points up: its floor
    u = torch.where(face_x, local[2], local[0]) + p[_AT["u"]]
    v = torch.where(face_y, local[2], local[1] + p[4]) + p[_AT["v"]]
    facing = normal[0] * way[0] + normal[1] * way[1] + normal[2] * way[2]
    near = depth * pixel
    slant = near / facing.abs().clamp(min=0.02)
    run_u, run_v = torch.where(face_x, way[2], way[0]), torch.where(face_y, way[2], way[1])
    size_u = torch.sqrt(near * near + (slant * run_u) * (slant * run_u))
    size_v = torch.sqrt(near * near + (slant * run_v) * (slant * run_v))
    y_face = torch.where(upper, p[_AT["m_top"]], p[_AT["m_bottom"]])
    material = torch.where(face_x, p[_AT["m_x"]], torch.where(face_y, y_face, p[_AT["m_z"]])).long()
    world = _back(normal, p[6:15])
    if scenes.base != "room":
        tilt, waves = scenes.ground()
        world = _ground_normal(world, base, terrain.slopes(point[0], point[2], tilt, waves))
    return Surface(world, u, v, size_u, size_v, material, _corner(local, p, face_x, face_y) * inside_out)


def _normals(p: tuple[Tensor, ...], local: Vec, relative: Vec) -> tuple[Vec, Tensor, Tensor]:
    """Local unit normals, and whether a point belongs to an x or a y face."""
    sx, sy, sz = (s.abs() for s in relative)
    x, y, z = (torch.copysign(torch.ones_like(s), s) for s in relative)
    kind, taper = p[_AT["shape"]], p[_AT["taper"]]
    radius = p[3] + taper * local[1]
    sx = torch.where(kind == _WEDGE, local[0].abs() / radius.clamp(min=1e-4), sx)
    face_x = (sx >= sy) & (sx >= sz)
    face_y = (sy > sx) & (sy >= sz)
    zero = torch.zeros_like(sx)
    lean = torch.where(kind == _WEDGE, 1 / torch.sqrt(1 + taper * taper), 1.0)
    nx, nz = torch.where(face_x, x * lean, zero), torch.where(face_x | face_y, zero, z)
    ny = torch.where(face_y, y, torch.where(face_x & (kind == _WEDGE), -taper * lean, zero))
    # round shapes
    is_ball = kind == _BALL
    is_round = is_ball | (kind == _CONE) | (kind == _ROD)
    rx, rz = torch.where(is_ball, relative[0] / p[3], local[0]), torch.where(is_ball, relative[2] / p[5], local[2])
    ry = torch.where(is_ball, relative[1] / p[4], -taper * radius)
    length = 1 / torch.sqrt(rx * rx + ry * ry + rz * rz).clamp(min=1e-9)
    cap = ~is_ball & ((1 - sy) * p[4] < 1e-4 * (1 + radius) + 1e-3 * radius) & (sy > 0.999)
    side = is_round & ~cap
    nx = torch.where(side, rx * length, torch.where(is_round, zero, nx))
    ny = torch.where(side, ry * length, torch.where(is_round, y, ny))
    nz = torch.where(side, rz * length, torch.where(is_round, zero, nz))
    across = sx >= sz
    face_x = torch.where(is_round & ~is_ball, side & across, face_x)
    face_y = torch.where(is_round & ~is_ball, cap, face_y)
    return (nx, ny, nz), face_x, face_y


def _corner(local: Vec, p: tuple[Tensor, ...], face_x: Tensor, face_y: Tensor) -> Tensor:
    gaps = [h - q.abs() for q, h in zip(local, p[3:6], strict=True)]
    far = torch.full_like(gaps[0], 10.0)
    gaps[0] = torch.where(face_x, far, gaps[0])
    gaps[1] = torch.where(face_y, far, gaps[1])
    gaps[2] = torch.where(face_x | face_y, gaps[2], far)
    nearness = [1 / (1 + 4 * g.clamp(min=0)) for g in gaps]
    return torch.maximum(torch.maximum(nearness[0], nearness[1]), nearness[2])


def _ground_normal(world: Vec, base: Tensor, slope: tuple[Tensor, Tensor]) -> Vec:
    length = 1 / torch.sqrt(1 + slope[0] * slope[0] + slope[1] * slope[1])
    nx, ny, nz = (
        torch.where(base, g, n) for g, n in zip((-slope[0] * length, length, -slope[1] * length), world, strict=True)
    )
    return nx, ny, nz


def _turned(a: Vec, m: tuple[Tensor, ...]) -> Vec:
    x, y, z = a
    return m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z


def _back(a: Vec, m: tuple[Tensor, ...]) -> Vec:
    x, y, z = a
    return m[0] * x + m[3] * y + m[6] * z, m[1] * x + m[4] * y + m[7] * z, m[2] * x + m[5] * y + m[8] * z
