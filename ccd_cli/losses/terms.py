"""Losses of distillation between a student's map and a pseudo-label: per-pixel, feature, scale anchor, and drift.

Formulas: Distill Any Depth (arXiv 2502.19204), equations 1 to 6 and 9. Maps are [B,H,W] in one domain (disparity), of
any unit; masks are [B,H,W] bool, True = valid. Invalid pixels may be NaN in either map: they give neither loss nor
gradient. Everything is computed in float32, under autocast too. Gradients flow into the student only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ccd_cli.core.errors import UsageProblem
from ccd_cli.losses.context_l1 import context_l1
from ccd_cli.losses.contexts import Family, Rule, check_contexts
from ccd_cli.losses.normalize import as_maps, kth_smallest, statistics

Normalization = Literal["global", "hybrid", "local", "none"]
ANCHOR_FLOOR = 1e-3  # share of the label's MAD that the anchor adds to both: its loss stays under log(1e-3)^2 = 48
DRIFT_FLOOR = 1e-6  # the smallest ratio of MADs that `drift` reports


def normalized_l1(
    pred: Tensor,
    label: Tensor,
    mask: Tensor,
    normalization: Normalization,
    contexts: Family = "range",
    levels: Sequence[int] = (1, 2, 4),
    rule: Rule = "ccd",
) -> Tensor:
    """Each pixel's absolute difference between the normalized student and the normalized label: [B,H,W], 0 if invalid.

    `normalization`: `global` one context a map (SSI, eq. 1 and 2); `hybrid` the mean over a pixel's contexts at all
    `levels` (eq. 3 and 4); `local` the finest level alone (eq. 5); `none` the raw difference (eq. 6), the only one with
    a unit. `contexts` and `rule`: see `ccd_cli.losses.contexts`. With rule `ccd` contexts under 16 pixels are skipped
    and a MAD is held above a thousandth of its map's range; with `hdn` everything is as in the HDN authors' code.
    Raises `UsageProblem` for an unknown name or bad levels, `ValueError` for shapes that disagree.
    """
    check_contexts(contexts, levels, rule)
    if normalization not in get_args(Normalization):
        known = ", ".join(get_args(Normalization))
        raise UsageProblem(f"Unknown normalization {normalization!r}.", f"Choose one of: {known}.")
    check_maps(pred, label, mask)
    pred = as_maps(pred)
    label = label.detach().to(pred.dtype)
    with torch.autocast(pred.device.type, enabled=False):
        if normalization == "none":
            return (torch.where(mask, pred, 0.0) - torch.where(mask, label, 0.0)).abs()
        if normalization == "global":
            return context_l1(pred, label, mask, "grid", (1,), rule)  # one cell: the same for every family
        return context_l1(pred, label, mask, contexts, levels if normalization == "hybrid" else (max(levels),), rule)


def reduce_loss(loss_map: Tensor, mask: Tensor, drop_worst: float = 0.0) -> Tensor:
    """Sum over the batch's valid pixels / their number: a scalar; 0 (that still backpropagates) where there are none.

    `loss_map` [B,H,W], `mask` [B,H,W] bool. `drop_worst` in [0, 1): the share of each map's valid pixels, rounded down,
    with the largest losses that is left out (Depth Anything V2 leaves out 0.1). Pixels that tie at the cut share the
    places that remain, so that the result does not depend on their order. Raises `ValueError` outside [0, 1).
    """
    if not 0 <= drop_worst < 1:
        raise ValueError(f"drop_worst {drop_worst} is not in [0, 1).")
    if drop_worst == 0:
        return torch.where(mask, loss_map, 0.0).sum() / mask.sum().clamp_min(1)
    weight = _kept(loss_map.detach(), mask, drop_worst)
    return torch.where(mask, loss_map * weight, 0.0).sum() / weight.sum().clamp_min(1)


def feature_loss(student_tokens: Tensor, target_tokens: Tensor, margin: float = 0.85) -> Tensor:
    """1 - cosine similarity, the mean over the tokens that are not yet more similar than `margin`: a scalar.

    Both [B,N,C]; no gradient reaches the target. 0, with a gradient path, where every token is past the margin.
    From Depth Anything (arXiv 2401.10891); L_feat of Distill Any Depth. Raises `ValueError` if shapes disagree.
    """
    if student_tokens.shape != target_tokens.shape:
        raise ValueError(f"Token shapes {tuple(student_tokens.shape)} and {tuple(target_tokens.shape)} disagree.")
    student = as_maps(student_tokens)
    with torch.autocast(student.device.type, enabled=False):
        similarity = F.cosine_similarity(student, target_tokens.detach().to(student.dtype), dim=-1)
        apart = (similarity.detach() <= margin).to(similarity.dtype)
        return ((1 - similarity) * apart).sum() / apart.sum().clamp_min(1)


def anchor_loss(pred: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Squared log ratio of the student's MAD to the label's, the mean over maps: a scalar, in log units squared.

    Maps [B,H,W]. A thousandth of the label's MAD is added to both sides, so that a flat student costs at most 48. Maps
    without valid pixels or with a flat label are left out. This project's answer to the free scale of the other losses.
    """
    check_maps(pred, label, mask)
    p_mad, l_mad, useful = _spreads(pred, label, mask)
    extra = ANCHOR_FLOOR * l_mad
    ratio = torch.where(useful, (p_mad + extra) / (l_mad + extra), 1.0)
    return ratio.log().square().sum() / useful.sum().clamp_min(1)


def drift(pred: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Natural log of the student's MAD over the label's, the mean over maps: a scalar without gradient.

    0 = same spread, 2.3 = ten times the label's, at least log(1e-6). Maps as for `anchor_loss`; 0 if none is left.
    """
    check_maps(pred, label, mask)
    p_mad, l_mad, useful = _spreads(pred.detach(), label, mask)
    ratio = torch.where(useful, p_mad / l_mad, 1.0).clamp_min(DRIFT_FLOOR)
    return ratio.log().sum() / useful.sum().clamp_min(1)


def check_maps(pred: Tensor, label: Tensor, mask: Tensor) -> None:
    """Raise `ValueError` unless the three are [B,H,W] of one shape and the mask is bool."""
    if pred.ndim != 3 or pred.shape != label.shape or pred.shape != mask.shape or mask.dtype != torch.bool:
        shapes = [tuple(x.shape) for x in (pred, label, mask)]
        raise ValueError(f"Expected pred, label and bool mask of one shape [B,H,W]; got {shapes}, mask {mask.dtype}.")


def _spreads(pred: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MAD of student and label [B] (1 where the label is of no use), and which maps are of use [B] bool."""
    p_mad, l_mad = statistics(pred, mask)[1], statistics(label.detach(), mask)[1].to(as_maps(pred).dtype)
    useful = l_mad > 0
    return p_mad, torch.where(useful, l_mad, 1.0), useful


def _kept(losses: Tensor, mask: Tensor, share: float) -> Tensor:
    """Weights [B,H,W] in [0, 1] that keep all but the worst `share` of each map's valid pixels."""
    weights = torch.zeros_like(losses)
    for i, count in enumerate(mask.sum(dim=(1, 2)).tolist()):
        keep = count - int(count * share)
        if keep == 0:
            continue
        cut = kth_smallest(losses[i][mask[i]], keep - 1)
        below, at = mask[i] & (losses[i] < cut), mask[i] & (losses[i] == cut)
        weights[i] = below + at * ((keep - below.sum()) / at.sum().clamp_min(1))
    return weights
