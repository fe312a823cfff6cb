"""Encoders: every one is a timm module, and these functions turn images into what the depth head eats.

DINOv2 takes its own path through timm's blocks, because the Depth Anything authors resample position embeddings by
a rule that timm does not have; other ViTs and convolutional pyramids go the way timm made them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ccd_cli.core.errors import UsageProblem, first_line
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.models.arch import Arch

LEVELS = 4  # the head fuses at most this many
Positions = Callable[[Tensor, int, int], Tensor]


def build_encoder(arch: Arch, pretrained: bool = False) -> nn.Module:
    """Return the timm module for `arch`, randomly initialized unless `pretrained` (which may download).

    Raises `UsageProblem` where timm has no such model or cannot give feature maps of it at any size.
    """
    import timm  # seconds, which commands without a network save

    if not timm.is_model(arch.encoder):
        raise UsageProblem(
            f"timm has no encoder called '{arch.encoder}'.", did_you_mean(arch.encoder, timm.list_models())
        )
    options: dict[str, Any] = {"features_only": True}
    if arch.layout != "pyramid":
        pool = "token" if arch.layout == "dinov2" else ""
        options = {"num_classes": 0, "global_pool": pool, "dynamic_img_size": True}
    try:
        net = timm.create_model(arch.encoder, pretrained=pretrained, **options)
        if arch.layout == "pyramid":
            return _useful_levels(net, arch.encoder, pretrained)
    except (TypeError, AssertionError, AttributeError) as error:
        raise _unfit(arch.encoder, error) from error
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", (0,))[0]
    if not hasattr(net, "blocks") or not hasattr(net, "forward_intermediates") or not patch:
        raise UsageProblem(f"'{arch.encoder}' is not a plain ViT.", "Describe it with layout='pyramid'.")
    if arch.multiple % patch:
        raise UsageProblem(f"'{arch.encoder}' has patches of {patch} pixels, which do not divide {arch.multiple}.")
    return net


def _unfit(name: str, error: Exception) -> UsageProblem:
    return UsageProblem(f"'{name}' cannot be used as an encoder ({first_line(error)}).")


def _useful_levels(net: Any, name: str, pretrained: bool) -> nn.Module:
    """The deepest levels of stride 4 and more, four at most, after the one of stride 2 where there is one, of a net that
    takes images of any size.
    """
    strides = net.feature_info.reduction()
    fused = [i for i, stride in enumerate(strides) if stride >= 4][-LEVELS:]
    if len(set(strides)) != len(strides) or len(fused) < 2:
        raise UsageProblem(f"'{name}' gives no pyramid of feature maps (strides {strides}).")
    wanted = [i for i, stride in enumerate(strides) if stride == 2] + fused
    if len(wanted) < len(strides):
        import timm

        net = timm.create_model(name, features_only=True, pretrained=pretrained, out_indices=wanted)
    training = net.training
    try:
        with torch.no_grad():
            levels = net.eval()(torch.zeros(1, 3, 64, 96, device=next(net.parameters()).device))
    except (RuntimeError, ValueError) as error:  # AssertionError is caught above
        raise _unfit(name, error) from error
    if [level.shape[1] for level in levels] != list(net.feature_info.channels()):
        raise UsageProblem(f"'{name}' does not give its feature maps as channels, height, width.")
    return net.train(training)


def tap_indices(net: nn.Module, arch: Arch) -> tuple[int, ...]:
    """Return the 0-based blocks to tap: those of `arch`, else four evenly spaced ones that end with the last."""
    depth = len(net.blocks)  # type: ignore[arg-type]
    taps = arch.taps or tuple(sorted({max(0, i * depth // LEVELS - 1) for i in range(1, LEVELS + 1)}))
    if taps[-1] >= depth:
        raise UsageProblem(f"'{arch.encoder}' has {depth} blocks, so block {taps[-1]} cannot be tapped.")
    return taps


def level_channels(net: nn.Module, arch: Arch) -> list[int]:
    """Return the channels of each level that `encode` gives, shallow to deep."""
    if arch.layout == "pyramid":
        return list(net.feature_info.channels())  # type: ignore[union-attr, operator]
    return [int(net.embed_dim)] * len(tap_indices(net, arch))  # type: ignore[arg-type]


def has_detail(net: nn.Module, arch: Arch) -> bool:
    """Return whether the first level that `encode` gives is a pyramid's level of stride 2."""
    return arch.layout == "pyramid" and net.feature_info.reduction()[0] == 2  # type: ignore[union-attr, operator]


def encode(
    net: nn.Module, arch: Arch, images: Tensor, positions: Positions | None = None
) -> tuple[list[Tensor], Tensor]:
    """Return (levels, tokens) of normalized `images` [B, 3, H, W].

    `positions` fits DINOv2's position embeddings to a grid of patches; None: `resample_positions`.

    Levels are [B, C, h, w], shallow to deep; tokens [B, N, C] are the deepest level's positions row by row (for
    ViTs: patch tokens of the last tap after the final norm, without class and register tokens).
    """
    if arch.layout == "pyramid":
        levels = net(images)
    elif arch.layout == "dinov2":
        levels = _dinov2_levels(net, arch, images, positions or resample_positions)
    else:
        levels = net.forward_intermediates(  # type: ignore[operator]
            images, indices=list(tap_indices(net, arch)), norm=True, output_fmt="NCHW", intermediates_only=True
        )
    return levels, levels[-1].flatten(2).transpose(1, 2)


def _dinov2_levels(net: Any, arch: Arch, images: Tensor, positions: Positions) -> list[Tensor]:
    x = net.patch_embed(images)
    batch, height, width, channels = x.shape
    x = torch.cat([net.cls_token.expand(batch, -1, -1), x.reshape(batch, height * width, channels)], dim=1)
    x = x + positions(net.pos_embed, height, width)
    x = net.norm_pre(net.patch_drop(net.pos_drop(x)))
    taps = tap_indices(net, arch)
    levels = []
    for index, block in enumerate(net.blocks):
        keep_little = net.grad_checkpointing and torch.is_grad_enabled()
        x = checkpoint(block, x, use_reentrant=False) if keep_little else block(x)
        if index in taps:
            patches = net.norm(x)[:, 1:]
            levels.append(patches.transpose(1, 2).reshape(batch, channels, height, width))
    return levels


def resample_positions(embedding: Tensor, height: int, width: int) -> Tensor:
    """Fit position embeddings [1, 1 + n*n, C] to a grid of `height` x `width` patches: [1, 1 + height*width, C].

    Bicubic with scale factor (side + 0.1) / n and no anti-aliasing, as DINOv2's authors do it; at n x n the
    embeddings are returned as they are.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if (height, width) == (side, side):
        return embedding
    cls, patches = embedding[:, :1], embedding[:, 1:]
    grid = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((height + 0.1) / side, (width + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([cls, grid.flatten(2).transpose(1, 2).to(cls.dtype)], dim=1)
