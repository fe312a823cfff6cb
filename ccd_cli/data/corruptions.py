"""Synthetic label noise with a known mask, to measure without training how a normalized loss spreads it.

A ground-truth map is the label of a perfect teacher. `corrupt` changes it and returns the mask of the corrupted pixels; all
other pixels are unchanged bit for bit, so any loss on them is due to the normalization (`ccd analyze`, docs/analysis.md).

Maps are disparity [H,W] float32 divided by its median, so that the constants below mean the same on every image.

`corrupt_labels` and `rescale` do the same to a training run's labels: what a teacher does wrong inside a map, and between
maps, where every label gets a unit of its own. A seed alone decides, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import UsageProblem

Corruption = Literal["outliers", "affine", "blur", "jitter"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
RANDOM: frozenset[str] = frozenset({"outliers", "affine", "jitter"})
"""Corruptions with a random component."""

OUTLIER_FACTORS = (0.2, 4.0)
"""Bounds of the uniformly distributed factor of each outlier pixel."""
WRONG_AFFINE = (1.6, 0.5)
"""Scale and shift of a rectangle with a wrong affine transform; the shift in medians of the map."""
EDGE = 1.1
"""Neighbors whose disparities differ by more than this factor lie on an occlusion boundary."""

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CorruptedLabel:
    """A corrupted label [H,W] in the unit of the ground truth, and the mask of corrupted valid pixels, bool [H,W].

    Under `jitter` no pixel counts as corrupted: the label is correct up to scale.
    """

    label: Map
    noisy: Mask


def corrupt(kind: Corruption, disparity: Map, mask: Mask, amount: float, rng: np.random.Generator) -> CorruptedLabel:
    """Return `disparity` [H,W] (over its median, positive where `mask` [H,W] is true) with a corruption.

    `outliers`: each pixel of a random rectangle times an independent factor U(.2, 4). `affine`: 1.6 d + .5 in a random
    rectangle. `amount` of both: the rectangle's fraction of the image area, 0..1. `blur`: a box filter around occlusion
    boundaries; `amount`: its radius as a fraction of the shorter side. `jitter`: the whole map times one factor, log-uniform
    in 1 / sqrt(amount) .. sqrt(amount), so that labels differ by up to the factor `amount`. Invalid pixels are unchanged.
    Raises UsageProblem for an unknown kind or an amount out of range.
    """
    check_amount(kind, amount)
    if kind == "jitter":
        return CorruptedLabel((disparity * np.float32(amount ** rng.uniform(-0.5, 0.5))), np.zeros_like(mask))
    if kind == "blur":
        changed, area = _blurred(disparity, mask, max(1, round(amount * min(mask.shape))))
    else:
        area = rectangle(mask.shape, amount, rng)
        if kind == "outliers":
            changed = disparity * rng.uniform(*OUTLIER_FACTORS, mask.shape).astype(np.float32)
        else:
            changed = np.float32(WRONG_AFFINE[0]) * disparity + np.float32(WRONG_AFFINE[1])
    noisy = area & mask
    return CorruptedLabel(np.where(noisy, changed, disparity).astype(np.float32), noisy & (changed != disparity))


def check_amount(kind: str, amount: float) -> None:
    """Raise UsageProblem for an unknown kind, and for an amount out of range."""
    if kind not in CORRUPTIONS:
        raise UsageProblem(f"Unknown corruption {kind!r}.", f"Choose one of: {', '.join(CORRUPTIONS)}.")
    if kind == "jitter" and not 1 <= amount < float("inf"):
        raise UsageProblem(f"A jitter of {amount} is not a ratio of scales.", "It must be 1 or more.")
    if kind != "jitter" and not 0 < amount <= 1:
        raise UsageProblem(f"An amount of {amount} is not a fraction.", "It must be above 0 and at most 1.")


def corrupt_labels(values: Tensor, valid: Tensor, seed: int, outliers: float = 0.0, blur: int = 0) -> Tensor:
    """Return disparity [N,H,W] with object boundaries smeared within `blur` pixels, then, in each map, a rectangle of the
    fraction `outliers` times factors of its pixels' own; `valid` bool [N,H,W]. All other pixels keep their value.
    """
    amounts: dict[Corruption, float] = {"blur": blur / min(values.shape[1:]), "outliers": outliers}
    wanted = {kind: amount for kind, amount in amounts.items() if amount}
    if not wanted:
        return values
    rng = np.random.default_rng((seed, 0))
    maps, masks = values.float().cpu().numpy().copy(), valid.cpu().numpy()
    for i in range(len(maps)):
        for kind, amount in wanted.items():
            maps[i] = corrupt(kind, maps[i], masks[i], amount, rng).label
    return torch.from_numpy(maps).to(values)


def missing_pixels(valid: Tensor, seed: int, fraction: float) -> Tensor:
    """Return `valid` bool [N,H,W] without a fraction of all pixels, drawn at random for each map."""
    if not fraction:
        return valid
    drawn = np.random.default_rng((seed, 2)).random(tuple(valid.shape), np.float32)
    return valid & torch.from_numpy(drawn >= fraction).to(valid.device, non_blocking=True)


def replace_wrong(values: Tensor, valid: Tensor, predicted: Tensor, over: float) -> Tensor:
    """Return disparity [N,H,W] that is another map's where that one is wrong: the errors of a real network as label noise.

    `predicted` [N,H,W], disparity of any scale and shift, is fitted to the valid values of each map by least squares and kept
    at or above a thousandth of their mean. Its value replaces the label's where they differ by more than `over` times it: in the
    sky, whose disparity is 0, everywhere. Where it is not finite the label stays.
    """
    valid = valid & torch.isfinite(predicted)
    predicted = torch.where(valid, predicted, 0.0)
    weight = valid.to(values.dtype)
    count = weight.sum((1, 2), keepdim=True).clamp_min(1)
    target = torch.where(valid, values, 0.0)
    mean_x, mean_y = ((each * weight).sum((1, 2), keepdim=True) / count for each in (predicted, target))
    away = (predicted - mean_x) * weight
    scale = (away * (target - mean_y)).sum((1, 2), keepdim=True) / away.square().sum((1, 2), keepdim=True).clamp_min(
        1e-12
    )
    fitted = torch.maximum(scale * (predicted - mean_x) + mean_y, 1e-3 * mean_y)
    return torch.where(valid & ((fitted - target).abs() > over * target), fitted, values)


def rescale(values: Tensor, seed: int, scale: float = 0.0, shift: float = 0.0) -> Tensor:
    """Return a * d + b of each map [N,H,W]: log a uniform in [-scale, scale], b uniform in [-shift, shift]."""
    if not scale and not shift:
        return values
    drawn = np.random.default_rng((seed, 1)).uniform(-1, 1, (2, len(values), 1, 1))
    a, b = torch.from_numpy(drawn).to(values, non_blocking=True)
    return (scale * a).exp() * values + shift * b


def rectangle(shape: tuple[Any, ...], fraction: float, rng: np.random.Generator) -> Mask:
    """Return bool [H,W], true in a rectangle with the image's aspect ratio and `fraction` of its area, at a random position."""
    height, width = (max(1, min(size, round(size * fraction**0.5))) for size in shape)
    top, left = (int(rng.integers(0, size - part + 1)) for size, part in zip(shape, (height, width), strict=True))
    area = np.zeros(shape, bool)
    area[top : top + height, left : left + width] = True
    return area


