"""What a network's second output says of sky, and how a student learns it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.core.compute import full_precision
from ccd_cli.losses.terms import check_maps, divided

SKY_THRESHOLD = 0.3
"""A pixel whose score is this or more is sky, in Depth Anything 3 and in students alike.

Depth Anything 3 ends its branch in a ReLU and compares with 0.3. A ReLU changes no score of 0.3 or more and lifts none to it, so
the score before it gives the same mask; that is what networks return here, and its distance from the threshold is the logit that
students learn: sky is what has a probability of one half or more.
"""


def is_sky(score: Any) -> Any:
    """Return where the scores of a tensor or an array mean sky: bool, of the same shape and sort."""
    return score >= SKY_THRESHOLD


def sky_loss(score: Tensor, sky: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Binary cross entropy of the logit `score - SKY_THRESHOLD`, the mean over the batch's valid pixels: a scalar, in nats.

    `score` [B,H,W] is any number, `sky` [B,H,W] 1 for sky and 0 for the rest, `mask` [B,H,W] bool, True = known. 0, still connected
    to the graph, where nothing is known. `count`: what the sum is divided by in place of this batch's valid pixels. Gradients flow
    to `score` alone. Raises `ValueError` for shapes that disagree.
    """
    check_maps(score, sky, mask)
    with full_precision(score.device):
        logit = torch.where(mask, score.float() - SKY_THRESHOLD, 0.0)
        truth = torch.where(mask, sky.detach().float(), 0.0)
        each = F.binary_cross_entropy_with_logits(logit, truth, reduction="none")
        return divided(torch.where(mask, each, 0.0).sum(), mask.sum() if count is None else count)
