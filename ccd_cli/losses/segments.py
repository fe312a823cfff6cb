"""The normalized L1 loss over nested contexts on an accelerator: the same numbers as `context_l1`, by operations on whole batches.

A GPU waits for two things: the launch of every small operation, and every value that the processor asks it for. So there is
nothing here per map, nothing whose size depends on the data, and nothing that is read back. Every map is sorted once; the
lower median of a context is the value at which a running count of its members, in that order, reaches half of them. The
gradient is written out (the formulas are those of `context_l1`). Beside the inputs it needs memory for about six maps.

Contexts are numbered within their level. `ids` [B,P] hold each pixel's, or S, the number of contexts, where it is in none; so
every table of statistics is [B,S+1], and its last column stands for "in no context" (count 0, unused).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ccd_cli.losses.contexts import HDN_EPSILON, MIN_PIXELS, Family, Variant, chains, nested_ids
from ccd_cli.losses.normalize import scale_floor


class Grouping(NamedTuple):
    """Which context of one level each pixel is in: those of a chain's finest level [B,P], `width` of which make one.

    `sizes` [B,S+1]: the number of pixels of each.
    """

    finest: Tensor
    width: int
    sizes: Tensor

    @property
    def columns(self) -> int:
        """Columns of a table of statistics: S + 1."""
        return self.sizes.shape[1]

    def ids(self) -> Tensor:
        """The context of each pixel [B,P]; made when it is needed, because it takes memory."""
        if self.width == 1:
            return self.finest
        outside = self.width * (self.columns - 1)
        return (self.finest // self.width).masked_fill_(self.finest == outside, self.columns - 1)


class Level(NamedTuple):
    """The statistics of one level's contexts, tables [B,S+1].

    `used`: 1.0 or 0.0; `medians` and `scales` of student and label; `free`: 1.0 where the student's scale is its MAD and not
    the constant floor.
    """

    grouping: Grouping
    used: Tensor
    medians: tuple[Tensor, Tensor]
    scales: tuple[Tensor, Tensor]
    free: Tensor


class Spread:
    """Gives each pixel its context's entry of a table [B,S+1]: [B*P]."""

    def __init__(self, ids: Tensor, columns: int) -> None:
        start = torch.arange(0, len(ids) * columns, columns, device=ids.device, dtype=torch.int32)
        self.index = ids.to(torch.int32).add_(start[:, None]).view(-1)  # half the memory of what gather takes

    def __call__(self, table: Tensor) -> Tensor:
        """The entries of `table` [B,S+1], pixel by pixel: [B*P]."""
        return table.view(-1).index_select(0, self.index)


