"""How far teachers agree on the labels of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ccd_cli.geometry.kinds import Kind
from ccd_cli.labels.format import FloatMap
from ccd_cli.losses.disparity import fit_affine_depth, to_disparity
from ccd_cli.losses.masks import flat_maps
from ccd_cli.losses.normalize import normalize_map

MIN_COMMON_PIXELS = 16  # at which two labels must both have a value


def comparable(kinds: Sequence[Kind]) -> list[bool]:
    """Return which teachers have a disparity: affine-invariant depth only beside a teacher of kind depth or metric."""
    anchored = any(kind in ("depth", "metric") for kind in kinds)
    return [kind != "affine-depth" or anchored for kind in kinds]


def disparities(maps: Sequence[FloatMap], kinds: Sequence[Kind]) -> list[tuple[Tensor, Tensor] | None]:
    """Return (disparity [V,S,S], valid bool) of each teacher's labels of one image; None where there is none.

    Affine-invariant depth is fitted to the first teacher of kind depth or metric, crop by crop.
    """
    labels = [torch.from_numpy(values) for values in maps]
    reference = next((i for i, kind in enumerate(kinds) if kind in ("depth", "metric")), None)
    result: list[tuple[Tensor, Tensor] | None] = []
    for label, kind in zip(labels, kinds, strict=True):
        if kind != "affine-depth":
            result.append(to_disparity(label, kind))
        elif reference is None:
            result.append(None)
        else:
            result.append(to_disparity(fit_affine_depth(label, labels[reference]), "depth"))
    return result


def differences(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Return |N(a) - N(b)| [V,S,S] with N by median and MAD over the common pixels (both valid); NaN elsewhere.

    A crop of which either label is flat, or that has under 16 common pixels, is NaN throughout: it has no scale.
    """
    both = a[1] & b[1]
    normalized_a, normalized_b = normalize_map(a[0], both)[0], normalize_map(b[0], both)[0]
    usable = ~flat_maps(a[0], both) & ~flat_maps(b[0], both) & (both.sum(dim=(1, 2)) >= MIN_COMMON_PIXELS)
    return torch.where(both & usable[:, None, None], (normalized_a - normalized_b).abs(), torch.nan)


def disagreement(maps: Sequence[FloatMap], kinds: Sequence[Kind]) -> float | None:
    """Return the mean of `differences` over pixels, then crops, then pairs of teachers; None where none compare."""
    compared = [one for one in disparities(maps, kinds) if one is not None]
    means = [
        mean
        for a, b in combinations(compared, 2)
        for mean in differences(a, b).double().nanmean(dim=(1, 2)).tolist()
        if math.isfinite(mean)
    ]
    return round(float(np.mean(means)), 6) if means else None
