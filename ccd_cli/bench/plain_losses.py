"""The distillation loss as it is written down first: each context a mask of the whole batch, as the HDN authors' code does it.

Slow and easy to check: what `ccd bench distill` is compared with, and a reference for tests.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ccd_cli.config.distill import Context, Loss
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.distillation import Labels, Prediction, match_grid
from ccd_cli.losses.gradient import gradient_loss
from ccd_cli.losses.terms import anchor_loss, feature_loss, reduce_loss

MIN_PIXELS = 16
FLOOR = 1e-3


def levels_of(normalization: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the levels that a normalization uses."""
    return {"global": (1,), "local": (max(levels),)}.get(normalization, tuple(levels))


def context_masks(label: Tensor, mask: Tensor, contexts: str, segments: int, variant: str) -> list[Tensor]:
    """Return the contexts of one level, each a mask [B,H,W]."""
    _, height, width = label.shape
    if contexts == "grid":
        row = (torch.arange(height, device=label.device) * segments // height)[:, None]
        column = (torch.arange(width, device=label.device) * segments // width)[None]
        return [mask & (row == i) & (column == j) for i in range(segments) for j in range(segments)]
    edges = torch.full(
        (segments + 1, len(label)),
        torch.inf,
        dtype=torch.float64 if contexts == "quantile" else label.dtype,
        device=label.device,
    )
    for b in range(len(label)):
        values = label[b][mask[b]]
        if values.numel() == 0:
            continue
        if contexts == "quantile":
            edges[:, b] = torch.from_numpy(np.quantile(values.double().cpu().numpy(), np.linspace(0, 1, segments + 1)))
        else:
            low, high = values.min(), values.max()
            edges[:, b] = torch.stack([low + (high - low) * (k / segments) for k in range(segments)] + [high])
    if variant == "ccd":
        edges[-1] = torch.inf
    edges = edges[:, :, None, None]
    label = label.to(edges.dtype)
    return [mask & (label >= edges[k]) & (label < edges[k + 1]) for k in range(segments)]


def floors(values: Tensor, mask: Tensor) -> Tensor:
    """Return the scale floor of each map, [B,1,1]."""
    values = values.detach()
    high = values.masked_fill(~mask, -torch.inf).amax(dim=(1, 2), keepdim=True)
    low = values.masked_fill(~mask, torch.inf).amin(dim=(1, 2), keepdim=True)
    contrast = high - low > 1e-6 * torch.maximum(low.abs(), high.abs())
    return torch.where(contrast, FLOOR * (high - low), 1.0)


def whole_map(
    pred: Tensor,
    label: Tensor,
    mask: Tensor,
    contexts: str,
    levels: tuple[int, ...],
    variant: str,
    exclude_largest: bool = True,
) -> Tensor:
    """Return the loss map [B,H,W] by whole-map masks: for each context a pass over the whole batch."""
    pred, label = torch.where(mask, pred, 0.0), torch.where(mask, label, 0.0)
    p_floor, l_floor = floors(pred, mask), floors(label, mask)
    total, used = torch.zeros_like(pred), torch.zeros_like(pred)
    for segments in levels:
        for context in context_masks(label, mask, contexts, segments, variant if exclude_largest else "ccd"):
            count = context.sum(dim=(1, 2), keepdim=True)
            if variant == "ccd":
                context = context & (count >= MIN_PIXELS)
            a, b = (
                _normalized(pred, context, count, variant, p_floor),
                _normalized(label, context, count, variant, l_floor),
            )
            total = total + torch.where(context, (a - b).abs(), 0.0)
            used = used + context
    return total / (used.clamp_min(1) if variant == "ccd" else len(levels))


def _normalized(values: Tensor, context: Tensor, count: Tensor, variant: str, floor: Tensor) -> Tensor:
    holed = values.clone()
    holed[~context] = torch.nan
    median = holed.flatten(1).nanmedian(dim=1).values[:, None, None]
    median = torch.where(median.isnan(), 0.0, median)
    deviation = (values - median).abs()
    deviation = torch.where(context, deviation, 0.0)
    mad = deviation.sum(dim=(1, 2), keepdim=True) / (count + 1)
    return (values - median) / (mad + 1e-6 if variant == "hdn" else torch.maximum(mad, floor))


def plain_loss(prediction: Prediction, labels: Labels, boxes: Tensor, config: Loss) -> Tensor:
    """Return the value of `losses.distillation.distillation_loss`, its contexts by whole-map masks."""
    terms: dict[str, Tensor] = {}
    maps = []
    if config.shared.weight:
        assert labels.shared is not None
        maps.append((prediction.shared.float(), labels.shared.values, labels.shared.valid))
        terms["shared"] = _plain_context(*maps[-1], config.shared, config.drop_worst)
    if config.local_global.weight:
        values, valid = labels.patches.values.flatten(0, 1), labels.patches.valid.flatten(0, 1)
        maps.append((sample_boxes(prediction.local_global.float(), boxes, values.shape[-1]), values, valid))
        terms["local_global"] = _plain_context(*maps[-1], config.local_global, config.drop_worst)
    if config.gradient.weight:
        terms["gradient"] = gradient_loss(*maps[0], scales=config.gradient.scales, form=config.gradient.form)
    if config.feature.weight and prediction.tokens is not None and labels.tokens is not None:
        tokens = prediction.tokens.float()
        terms["feature"] = feature_loss(
            tokens, match_grid(labels.tokens.float(), tokens.shape[1]), config.feature.margin
        )
    if config.anchor.weight:
        terms["anchor"] = anchor_loss(*maps[0])
    return torch.stack([getattr(config, name).weight * term for name, term in terms.items()]).sum()


def _plain_context(student: Tensor, label: Tensor, valid: Tensor, context: Context, drop_worst: float) -> Tensor:
    if context.normalization == "none":
        pixels = (torch.where(valid, student, 0.0) - torch.where(valid, label, 0.0)).abs()
    else:
        family = "grid" if context.normalization == "global" else context.contexts
        levels = levels_of(context.normalization, tuple(context.levels))
        pixels = whole_map(student, label, valid, family, levels, "ccd")
    return reduce_loss(pixels, valid, drop_worst)
