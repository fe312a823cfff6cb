"""Contexts: groups of pixels, formed from the label, that are normalized together.

Three families, from Zhang et al., *Hierarchical Normalization for Robust Monocular Depth Estimation* (HDN, 2022):

* `range` (HDN-DR; what Distill Any Depth uses): S equal segments of the label's value range;
* `quantile` (HDN-DP): S segments of equal pixel count;
* `grid` (HDN-DS): S x S cells of the image.

Levels such as 1, 2, 4 are nested: every context of a coarse level is a union of fine ones. `layouts` uses that: it
sorts the pixels of a map once by their finest context, so that every context of every level is a contiguous slice.

Two variants: `ccd` uses every valid pixel; `hdn` reproduces the HDN authors' code, whose last segment of the range and
quantile families excludes the largest label pixel at every level.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ccd_cli.core.errors import UsageProblem
from ccd_cli.losses.normalize import kth_of_each

Family = Literal["range", "quantile", "grid"]
Variant = Literal["ccd", "hdn"]
MIN_PIXELS = 16  # variant ccd: smaller contexts are skipped, their statistics are unreliable
HDN_EPSILON = 1e-6  # variant hdn: added to every MAD, in the unit of the map


@dataclass(frozen=True)
class Layout:
    """The pixels of one map, grouped by context.

    `order` [n]: flat indices of the n pixels that belong to contexts, finest context after finest context.
    `spans`: for each level, fine to coarse, the (start, stop) slices of `order` that are its contexts, without empty
    ones. `by_value`: the finest contexts are in ascending order of label value (range and quantile).
    """

    order: Tensor
    spans: tuple[tuple[tuple[int, int], ...], ...]
    by_value: bool


def check_contexts(contexts: str, levels: Sequence[int], variant: str) -> None:
    """Raise `UsageProblem` for an unknown family or variant, or for levels that are not distinct positive numbers."""
    if contexts not in get_args(Family):
        raise UsageProblem(f"Unknown contexts {contexts!r}.", f"Choose one of: {', '.join(get_args(Family))}.")
    if variant not in get_args(Variant):
        raise UsageProblem(f"Unknown variant {variant!r}.", f"Choose one of: {', '.join(get_args(Variant))}.")
    if not levels or any(s < 1 for s in levels) or len(set(levels)) != len(levels):
        raise UsageProblem(f"Levels {tuple(levels)} must be distinct integers of at least 1.", "For example: 1, 2, 4.")


def chains(levels: Sequence[int]) -> list[tuple[int, ...]]:
    """`levels` split into chains, each from fine to coarse, in which every level divides the one before it."""
    found: list[list[int]] = []
    for level in sorted(levels, reverse=True):
        chain = next((chain for chain in found if chain[-1] % level == 0), None)
        if chain is None:
            found.append([level])
        else:
            chain.append(level)
    return [tuple(chain) for chain in found]


def layouts(label: Tensor, mask: Tensor, contexts: Family, chain: Sequence[int], variant: Variant) -> list[Layout]:
    """One `Layout` per map for the nested levels of `chain` (fine to coarse), on the CPU."""
    ids, total = nested_ids(label, mask, contexts, chain, variant)
    orders, ends = _grouped(ids.flatten(1), total)
    dimensions = 2 if contexts == "grid" else 1
    widths = [(chain[0] // level) ** dimensions for level in chain]
    return [_layout(order, [0, *stops], widths, contexts != "grid") for order, stops in zip(orders, ends, strict=True)]


def nested_ids(
    label: Tensor, mask: Tensor, contexts: Family, chain: Sequence[int], variant: Variant
) -> tuple[Tensor, int]:
    """The context of each pixel at the finest level of `chain`: (ids [B,H,W] int, number of contexts).

    `label` [B,H,W], `mask` [B,H,W] bool. Ids count from 0, so that each coarser context is a contiguous range of them (range and
    quantile: from the smallest values up; grid: nested cells); pixels outside every context get the number of contexts.
    """
    finest = chain[0]
    total = finest**2 if contexts == "grid" else finest
    if contexts == "grid":
        ids = _cells(label.shape[1], label.shape[2], chain, label.device).expand(label.shape)
    else:
        low, high = _range(label, mask)
        edges = _quantiles(label, mask, finest) if contexts == "quantile" else _equal_edges(low, high, finest)
        ids = _edges_reached(label, edges)
        if variant == "hdn":
            mask = mask & (label < high[:, None, None])
    if total > 254:
        return ids.int().masked_fill_(~mask, total), total
    outside = mask.view(torch.uint8) - 1  # 0 where valid, else 255
    return (ids.to(torch.uint8) | outside).clamp_(max=total), total


def _grouped(ids: Tensor, total: int) -> tuple[list[Tensor], list[list[int]]]:
    """For each row of `ids` [B,P]: its indices sorted by id, and the end positions of ids 0, 1, ... `total` - 1."""
    if total <= 16:
        found = [[np.flatnonzero(row == k) for k in range(total)] for row in ids.numpy()]
        orders = [torch.from_numpy(np.concatenate(groups)) for groups in found]
        return orders, [list(itertools.accumulate(len(group) for group in groups)) for groups in found]
    ranked, order = ids.sort(dim=1, stable=True)
    wanted = torch.arange(total, dtype=ids.dtype, device=ids.device).expand(len(ids), total).contiguous()
    return list(order), torch.searchsorted(ranked, wanted, right=True).tolist()


def _layout(order: Tensor, ends: list[int], widths: list[int], by_value: bool) -> Layout:
    """Split `order` at `ends`, the bounds of the finest contexts; a context of a level spans `width` of the finest."""
    spans = []
    for width in widths:
        cuts = ends[::width]
        spans.append(tuple((a, b) for a, b in itertools.pairwise(cuts) if b > a))
    return Layout(order[: ends[-1]], tuple(spans), by_value)


def _range(label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest valid value of each map [B]; undefined for a map without valid pixels."""
    if label.device.type == "cpu":
        inside = [row[valid] for row, valid in zip(label.numpy(), mask.numpy(), strict=True)]
        ends = [(values.min(), values.max()) if values.size else (0.0, 0.0) for values in inside]
        low, high = torch.tensor(ends, dtype=label.dtype).view(-1, 2).unbind(1)
        return low, high
    low = torch.where(mask, label, math.inf).amin(dim=(1, 2))
    return low, torch.where(mask, label, -math.inf).amax(dim=(1, 2))


