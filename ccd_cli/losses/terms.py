"""Distillation losses between a student's map and a pseudo-label: per-pixel, feature and scale-anchor losses, and drift.

Formulas: Distill Any Depth (arXiv 2502.19204), equations 1 to 6 and 9. Maps are [B,H,W] in one domain (disparity), of
any unit; masks are [B,H,W] bool, True = valid. Invalid pixels may be NaN in either map: they contribute neither loss
nor gradient. Everything is computed in float32, even under autocast. Gradients flow to the student only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ccd_cli.core.compute import full_precision
from ccd_cli.core.errors import UsageProblem
from ccd_cli.losses.context_l1 import context_l1
from ccd_cli.losses.contexts import Family, Variant, check_contexts
from ccd_cli.losses.normalize import as_maps, kth_of_each, statistics

Normalization = Literal["global", "hybrid", "local", "none"]
ANCHOR_FLOOR = (
    1e-3  # fraction of the label's MAD that the anchor adds to both MADs: its loss stays under log(1e-3)^2 = 48
)
DRIFT_FLOOR = 1e-6  # the smallest ratio of MADs that `drift` reports


def normalized_l1(
    pred: Tensor,
    label: Tensor,
    mask: Tensor,
    normalization: Normalization,
    contexts: Family = "range",
    levels: Sequence[int] = (1, 2, 4),
    variant: Variant = "ccd",
) -> Tensor:
    """Each pixel's absolute difference between the normalized student and the normalized label: [B,H,W], 0 if invalid.

    `normalization`: `global` one context per map (SSI, eq. 1 and 2); `hybrid` the mean over a pixel's contexts at all
    `levels` (eq. 3 and 4); `local` the finest level alone (eq. 5); `none` the raw difference (eq. 6), the only one with
    a unit. `contexts` and `variant`: see `ccd_cli.losses.contexts`. With variant `ccd` contexts under 16 pixels are
    skipped and a MAD is at least a thousandth of its map's range; `hdn` follows the HDN authors' code.
    Raises `UsageProblem` for an unknown name or bad levels, `ValueError` for shapes that disagree.
    """
    check_contexts(contexts, levels, variant)
    if normalization not in get_args(Normalization):
        choices = ", ".join(get_args(Normalization))
        raise UsageProblem(f"Unknown normalization {normalization!r}.", f"Choose one of: {choices}.")
    check_maps(pred, label, mask)
    pred = as_maps(pred)
    label = label.detach().to(pred.dtype)
    with full_precision(pred.device):
        if normalization == "none":
            return (torch.where(mask, pred, 0.0) - torch.where(mask, label, 0.0)).abs()
        if normalization == "global":
            return context_l1(pred, label, mask, "grid", (1,), variant)  # one cell: the same for every family
        return context_l1(pred, label, mask, contexts, levels if normalization == "hybrid" else (max(levels),), variant)


def reduce_loss(
    loss_map: Tensor,
    mask: Tensor,
    drop_worst: float = 0.0,
    count: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over the batch's valid pixels: a scalar; 0 (still connected to the graph) where there are none.

    `loss_map` [B,H,W], `mask` [B,H,W] bool. `drop_worst` in [0, 1): the fraction of each map's valid pixels, rounded down,
    with the largest losses that is excluded (0.1 in Depth Anything V2). Pixels tied at the threshold get equal fractional
    weights, so that the result does not depend on their order. `weights` [B,H,W]: how much each pixel counts in the mean.
    `count`: what the sum is divided by in place of this batch's `kept_pixels`. Raises `ValueError` outside [0, 1), and for
    weights together with `drop_worst`.
    """
    if not 0 <= drop_worst < 1:
        raise ValueError(f"drop_worst {drop_worst} is not in [0, 1).")
    count = kept_pixels(mask, drop_worst, weights).sum() if count is None else count
    if weights is not None:
        loss_map = loss_map * weights
    if drop_worst:
        loss_map = loss_map * _trim_weights(loss_map.detach(), mask, drop_worst)
    return divided(torch.where(mask, loss_map, 0.0).sum(), count)


def kept_pixels(mask: Tensor, drop_worst: float, weights: Tensor | None = None) -> Tensor:
    """Return how many pixels of each map [B,H,W] `reduce_loss` takes the mean of, or the sum of their weights: [B]."""
    if weights is not None:
        if drop_worst:
            raise ValueError("drop_worst does not go with weights.")
        return trusted(mask, weights).sum(dim=(1, 2))
    count = mask.sum(dim=(1, 2))
    return count - (count * drop_worst).long() if drop_worst else count


