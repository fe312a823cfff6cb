"""Images in tiles of 8 by 8 pixels, and the primitives that overlap each tile.

Per-pixel values are [B,T,S]: B scenes, T tiles, S = 64 pixels of a tile. Intersections are computed for the pairs of a
primitive and a tile that can overlap, all primitives of one shape at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ccd_cli.scenes.render import intersect
from ccd_cli.scenes.render.draft import PRIM, SHAPES
from ccd_cli.scenes.render.intersect import Span, Vec

SIDE = 8
_AT = {name: number for number, name in enumerate(PRIM)}


@dataclass(frozen=True)
class Grid:
    """The mapping between the pixels of an image and tiles."""

    row: Tensor  # int32 [1,T,S]; the last row and column repeat where a tile extends beyond the image
    column: Tensor  # int32 [1,T,S]
    spot: Tensor  # int64 [H*W], index of every pixel in the tiles

    def image(self, values: Tensor, height: int, width: int) -> Tensor:
        """Rearrange [B,T,S] to [B,H,W]."""
        return values.reshape(values.shape[0], -1)[:, self.spot].reshape(-1, height, width)


@lru_cache(maxsize=16)
def grid(height: int, width: int, device: torch.device) -> Grid:
    """Divide an image into tiles."""
    tall, wide = -(-height // SIDE), -(-width // SIDE)
    y, x = torch.arange(tall * SIDE, device=device), torch.arange(wide * SIDE, device=device)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    place = (rows // SIDE * wide + columns // SIDE) * SIDE * SIDE + rows % SIDE * SIDE + columns % SIDE

    def tiled(values: Tensor) -> Tensor:
        cut = values.reshape(tall, SIDE, wide, SIDE).permute(0, 2, 1, 3)
        return cut.reshape(1, tall * wide, SIDE * SIDE).to(torch.int32)

    row, column = tiled(rows.clamp(max=height - 1)), tiled(columns.clamp(max=width - 1))
    return Grid(row, column, place[:height, :width].reshape(-1))


@dataclass(frozen=True)
class Pairs:
    """Pairs of a primitive and a tile, K of them, of primitives of one shape."""

    shape: str
    scene: Tensor  # int64 [K]
    number: Tensor  # int32 [K,1], which primitive of the scene
    tile: Tensor  # int64 [K], number of the tile in the batch: scene * T + tile
    row: list[Tensor]  # columns of the primitive, [K,1] each

    @property
    def half(self) -> Vec:
        """Half sizes."""
        return self.row[3], self.row[4], self.row[5]

    def take(self, values: Tensor) -> Tensor:
        """Return values [B,T,S], or [B,1,1] of whole scenes, as [K,S] or [K,1]."""
        if values.shape[1:] == (1, 1):
            return values.reshape(-1, 1)[self.scene]
        return values.reshape(-1, values.shape[-1])[self.tile]

    def place(self, point: Vec) -> Vec:
        """Express points [K,S] in the axes and from the center of the primitives."""
        return self.turn((point[0] - self.row[0], point[1] - self.row[1], point[2] - self.row[2]))

    def turn(self, vector: Vec) -> Vec:
        """Express vectors [K,S] in the axes of the primitives."""
        return turn(vector, self.row[6:15], self.shape == "rod")

    def span(self, origin: Vec, direction: Vec) -> Span:
        """Where rays in world coordinates enter and leave the primitives."""
        origin, direction = self.place(origin), self.turn(direction)
        if self.shape == "ball":
            half = self.half
            return intersect.ball(
                (origin[0] / half[0], origin[1] / half[1], origin[2] / half[2]),
                (direction[0] / half[0], direction[1] / half[1], direction[2] / half[2]),
            )
        inv = (intersect.inverse(direction[0]), intersect.inverse(direction[1]), intersect.inverse(direction[2]))
        if self.shape == "box":
            return intersect.box(origin, inv, self.half)
        if self.shape == "wedge":
            return intersect.wedge(origin, direction, inv, self.half, self.row[_AT["taper"]])
        return intersect.cone(origin, direction, inv[1], self.half, self.row[_AT["taper"]])


def pairs(prims: Tensor, mask: Tensor) -> Iterator[Pairs]:
    """List the pairs of a mask [B,N,T] over primitives [B,N,len(PRIM)], shape by shape, without the base (number 0)."""
    kind = prims[:, :, _AT["shape"], None]
    mask = mask.clone()
    mask[:, 0] = False
    for shape, name in enumerate(SHAPES):
        scene, number, tile = (mask & (kind == shape)).nonzero(as_tuple=True)
        if len(scene):
            row = list(prims[scene, number].t()[:, :, None].contiguous().unbind(0))
            yield Pairs(name, scene, number[:, None].to(torch.int32), scene * mask.shape[2] + tile, row)


def extents(prims: Tensor) -> Tensor:
    """Half sizes [B,N,3] of the box, in its own axes, around each primitive."""
    wide = prims[..., 3] + (prims[..., _AT["taper"]] * prims[..., 4]).abs()
    is_round = prims[..., _AT["shape"]] == SHAPES.index("cone")
    return torch.stack([wide, prims[..., 4], torch.where(is_round, wide, prims[..., 5])], dim=-1)


def turn(vector: Vec, m: list[Tensor], tilted: bool) -> Vec:
    """Express world vectors in a frame of nine columns; with `tilted` False it only turns about the vertical."""
    x, y, z = vector
    if not tilted:
        return m[0] * x + m[2] * z, y, m[6] * x + m[8] * z
    return m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z