def boundaries(disparity: Map, mask: Mask) -> Mask:
    """Return bool [H,W]: valid pixels with a valid neighbor whose disparity differs by more than the factor `EDGE`."""
    found = np.zeros_like(mask)
    for axis in (0, 1):
        first, second = (_slice(disparity, axis, end) for end in (slice(None, -1), slice(1, None)))
        both = _slice(mask, axis, slice(None, -1)) & _slice(mask, axis, slice(1, None))
        jump = both & (np.maximum(first, second) > EDGE * np.minimum(first, second))
        for end in (slice(None, -1), slice(1, None)):
            _slice(found, axis, end)[jump] = True
    return found


def _blurred(disparity: Map, mask: Mask, radius: int) -> tuple[Map, Mask]:
    """The mean of the valid pixels in a square of this radius, and the mask of squares that touch a boundary."""
    size = (2 * radius + 1, 2 * radius + 1)
    total = cv2.boxFilter(np.where(mask, disparity, 0).astype(np.float64), -1, size, normalize=False)
    count = cv2.boxFilter(mask.astype(np.float64), -1, size, normalize=False)
    near = cv2.dilate(boundaries(disparity, mask).astype(np.uint8), np.ones(size, np.uint8)) > 0
    return (total / np.maximum(count, 1)).astype(np.float32), near


def _slice(values: NDArray[Any], axis: int, part: slice) -> NDArray[Any]:
    return values[part] if axis == 0 else values[:, part]
