"""Light, shadows, haze and sky: from surfaces to linear color."""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.scenes.render import noise, texture
from ccd_cli.scenes.render.intersect import Vec, inverse
from ccd_cli.scenes.render.packing import Scenes
from ccd_cli.scenes.render.shadows import shadows
from ccd_cli.scenes.render.surface import surface


def radiance(scenes: Scenes, origin: Vec, direction: Vec, depth: Tensor, index: Tensor, pixel: Tensor) -> Vec:
    """Return linear red, green and blue [B,T,S] seen along every ray; depth is inf where there is sky."""
    sky = torch.isinf(depth)
    t = torch.where(sky, 1.0, depth)
    point = (origin[0] + t * direction[0], origin[1] + t * direction[1], origin[2] + t * direction[2])
    length = torch.sqrt(_dot(direction, direction))
    view = (direction[0] / length, direction[1] / length, direction[2] / length)
    seen = surface(scenes, point, view, t * length, index, pixel)
    m = texture.material_columns(scenes.materials, seen.material)
    salt = scenes.value("salt").to(torch.int32) + index
    paint = texture.color(m, seen.u, seen.v, seen.size_u, seen.size_v, salt)
    lamp, bright = _lamp(scenes, "lamp", point, seen.normal)
    lit, open_ = shadows(scenes, point, index, bright > 0, sky)
    _, weak = _lamp(scenes, "fill", point, seen.normal)
    strong = bright * lit
    tilt = _dot(scenes.triple("amb"), seen.normal)
    ambient = (1 + tilt).clamp(min=0.1) * open_ * (1 - scenes.value("corner") * seen.corner)
    shine = m["gloss"] * _highlight(lamp, view, seen.normal) * strong
    far = _through(t * length * scenes.value("haze"))
    back = background(scenes, view)
    made = []
    for name, albedo, behind in zip("rgb", paint, back, strict=True):
        light = ambient * scenes.value(f"amb_{name}") + strong * scenes.value(f"lamp_{name}")
        light = light + weak * open_ * scenes.value(f"fill_{name}")
        here = albedo * (light + m["glow"]) + shine * scenes.value(f"lamp_{name}")
        haze = scenes.value(f"haze_{name}")
        made.append(torch.where(sky, behind, haze + (here - haze) * far))
    return made[0], made[1], made[2]


def background(scenes: Scenes, view: Vec) -> Vec:
    """Return the color of the sky in unit directions: a gradient, clouds and a glow around the sun."""
    up = view[1].clamp(min=0)
    rise = up * (2 - up)
    over = 1 / (up + 0.08)
    scale = scenes.value("cloud_size")
    u, v = view[0] * over * scale + scenes.value("cloud_x"), view[2] * over * scale + scenes.value("cloud_z")
    kind = torch.zeros_like(u, dtype=torch.int32)
    puff = noise.sample(kind, u, v, torch.full_like(u, 0.5))
    cover = ((puff + 1.5 * scenes.value("cloud") - 1) * 0.7).clamp(0, 1) * (up * 6).clamp(max=1)
    cover = cover * (scenes.value("cloud") > 0)
    sun = _dot(scenes.triple("lamp"), view).clamp(min=0)
    sun = sun * sun
    sun = sun * sun
    glow = scenes.value("sun") * (sun * sun * 0.35 + sun)
    made = []
    for name in "rgb":
        low, high = scenes.value(f"low_{name}"), scenes.value(f"high_{name}")
        clear = low + (high - low) * rise
        made.append(clear + (0.95 - clear) * cover * 0.85 + glow * scenes.value(f"lamp_{name}") * 0.15)
    return made[0], made[1], made[2]


def develop(scenes: Scenes, colors: Vec) -> Tensor:
    """Turn linear light [B,H,W] into uint8 [B,3,H,W]: blur, exposure, color cast, vignette, tone curve, noise."""
    height, width = colors[0].shape[1:]
    row = torch.arange(height, dtype=torch.int32, device=colors[0].device)[:, None]
    column = torch.arange(width, dtype=torch.int32, device=colors[0].device)
    x = (column.to(torch.float32) + 0.5) / width - 0.5
    y = (row.to(torch.float32) + 0.5) / height - 0.5
    gain = scenes.value("exposure") * (1 - scenes.value("vignette") * (x * x + y * y))
    warm = scenes.value("warm")
    salt = scenes.value("salt").to(torch.int32)
    made = []
    for number, (light, tint) in enumerate(zip(colors, (1 + warm, 1 + 0 * warm, 1 - warm), strict=True)):
        value = torch.sqrt((_soften(light.clamp(0, 3), scenes.value("blur")) * gain * tint).clamp(min=0))
        value = torch.where(value > 0.7, 0.7 + 0.3 * (1 - inverse(1 + (value - 0.7) / 0.3)), value)
        first, second = (noise.scatter(column, row, salt + 7 * number + extra) for extra in (1, 2))
        value = value + scenes.value("grain") * (first + second - 1)
        made.append((value * 268 + 0.5).clamp(0, 255).to(torch.uint8))
    return torch.stack(made, dim=1)


def _lamp(scenes: Scenes, name: str, point: Vec, normal: Vec) -> tuple[Vec, Tensor]:
    """Unit direction to a lamp and the strength of its light on a surface, without shadows."""
    is_point = scenes.value(f"{name}_point")
    at = scenes.triple(name)
    way = (at[0] - is_point * point[0], at[1] - is_point * point[1], at[2] - is_point * point[2])
    square = _dot(way, way).clamp(min=1e-6)
    scale = 1 / torch.sqrt(square)
    unit = (way[0] * scale, way[1] * scale, way[2] * scale)
    reach = scenes.value(f"{name}_reach").clamp(min=0.1)
    return unit, _dot(unit, normal).clamp(min=0) / (1 + is_point * square / (reach * reach))


def _soften(light: Tensor, blur: Tensor) -> Tensor:
    """Mix every pixel with its four neighbors, whose weight is blur, along rows and then columns; edges repeat."""
    for axis in (1, 2):
        first, last = light.narrow(axis, 0, 1), light.narrow(axis, light.shape[axis] - 1, 1)
        before = torch.cat([first, light.narrow(axis, 0, light.shape[axis] - 1)], dim=axis)
        after = torch.cat([light.narrow(axis, 1, light.shape[axis] - 1), last], dim=axis)
        light = light + blur * ((before - light) + (after - light))
    return light


def _highlight(lamp: Vec, view: Vec, normal: Vec) -> Tensor:
    """Blinn's highlight to the 16th power."""
    half = (lamp[0] - view[0], lamp[1] - view[1], lamp[2] - view[2])
    size = torch.sqrt(_dot(half, half).clamp(min=1e-6))
    value = _dot(half, normal).clamp(min=0) / size
    for _ in range(4):
        value = value * value
    return value


def _through(x: Tensor) -> Tensor:
    """Approximately exp(-x), by a rational function."""
    y = 1 + x * (0.25 + x * (0.03125 + x * 0.0026))
    y = y * y
    return 1 / (y * y)


def _dot(a: Vec, b: Vec) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
