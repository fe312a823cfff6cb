"""Footprints of patches in a map."""

import torch
from torch.nn import functional as F

from ccd_cli.geometry.boxes import sample_boxes


def test_equals_crop_and_resize_on_whole_pixels():
    torch.manual_seed(0)
    maps = torch.randn(2, 32, 32)
    boxes = torch.tensor([[[4, 8, 16], [0, 0, 32]], [[16, 0, 8], [8, 8, 16]]]) / 32
    got = sample_boxes(maps, boxes, 64)
    assert got.shape == (4, 64, 64)
    for i, (b, top, left, side) in enumerate([(0, 4, 8, 16), (0, 0, 0, 32), (1, 16, 0, 8), (1, 8, 8, 16)]):
        plain = F.interpolate(
            maps[b, top : top + side, left : left + side][None, None], size=(64, 64), mode="bilinear"
        )[0, 0]
        edge = 64 // side  # beyond the outermost half pixel both use the same neighbors
        assert torch.allclose(got[i, edge:-edge, edge:-edge], plain[edge:-edge, edge:-edge], atol=1e-5)


def test_a_plane_stays_a_plane_at_fractional_boxes():
    y = (torch.arange(40) + 0.5) / 40
    plane = (2 * y[:, None] + 3 * y[None, :])[None]
    box = torch.tensor([[[0.231, 0.417, 0.333]]])
    centers = (torch.arange(20) + 0.5) / 20
    want = 2 * (0.231 + 0.333 * centers)[:, None] + 3 * (0.417 + 0.333 * centers)[None, :]
    assert torch.allclose(sample_boxes(plane, box, 20)[0], want, atol=1e-5)
