"""The distillation objective: L = shared + l1 local_global + l2 feature + l3 gradient + anchor (paper, eq. 9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ccd_cli.config.distill import Context, Loss
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import anchor_loss, drift, feature_loss, normalized_l1, reduce_loss


def objective(
    maps: Tensor,
    tokens: Tensor | None,
    values: Tensor,
    valid: Tensor,
    boxes: Tensor,
    rule: Loss,
    target_tokens: Tensor | None = None,
    projection: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Return `loss` and its named parts, unweighted and differentiable, and the detached `drift` and student statistics.

    maps [B*V,S,S]: the student's disparity of its views, all shared crops first. values, valid [B+B*P,S,S] or [B*P,S,S]:
    labels of the student's first views (where the teacher saw them), then of the patches. boxes [B,P,3]: the patches'
    footprints in the student's last view. tokens [B*V,L,C] and target_tokens [B,L',C']: patch features of square grids.
    """
    count = len(boxes)
    maps = maps.float()
    parts: dict[str, Tensor] = {}
    first = len(values) - count * boxes.shape[1]
    pairs = []  # (student, label, valid) a context, the shared one first
    if rule.shared.weight:
        pairs.append((maps[:count], values[:count], valid[:count]))
        parts["shared"] = _context(*pairs[-1], rule.shared, rule.drop_worst)
    if rule.local_global.weight:
        seen = sample_boxes(maps[-count:], boxes, values.shape[-1])
        pairs.append((seen, values[first:], valid[first:]))
        parts["local_global"] = _context(*pairs[-1], rule.local_global, rule.drop_worst)
    main = pairs[0]
    if rule.gradient.weight:
        parts["gradient"] = gradient_loss(*main, scales=rule.gradient.scales)
    if rule.feature.weight and tokens is not None and target_tokens is not None:
        own = tokens[: len(target_tokens)].float()
        target = match_grid(target_tokens.float(), own.shape[1])
        parts["feature"] = feature_loss(own if projection is None else projection(own), target, rule.feature.margin)
    if rule.anchor.weight:
        parts["anchor"] = anchor_loss(*main)
    loss = torch.stack([getattr(rule, name).weight * part for name, part in parts.items()]).sum()
    _, median, mad = normalize_map(main[0].detach(), main[2])
    figures = {"drift": drift(*(t.detach() for t in main)), "student_median": median.mean(), "student_mad": mad.mean()}
    return {"loss": loss, **parts, **figures}


def match_grid(tokens: Tensor, count: int) -> Tensor:
    """Resize patch features [B,L,C] of a square grid bilinearly to another square grid of `count` patches."""
    if tokens.shape[1] == count:
        return tokens
    old, new = math.isqrt(tokens.shape[1]), math.isqrt(count)
    grid = tokens.transpose(1, 2).unflatten(2, (old, old))
    return F.interpolate(grid, size=(new, new), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def _context(student: Tensor, label: Tensor, valid: Tensor, rule: Context, drop_worst: float) -> Tensor:
    pixels = normalized_l1(student, label, valid, rule.normalization, rule.contexts, tuple(rule.levels))
    return reduce_loss(pixels, valid, drop_worst)