def trusted(mask: Tensor, weights: Tensor | None) -> Tensor:
    """Return how much each pixel of a mask [B,H,W] counts: the mask where all count alike, else its weights, 0 outside it."""
    return mask if weights is None else torch.where(mask, weights, 0.0)


def divided(total: Tensor, count: Tensor) -> Tensor:
    """Return total / count, and the total itself, which is 0 then, where nothing was counted."""
    return total / torch.where(count > 0, count, 1)


def usable_maps(label: Tensor, mask: Tensor) -> Tensor:
    """Return how many maps [B,H,W] have relief, their MAD being above 0: those that `anchor_loss` and `drift` average."""
    high = torch.where(mask, label, -torch.inf).amax(dim=(1, 2))
    return (high > torch.where(mask, label, torch.inf).amin(dim=(1, 2))).sum()


def feature_loss(
    student_tokens: Tensor,
    target_tokens: Tensor,
    margin: float = 0.85,
    average: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """1 - cosine similarity, averaged over the tokens whose similarity is at most `margin`: a scalar.

    Both [B,N,C]; no gradient reaches the target. 0, still connected to the graph, where every token is above the margin.
    `average` turns the number of those tokens into its mean over processes. From Depth Anything (arXiv 2401.10891); L_feat of
    Distill Any Depth. Raises `ValueError` if shapes disagree.
    """
    if student_tokens.shape != target_tokens.shape:
        raise ValueError(f"Token shapes {tuple(student_tokens.shape)} and {tuple(target_tokens.shape)} disagree.")
    student = as_maps(student_tokens)
    with full_precision(student.device):
        similarity = F.cosine_similarity(student, target_tokens.detach().to(student.dtype), dim=-1)
        below = (similarity.detach() <= margin).to(similarity.dtype)
        count = below.sum() if average is None else average(below.sum())
        return divided(((1 - similarity) * below).sum(), count)


def anchor_loss(pred: Tensor, label: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Squared log ratio of the student's MAD to the label's, averaged over maps: a scalar, in log units squared.

    Maps [B,H,W]. A thousandth of the label's MAD is added to both sides, which bounds the loss of a flat student by
    48. Maps without valid pixels or with a flat label are excluded. `count`: what the sum is divided by in place of this batch's
    `usable_maps`. An addition of this project: the other losses do not constrain the student's scale.
    """
    check_maps(pred, label, mask)
    p_mad, l_mad, usable = _mads(pred, label, mask)
    extra = ANCHOR_FLOOR * l_mad
    ratio = torch.where(usable, (p_mad + extra) / (l_mad + extra), 1.0)
    return divided(ratio.log().square().sum(), usable.sum() if count is None else count)


def drift(pred: Tensor, label: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Natural log of the student's MAD over the label's, averaged over maps: a scalar without gradient.

    0 = same MAD, 2.3 = ten times the label's, at least log(1e-6). Maps are excluded and counted as in `anchor_loss`; 0 if none
    is left.
    """
    check_maps(pred, label, mask)
    p_mad, l_mad, usable = _mads(pred.detach(), label, mask)
    ratio = torch.where(usable, p_mad / l_mad, 1.0).clamp_min(DRIFT_FLOOR)
    return divided(ratio.log().sum(), usable.sum() if count is None else count)


def check_maps(pred: Tensor, label: Tensor, mask: Tensor) -> None:
    """Raise `ValueError` unless the three are [B,H,W] of one shape and the mask is bool."""
    if pred.ndim != 3 or pred.shape != label.shape or pred.shape != mask.shape or mask.dtype != torch.bool:
        shapes = [tuple(x.shape) for x in (pred, label, mask)]
        raise ValueError(f"Expected pred, label and bool mask of one shape [B,H,W]; got {shapes}, mask {mask.dtype}.")


def _mads(pred: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MAD of student and label [B] (1 where the label is flat or empty), and which maps are usable [B] bool."""
    p_mad, l_mad = statistics(pred, mask)[1], statistics(label.detach(), mask)[1].to(as_maps(pred).dtype)
    usable = l_mad > 0
    return p_mad, torch.where(usable, l_mad, 1.0), usable


def _trim_weights(losses: Tensor, mask: Tensor, fraction: float) -> Tensor:
    """Weights [B,H,W] in [0, 1] that exclude the worst `fraction` of each map's valid pixels."""
    count, keep = mask.sum(dim=(1, 2)), kept_pixels(mask, fraction)
    threshold = kth_of_each(losses, mask, count, keep[:, None] - 1)[..., None]
    below, at = mask & (losses < threshold), mask & (losses == threshold)
    share = (keep - below.sum(dim=(1, 2))) / at.sum(dim=(1, 2)).clamp_min(1)
    return (below + at * share[:, None, None]).to(losses.dtype)
