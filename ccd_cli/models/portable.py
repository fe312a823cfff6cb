"""A network in a form that other software takes: RGB in, map out, no operation that depends on one image size."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ccd_cli.models.depth_net import DepthNet, finite_sky
from ccd_cli.models.encoder import encode

_CUBIC, _CUBIC_ANTIALIASED = (
    -0.75,
    -0.5,
)  # the coefficients of torch's bicubic interpolation without and with anti-aliasing


class Portable(nn.Module):
    """RGB [B, 3, H, W] float32 in 0..1 -> map [B, H, W] float32 of the network's kind, after the sky rule.

    Input statistics are part of it. H and W are multiples of `arch.multiple`; every operation follows from them, so that one
    graph serves all sizes. `network` itself is left as it is.
    """

    def __init__(self, network: DepthNet) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().eval().requires_grad_(False)
        _fix_padding(self.network)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        net = self.network
        with _portable_positions():
            levels, _ = encode(net.encoder, net.arch, net.normalize(image), fit_positions)
        depth, sky = net.head(levels, image.shape[-2:])
        return finite_sky(depth, sky, net.arch.kind)


def fit_positions(embedding: Tensor, height: int, width: int) -> Tensor:
    """Return what `models.encoder.resample_positions` returns, by two matrix products that follow from any size.

    Bicubic interpolation is linear in the values, and separable: R_h E R_w^T, a row of R holding the four weights of one
    position (`_cubic`).
    """
    side = math.isqrt(int(embedding.shape[1]) - 1)
    rows, columns = torch.ones(height).sum(), torch.ones(width).sum()  # as tensors, so that an export does not fix them
    same = (rows == side) & (columns == side)
    down, across = (torch.where(same, torch.ones(()), (count + 0.1) / side) for count in (rows, columns))
    grid = embedding[:, 1:].float().reshape(side, side, -1)
    fitted = torch.einsum("hi,ijc->hjc", _bicubic(height, side, down), grid)
    fitted = torch.einsum("wj,hjc->hwc", _bicubic(width, side, across), fitted)
    return torch.cat([embedding[:, :1], fitted.reshape(1, height * width, -1).to(embedding.dtype)], dim=1)


@contextmanager
def _portable_positions() -> Iterator[None]:
    """Let timm's ViTs fit their position embeddings by matrix products, too.

    OpenVINO ignores the anti-aliasing of bicubic interpolation that timm asks for: maps of `test_vit` were 1 % of their range off
    at every size but the network's own.
    """
    from timm.models import deit, eva, vision_transformer

    places = [(module, "resample_abs_pos_embed") for module in (vision_transformer, deit, eva)]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, _fit_antialiased)
    try:
        yield
    finally:
        for (module, name), was in zip(places, before, strict=True):
            setattr(module, name, was)


def _fit_antialiased(
    posemb: Tensor, new_size: list[int], old_size: list[int] | None = None, num_prefix_tokens: int = 1, **_: Any
) -> Tensor:
    """Return what `timm.layers.resample_abs_pos_embed` returns: bicubic with anti-aliasing, [1, prefix + h*w, C]."""
    count = posemb.shape[1] - num_prefix_tokens
    rows, columns = old_size or [math.isqrt(int(count))] * 2
    height, width = new_size
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[0, num_prefix_tokens:].float().reshape(rows, columns, -1)
    fitted = torch.einsum("hi,ijc->hjc", _antialiased(height, rows), grid)
    fitted = torch.einsum("wj,hjc->hwc", _antialiased(width, columns), fitted)
    return torch.cat([prefix, fitted.reshape(1, height * width, -1).to(prefix.dtype)], dim=1)


def _antialiased(count: int, side: int) -> Tensor:
    """[count, side]: the weights of torch's anti-aliased bicubic interpolation, rows of sum 1.

    The kernel is stretched by side / count where that is larger than 1; values outside do not count.
    """
    scale = side / torch.ones(count).sum()  # as a tensor, so that an export does not fix it
    stretch = scale.clamp(min=1.0)
    center = (torch.arange(count, dtype=torch.float32) + 0.5) * scale
    distance = ((torch.arange(side, dtype=torch.float32) + 0.5 - center[:, None]) / stretch).abs()
    weights = _cubic(distance, _CUBIC_ANTIALIASED)
    return weights / weights.sum(dim=1, keepdim=True)


def _bicubic(count: int, side: int, scale: Tensor) -> Tensor:
    """[count, side]: the weights by which `side` values are interpolated at `count` positions, edges repeated."""
    source = (torch.arange(count, dtype=torch.float32) + 0.5) / scale - 0.5
    taps = source.floor()[:, None] + torch.arange(-1, 3, dtype=torch.float32)
    weights = _cubic((source[:, None] - taps).abs(), _CUBIC)
    at = taps.clamp(0, side - 1)[:, :, None] == torch.arange(side, dtype=torch.float32)
    return (weights[:, :, None] * at).sum(dim=1)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """The weights of cubic convolution with coefficient `a` at distances from 0 on (Keys 1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))


class _FixedPadding(nn.Module):
    """A convolution with TensorFlow's "same" padding for sides that its stride divides: there the padding is constant."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.sides: list[int] = []  # left, right, top, bottom
        triples = zip(convolution.kernel_size, convolution.stride, convolution.dilation, strict=True)
        for kernel, stride, dilation in reversed(list(triples)):
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            self.sides += [total // 2, total - total // 2]

    def forward(self, x: Tensor) -> Tensor:
        conv = self.convolution
        padded = F.pad(x, self.sides)
        return F.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _fix_padding(module: nn.Module) -> None:
    from timm.layers import Conv2dSame

    for name, child in module.named_children():
        if isinstance(child, Conv2dSame):
            setattr(module, name, _FixedPadding(child))
        else:
            _fix_padding(child)
