"""The normalized L1 loss over nested contexts, all contexts together, with its gradient written out.

For a context of n pixels with student p and label l: `t = median(p)`, `s = sum|p - t| / (n + 1)`, and the same for the
label; the residual is `r = (p - t) / s - (l - t_l) / s_l` and the loss of a pixel is the mean of |r| over its contexts
(Distill Any Depth, eq. 3). With g the gradient that reaches a pixel's |r|, and w = g sign(r):

    dL/dp_i = w_i / s + dL/ds sign(p_i - t) / (n + 1) + (dL/dt split among the pixels equal to the median)
    dL/ds   = - sum(w (p - t)) / s^2                       (0 where s is at the floor)
    dL/dt   = - sum(w) / s - dL/ds sum(sign(p - t)) / (n + 1)

which equals autograd's result for the plain formula. Here, for the CPU, the computation runs on contiguous slices of
pixels sorted by context: no full-size masks, no indexing per context, and each map fits a processor's cache. On other devices
`segments` computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccd_cli.losses.contexts import HDN_EPSILON, MIN_PIXELS, Family, Layout, Variant, chains, layouts
from ccd_cli.losses.normalize import lower_median, ranked_values, scale_floor
from ccd_cli.losses.segments import context_l1_batched


@dataclass(frozen=True)
class Sorted:
    """The pixels of one map for one chain of levels.

    `order` [n] flat indices; `both` [2,n] student and label in that order; `spans` the (start, stop) of the contexts in
    use; `medians` [2,1] of each; `scales` of each: the scale [2,1], and 1 where it is the MAD or 0 where it is the
    constant floor [2,1]. `skipped`: whether some contexts were too small and skipped.
    """

    order: Tensor
    both: Tensor
    spans: list[tuple[int, int]]
    medians: list[Tensor]
    scales: list[tuple[Tensor, Tensor]]
    skipped: bool


def context_l1(
    pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: Sequence[int], variant: Variant
) -> Tensor:
    """Each pixel's mean over its contexts of |N(pred) - N(label)|: [B,H,W], 0 at invalid pixels.

    `pred`, `label` [B,H,W] of one floating type, `mask` [B,H,W] bool, `levels` distinct. Once differentiable in `pred`.
    A pixel all of whose contexts are skipped (variant ccd, under `MIN_PIXELS`) has loss 0.
    """
    if pred.device.type != "cpu":
        return context_l1_batched(pred, label, mask, contexts, levels, variant)
    result: Tensor = _ContextL1.apply(pred, label, mask, contexts, tuple(levels), variant)
    return result


def _arrange(pred: Tensor, label: Tensor, layout: Layout, variant: Variant) -> Sorted:
    """Both flat maps [H*W] sorted by `layout`, with the medians of the contexts that are large enough."""
    both = pred.new_empty(2, len(layout.order))
    torch.index_select(pred, 0, layout.order, out=both[0])
    torch.index_select(label, 0, layout.order, out=both[1])
    smallest = 1 if variant == "hdn" else MIN_PIXELS
    spans = [span for spans in layout.spans for span in spans if span[1] - span[0] >= smallest]
    if layout.by_value:
        centers = ranked_values(both[1], layout.spans[0], [(start + stop - 1) // 2 for start, stop in spans])
    else:
        centers = [lower_median(both[1, start:stop]) for start, stop in spans]
    medians = [
        torch.stack([lower_median(both[0, start:stop]), center])[:, None]
        for (start, stop), center in zip(spans, centers, strict=True)
    ]
    return Sorted(layout.order, both, spans, medians, [], len(spans) < sum(len(spans) for spans in layout.spans))


def _arrange_all(
    pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: tuple[int, ...], variant: Variant
) -> list[list[Sorted]]:
    """For each map its chains of levels, sorted; one thread per map (numpy releases the interpreter lock)."""

    def arrange(batch: slice) -> list[list[Sorted]]:
        by_chain = [layouts(label[batch], mask[batch], contexts, chain, variant) for chain in chains(levels)]
        rows = zip(pred[batch].flatten(1), label[batch].flatten(1), zip(*by_chain, strict=True), strict=True)
        return [[_arrange(p, t, layout, variant) for layout in mine] for p, t, mine in rows]

    found: list[list[Sorted]] = [[] for _ in pred]

    def work(mine: range) -> None:
        for i in mine:
            found[i] = arrange(slice(i, i + 1))[0]

    _run_per_map(len(pred), _without_gradients(work))
    return found


def _run_per_map(count: int, work: Callable[[range], None]) -> None:
    """Call `work` on the map indices 0 .. count - 1, divided among single-threaded workers.

    One thread per map is faster than threads inside every small operation, above all on a busy machine.
    """
    threads = min(count, torch.get_num_threads())
    if threads <= 1:
        work(range(count))
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in [pool.submit(work, range(first, count, threads)) for first in range(threads)]:
            done.result()


def _without_gradients(work: Callable[[range], None]) -> Callable[[range], None]:
    """Return `work` under `no_grad`, whose state is per thread and not inherited by worker threads."""
    return torch.no_grad()(work)


def _contexts_of_pixels(like: Tensor, parts: list[Sorted]) -> Tensor:
    """The number of contexts that each pixel is in: [H*W] of the type of `like`."""
    used = torch.zeros_like(like)
    for part in parts:
        counts = torch.zeros_like(part.both[0])
        for start, stop in part.spans:
            counts[start:stop] += 1
        used.index_add_(0, part.order, counts)
    return used


def _scatter(target: Tensor, order: Tensor, values: Tensor, first: bool) -> None:
    """Add `values` to `target` at the distinct indices `order`; `first`: the target is 0, so copy, which is faster."""
    if first:
        target.index_copy_(0, order, values)
    else:
        target.index_add_(0, order, values)


def _loss(part: Sorted, variant: Variant, scratch: Tensor) -> Tensor:
    """The sum of |r| over the contexts of each sorted pixel [n]; appends to `part.scales`."""
    total = torch.zeros_like(part.both[0])
    if not part.spans:
        return total
    floor = scale_floor(part.both.amin(dim=1, keepdim=True), part.both.amax(dim=1, keepdim=True))
    for (start, stop), median in zip(part.spans, part.medians, strict=True):
        away, spare = scratch[:2, : stop - start], scratch[2:, : stop - start]
        torch.sub(part.both[:, start:stop], median, out=away)
        mad = torch.abs(away, out=spare).sum(dim=1, keepdim=True) / (stop - start + 1)
        scale = mad + HDN_EPSILON if variant == "hdn" else torch.maximum(mad, floor)
        part.scales.append((scale, torch.ones_like(mad) if variant == "hdn" else (mad > floor).to(mad.dtype)))
        away.div_(scale)
        total[start:stop] += away[0].sub_(away[1]).abs_()
    return total


def _gradient(part: Sorted, index: int, upstream: Tensor, scratch: Tensor) -> Tensor:
    """dL/dp [n] of one context, from the gradient `upstream` [n] with respect to its |r|; a view of `scratch`."""
    (start, stop), median, (scales, free) = part.spans[index], part.medians[index], part.scales[index]
    n, scale = stop - start, scales[0, 0]
    away, divided = scratch[:2, :n], scratch[2:, :n]
    torch.sub(part.both[:, start:stop], median, out=away)
    torch.div(away, scales, out=divided)
    w, from_median, spare = divided[0].sub_(divided[1]).sign_().mul_(upstream), away[0], away[1]
    d_scale = torch.mul(w, from_median, out=spare).sum() * (free[0, 0] / (scale.square() * -(n + 1)))
    from_median.sign_()
    d_median = -(w.sum() / scale) - d_scale * from_median.sum()
    w.div_(scale).add_(torch.mul(from_median, d_scale, out=spare))
    holders = from_median.square_().neg_().add_(1)  # exactly 1 at the median, 0 elsewhere
    return w.add_(holders.mul_(d_median / holders.sum().clamp_min(1)))


class _ContextL1(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: tuple[int, ...], variant: Variant
    ) -> Tensor:
        result = torch.zeros_like(pred, memory_format=torch.contiguous_format)
        maps = _arrange_all(pred.detach(), label, mask, contexts, levels, variant)
        weights: list[Tensor | float] = [1 / len(levels)] * len(maps)

        def work(mine: range) -> None:
            scratch = pred.new_empty(
                4, pred[:1].numel()
            )  # allocating per operation would cost as much as the operation
            for i in mine:
                row = result[i].view(-1)
                for number, part in enumerate(maps[i]):
                    _scatter(row, part.order, _loss(part, variant, scratch), first=number == 0)
                if any(part.skipped for part in maps[i]):
                    weights[i] = 1 / _contexts_of_pixels(row, maps[i]).clamp_min_(1)
                row.mul_(weights[i])

        _run_per_map(len(maps), _without_gradients(work))
        ctx.maps, ctx.weights = maps, weights
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        result = torch.zeros_like(upstream, memory_format=torch.contiguous_format)

        def work(mine: range) -> None:
            scratch = upstream.new_empty(4, upstream[:1].numel())
            for i in mine:
                weighted = upstream[i].reshape(-1) * ctx.weights[i]
                for number, part in enumerate(ctx.maps[i]):
                    arriving = weighted.index_select(0, part.order)
                    total = torch.zeros_like(arriving)
                    for index, (start, stop) in enumerate(part.spans):
                        total[start:stop] += _gradient(part, index, arriving[start:stop], scratch)
                    _scatter(result[i].view(-1), part.order, total, first=number == 0)

        _run_per_map(len(ctx.maps), _without_gradients(work))
        return result, None, None, None, None, None
