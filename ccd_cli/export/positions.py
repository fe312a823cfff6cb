"""Position embeddings for software that interpolates them by another rule than DINOv2's authors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.models.encoder import resample_positions


def baked_positions(embedding: Tensor, height: int, width: int) -> Tensor:
    """Position embeddings [1, 1 + n*n, C] -> [1, 1 + s*s, C], s the larger of `height` and `width` (in patches).

    Interpolated bicubically by *size* to `height` x `width`, as `Dinov2Embeddings.interpolate_pos_encoding` of transformers
    does it, they become what `resample_positions` gives there. A square needs no interpolation. For the rest, of all grids with
    that property (interpolation is linear and the smaller side has fewer values than s) this is the one nearest to the square one.
    """
    side = max(height, width)
    square = resample_positions(embedding, side, side)
    if height == width:
        return square
    cls, channels = square[:, :1], square.shape[-1]
    wanted = resample_positions(embedding, height, width)[:, 1:].double().reshape(height, width, channels)
    grid = square[:, 1:].double().reshape(side, side, channels)
    down, across = interpolation_matrix(height, side), interpolation_matrix(width, side)
    missing = wanted - torch.einsum("hi,ijc,wj->hwc", down, grid, across)
    grid = grid + torch.einsum("ih,hwc,jw->ijc", torch.linalg.pinv(down), missing, torch.linalg.pinv(across))
    return torch.cat([cls, grid.reshape(1, side * side, channels).to(embedding.dtype)], dim=1)


def interpolation_matrix(count: int, side: int) -> Tensor:
    """[count, side] float64: what bicubic interpolation by size makes of `side` values at `count` positions."""
    return F.interpolate(torch.eye(side, dtype=torch.float64)[None, None], size=(count, side), mode="bicubic")[0, 0]
