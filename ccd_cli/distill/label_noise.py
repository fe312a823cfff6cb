"""Errors put on purpose into pseudo-labels of a training run, to see with a known truth what a loss makes of them.

`corrupt_labels` is what a teacher does wrong inside a map, by the corruptions of `ccd_cli.data.corruptions`;
`rescale` is what it does wrong between maps: every label in a unit of its own. Both are decided by a seed alone, on any device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ccd_cli.data.corruptions import Corruption, corrupt


def corrupt_labels(values: Tensor, valid: Tensor, seed: int, outliers: float = 0.0, blur: int = 0) -> Tensor:
    """Return disparity [N,H,W] with object boundaries smeared within `blur` pixels, then, in each map, a rectangle of the
    share `outliers` times factors of its pixels' own; `valid` bool [N,H,W]. All other pixels keep their value.
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
