"""Two plain implementations of the normalized loss, slow and easy to check: references for tests and the benchmark.

`whole_map` (in `ccd_cli.bench.plain_losses`) works as the HDN authors' code does: each context is a mask of the whole batch.
`indexed` loops over maps and contexts and picks each context's pixels by a bool index.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ccd_cli.bench.plain_losses import MIN_PIXELS, context_masks, floors, levels_of, whole_map

__all__ = ["indexed", "levels_of", "whole_map"]


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
