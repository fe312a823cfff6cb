"""Multi-scale gradient matching: aligns edges of the student's map with edges of the label.

From MiDaS (Ranftl et al., arXiv 1907.01341), as L_grad of Distill Any Depth (eq. 9). The published form sums the x and y
differences over all scales, each scale divided by its valid pixels. `mean` averages instead, over pairs of neighbors and then
over scales, which at four scales is about 8 times weaker. In both the residual is normalized globally, whatever the main
normalization is (a choice of this project).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ccd_cli.core.compute import full_precision
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import check_maps

Form = Literal["sum", "mean"]


def gradient_loss(pred: Tensor, label: Tensor, mask: Tensor, scales: int = 4, form: Form = "sum") -> Tensor:
    """Absolute x and y differences of `N(pred) - N(label)`, over `scales`: a dimensionless scalar.

    Maps [B,H,W], `mask` [B,H,W] bool. Scale k takes every 2^k-th pixel of each row and column. A pair of neighbors
    counts if both pixels are valid. `sum`: at each scale the sum over all pairs of the batch, divided by the batch's valid
    pixels at that scale, summed over scales. `mean`: the mean over all pairs of a scale, and over the scales that have any.
    Without any pair the result is 0, still connected to the graph. Raises `ValueError` for shapes that disagree.
    """
    check_maps(pred, label, mask)
    with full_precision(pred.device):
        student = normalize_map(pred, mask)[0]
        difference = student - normalize_map(label.detach(), mask)[0].to(student.dtype)
        total, seen = difference.new_zeros(()), difference.new_zeros(())
        for stride in (2**k for k in range(scales)):
            r, valid = difference[:, ::stride, ::stride], mask[:, ::stride, ::stride]
            across, down = valid[:, :, 1:] & valid[:, :, :-1], valid[:, 1:] & valid[:, :-1]
            steps = ((r[:, :, 1:] - r[:, :, :-1]).abs() * across).sum() + ((r[:, 1:] - r[:, :-1]).abs() * down).sum()
            if form == "sum":
                total = total + steps / valid.sum().clamp_min(1)
            else:
                pairs = across.sum() + down.sum()
                total, seen = total + steps / pairs.clamp_min(1), seen + (pairs > 0)
        return total if form == "sum" else total / seen.clamp_min(1)
