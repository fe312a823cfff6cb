"""Multi-scale gradient matching: aligns edges of the student's map with edges of the label.

From MiDaS (Ranftl et al., arXiv 1907.01341), as L_grad of Distill Any Depth (eq. 9). The published form sums the x and y
differences over all scales, each scale divided by its valid pixels. `mean` averages instead, over pairs of neighbors and then
over scales, which at four scales is about 8 times weaker. In both the residual is normalized globally, whatever the main
normalization is (a choice of this project).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ccd_cli.core.compute import full_precision
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import check_maps, divided, trusted

Form = Literal["sum", "mean"]


def gradient_loss(
    pred: Tensor,
    label: Tensor,
    mask: Tensor,
    scales: int = 4,
    form: Form = "sum",
    counts: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Absolute x and y differences of `N(pred) - N(label)`, over `scales`: a dimensionless scalar.

    Maps [B,H,W], `mask` [B,H,W] bool. Scale k takes every 2^k-th pixel of each row and column. A pair of neighbors
    counts if both pixels are valid. `sum`: at each scale the sum over all pairs of the batch, divided by the batch's valid
    pixels at that scale, summed over scales. `mean`: the mean over all pairs of a scale, and over the scales that have any.
    Without any pair the result is 0, still connected to the graph. `weights` [B,H,W]: how much each pixel counts; a pair counts as
    the lesser of its two. `counts` [scales]: what the scales' sums are divided by in place of this batch's
    `gradient_counts`. Raises `ValueError` for shapes that disagree.
    """
    check_maps(pred, label, mask)
    with full_precision(pred.device):
        student = normalize_map(pred, mask)[0]
        difference = student - normalize_map(label.detach(), mask)[0].to(student.dtype)
        return matched_gradients(difference, trusted(mask, weights), scales, form, counts)


def matched_gradients(residual: Tensor, trust: Tensor, scales: int, form: Form, counts: Tensor | None) -> Tensor:
    """Absolute differences of a residual [B,H,W] between neighbors that are both valid, summed over scales as `gradient_loss` says.

    The residual is finite everywhere. `trust` as of `gradient_counts`.
    """
    counts = gradient_counts(trust, scales, form) if counts is None else counts
    total = residual.new_zeros(())
    for k in range(scales):
        r, (_, across, down) = residual[:, :: 2**k, :: 2**k], _pairs(trust, k)
        steps = ((r[:, :, 1:] - r[:, :, :-1]).abs() * across).sum() + ((r[:, 1:] - r[:, :-1]).abs() * down).sum()
        total = total + divided(steps, counts[k])
    return total if form == "sum" else divided(total, (counts > 0).sum())


def gradient_counts(trust: Tensor, scales: int = 4, form: Form = "sum") -> Tensor:
    """Return what `gradient_loss` divides the sum of each scale by, [scales]: valid pixels, or for `mean` pairs of them.

    `trust` [B,H,W]: valid pixels (bool), or their weights, which are summed (see `terms.trusted`).
    """
    seen = [_pairs(trust, k) for k in range(scales)]
    return torch.stack([valid.sum() if form == "sum" else across.sum() + down.sum() for valid, across, down in seen])


def _pairs(trust: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels at scale k and pairs of one and its right or lower neighbor: which are valid, or what they count."""
    both = torch.minimum if trust.is_floating_point() else torch.logical_and
    at = trust[:, :: 2**k, :: 2**k]
    return at, both(at[:, :, 1:], at[:, :, :-1]), both(at[:, 1:], at[:, :-1])
