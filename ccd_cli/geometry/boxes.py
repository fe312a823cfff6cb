"""Differentiable crops of maps at sub-pixel boxes. Pixel (0, 0) has its center at (0.5, 0.5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample_boxes(maps: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop square boxes out of maps and resize each bilinearly to (size, size).

    maps [B,H,W]; boxes [B,P,3] hold (top, left, side) as fractions of the map's height and width. Returns [B*P,size,size],
    the patches of the first map first. For a box on whole pixels this equals cropping and then resizing, except that the
    outermost half pixel interpolates with the map's own neighbors. Differentiable in `maps`.
    """
    count, patches = boxes.shape[:2]
    centers = (torch.arange(size, device=maps.device, dtype=torch.float32) + 0.5) / size
    rows = boxes[..., 0:1] + centers * boxes[..., 2:3]
    columns = boxes[..., 1:2] + centers * boxes[..., 2:3]
    grid = torch.stack(
        [columns[:, :, None, :].expand(-1, -1, size, -1), rows[:, :, :, None].expand(-1, -1, -1, size)], dim=-1
    )
    grid = (2 * grid - 1).reshape(count, patches * size, size, 2)
    crops = F.grid_sample(maps.float()[:, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return crops.reshape(count * patches, size, size)
