"""The distillation loss: L = shared + l1 local_global + l2 feature + l3 gradient + anchor + depth + sky (paper, eq. 9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.config.distill import Context, Loss
from ccd_cli.geometry.boxes import sample_boxes
from ccd_cli.losses.gradient import gradient_counts, gradient_loss
from ccd_cli.losses.log_depth import depth_counts, log_gradient_loss, log_l1_loss, silog_loss
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.sky import sky_loss
from ccd_cli.losses.terms import (
    anchor_loss,
    divided,
    drift,
    feature_loss,
    kept_pixels,
    normalized_l1,
    reduce_loss,
    trusted,
    usable_maps,
)


@dataclass(frozen=True)
class Prediction:
    """What the student predicts for B images, in its own scale of disparity.

    `shared` [B,S,S]: of the crop that the teacher sees too. `local_global` [B,S,S]: of the region that the patches lie in,
    often the same one. `tokens` [B,L,C]: patch features of the shared crop, at the width of the teacher's. `depth` [B,S,S]: of the
    shared crop, from a student of kind depth or metric, whose disparity is 1 / depth. `sky` [B,S,S]: scores of the shared crop,
    from a student that marks sky.
    """

    shared: Tensor
    local_global: Tensor
    tokens: Tensor | None = None
    depth: Tensor | None = None
    sky: Tensor | None = None


@dataclass(frozen=True)
class LabelMaps:
    """Disparity at unit scale (MAD 1), where it is valid (bool), and how much each pixel counts (None: all alike).

    All [B,S,S], or [B,P,S,S] of patches.
    """

    values: Tensor
    valid: Tensor
    weights: Tensor | None = None


@dataclass(frozen=True)
class Labels:
    """Pseudo-labels of B images with P patches each, and who made them.

    `shared` [B,S,S] is None where no term needs it, `patches` [B,P,S,S]. `tokens` [B,L',C]: patch features of the primary
    teacher's encoder, if they were asked for. `median` and `mad`: means over all views of the raw label's statistics, in
    the teacher's own scale of disparity. `depth` [B,S,S]: depth of the shared crop in the unit that the student learns, where it is
    known. `sky` [B,S,S]: 1 for sky and 0 for the rest, where the teacher knows. `notes`: further scalars for the log.
    """

    shared: LabelMaps | None
    patches: LabelMaps
    tokens: Tensor | None
    teacher: str
    median: Tensor
    mad: Tensor
    depth: LabelMaps | None = None
    sky: LabelMaps | None = None
    notes: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    """What the terms of a part of a batch are divided by, so that the mean over all parts is the loss of the whole batch.

    A part is what one process sees in one micro-step. `counts` holds, for each term, the mean over all parts of what `counts`
    returns. `average` gives the mean over processes of a number that depends on the student.
    """

    counts: dict[str, Tensor]
    average: Callable[[Tensor], Tensor]


def counts(labels: Labels, config: Loss) -> dict[str, Tensor]:
    """Return what `distillation_loss` divides each term's sum by that follows from the labels alone: pixels, pairs, maps."""
    found, contexts = {}, _label_contexts(labels, config)
    for name, maps in contexts.items():
        found[name] = kept_pixels(maps.valid, config.drop_worst, maps.weights).sum()
    main = next(iter(contexts.values()), labels.shared)
    assert main is not None, "something is labeled"
    scales, form = config.gradient.scales, config.gradient.form
    if config.gradient.weight:
        found["gradient"] = gradient_counts(trusted(main.valid, main.weights), scales, form)
    if config.depth.weight and (depth := labels.depth) is not None:
        found |= depth_counts(depth.values, depth.valid, scales, form, depth.weights)
    if config.sky.weight and (sky := labels.sky) is not None:
        found["sky"] = sky.valid.sum()
    return found | {"maps": usable_maps(main.values, main.valid), "labeled": main.valid.flatten(1).any(1).sum()}


def whole_batch(parts: Sequence[Labels], config: Loss, average: Callable[[Tensor], Tensor]) -> Whole:
    """Return what the parts of a batch on this process are divided by; `average` gives the mean over processes, in one exchange."""
    found = [counts(labels, config) for labels in parts]
    exact = torch.float32 if found[0]["maps"].device.type == "mps" else torch.float64
    together = torch.stack([torch.cat([each.reshape(-1).to(exact) for each in part.values()]) for part in found])
    means = average(together.mean(0)).split([each.numel() for each in found[0].values()])
    known = {name: m.float().view_as(each) for m, (name, each) in zip(means, found[0].items(), strict=True)}
    return Whole(known, average)


def distillation_loss(
    prediction: Prediction, labels: Labels, boxes: Tensor, config: Loss, whole: Whole | None = None
) -> dict[str, Tensor]:
    """Return `loss` and its terms, unweighted and differentiable, and detached statistics of student and label.

    boxes [B,P,3]: the patches' footprints (top, left, side) as fractions of the local-global view. The terms of one map
    alone (gradient, anchor) and the statistics are of the shared context, or of the local-global one where that is off. `whole`:
    these images are a part of a larger batch; None: they are all of it.
    """
    terms: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {} if whole is None else whole.counts
    contexts: list[tuple[Tensor, LabelMaps]] = []  # (student [N,S,S], label); the shared one first
    for name, maps in _label_contexts(labels, config).items():
        if name == "shared":
            student = prediction.shared.float()
        else:
            student = sample_boxes(prediction.local_global.float(), boxes, maps.values.shape[-1])
        contexts.append((student, maps))
        context: Context = getattr(config, name)
        terms[name] = _context_loss(student, maps, context, config.drop_worst, known.get(name))
    if not contexts:  # depth alone is learned
        assert labels.shared is not None
        contexts.append((prediction.shared.float(), labels.shared))
    first = contexts[0][1]
    main, usable = (contexts[0][0], first.values, first.valid), known.get("maps")
    if config.gradient.weight:
        scales, form = config.gradient.scales, config.gradient.form
        terms["gradient"] = gradient_loss(*main, scales, form, known.get("gradient"), first.weights)
    if config.feature.weight and prediction.tokens is not None and labels.tokens is not None:
        tokens = prediction.tokens.float()
        target = match_grid(labels.tokens.float(), tokens.shape[1])
        average = None if whole is None else whole.average
        terms["feature"] = feature_loss(tokens, target, config.feature.margin, average)
    if config.depth.weight and prediction.depth is not None and labels.depth is not None:
        terms["depth"] = _depth_loss(prediction.depth.float(), labels.depth, config, known)
    if config.sky.weight and prediction.sky is not None and labels.sky is not None:
        terms["sky"] = sky_loss(prediction.sky, labels.sky.values, labels.sky.valid, known.get("sky"))
    if config.anchor.weight:
        terms["anchor"] = anchor_loss(*main, count=usable)
    loss = torch.stack([getattr(config, name).weight * term for name, term in terms.items()]).sum()
    _, median, mad = normalize_map(main[0].detach(), main[2])
    seen = main[2].flatten(1).any(1)  # of a map without a label nothing is known
    labeled = known.get("labeled")
    statistics = {
        "drift": drift(main[0].detach(), main[1], main[2], usable),
        "student_median": divided((median * seen).sum(), seen.sum() if labeled is None else labeled),
        "student_mad": divided((mad * seen).sum(), seen.sum() if labeled is None else labeled),
        "label_median": labels.median,
        "label_mad": labels.mad,
    }
    return {"loss": loss, **terms, **statistics, **labels.notes}


def match_grid(tokens: Tensor, count: int) -> Tensor:
    """Resize patch features [B,L,C] of a square grid bilinearly to another square grid of `count` patches."""
    if tokens.shape[1] == count:
        return tokens
    old, new = math.isqrt(tokens.shape[1]), math.isqrt(count)
    grid = tokens.transpose(1, 2).unflatten(2, (old, old))
    return F.interpolate(grid, size=(new, new), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)


def _label_contexts(labels: Labels, config: Loss) -> dict[str, LabelMaps]:
    """The maps [N,S,S] of the contexts whose terms are on, the shared one first."""
    found = {}
    if config.shared.weight:
        assert labels.shared is not None
        found["shared"] = labels.shared
    if config.local_global.weight:
        patches = labels.patches
        weights = None if patches.weights is None else patches.weights.flatten(0, 1)
        found["local_global"] = LabelMaps(patches.values.flatten(0, 1), patches.valid.flatten(0, 1), weights)
    return found


def _depth_loss(student: Tensor, label: LabelMaps, config: Loss, known: dict[str, Tensor]) -> Tensor:
    """The terms in the logarithm of depth that are on, together."""
    rule, maps = config.depth, (student, label.values, label.valid)
    loss = silog_loss(*maps, rule.focus, known.get("depth_maps"), label.weights)
    if rule.l1:
        loss = loss + rule.l1 * log_l1_loss(*maps, known.get("depth_pixels"), label.weights)
    if rule.gradient:
        scales, form = config.gradient.scales, config.gradient.form
        counts = known.get("depth_gradient")
        loss = loss + rule.gradient * log_gradient_loss(*maps, scales, form, counts, label.weights)
    return loss


def _context_loss(
    student: Tensor, label: LabelMaps, context: Context, drop_worst: float, count: Tensor | None
) -> Tensor:
    maps, levels = (student, label.values, label.valid), tuple(context.levels)
    pixels = normalized_l1(*maps, context.normalization, context.contexts, levels)
    return reduce_loss(pixels, label.valid, drop_worst, count, label.weights)
