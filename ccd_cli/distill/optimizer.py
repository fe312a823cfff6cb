"""AdamW with a learning rate for head and encoder, its schedule, one step of it, and the EMA of weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ccd_cli.core.errors import UsageProblem
from ccd_cli.distill.state import TrainState
from ccd_cli.models.parallel import is_shard

Rated = tuple[Iterable[nn.Parameter], float]
"""Parameters and their learning rate."""
_LAYER = re.compile(r"(?:blocks|stages|layers?)[._]?(\d+)\.")  # at the start of a parameter's name in timm's encoders


def make_optimizer(parts: Iterable[Rated], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over parameters, the head's first; vectors (biases, norms, layer scales) are not decayed.

    Each group keeps its base rate in `base_lr`; `set_learning_rate` scales it.
    """
    groups: list[dict[str, Any]] = []
    for parameters, rate in parts:
        trained = [p for p in parameters if p.requires_grad]
        for chosen, decay in (
            ([p for p in trained if p.ndim > 1], weight_decay),
            ([p for p in trained if p.ndim <= 1], 0.0),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay})
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=fused)


def encoder_rates(encoder: nn.Module, lr: float, decay: float) -> list[Rated]:
    """Return the encoder's parameters and rates: `lr` for its last layer, `decay` times the next one's for each before.

    Layers are the blocks of a ViT or the stages of a pyramid, where names do not number them its levels; what comes before them
    counts as the first, what follows as the last (BEiT, arXiv 2106.08254, whose head has the rate that `lr` is here). Raises
    `UsageProblem` for an encoder without such layers.
    """
    if decay == 1:
        return [(encoder.parameters(), lr)]
    names = [name for name, _ in encoder.named_parameters()]
    found = [int(match[1]) if (match := _LAYER.match(name)) else None for name in names]
    if len({*found} - {None}) < 2:
        found = _levels(encoder, names)
    if len({*found} - {None}) < 2:
        raise UsageProblem("optim.layer_decay: this encoder has no layers that ccd knows.", "Set it to 1.")
    layers: dict[int, list[nn.Parameter]] = {}
    last = next(layer for layer in found if layer is not None)
    for layer, parameter in zip(found, encoder.parameters(), strict=True):
        last = last if layer is None else layer
        layers.setdefault(last, []).append(parameter)
    order = sorted(layers, reverse=True)
    return [(layers[layer], lr * decay**distance) for distance, layer in enumerate(order)]


def _levels(encoder: nn.Module, names: list[str]) -> list[int | None]:
    """The level of a pyramid that each parameter belongs to: how many levels end before the module that holds it."""
    info = getattr(encoder, "feature_info", None)
    ends = [] if info is None else [str(name).replace(".", "_") for name in info.module_name()]
    parts = list(dict.fromkeys(name.split(".")[0] for name, _ in encoder.named_children()))
    places = sorted(parts.index(end) for end in ends if end in parts)
    return [sum(parts.index(name.split(".")[0]) > place for place in places) for name in names]


@dataclass(frozen=True)
class Schedule:
    """The factor on the base rates for a step in 1..steps: linear warm-up, then cosine, linear or constant.

    The warm-up takes at most a tenth of the run. A step after the last one would have the factor `final`.
    """

    steps: int
    warmup: int
    shape: str = "cosine"
    final: float = 0.0

    def __call__(self, step: int) -> float:
        """Return the factor for a step."""
        warmup = min(self.warmup, self.steps // 10)
        if step <= warmup:
            return step / (warmup + 1)
        if self.shape == "constant":
            return 1.0
        done = (step - 1 - warmup) / max(1, self.steps - warmup)
        shape = 1 - done if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.final + (1 - self.final) * shape


def set_learning_rate(optimizer: torch.optim.Optimizer, scale: float) -> float:
    """Scale every group's base rate; returns the first group's (the head's) rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale
    return float(optimizer.param_groups[0]["lr"])


def finish_gradients(state: TrainState, clip: float) -> Tensor:
    """Clip gradients to the norm `clip` (0: not clipped) and return that norm, a scalar, the same in all processes.

    It stays on its device: nothing waits here.
    """
    parameters = [p for group in state.optimizer.param_groups for p in group["params"] if p.grad is not None]
    state.scaler.unscale_(state.optimizer)
    norm: Any = torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf)
    return norm.full_tensor() if is_shard(norm) else norm


def optimizer_step(state: TrainState, loss: float, norm: float) -> float | None:
    """Step the optimizer; returns the gradient norm, or None and no step where loss or gradient is not finite.

    Gradients are gone after it.
    """
    finite = math.isfinite(norm) and math.isfinite(loss)
    if finite:
        state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    return norm if finite else None


def snapshot_buffers(network: nn.Module) -> list[Tensor]:
    """Return copies of a network's buffers: its running statistics change in every forward pass."""
    return [buffer.clone() for buffer in network.buffers()]


def restore_buffers(network: nn.Module, buffers: list[Tensor]) -> None:
    """Put a snapshot back."""
    for buffer, before in zip(network.buffers(), buffers, strict=True):
        buffer.copy_(before)


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the exponential moving average of weights toward `model`'s, in place.

    The decay starts low and grows to `decay`, so that early averages are not ruled by the initial weights. Whole-number
    buffers are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(ema.state_dict().values(), model.state_dict().values(), strict=True):
        if value.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)
