"""Masks for uninformative parts of a pseudo-label: clipped values, and maps without contrast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ccd_cli.losses.normalize import statistics

SINGLE = 4
"""So many pixels at one value are points that agree, as sparse ones may, and not what was clipped."""


def saturated_mask(disparity: Tensor, mask: Tensor, max_fraction: float = 0.01, far_limit: bool = False) -> Tensor:
    """`mask` minus the pixels whose disparity [B,H,W] was clipped: [B,H,W] bool.

    A plateau is more than `max_fraction` of a map's valid pixels, and more than `SINGLE`, at exactly its largest or smallest
    disparity. The largest is masked: what was clipped there is nearer than the label says. The smallest is the sky, which is the
    farthest thing there is, and stays. With `far_limit` (labels of depth, which have an end of range: a sensor's, or a network's
    largest depth) it is masked where it is above zero, a finite depth; zero is infinite depth and stays.
    """
    result = mask & ~_plateau(disparity, mask, max_fraction, torch.where(mask, disparity, -math.inf).amax(dim=(1, 2)))
    if far_limit:
        far = torch.where(mask, disparity, math.inf).amin(dim=(1, 2))
        result = result & ~(_plateau(disparity, mask, max_fraction, far) & (far > 0)[:, None, None])
    return result


def _plateau(disparity: Tensor, mask: Tensor, max_fraction: float, end: Tensor) -> Tensor:
    """Return the valid pixels at exactly `end` [B] where they are a plateau: [B,H,W] bool."""
    at_end = mask & (disparity == end[:, None, None])
    least = (max_fraction * mask.sum(dim=(1, 2))).clamp_min(SINGLE)
    return at_end & (at_end.sum(dim=(1, 2)) > least)[:, None, None]


def flat_maps(label: Tensor, mask: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Maps whose MAD is 0 or under `tolerance` x |median|, and maps without valid pixels: [B] bool.

    A label without contrast (a wall, a failed teacher) holds only noise, which normalization would amplify.
    """
    median, mad, _ = statistics(label.detach(), mask)
    return (mad == 0) | (mad < tolerance * median.abs())
