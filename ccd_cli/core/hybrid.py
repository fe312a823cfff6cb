"""The normalised L1 loss over nested contexts, all contexts together, with its gradient written out.

For a context of n pixels with student p and label l: `t = median(p)`, `s = sum|p - t| / (n + 1)`, and the same for the
label; the residual is `r = (p - t) / s - (l - t_l) / s_l` and the loss of a pixel is the mean of |r| over its contexts
(Distill Any Depth, eq. 3). With g the gradient that reaches a pixel's |r|, and w = g sign(r):

    dL/dp_i = w_i / s + dL/ds sign(p_i - t) / (n + 1) + (dL/dt shared by the pixels that hold the median)
    dL/ds   = - sum(w (p - t)) / s^2                       (0 where the floor holds s)
    dL/dt   = - sum(w) / s - dL/ds sum(sign(p - t)) / (n + 1)

which is what autograd finds in the plain formula. The work is done on contiguous slices of pixels sorted by context:
no masks of whole maps, no indexing per context, and each map small enough for a processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccd_cli.core.contexts import Family, Layout, Rule, chains, layouts
from ccd_cli.core.normalize import lower_median, ranked_values, scale_floor

MIN_PIXELS = 16  # rule ccd: a smaller context has no statistics worth the name, and is skipped
HDN_EPSILON = 1e-6  # rule hdn: added to every MAD, in the unit of the map


@dataclass(frozen=True)
class Slice:
    """One context: where it lies in the sorted pixels, and the statistics [2,1] of student (first) and label."""

    start: int
    stop: int
    median: Tensor
    scale: Tensor
    free: Tensor  # 1 where the scale is the MAD, 0 where it is the floor, a constant


@dataclass(frozen=True)
class Sorted:
    """The pixels of one map for one chain of levels: flat indices, student and label [2,n] in that order, contexts."""

    order: Tensor
    both: Tensor
    slices: list[Slice]


@dataclass(frozen=True)
class Map:
    """One map of the batch: its chains, and 1 / the number of contexts of each pixel [H*W], or of all pixels."""

    parts: list[Sorted]
    weight: Tensor | float


def context_l1(
    pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: Sequence[int], rule: Rule
) -> Tensor:
    """Each pixel's mean over its contexts of |N(pred) - N(label)|: [B,H,W], 0 at invalid pixels.

    `pred`, `label` [B,H,W] of one floating type, `mask` [B,H,W] bool, `levels` distinct. Once differentiable in `pred`.
    A pixel all of whose contexts are skipped (rule ccd, under `MIN_PIXELS`) has loss 0.
    """
    result: Tensor = _ContextL1.apply(pred, label, mask, contexts, tuple(levels), rule)
    return result


def _prepare(
    pred: Tensor, label: Tensor, mine: list[Layout], levels: int, rule: Rule, scratch: Tensor
) -> tuple[Map, Tensor]:
    """Statistics and loss [H*W] of one pair of flat maps, from its layouts."""
    smallest = 1 if rule == "hdn" else MIN_PIXELS
    loss = torch.zeros_like(pred)
    parts: list[Sorted] = []
    for layout in mine:
        part, share = _sort_chain(pred, label, layout, rule, smallest, scratch)
        _scatter(loss, part.order, share, first=not parts)
        parts.append(part)
    weight: Tensor | float = 1 / levels
    if sum(len(part.slices) for part in parts) < sum(len(spans) for layout in mine for spans in layout.spans):
        weight = 1 / _contexts_of_pixels(loss, parts).clamp_min_(1)
    return Map(parts, weight), loss.mul_(weight)


def _contexts_of_pixels(like: Tensor, parts: list[Sorted]) -> Tensor:
    """How many contexts each pixel is in, as numbers [H*W] of the type of `like`."""
    used = torch.zeros_like(like)
    for part in parts:
        counts = torch.zeros_like(part.both[0])
        for piece in part.slices:
            counts[piece.start : piece.stop] += 1
        used.index_add_(0, part.order, counts)
    return used


def _scatter(target: Tensor, order: Tensor, values: Tensor, first: bool) -> None:
    """Add `values` to `target` at the distinct places `order`; `first`: nothing is there yet: copy, it is faster."""
    if first:
        target.index_copy_(0, order, values)
    else:
        target.index_add_(0, order, values)


def _sort_chain(
    pred: Tensor, label: Tensor, layout: Layout, rule: Rule, smallest: int, scratch: Tensor
) -> tuple[Sorted, Tensor]:
    """Both flat maps sorted by `layout`, the statistics of contexts from `smallest` pixels up, their sum of |r| [n]."""
    both = pred.new_empty(2, len(layout.order))
    torch.index_select(pred, 0, layout.order, out=both[0])
    torch.index_select(label, 0, layout.order, out=both[1])
    part, total = Sorted(layout.order, both, []), pred.new_zeros(len(layout.order))
    spans = [span for spans in layout.spans for span in spans if span[1] - span[0] >= smallest]
    if not spans:
        return part, total
    floor = scale_floor(both.amin(dim=1, keepdim=True), both.amax(dim=1, keepdim=True))
    if layout.by_value:
        medians = ranked_values(both[1], layout.spans[0], [(start + stop - 1) // 2 for start, stop in spans])
    else:
        medians = [lower_median(both[1, start:stop]) for start, stop in spans]
    for (start, stop), label_median in zip(spans, medians, strict=True):
        median = torch.stack([lower_median(both[0, start:stop]), label_median])[:, None]
        away, spare = scratch[:2, : stop - start], scratch[2:, : stop - start]
        torch.sub(both[:, start:stop], median, out=away)
        mad = torch.abs(away, out=spare).sum(dim=1, keepdim=True) / (stop - start + 1)
        scale = mad + HDN_EPSILON if rule == "hdn" else torch.maximum(mad, floor)
        free = torch.ones_like(mad) if rule == "hdn" else (mad > floor).to(mad.dtype)
        part.slices.append(Slice(start, stop, median, scale, free))
        away.div_(scale)
        total[start:stop] += away[0].sub_(away[1]).abs_()
    return part, total


def _gradient(part: Sorted, piece: Slice, upstream: Tensor, scratch: Tensor) -> Tensor:
    """dL/dp [n] of one context, from the gradient `upstream` [n] that reaches its |r|; a view of `scratch`."""
    n, scale = piece.stop - piece.start, piece.scale[0, 0]
    away, divided = scratch[:2, :n], scratch[2:, :n]
    torch.sub(part.both[:, piece.start : piece.stop], piece.median, out=away)
    torch.div(away, piece.scale, out=divided)
    w, side, spare = divided[0].sub_(divided[1]).sign_().mul_(upstream), away[0], away[1]
    d_scale = torch.mul(w, side, out=spare).sum() * (piece.free[0, 0] / (scale.square() * -(n + 1)))
    side.sign_()
    d_median = -(w.sum() / scale) - d_scale * side.sum()
    w.div_(scale).add_(torch.mul(side, d_scale, out=spare))
    holders = side.square_().neg_().add_(1)  # exactly 1 at the median, 0 elsewhere
    return w.add_(holders.mul_(d_median / holders.sum().clamp_min(1)))


class _ContextL1(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: tuple[int, ...], rule: Rule
    ) -> Tensor:
        ctx.maps = []
        losses = [pred.new_zeros(0)]
        scratch = pred.new_empty(4, pred[:1].numel())  # fresh memory for every step would cost as much as the step
        step = 1 if pred.device.type == "cpu" else max(len(pred), 1)  # a CPU's cache holds one map; a GPU is asked once
        for first in range(0, len(pred), step):
            batch = slice(first, first + step)
            by_chain = [layouts(label[batch], mask[batch], contexts, chain, rule) for chain in chains(levels)]
            for i, mine in enumerate(zip(*by_chain, strict=True), start=first):
                entry, loss = _prepare(
                    pred[i].reshape(-1), label[i].reshape(-1), list(mine), len(levels), rule, scratch
                )
                ctx.maps.append(entry)
                losses.append(loss)
        return torch.cat(losses).view(pred.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        result = torch.zeros_like(upstream, memory_format=torch.contiguous_format)
        scratch = upstream.new_empty(4, upstream[:1].numel())
        for i, entry in enumerate(ctx.maps):
            weighted = upstream[i].reshape(-1) * entry.weight
            for number, part in enumerate(entry.parts):
                arriving = weighted.index_select(0, part.order)
                total = torch.zeros_like(part.both[0])
                for piece in part.slices:
                    here = slice(piece.start, piece.stop)
                    total[here] += _gradient(part, piece, arriving[here], scratch)
                _scatter(result[i].view(-1), part.order, total, first=number == 0)
        return result, None, None, None, None, None
