"""Losses between depths in logarithm, for students of kind depth or metric: scale-invariant, absolute, gradients.

Maps are [B,H,W] of depth in one unit (meters for metric students); masks [B,H,W] bool, True = the true depth is known. A pixel
counts where it is valid and the true depth positive and finite. d below is ln(student) - ln(truth), a residual without unit:
0.1 is an error of about 10 %. Student's depth under `LEAST_DEPTH` is taken as that, so that the logarithm is finite everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.core.compute import full_precision
from ccd_cli.losses.disparity import LEAST_DEPTH
from ccd_cli.losses.gradient import Form, gradient_counts, matched_gradients
from ccd_cli.losses.terms import check_maps, divided, trusted

_ZERO = 1e-12  # a squared residual under this has no direction


def silog_loss(
    pred: Tensor,
    truth: Tensor,
    mask: Tensor,
    focus: float = 0.5,
    count: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Scale-invariant logarithmic loss: the mean over maps of sqrt(mean(d^2) - focus * mean(d)^2), a scalar.

    `focus` (lambda) in [0, 1]: at 0 the root mean square of d, at 1 its standard deviation, which no scale of the student changes.
    Eigen et al. (arXiv 1406.2283, eq. 4) train with 0.5 and without the root; Depth Anything V2's metric code with 0.5 and the
    root, over the pixels of a batch as if they were one map; BTS (arXiv 1907.10326) with 0.85 and ten times the root. Maps without
    a valid pixel do not count; 0, still connected to the graph, where none has one. `weights` [B,H,W]: how much each pixel counts
    in the means over a map. `count`: what the sum over maps is divided by in place of this batch's `seen_maps`.
    Raises `ValueError` for shapes that disagree or a `focus` outside [0, 1].
    """
    if not 0 <= focus <= 1:
        raise ValueError(f"focus {focus} is not in [0, 1].")
    with full_precision(pred.device):
        d, valid = log_residual(pred, truth, mask)
        trust = trusted(valid, weights)
        total = trust.sum(dim=(1, 2))
        pixels = torch.where(total > 0, total, 1)
        mean = (d * trust).sum(dim=(1, 2)) / pixels
        # the variance by itself: mean(d^2) - mean(d)^2 would lose all digits of a small one beside a large offset
        variance = (torch.where(valid, d - mean[:, None, None], 0.0) ** 2 * trust).sum(dim=(1, 2)) / pixels
        squared = variance + (1 - focus) * mean.square()
        there = squared > _ZERO
        root = torch.where(there, torch.where(there, squared, 1.0).sqrt(), 0.0 * squared)
        return divided(root.sum(), seen_maps(truth, mask) if count is None else count)


def log_l1_loss(
    pred: Tensor, truth: Tensor, mask: Tensor, count: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Mean of |d| over the batch's valid pixels: a scalar; 0, still connected to the graph, where there are none.

    `weights` [B,H,W]: how much each pixel counts. `count`: what the sum is divided by in place of this batch's `seen_pixels`.
    Raises `ValueError` for shapes that disagree.
    """
    with full_precision(pred.device):
        d, valid = log_residual(pred, truth, mask)
        total = (d.abs() * trusted(valid, weights)).sum()
        return divided(total, seen_pixels(truth, mask, weights) if count is None else count)


def log_gradient_loss(
    pred: Tensor,
    truth: Tensor,
    mask: Tensor,
    scales: int = 4,
    form: Form = "sum",
    counts: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Absolute x and y differences of d, over `scales`: the gradient term of MegaDepth (arXiv 1804.00607, eq. 3), a scalar.

    Scales, forms, `counts` and `weights` as in `gradient.gradient_loss`, with `known` as the mask. Raises `ValueError` for shapes
    that disagree.
    """
    with full_precision(pred.device):
        d, valid = log_residual(pred, truth, mask)
        return matched_gradients(d, trusted(valid, weights), scales, form, counts)


def log_residual(pred: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return (d [B,H,W], 0 where it is not known; where it is known, bool). Gradients flow to `pred` alone."""
    check_maps(pred, truth, mask)
    valid = known(truth, mask)
    student = torch.where(valid, pred.float(), 1.0).clamp_min(LEAST_DEPTH)
    target = torch.where(valid, truth.detach().float(), 1.0)
    return torch.where(valid, student.log() - target.log(), 0.0), valid


def known(truth: Tensor, mask: Tensor) -> Tensor:
    """Return where the true depth [B,H,W] is valid, positive and finite: bool."""
    return mask & (truth > 0) & torch.isfinite(truth)


def seen_pixels(truth: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return how many pixels `log_l1_loss` takes the mean of, or the sum of their weights: a scalar."""
    return trusted(known(truth, mask), weights).sum()


def seen_maps(truth: Tensor, mask: Tensor) -> Tensor:
    """Return how many maps `silog_loss` takes the mean of: a scalar."""
    return known(truth, mask).any(dim=2).any(dim=1).sum()


def depth_counts(
    truth: Tensor, mask: Tensor, scales: int, form: Form, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Return what the three losses of maps [B,H,W] are divided by: `depth_maps`, `depth_pixels`, `depth_gradient` [scales]."""
    return {
        "depth_maps": seen_maps(truth, mask),
        "depth_pixels": seen_pixels(truth, mask, weights),
        "depth_gradient": gradient_counts(trusted(known(truth, mask), weights), scales, form),
    }
