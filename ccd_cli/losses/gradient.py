"""Multi-scale gradient matching: aligns edges of the student's map with edges of the label.

From MiDaS (Ranftl et al., arXiv 1907.01341), as L_grad of Distill Any Depth (eq. 9). Two choices of this project: the
residual is always normalized globally, whatever the main normalization is, and the terms are averaged (over pixel pairs,
then over scales) where MiDaS sums them.
"""

from __future__ import annotations

from torch import Tensor

from ccd_cli.core.compute import full_precision
from ccd_cli.losses.normalize import normalize_map
from ccd_cli.losses.terms import check_maps


def gradient_loss(pred: Tensor, label: Tensor, mask: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute x and y difference of `N(pred) - N(label)`, the mean over `scales`: a dimensionless scalar.

    Maps [B,H,W], `mask` [B,H,W] bool. Scale k takes every 2^k-th pixel of each row and column. A pair of neighbors
    counts if both pixels are valid; at each scale the mean is over all horizontal and vertical pairs of the batch.
    Scales without a valid pair are skipped; without any pair the result is 0, still connected to the graph.
    Raises `ValueError` for shapes that disagree.
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
            pairs = across.sum() + down.sum()
            total, seen = total + steps / pairs.clamp_min(1), seen + (pairs > 0)
        return total / seen.clamp_min(1)
