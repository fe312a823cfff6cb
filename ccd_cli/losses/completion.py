"""Fill the holes of ground truth with a network's map of the same view, fitted to what was measured there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ccd_cli.losses.disparity import robust_affine, to_disparity

REACH = 2.0
"""How many times as far as the farthest measured depth of a view a filled one may lie and still be depth."""


@dataclass(frozen=True)
class Completed:
    """Maps with filled holes: disparity [N,H,W] in the unit of the truth, where it is known, where it was measured (bool).

    `in_reach` [N,H,W] bool: where depth is known, too: what was measured, and what was filled at most `REACH` times as far as the
    farthest measured depth of the view (beyond, a small error of disparity is any depth).

    `error` [N]: median of |fitted / measured - 1| over the measured pixels of a view, NaN where there was no fit. `refused` [N]
    bool: views that stay as they were measured.
    """

    values: Tensor
    valid: Tensor
    measured: Tensor
    in_reach: Tensor
    error: Tensor
    refused: Tensor


def complete(
    truth: Tensor, measured: Tensor, filler: Tensor, kind: str, min_points: int = 50, max_error: float = 0.2
) -> Completed:
    """Fill the holes of true disparity [N,H,W], known where `measured` (bool), with a network's maps `filler` [N,H,W] of a `kind`.

    Each map is fitted to the measured pixels of its view, where those are at a finite distance, in the domain in which its unknowns
    are a scale and a shift: maps of kind disparity in disparity, affine depth in depth (`robust_affine`); depth and metric depth
    by a scale alone, the median of measured over predicted. Truth is kept wherever it is. A view is refused where fewer than
    `min_points` pixels can be compared, the fit does not rise with them, or its median relative error is above `max_error`.
    """
    near = measured & (truth > 0)
    known = torch.isfinite(filler)
    if kind == "disparity":
        common = near & known
        scale, shift, usable = robust_affine(filler, truth, common, min_points)
        fitted = _line(filler, known, scale, shift)
        fine = known & (fitted > 0)
    else:
        depth = 1.0 / torch.where(near, truth, 1.0)
        if kind == "affine-depth":
            common = near & known
            scale, shift, usable = robust_affine(filler, depth, common, min_points)
            far = _line(filler, known, scale, shift)
            fine = known & (far > 0)
            fitted = 1.0 / torch.where(fine, far, 1.0)
        else:
            found, fine = to_disparity(filler, kind)
            common = near & fine & (found > 0)
            ratio = torch.where(common, truth / torch.where(common, found, 1.0), torch.nan)
            scale = ratio.flatten(1).nanmedian(1).values
            usable = (common.flatten(1).sum(1) >= min_points) & torch.isfinite(scale)
            fitted = scale.nan_to_num(1.0)[:, None, None] * found
    relative = (fitted / torch.where(common, truth, 1.0) - 1.0).abs()
    error = torch.where(common, relative, torch.nan).flatten(1).nanmedian(1).values
    error = torch.where(usable, error, torch.nan)
    accepted = usable & (error <= max_error)
    filled = fine & ~measured & accepted[:, None, None]
    values = torch.where(measured, truth, torch.where(filled, fitted.to(truth.dtype), 0.0))
    farthest = torch.where(near, truth, torch.inf).amin(dim=(1, 2))[:, None, None]
    in_reach = measured | (filled & (values * REACH >= farthest))
    return Completed(values, measured | filled, measured, in_reach, error, ~accepted)


def notes_of(made: Completed) -> dict[str, Tensor]:
    """Return scalars for a log: the shares of pixels that were filled, and too far to be depth, of views that were refused, and the
    median error of fits.
    """
    return {
        "filled": (made.valid & ~made.measured).float().mean(),
        "filled_far": (made.valid & ~made.in_reach).float().mean(),
        "fit_refused": made.refused.float().mean(),
        "fit_error": made.error.nanmedian(0).values,
    }


def _line(values: Tensor, known: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale * values + shift of every view [N,H,W] where its values are known."""
    exact = torch.where(known, values, 0.0).to(scale.dtype)
    return (scale[:, None, None] * exact + shift[:, None, None]).float()
