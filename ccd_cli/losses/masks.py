"""Masks for uninformative parts of a pseudo-label: saturated plateaus, and maps without contrast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ccd_cli.losses.normalize import statistics


def saturated_mask(label: Tensor, mask: Tensor, max_fraction: float = 0.01) -> Tensor:
    """`mask` minus the pixels on a plateau at the label's smallest or largest value: [B,H,W] bool.

    A plateau is more than `max_fraction` of a map's valid pixels at exactly that value: sky at 0 in disparity, or a clamp.
    """
    count = mask.sum(dim=(1, 2))
    result = mask
    for end in (
        torch.where(mask, label, math.inf).amin(dim=(1, 2)),
        torch.where(mask, label, -math.inf).amax(dim=(1, 2)),
    ):
        at_end = mask & (label == end[:, None, None])
        plateau = at_end.sum(dim=(1, 2)) > max_fraction * count
        result = result & ~(at_end & plateau[:, None, None])
    return result


def flat_maps(label: Tensor, mask: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Maps whose MAD is 0 or under `tolerance` x |median|, and maps without valid pixels: [B] bool.

    A label without contrast (a wall, a failed teacher) holds only noise, which normalization would amplify.
    """
    median, mad, _ = statistics(label.detach(), mask)
    return (mad == 0) | (mad < tolerance * median.abs())
