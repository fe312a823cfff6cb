"""Activation checkpointing of an encoder: its blocks keep their inputs alone and are computed again in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ccd_cli.core.errors import UsageProblem
from ccd_cli.models.depth_net import DepthNet


def checkpoint_encoder(network: DepthNet) -> None:
    """Turn it on for every block that timm (or, for DINOv2, `models.encoder`) runs through `torch.utils.checkpoint`.

    All of them are non-reentrant. Running statistics of batch norms move in the first pass alone. Raises UsageProblem for an
    encoder that does not offer it.
    """
    encoder: Any = network.encoder
    if not hasattr(encoder, "set_grad_checkpointing") and isinstance(getattr(encoder, "model", None), nn.Module):
        encoder = encoder.model  # timm's FeatureGetterNet
    try:
        encoder.set_grad_checkpointing(True)
    except (
        AttributeError,
        AssertionError,
        TypeError,
        NotImplementedError,
    ) as error:  # encoders refuse in all of these ways
        raise UsageProblem(
            f"student.checkpointing: the encoder '{network.arch.encoder}' does not offer activation checkpointing.",
            "Set it to false, or take another encoder.",
        ) from error
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            _hold_statistics(module)


def _hold_statistics(norm: nn.Module) -> None:
    """Make a batch norm move its running statistics in forward passes alone, not where a backward pass computes it again."""
    usual = norm.momentum

    def before(module: Any, _: object) -> None:
        if (
            module.training and torch._C._current_graph_task_id() != -1
        ):  # as torch.utils.checkpoint tells a recomputation
            module.momentum = 0.0

    def after(module: Any, _: object, __: object) -> None:
        if module.momentum == 0.0 != usual:
            module.momentum = usual
            module.num_batches_tracked.sub_(1)

    norm.register_forward_pre_hook(before)
    norm.register_forward_hook(after, always_call=True)
