"""Convert labels of any kind to disparity, the domain of the losses.

Depth and metric depth become disparity as 1 / d. Affine depth has an unknown shift, so 1 / d is undefined until a scale
and shift are fitted to another teacher's depth of the same view.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.core.errors import TeacherError

LEAST_DEPTH = 1e-3
"""Least depth of a student that is inverted, and whose logarithm is taken: a millimeter."""


def to_disparity(label: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Return (disparity [B,H,W], valid [B,H,W] bool) for a label of kind disparity, depth or metric.

    Depth at or below a thousandth of the map's median is invalid, because 1 / d would let it dominate the map. So is NaN,
    and for disparity anything not finite; infinite depth is valid and becomes disparity 0. Invalid pixels hold 0.
    Raises TeacherError for affine depth.
    """
    label = label.float()
    if kind == "disparity":
        valid = torch.isfinite(label)
        return torch.where(valid, label, 0.0), valid
    if kind not in ("depth", "metric"):
        raise TeacherError(f"A label of kind {kind} has no disparity without a fit to another teacher's depth.")
    positive = (label > 0) & ~torch.isnan(label)
    median = torch.where(torch.isfinite(label) & positive, label, torch.nan).flatten(1).nanmedian(1).values
    floor = 1e-3 * median.nan_to_num(0.0)[:, None, None]
    valid = positive & (label > floor)
    return torch.where(valid, 1.0 / torch.where(valid, label, 1.0), 0.0), valid


def disparity_of(maps: Tensor, kind: str) -> Tensor:
    """Return a student's maps [B,H,W] as disparity, with gradients: those of kind depth and metric inverted, at most 1000."""
    return maps if kind == "disparity" else 1.0 / maps.clamp_min(LEAST_DEPTH)


def fit_affine_depth(affine: Tensor, reference: Tensor) -> Tensor:
    """Return depth [B,H,W] = scale * affine + shift, fitted to `reference` depth [B,H,W] of the same view; see `robust_affine`.

    It is NaN where one of them is unknown, and everywhere in a map without a fit.
    """
    valid = torch.isfinite(affine) & torch.isfinite(reference) & (reference > 0)
    scale, shift, usable = robust_affine(affine, reference, valid)
    known = usable[:, None, None] & valid
    exact = torch.where(known, affine, 0.0).to(scale.dtype)
    fitted = scale[:, None, None] * exact + shift[:, None, None]
    return torch.where(known, fitted, torch.nan).float()


def robust_affine(
    values: Tensor, reference: Tensor, valid: Tensor, fewest: int = 16, iterations: int = 16
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (scale [B], shift [B], usable [B] bool) of the fit scale * values + shift = `reference` > 0, maps [B,H,W].

    Iteratively reweighted least squares on the *relative* error e = (scale * values + shift) / reference - 1, so that large
    values do not dominate. The first half of the iterations uses least absolute error (weight 1 / e), the rest Cauchy weights
    1 / (1 + (e / c)^2) with c twice the map's median error, which suppress outliers. A map that is constant, has fewer than
    `fewest` valid pixels, or whose best scale is not positive (no agreement with the reference) is not usable.
    """
    exact = torch.float32 if values.device.type == "mps" else torch.float64
    valid = valid.flatten(1)
    x = torch.where(valid, values.flatten(1), 0.0).to(exact)
    y = torch.where(valid, reference.flatten(1), 1.0).to(exact)
    scale = shift = torch.zeros(len(x), 1, dtype=x.dtype, device=x.device)
    usable = valid.sum(1, keepdim=True) >= fewest
    error = torch.ones_like(x)
    for iteration in range(iterations):
        if iteration <= iterations // 2:
            weight = 1.0 / error.clamp_min(1e-3)
        else:
            middle = torch.where(valid, error, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num(1.0)
            weight = 1.0 / (1.0 + (error / (2 * middle).clamp_min(1e-3)).square())
        weight = valid * weight / y.square()
        total = weight.sum(1, keepdim=True).clamp_min(1e-30)
        mean_x, mean_y = (weight * x).sum(1, keepdim=True) / total, (weight * y).sum(1, keepdim=True) / total
        spread = (weight * (x - mean_x).square()).sum(1, keepdim=True)
        usable = usable & (spread > 1e-12 * (weight * x.square()).sum(1, keepdim=True))
        scale = (weight * (x - mean_x) * (y - mean_y)).sum(1, keepdim=True) / spread.clamp_min(1e-30)
        shift = mean_y - scale * mean_x
        error = ((scale * x + shift) / y - 1.0).abs()
    return scale[:, 0], shift[:, 0], (usable & (scale > 0))[:, 0]
