"""The depth head (dense prediction transformer): fuses an encoder's levels, deepest first, into one map.

For a ViT every level has the patch grid's size and is first reassembled to 4x, 2x, 1x and 1/2 of it; a convolutional
pyramid comes in four sizes already and is only normalized, level by level. A pyramid's level of stride 2, which no ViT
has, is added after the last fusion, so that edges can be finer than the fused levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ccd_cli.core.compute import full_precision
from ccd_cli.models.arch import Activation, Arch

HIDDEN = 32  # channels between the last two convolutions


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear with aligned corners to exactly `size` (height, width)."""
    return F.interpolate(x, size=(size[0], size[1]), mode="bilinear", align_corners=True)


class _RecoveringReLU(torch.autograd.Function):
    """ReLU whose clipped values still learn to rise: backward passes a gradient that would raise the output.

    With the plain gradient a network whose output is 0 everywhere, as a random head's can become in its first steps, gets
    none and stays so for good.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        ctx.save_for_backward(x)
        return F.relu(x)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        """Pass the gradient where the value is positive, and where it asks for more."""
        (x,) = ctx.saved_tensors
        return torch.where((x > 0) | (upstream < 0), upstream, 0)


def activate(x: Tensor, activation: Activation, max_depth: float | None) -> Tensor:
    """Turn raw float32 head output into map values; `max_depth` in meters scales a sigmoid."""
    if activation == "relu":
        return cast(Tensor, _RecoveringReLU.apply(x)) if x.requires_grad else F.relu(x)
    if activation == "sigmoid":
        return torch.sigmoid(x) * (max_depth or 1.0)
    if activation == "exp":
        return torch.exp(x)
    if activation == "softplus":
        return F.softplus(x)
    return x


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, h, w], position by position."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` normalized; same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Adds one level to what comes from deeper levels and enlarges the sum.

    `side_unit`: hold the residual unit for the level that is added. The deepest fusion never uses it; the published
    files that have it all the same get a frozen one, so that they load and save unchanged.
    """

    def __init__(self, channels: int, deepest: bool, side_unit: bool) -> None:
        super().__init__()
        if side_unit:
            self.side = ResidualUnit(channels).requires_grad_(not deepest)
        self.unit = ResidualUnit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, level: Tensor, deeper: Tensor | None, size: Sequence[int]) -> Tensor:
        """`level` and `deeper` [B, C, h, w] -> [B, C, *size]."""
        x = level if deeper is None else deeper + self.side(level)
        return self.out(resize(self.unit(x), size))


class DepthHead(nn.Module):
    """Levels [B, C_i, h_i, w_i], shallow to deep -> map [B, H, W] and, with `arch.sky`, a sky score [B, H, W] (`losses.sky`).

    `arch.out_channels` reassembles ViT levels; empty for pyramids. With `detail`, the first level has stride 2 and joins after
    the fusions. Outputs are float32 also under autocast.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        arch: Arch,
        detail: bool = False,
    ) -> None:
        super().__init__()
        self.activation, self.max_depth = arch.activation, arch.max_depth
        features = arch.features
        self.detail = nn.Conv2d(in_channels[0], features // 2, 3, padding=1) if detail else None
        in_channels = in_channels[1:] if detail else in_channels
        count = len(in_channels)
        if arch.out_channels:
            widths = list(arch.out_channels)
            self.project = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(in_channels, widths, strict=True))
            self.rescale = nn.ModuleList(_rescale(4 - count + i, w) for i, w in enumerate(widths))
        else:
            widths = list(in_channels)
            self.norm = nn.ModuleList(ChannelNorm(c, eps=1e-6) for c in widths)
        self.reduce = nn.ModuleList(nn.Conv2d(w, features, 3, padding=1, bias=False) for w in widths)
        last = count - 1
        self.fuse = nn.ModuleList(Fusion(features, i == last, i != last or arch.deepest_unit) for i in range(count))
        self.mix = nn.Conv2d(features, features // 2, 3, padding=1)
        self.final = _final(features // 2)
        self.sky = _final(features // 2) if arch.sky else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start so that every branch is alive: the published output ReLU can be dead from the first step.

        Convolutions keep the variance of their input, residual units start near the identity, and the output starts
        as a positive constant plus small differences.
        """
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    taps = module.kernel_size[0] * module.kernel_size[1] if isinstance(module, nn.Conv2d) else 1
                    nn.init.normal_(module.weight, std=(module.in_channels * taps) ** -0.5)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
            for module in self.modules():
                if isinstance(module, ResidualUnit):
                    module.conv2.weight.mul_(0.1)
            for branch in filter(None, (self.final, self.sky)):
                last = branch[1]
                assert isinstance(last, nn.Conv2d) and last.bias is not None
                last.weight.mul_(0.1)
                last.bias.fill_(1.0 if self.activation == "relu" and branch is self.final else 0.0)

    def forward(self, levels: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Fuse `levels` into a map of `size` (height, width); see the class."""
        finest, levels = (levels[0], levels[1:]) if self.detail is not None else (None, levels)
        if hasattr(self, "project"):
            levels = [r(p(x)) for x, p, r in zip(levels, self.project, self.rescale, strict=True)]
        else:
            levels = [norm(x) for x, norm in zip(levels, self.norm, strict=True)]
        levels = [reduce(x) for x, reduce in zip(levels, self.reduce, strict=True)]
        x: Tensor | None = None
        for i in reversed(range(len(levels))):
            h, w = levels[i].shape[-2:]
            x = self.fuse[i](levels[i], x, levels[i - 1].shape[-2:] if i else (2 * h, 2 * w))
        assert x is not None
        x = self.mix(x)
        if self.detail is not None and finest is not None:
            x = x + resize(self.detail(finest), x.shape[-2:])
        x = resize(x, size)
        sky = None if self.sky is None else _apply_final(self.sky, x)
        return activate(_apply_final(self.final, x), self.activation, self.max_depth), sky


def _rescale(stage: int, channels: int) -> nn.Module:
    """What brings a patch grid to 4x (stage 0), 2x (1), 1x (2) and half (3) of its size."""
    if stage < 2:
        factor = 4 >> stage
        return nn.ConvTranspose2d(channels, channels, factor, stride=factor)
    return nn.Identity() if stage == 2 else nn.Conv2d(channels, channels, 3, stride=2, padding=1)


def _final(channels: int) -> nn.ModuleList:
    return nn.ModuleList([nn.Conv2d(channels, HIDDEN, 3, padding=1), nn.Conv2d(HIDDEN, 1, 1)])


def _apply_final(convs: nn.ModuleList, x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, W]; the last convolution always runs in float32."""
    x = F.relu(convs[0](x))
    last = convs[1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    with full_precision(x.device):
        return F.conv2d(x.float(), last.weight.float(), last.bias.float())[:, 0]
