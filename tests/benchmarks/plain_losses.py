"""Two plain implementations of the normalized loss, slow and easy to check: references for tests and the benchmark.

`whole_map` works as the HDN authors' code does: each context is a mask of the whole batch, medians over whole maps with
the other pixels set to NaN. `indexed` loops over maps and contexts and picks each context's pixels by a bool index.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MIN_PIXELS = 16
FLOOR = 1e-3


def levels_of(normalization: str, levels: tuple[int, ...]) -> tuple[int, ...]:
    return {"global": (1,), "local": (max(levels),)}.get(normalization, tuple(levels))


def context_masks(label: Tensor, mask: Tensor, contexts: str, segments: int, variant: str) -> list[Tensor]:
    """The contexts of one level, each a mask [B,H,W]."""
    _, height, width = label.shape
    if contexts == "grid":
        row = (torch.arange(height) * segments // height)[:, None]
        column = (torch.arange(width) * segments // width)[None]
        return [mask & (row == i) & (column == j) for i in range(segments) for j in range(segments)]
    edges = torch.full(
        (segments + 1, len(label)), torch.inf, dtype=torch.float64 if contexts == "quantile" else label.dtype
    )
    for b in range(len(label)):
        values = label[b][mask[b]]
        if values.numel() == 0:
            continue
        if contexts == "quantile":
            edges[:, b] = torch.from_numpy(np.quantile(values.double().numpy(), np.linspace(0, 1, segments + 1)))
        else:
            low, high = values.min(), values.max()
            edges[:, b] = torch.stack([low + (high - low) * (k / segments) for k in range(segments)] + [high])
    if variant == "ccd":
        edges[-1] = torch.inf
    edges = edges[:, :, None, None]
    label = label.to(edges.dtype)
    return [mask & (label >= edges[k]) & (label < edges[k + 1]) for k in range(segments)]


def floors(values: Tensor, mask: Tensor) -> Tensor:
    """The scale floor of each map, [B,1,1]."""
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
    """The loss map [B,H,W] by whole-map masks."""
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


def indexed(
    pred: Tensor,
    label: Tensor,
    mask: Tensor,
    contexts: str,
    levels: tuple[int, ...],
    variant: str,
    exclude_largest: bool = True,
) -> Tensor:
    """The loss map [B,H,W] by a loop that indexes each context; each map is assembled by itself."""
    p_floor, l_floor = floors(pred, mask), floors(label, mask)
    contexts_of_level = [context_masks(label, mask, contexts, s, variant if exclude_largest else "ccd") for s in levels]
    rows = []
    for b in range(len(pred)):
        row, used = torch.zeros_like(pred[b]).flatten(), torch.zeros_like(pred[b]).flatten()
        flat_pred, flat_label = pred[b].flatten(), label[b].flatten()
        for context in (c for of_level in contexts_of_level for c in of_level):
            where = context[b].flatten().nonzero()[:, 0]
            if len(where) < (MIN_PIXELS if variant == "ccd" else 1):
                continue
            p, t = flat_pred[where], flat_label[where]
            p, t = p - p.median(), t - t.median()
            p_mad, t_mad = p.abs().sum() / (len(p) + 1), t.abs().sum() / (len(p) + 1)
            if variant == "hdn":
                r = p / (p_mad + 1e-6) - t / (t_mad + 1e-6)
            else:
                r = p / torch.maximum(p_mad, p_floor[b, 0, 0]) - t / torch.maximum(t_mad, l_floor[b, 0, 0])
            row = row.index_add(0, where, r.abs())
            used[where] += 1
        rows.append(row / (used.clamp_min(1) if variant == "ccd" else len(levels)))
    return torch.stack(rows).view(pred.shape)
