"""The distillation loss: L = shared + l1 local_global + l2 feature + l3 gradient + anchor (paper, eq. 9)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.config.distill import Context, Loss
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import anchor_loss, drift, feature_loss, normalized_l1, reduce_loss


@dataclass(frozen=True)
class Prediction:
    """What the student predicts for B images, in its own scale of disparity.

    `shared` [B,S,S]: of the crop that the teacher sees too. `local_global` [B,S,S]: of the region that the patches lie in,
    often the same one. `tokens` [B,L,C]: patch features of the shared crop, at the width of the teacher's.
    """

    shared: Tensor
    local_global: Tensor
    tokens: Tensor | None = None


@dataclass(frozen=True)
class LabelMaps:
    """Disparity at unit scale (MAD 1), and where it is valid (bool); both [B,S,S], or [B,P,S,S] of patches."""

    values: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Labels:
    """Pseudo-labels of B images with P patches each, and who made them.

    `shared` [B,S,S] is None where no term needs it, `patches` [B,P,S,S]. `tokens` [B,L',C]: patch features of the primary
    teacher's encoder, if they were asked for. `median` and `mad`: means over all views of the raw label's statistics, in
    the teacher's own scale of disparity.
    """

    shared: LabelMaps | None
    patches: LabelMaps
    tokens: Tensor | None
    teacher: str
    median: Tensor
    mad: Tensor


def distillation_loss(prediction: Prediction, labels: Labels, boxes: Tensor, config: Loss) -> dict[str, Tensor]:
    """Return `loss` and its terms, unweighted and differentiable, and detached statistics of student and label.

    boxes [B,P,3]: the patches' footprints (top, left, side) as fractions of the local-global view. The terms of one map
    alone (gradient, anchor) and the statistics are of the shared context, or of the local-global one where that is off.
    """
    terms: dict[str, Tensor] = {}
    contexts = []  # (student, label, valid), each [N,S,S]; the shared one first
    if config.shared.weight:
        assert labels.shared is not None
        contexts.append((prediction.shared.float(), labels.shared.values, labels.shared.valid))
        terms["shared"] = _context_loss(*contexts[-1], config.shared, config.drop_worst)
    if config.local_global.weight:
        values, valid = labels.patches.values.flatten(0, 1), labels.patches.valid.flatten(0, 1)
        contexts.append((sample_boxes(prediction.local_global.float(), boxes, values.shape[-1]), values, valid))
        terms["local_global"] = _context_loss(*contexts[-1], config.local_global, config.drop_worst)
    main = contexts[0]
    if config.gradient.weight:
        terms["gradient"] = gradient_loss(*main, scales=config.gradient.scales, form=config.gradient.form)
    if config.feature.weight and prediction.tokens is not None and labels.tokens is not None:
        tokens = prediction.tokens.float()
        target = match_grid(labels.tokens.float(), tokens.shape[1])
        terms["feature"] = feature_loss(tokens, target, config.feature.margin)
    if config.anchor.weight:
        terms["anchor"] = anchor_loss(*main)
    loss = torch.stack([getattr(config, name).weight * term for name, term in terms.items()]).sum()
    _, median, mad = normalize_map(main[0].detach(), main[2])
    statistics = {
        "drift": drift(*(t.detach() for t in main)),
        "student_median": median.mean(),
        "student_mad": mad.mean(),
        "label_median": labels.median,
        "label_mad": labels.mad,
    }
    return {"loss": loss, **terms, **statistics}


def match_grid(tokens: Tensor, count: int) -> Tensor:
    """Resize patch features [B,L,C] of a square grid bilinearly to another square grid of `count` patches."""
    if tokens.shape[1] == count:
        return tokens
    old, new = math.isqrt(tokens.shape[1]), math.isqrt(count)
    grid = tokens.transpose(1, 2).unflatten(2, (old, old))
    return F.interpolate(grid, size=(new, new), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def _context_loss(student: Tensor, label: Tensor, valid: Tensor, context: Context, drop_worst: float) -> Tensor:
    pixels = normalized_l1(student, label, valid, context.normalization, context.contexts, tuple(context.levels))
    return reduce_loss(pixels, valid, drop_worst)