def medians(ranked: Tensor, order: Tensor, groupings: Sequence[Grouping]) -> list[Tensor]:
    """The lower median of every context: a table for each level, undefined in an empty one.

    `ranked`, `order` [B,P]: the values sorted ascending, and where each was.
    """
    found = []
    for grouping in groupings:
        ids = grouping.ids().gather(1, order)
        halves = ((grouping.sizes + 1) // 2).split(1, dim=1)
        places = [((ids == k).cumsum(1, dtype=torch.int32) < half).sum(1) for k, half in enumerate(halves[:-1])]
        found.append(_at(ranked, torch.stack([*places, places[0]], dim=1)))
    return found


def medians_by_value(ranked: Tensor, groupings: Sequence[Grouping]) -> list[Tensor]:
    """As `medians` where a context holds consecutive values, as those of the families range and quantile do in the label."""
    return [_at(ranked, each.sizes.cumsum(1) - each.sizes + (each.sizes - 1) // 2) for each in groupings]


def _at(ranked: Tensor, places: Tensor) -> Tensor:
    return ranked.gather(1, places.clamp(0, ranked.shape[1] - 1))


def context_l1_batched(
    pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: Sequence[int], variant: Variant
) -> Tensor:
    """Each pixel's mean over its contexts of |N(pred) - N(label)|: [B,H,W], as `context_l1`, for tensors on any device."""
    result: Tensor = _Segments.apply(pred, label, mask, contexts, tuple(levels), variant)
    return result


def _groupings(
    label: Tensor, mask: Tensor, contexts: Family, levels: tuple[int, ...], variant: Variant
) -> list[Grouping]:
    """The contexts of each level."""
    found = []
    for chain in chains(levels):
        finest, total = nested_ids(label, mask, contexts, chain, variant)
        finest = finest.flatten(1)
        counts = torch.stack([(finest == k).sum(1) for k in range(total)], dim=1)
        for level in chain:
            width = (chain[0] // level) ** (2 if contexts == "grid" else 1)
            count = counts.unflatten(1, (-1, width)).sum(2)
            found.append(Grouping(finest, width, torch.nn.functional.pad(count, (0, 1))))
    return found


def _centers(pred: Tensor, label: Tensor, by_value: bool, groupings: list[Grouping]) -> list[tuple[Any, Any]]:
    """For student and label: the medians of each level's contexts, and the floor of the map's scale [B,1]."""
    outside = groupings[0].finest == groupings[0].width * (groupings[0].columns - 1)
    last = groupings[0].sizes.sum(1, keepdim=True) - 1
    found = []
    for number, values in enumerate((pred, label)):
        ranked, order = values.flatten(1).masked_fill(outside, math.inf).sort(1)
        in_order = by_value and number == 1
        middles = medians_by_value(ranked, groupings) if in_order else medians(ranked, order, groupings)
        found.append((middles, scale_floor(ranked[:, :1], _at(ranked, last))))
        del ranked, order
    return found


def _deviations(values: Tensor, center: Tensor, ids: Tensor, spread: Spread, count: Tensor) -> Tensor:
    """The mean absolute deviation of each context, a table; `values` [B*P], `center` a table."""
    away = spread(center).sub_(values).abs_().view(ids.shape)
    totals = [away.masked_fill(ids != k, 0).sum(1) for k in range(count.shape[1] - 1)]
    return torch.stack([*totals, torch.zeros_like(totals[0])], dim=1).div_(count + 1)


def _away(values: Tensor, center: Tensor, spread: Spread) -> Tensor:
    """`values` minus the median of each pixel's context [B*P]."""
    return spread(center).neg_().add_(values)


def _residual(pred: Tensor, label: Tensor, level: Level, spread: Spread) -> Tensor:
    """N(pred) - N(label) [B*P] in each pixel's context of one level."""
    student = _away(pred, level.medians[0], spread).div_(spread(level.scales[0]))
    return student.sub_(_away(label, level.medians[1], spread).div_(spread(level.scales[1])))


class _Segments(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, pred: Tensor, label: Tensor, mask: Tensor, contexts: Family, levels: tuple[int, ...], variant: Variant
    ) -> Tensor:
        groupings = _groupings(label, mask, contexts, levels, variant)
        centers = _centers(pred.detach(), label, contexts != "grid", groupings)
        values = pred.detach().flatten(), label.flatten()
        total, contexts_in = torch.zeros_like(values[0]), torch.zeros_like(values[0], dtype=torch.uint8)
        found = []
        for number, grouping in enumerate(groupings):
            middles = [(each[number], floor) for each, floor in centers]
            found.append(_add_level(values, grouping, middles, variant, total, contexts_in))
        ctx.found = found
        ctx.divisor = (
            len(found) if variant == "hdn" else contexts_in.clamp_min_(1)
        )  # what a pixel's loss is the mean of
        ctx.save_for_backward(pred, label)
        return total.div_(ctx.divisor).view(pred.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        pred, label = (each.detach().flatten() for each in ctx.saved_tensors)
        arriving = upstream.flatten()
        result = _gradient(pred, label, ctx.found[0], arriving, ctx.divisor)
        for level in ctx.found[1:]:
            result += _gradient(pred, label, level, arriving, ctx.divisor)
        return result.view(upstream.shape), None, None, None, None, None


def _add_level(
    values: tuple[Tensor, Tensor],
    grouping: Grouping,
    middles: list[tuple[Tensor, Tensor]],
    variant: Variant,
    total: Tensor,
    contexts_in: Tensor,
) -> Level:
    """Return the statistics of a level; add |r| to `total` and 1 to `contexts_in` at pixels in its used contexts."""
    count, ids = grouping.sizes, grouping.ids()
    empty, spread = count == 0, Spread(ids, grouping.columns)
    used = (count >= (1 if variant == "hdn" else MIN_PIXELS)).to(total.dtype)
    centers, scales, free = [], [], []
    for each, (middle, floor) in zip(values, middles, strict=True):
        centers.append(middle.masked_fill(empty, 0))
        mad = _deviations(each, centers[-1], ids, spread, count)
        scale = mad + HDN_EPSILON if variant == "hdn" else torch.maximum(mad, floor)
        scales.append(scale.masked_fill_(empty, 1))
        free.append((mad > (-1 if variant == "hdn" else floor)).to(mad.dtype))
    level = Level(grouping, used, (centers[0], centers[1]), (scales[0], scales[1]), free[0])
    residual = _residual(*values, level, spread).abs_()
    inside = spread(used).to(torch.uint8)
    total += residual.masked_fill_(inside == 0, 0)
    contexts_in += inside
    return level


def _gradient(pred: Tensor, label: Tensor, level: Level, arriving: Tensor, divisor: Tensor | int) -> Tensor:
    """dL/dp [B*P] of one level's contexts, from the gradient `arriving` [B*P] with respect to the mean of |r|."""
    count, columns, scale = level.grouping.sizes, level.grouping.columns, level.scales[0]
    ids = level.grouping.ids()
    spread = Spread(ids, columns)
    w = _residual(pred, label, level, spread).sign_().mul_(arriving).div_(divisor)
    unused = spread(level.used) == 0
    w.masked_fill_(unused, 0)  # also NaN of invalid pixels
    away = _away(pred, level.medians[0], spread).masked_fill_(unused, 0)
    del spread, unused
    of_w, of_scale, of_sign, at_median = _context_sums(w.view(ids.shape), away.view(ids.shape), ids, count)
    d_scale = of_scale * level.free / (scale.square() * (-1 - count))
    minus_d_median = (of_w / scale + d_scale * of_sign) / at_median.clamp_min_(1)
    spread = Spread(ids, columns)
    w.div_(spread(scale))
    sign = away.sign_()
    w.add_(spread(d_scale).mul_(sign))
    holders = sign.abs_().neg_().add_(1)  # exactly 1 at the median, which is the value of a pixel, and 0 elsewhere
    return w.sub_(holders.mul_(spread(minus_d_median)))


def _context_sums(w: Tensor, away: Tensor, ids: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Over each context the sums of w, w (p - t) and sign(p - t), and the number of pixels at the median: tables.

    `w`, `away`, `ids` [B,P]. Summed context by context, so in the same order in every run, unlike a scatter on a GPU.
    """
    rows = []
    for k in range(count.shape[1] - 1):
        others = ids != k
        mine = w.masked_fill(others, 0)
        of_w, of_scale = mine.sum(1), mine.mul_(away).sum(1)
        sign = torch.sign(away, out=mine).masked_fill_(others, 0)
        rows += [of_w, of_scale, sign.sum(1), sign.abs_().sum(1)]
        del mine, sign, others
    tables = torch.nn.functional.pad(torch.stack(rows, dim=1), (0, 4)).unflatten(1, (-1, 4))
    of_w, of_scale, of_sign, apart = tables.unbind(2)
    return of_w, of_scale, of_sign, count - apart
