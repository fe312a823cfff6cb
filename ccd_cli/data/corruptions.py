"""Labels that are wrong in a known way: what a normalized loss makes of them can be measured without training.

A true map is the label of a perfect teacher. `corrupt` spoils it and says which pixels it spoiled; all others keep their
value bit for bit, so that loss on them is loss that the normalization carried there (`ccd analyze`, docs/ANALYSIS.md).

The kinds `outliers` and `affine` are those of the trial that this analysis repeats; `blur` and `jitter` are this project's.
Maps are disparity [H,W] float32 over its median (so that the constants below mean the same on every image).

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
"""Corruptions that differ from draw to draw."""

OUTLIER_FACTORS = (0.2, 4.0)
"""Ends of the uniform factor of each outlier pixel."""
WRONG_AFFINE = (1.6, 0.5)
"""Scale and shift of a region with the wrong affine map; the shift in medians of the map."""
EDGE = 1.1
"""Neighbors whose disparities differ by more than this factor are at an object's boundary."""

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Noisy:
    """A spoiled label [H,W] in the unit of the true map, and the valid pixels that were spoiled, bool [H,W].

    Under `jitter` no pixel is spoiled: the label is right up to its scale.
    """

    label: Map
    noisy: Mask


def corrupt(kind: Corruption, disparity: Map, mask: Mask, amount: float, rng: np.random.Generator) -> Noisy:
    """Return `disparity` [H,W] (over its median, positive where `mask` [H,W] is true) spoiled by `kind`.

    `outliers`: each pixel of a random rectangle times a factor U(.2, 4) of its own. `affine`: 1.6 d + .5 in a random
    rectangle. `amount` of both: the rectangle's share of the image, 0..1. `blur`: a box mean around object boundaries;
    `amount`: its radius as a share of the shorter side. `jitter`: the whole map times one factor, log-uniform in
    1 / sqrt(amount) .. sqrt(amount), so that labels differ by up to the factor `amount`. Invalid pixels keep what they
    held. Raises UsageProblem for an unknown kind or an amount out of range.
    """
    check_amount(kind, amount)
    if kind == "jitter":
        return Noisy((disparity * np.float32(amount ** rng.uniform(-0.5, 0.5))), np.zeros_like(mask))
    if kind == "blur":
        spoiled, region = _smeared(disparity, mask, max(1, round(amount * min(mask.shape))))
    else:
        region = rectangle(mask.shape, amount, rng)
        if kind == "outliers":
            spoiled = disparity * rng.uniform(*OUTLIER_FACTORS, mask.shape).astype(np.float32)
        else:
            spoiled = np.float32(WRONG_AFFINE[0]) * disparity + np.float32(WRONG_AFFINE[1])
    noisy = region & mask
    return Noisy(np.where(noisy, spoiled, disparity).astype(np.float32), noisy & (spoiled != disparity))


def check_amount(kind: str, amount: float) -> None:
    """Raise UsageProblem for an unknown kind, and for an amount that it cannot have."""
    if kind not in CORRUPTIONS:
        raise UsageProblem(f"Unknown corruption {kind!r}.", f"Choose one of: {', '.join(CORRUPTIONS)}.")
    if kind == "jitter" and not 1 <= amount < float("inf"):
        raise UsageProblem(f"A jitter of {amount} is no ratio of two scales.", "It is 1 or more.")
    if kind != "jitter" and not 0 < amount <= 1:
        raise UsageProblem(f"An amount of {amount} is no share.", "It is above 0 and at most 1.")


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


def rescale(values: Tensor, seed: int, scale: float = 0.0, shift: float = 0.0) -> Tensor:
    """Return a * d + b of each map [N,H,W]: log a uniform in [-scale, scale], b uniform in [-shift, shift]."""
    if not scale and not shift:
        return values
    drawn = np.random.default_rng((seed, 1)).uniform(-1, 1, (2, len(values), 1, 1))
    a, b = torch.from_numpy(drawn).to(values)
    return (scale * a).exp() * values + shift * b


def rectangle(shape: tuple[Any, ...], share: float, rng: np.random.Generator) -> Mask:
    """Return bool [H,W], true in a rectangle of the image's own proportions and of `share` of its area, at a random place."""
    height, width = (max(1, min(side, round(side * share**0.5))) for side in shape)
    top, left = (int(rng.integers(0, side - part + 1)) for side, part in zip(shape, (height, width), strict=True))
    region = np.zeros(shape, bool)
    region[top : top + height, left : left + width] = True
    return region


def boundaries(disparity: Map, mask: Mask) -> Mask:
    """Return bool [H,W]: valid pixels with a valid neighbor whose disparity is more than `EDGE` times theirs, or less."""
    found = np.zeros_like(mask)
    for axis in (0, 1):
        near, far = (_cut(disparity, axis, end) for end in (slice(None, -1), slice(1, None)))
        both = _cut(mask, axis, slice(None, -1)) & _cut(mask, axis, slice(1, None))
        jump = both & (np.maximum(near, far) > EDGE * np.minimum(near, far))
        for end in (slice(None, -1), slice(1, None)):
            _cut(found, axis, end)[jump] = True
    return found


def _smeared(disparity: Map, mask: Mask, radius: int) -> tuple[Map, Mask]:
    """The mean of the valid pixels within `radius` pixels (a square), and where such a square touches a boundary."""
    side = (2 * radius + 1, 2 * radius + 1)
    total = cv2.boxFilter(np.where(mask, disparity, 0).astype(np.float64), -1, side, normalize=False)
    count = cv2.boxFilter(mask.astype(np.float64), -1, side, normalize=False)
    near = cv2.dilate(boundaries(disparity, mask).astype(np.uint8), np.ones(side, np.uint8)) > 0
    return (total / np.maximum(count, 1)).astype(np.float32), near


def _cut(values: NDArray[Any], axis: int, part: slice) -> NDArray[Any]:
    return values[part] if axis == 0 else values[:, part]
