"""AdamW with a learning rate a part, its schedule, and a running mean of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def make_optimizer(
    head: Iterable[nn.Parameter], encoder: Iterable[nn.Parameter], lr: float, encoder_lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW over head and encoder; vectors (biases, norms, layer scales) are not decayed.

    Each group keeps its base rate in `base_lr`; `set_learning_rate` scales it.
    """
    groups: list[dict[str, Any]] = []
    for parameters, rate in ((head, lr), (encoder, encoder_lr)):
        trained = [p for p in parameters if p.requires_grad]
        for chosen, decay in (
            ([p for p in trained if p.ndim > 1], weight_decay),
            ([p for p in trained if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay})
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=fused)


def learning_rate_scale(step: int, steps: int, warmup: int, schedule: str, final: float) -> float:
    """Return the factor on the base rate for a step in 1..steps: linear warm-up, then cosine, linear or constant.

    The warm-up takes at most a tenth of the run. A step after the last one would have the factor `final`.
    """
    warmup = min(warmup, steps // 10)
    if step <= warmup:
        return step / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (step - 1 - warmup) / max(1, steps - warmup)
    shape = 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return final + (1 - final) * shape


def set_learning_rate(optimizer: torch.optim.Optimizer, scale: float) -> float:
    """Scale every group's base rate; returns the first group's (the head's) rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale
    return float(optimizer.param_groups[0]["lr"])


@torch.no_grad()
def update_ema(mean: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the running mean of weights toward `model`'s, in place.

    The decay starts low and grows to `decay`, so that early means are not ruled by the initial weights. Whole-number
    buffers are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for kept, value in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        if value.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)