def _edges_reached(label: Tensor, edges: list[Tensor]) -> Tensor:
    """The number of `edges` (each [B]) that are at most the label's value, per pixel: [B,H,W] of a small integer type."""
    if label.device.type == "cpu":  # numpy's comparison is four times faster than torch's
        counted = np.zeros(label.shape, dtype=np.uint8 if len(edges) < 255 else np.int32)
        for edge in edges:
            counted += label.numpy() >= edge[:, None, None].numpy()
        return torch.from_numpy(counted)
    ids = torch.zeros(label.shape, dtype=torch.uint8 if len(edges) < 255 else torch.int32, device=label.device)
    for edge in edges:
        ids += label >= edge[:, None, None]
    return ids


def _equal_edges(low: Tensor, high: Tensor, segments: int) -> list[Tensor]:
    """The inner edges [B] of `segments` equal parts; equal fractions give equal edges, so that levels nest."""
    return [low + (high - low) * (k / segments) for k in range(1, segments)]


def _quantiles(label: Tensor, mask: Tensor, segments: int) -> list[Tensor]:
    """The inner edges [B] of `segments` parts of equal count; ties stay together, in the upper part.

    The smallest label value at or above the linearly interpolated quantile: it separates the pixels as the quantile does.
    """
    count = mask.sum(dim=(1, 2))
    last, parts = (count[:, None] - 1).clamp_min_(0), torch.arange(1, segments, device=label.device)
    return list(kth_of_each(label, mask, count, (last * parts + segments - 1) // segments).unbind(1))


def _cells(height: int, width: int, chain: Sequence[int], device: torch.device) -> Tensor:
    """The number [H,W] of each pixel's cell, cells within one coarser cell of `chain` numbered consecutively."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    number = torch.zeros(height, width, dtype=torch.long, device=device)
    coarser = 1
    for level in reversed(chain):
        ratio = level // coarser
        row, column = rows * level // height, columns * level // width
        number = number * ratio**2 + (row % ratio) * ratio + column % ratio
        coarser = level
    return number
