"""Surface color: one pattern of cells with gaps models tiles, bricks, planks, checks, stripes, facades and lane marks.

Cells have metric sizes and are filtered over the footprint of a pixel; noise of a near and a far scale is added.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.scenes.render import noise
from ccd_cli.scenes.render.draft import MATERIAL
from ccd_cli.scenes.render.intersect import Vec

_AT = {name: number for number, name in enumerate(MATERIAL)}
_FAR_SCALE = 23.0  # the far scale's texel in texels of the near one


def material_columns(materials: Tensor, index: Tensor) -> dict[str, Tensor]:
    """Return every material column [B,M,K] at the material indices [B,T,S], each [B,T,S]."""
    count, height, width = index.shape
    spot = index.reshape(count, 1, -1).long().expand(-1, len(MATERIAL), -1)
    picked = materials.transpose(1, 2).gather(2, spot).reshape(count, len(MATERIAL), height, width)
    return {name: picked[:, at] for name, at in _AT.items()}


def color(m: dict[str, Tensor], u: Tensor, v: Tensor, size_u: Tensor, size_v: Tensor, salt: Tensor) -> Vec:
    """Return linear red, green and blue [B,T,S] at surface coordinates (u, v) in meters.

    size_u and size_v are the pixel's extent along u and v in meters, salt an int32 number per scene.
    """
    across, along = u / m["su"], v / m["sv"]
    row = torch.floor(along)
    across = across + m["shift"] * row
    wide, tall = size_u / m["su"], size_v / m["sv"]
    inside = _cover(across, m["gu"] / m["su"], wide) * _cover(along, m["gv"] / m["sv"], tall)
    turns = (1 + m["pu"] * (_alternate(across, wide) - 1)) * (1 + m["pv"] * (_alternate(along, tall) - 1))
    fade = (1.3 - torch.maximum(wide, tall)).clamp(0, 1)
    chance = noise.scatter(torch.floor(across).to(torch.int32), row.to(torch.int32), salt)
    mix = (0.5 - 0.5 * turns) * (m["pu"] + m["pv"]).clamp(max=1) + m["blend"] * (0.5 + (chance - 0.5) * fade)
    second = chance * 7.13
    light = 1 + m["vary"] * fade * inside * (second - torch.floor(second) - 0.5)
    light = light * _noise_factor(m, u, v, 0.7 * torch.sqrt(size_u * size_v))
    red, green, blue = (_layer(m, name, mix, inside) * light for name in "rgb")
    return red, green, blue


def _layer(m: dict[str, Tensor], name: str, mix: Tensor, inside: Tensor) -> Tensor:
    gap, first, other = m[f"{name}0"], m[f"{name}1"], m[f"{name}2"]
    cell = first + (other - first) * mix
    return gap + (cell - gap) * inside


def _noise_factor(m: dict[str, Tensor], u: Tensor, v: Tensor, size: Tensor) -> Tensor:
    kind = m["kind"].to(torch.int32)
    texel, tall = m["texel"], m["texel"] * m["stretch"]
    near = noise.sample(kind, u / texel, v / tall, size / texel)
    texel, tall = texel * _FAR_SCALE, tall * _FAR_SCALE
    far = noise.sample(kind, u / texel + 37.4, v / tall + 11.7, size / texel)
    return (1 + m["fine"] * near + m["coarse"] * far).clamp(0.15, 2.0)


def _cover(x: Tensor, gap: Tensor, size: Tensor) -> Tensor:
    """Fraction of [x - size/2, x + size/2] inside cells: unit cells with half of `gap` missing at either end."""
    size = size.clamp(min=1e-4)
    return (_filled(x + size / 2, gap) - _filled(x - size / 2, gap)) / size


def _filled(x: Tensor, gap: Tensor) -> Tensor:
    whole = torch.floor(x)
    return whole * (1 - gap) + torch.minimum((x - whole - gap / 2).clamp(min=0), 1 - gap)


def _alternate(x: Tensor, size: Tensor) -> Tensor:
    """Mean over the footprint of +1 in even and -1 in odd cells."""
    size = size.clamp(min=1e-4)
    return (_tent(x + size / 2) - _tent(x - size / 2)) / size


def _tent(x: Tensor) -> Tensor:
    half = x / 2
    return 1 - (2 * (half - torch.floor(half)) - 1).abs()
