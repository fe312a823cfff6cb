"""Shift and scale of a map: median, mean absolute deviation (MAD) and a lower bound on the scale.

`N(d) = (d - median(d)) / MAD(d)` is equation 1 of Distill Any Depth (arXiv 2502.19204). Two details follow the authors
of hierarchical normalization (HDN): the median is the *lower* of the two middle values, so that it is always the value
of a pixel, and the sum of absolute deviations is divided by `count + 1`. The extra one keeps a single pixel finite,
lowers the MAD of a 560 x 560 map by a relative 3e-6, and cancels between two maps that share a mask.

A MAD near zero (sky, a wall, an untrained student) would turn rounding noise into loss and gradient. So every scale is
clamped to at least `MAD_FLOOR` times the whole map's range. A map without any contrast is left unscaled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MAD_FLOOR = 1e-3  # fraction of the map's range; values uniform over a quarter of the range have a MAD of 1/16 of it
CONTRAST_NOISE = 1e-6  # a range below this fraction of the largest magnitude is float32 rounding, not contrast


def as_maps(values: Tensor) -> Tensor:
    """`values` as float32 (float64 stays float64, for tests of gradients): losses are never computed in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """The `k`-th smallest (from 0) of `values` [n] on the CPU, as a 0-d tensor without gradient.

    numpy's vectorized partition is seven times faster than `torch.kthvalue` (and gives the same value).
    """
    return torch.from_numpy(np.partition(values.detach().numpy(), k)[k : k + 1]).squeeze(0)


def kth_of_each(values: Tensor, mask: Tensor, count: Tensor, ranks: Tensor) -> Tensor:
    """The valid values of each map at `ranks` [B,K] (from 0), smallest first: [B,K], without gradient; undefined outside.

    `values` [B,H,W], `mask` [B,H,W] bool, `count` [B] its valid pixels.
    """
    values = values.detach()
    if values.device.type != "cpu":
        return kth_by_sorting(values, mask, ranks)
    found = torch.zeros(ranks.shape, dtype=values.dtype)
    for i, (n, wanted) in enumerate(zip(count.tolist(), ranks.tolist(), strict=True)):
        inside = values[i][mask[i]] if n < mask[i].numel() else values[i].reshape(-1)
        for k, rank in enumerate(wanted):
            if 0 <= rank < n:
                found[i, k] = kth_smallest(inside, rank)
    return found


def kth_by_sorting(values: Tensor, mask: Tensor, ranks: Tensor) -> Tensor:
    """As `kth_of_each`, by one sort of all maps: nothing per map, nothing that is read back from the device."""
    ranked = values.masked_fill(~mask, math.inf).flatten(1).sort(1).values
    return ranked.gather(1, ranks.clamp(0, ranked.shape[1] - 1))


def lower_median(values: Tensor) -> Tensor:
    """The lower median of `values` [n], n > 0, on the CPU, as a 0-d tensor without gradient."""
    return kth_smallest(values, (values.numel() - 1) // 2)


def ranked_values(values: Tensor, blocks: Sequence[tuple[int, int]], ranks: Sequence[int]) -> list[Tensor]:
    """The values that a full sort of `values` [n] on the CPU would put at `ranks`, as 0-d tensors without gradient.

    `blocks` are (start, stop) slices that cover `values` and in which no value is above any of the next block, so that
    each block is searched alone.
    """
    array = values.detach().numpy().copy()
    for start, stop in blocks:
        done = start
        for rank in sorted({rank for rank in ranks if start <= rank < stop}):  # one by one: numpy is slow with several
            array[done:stop].partition(rank - done)
            done = rank + 1
    return list(torch.from_numpy(array[list(ranks)]))


def scale_floor(low: Tensor, high: Tensor) -> Tensor:
    """The lower bound on the scale of maps whose valid pixels span `low` .. `high` (same shape, same unit).

    `MAD_FLOOR` times the range; 1 for a map whose range is within rounding noise, which leaves it unscaled.
    """
    span = high - low
    has_contrast = span > CONTRAST_NOISE * torch.maximum(low.abs(), high.abs())
    return torch.where(has_contrast, MAD_FLOOR * span, torch.ones_like(span))


def statistics(d: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Median, MAD (sum of absolute deviations / (count + 1), no floor) and scale (MAD, at least the floor) of each map.

    `d` [B,H,W], `mask` [B,H,W] bool; invalid pixels may be NaN. Three tensors [B] in the unit of `d`, differentiable in
    `d` (the median's gradient is split equally among the pixels equal to it; the floor passes none). A map with
    no valid pixel has median 0, MAD 0 and scale 1.
    """
    d = as_maps(d)
    count = mask.sum(dim=(1, 2))
    middle = (count - 1).div(2, rounding_mode="floor")[:, None]
    center = torch.where(count > 0, kth_of_each(d, mask, count, middle)[:, 0], 0)
    filled = torch.where(mask, d, center[:, None, None])
    median = center
    if d.requires_grad:
        holders = (filled == center[:, None, None]) & mask
        through = torch.where(holders, filled, 0.0).sum(dim=(1, 2)) / holders.sum(dim=(1, 2)).clamp_min(1)
        median = center + (through - through.detach())
    deviation = torch.where(mask, filled - median[:, None, None], 0.0).abs()
    mad = deviation.sum(dim=(1, 2)) / (count + 1)
    low, high = filled.detach().amin(dim=(1, 2)), filled.detach().amax(dim=(1, 2))
    return median, mad, torch.maximum(mad, scale_floor(low, high))


def normalize_map(d: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each map shifted by its median and divided by its MAD: (normalized [B,H,W], median [B], MAD [B]).

    `d` [B,H,W] in any unit, `mask` [B,H,W] bool. Invalid pixels of the result are 0. The returned MAD is
    not floored; the division uses the floored one (`scale_floor`). Differentiable in `d`. Distill Any Depth, eq. 1.
    """
    d = as_maps(d)
    median, mad, scale = statistics(d, mask)
    filled = torch.where(mask, d, median.detach()[:, None, None])
    normalized = (filled - median[:, None, None]) / scale[:, None, None]
    return torch.where(mask, normalized, 0.0), median, mad


def unit_scale(label: Tensor, mask: Tensor) -> Tensor:
    """`label` [B,H,W] divided by its MAD, not shifted; invalid pixels are divided too.

    Brings the raw output of different teachers to a common scale before a loss without normalization. A map without
    contrast is returned unchanged. This definition of "unit scale" is this project's; the paper gives none.
    """
    label = as_maps(label)
    return label / statistics(label, mask)[2][:, None, None]
