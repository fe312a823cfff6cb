"""DepthNet: a timm encoder under a depth head. What teachers and students share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import Kind
from ccd_cli.losses.sky import is_sky
from ccd_cli.models.arch import Arch
from ccd_cli.models.dpt import DepthHead
from ccd_cli.models.encoder import build_encoder, encode, has_detail, level_channels

SKY_QUANTILE = 0.99
SKY_PIXELS = 10  # both groups of pixels need more than this many


def fill_sky(depth: Tensor, sky: Tensor) -> Tensor:
    """Put sky far away: [B, H, W] depth and sky score -> [B, H, W] depth.

    Pixels with a score of 0.3 or more get the 99 % quantile (linear interpolation) of the other pixels of the same
    image, where both groups have more than 10 pixels; other images are returned as they are.
    """
    batch = depth.shape[0]
    marked = is_sky(sky).reshape(batch, -1)
    values = depth.reshape(batch, -1)
    count = (~marked).sum(dim=1)
    ordered = values.masked_fill(marked, float("inf")).sort(dim=1).values
    exact = torch.float32 if depth.device.type == "mps" else torch.float64
    position = SKY_QUANTILE * (count - 1).clamp(min=0).to(exact)
    below = position.floor().long()
    above = position.ceil().long()
    low, high = (ordered.gather(1, i[:, None])[:, 0] for i in (below, above))
    far = torch.lerp(low, high, (position - below).to(depth.dtype))
    applies = (count > SKY_PIXELS) & (marked.sum(dim=1) > SKY_PIXELS)
    return torch.where(marked & applies[:, None], far[:, None], values).reshape(depth.shape)


def finite_sky(values: Tensor, sky: Tensor | None, kind: Kind) -> Tensor:
    """Return a map [B, H, W] with sky far away and all of it finite, for software that resizes it; without `sky` as it is.

    Depth gets `fill_sky`'s value, disparity, whose zero means nothing, the smallest of the image.
    """
    if sky is None:
        return values
    if kind != "disparity":
        return fill_sky(values, sky)
    return torch.where(is_sky(sky), values.amin(dim=(1, 2), keepdim=True), values)


def farthest_sky(values: Tensor, sky: Tensor, kind: Kind) -> Tensor:
    """Return a student's map [B, H, W] with sky infinitely far: infinite depth, or the smallest disparity of the image.

    The zero of a disparity of unknown shift means nothing, so that it is not used.
    """
    return finite_sky(values, sky, kind) if kind == "disparity" else values.masked_fill(is_sky(sky), torch.inf)


class DepthNet(nn.Module):
    """Normalized images [B, 3, H, W] -> map [B, H, W] float32 of `arch.kind`; H and W multiples of `arch.multiple`.

    `pretrained` asks timm for the encoder's weights (may download); the head is always random.
    Raises `UsageProblem` for encoders that timm cannot give, and for inputs of other shapes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: Arch, pretrained: bool = False) -> None:
        super().__init__()
        self.arch = arch
        self.encoder = build_encoder(arch, pretrained)
        channels = level_channels(self.encoder, arch)
        self.feature_width: int = channels[-1]
        self.head = DepthHead(channels, arch, has_detail(self.encoder, arch))
        self.reset_statistics()

    def reset_statistics(self, device: torch.device | str | None = None) -> None:
        """(Re)create the buffers with the input statistics of `arch`; no file stores them as tensors."""
        for name in ("mean", "std"):
            values = torch.tensor(getattr(self.arch, name), dtype=torch.float32, device=device).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; an encoder whose weights are all frozen stays as it is used: statistics and depth fixed."""
        super().train(mode)
        if not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images [B, 3, H, W] -> map [B, H, W]."""
        return self.forward_all(images)[0]

    def forward_with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalized images -> (map [B, H, W], tokens [B, N, C] as `features` gives them), encoding once."""
        depth, _, tokens = self.forward_all(images)
        return depth, tokens

    def forward_all(self, images: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Normalized images -> (map, sky score [B, H, W] or None, tokens); the map is before the sky rule.

        The score is any number, as before the ReLU that ends the published branch; see `losses.sky`.
        """
        self._check(images)
        levels, tokens = encode(self.encoder, self.arch, images)
        depth, sky = self.head(levels, images.shape[-2:])
        return depth, sky, tokens

    def features(self, images: Tensor) -> Tensor:
        """Normalized images -> tokens [B, N, C], N = h * w of the deepest level, row by row; the head does not run."""
        self._check(images)
        return encode(self.encoder, self.arch, images)[1]

    def normalize(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> images by the statistics of `arch`."""
        return (rgb - self.mean) / self.std

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the encoder."""
        return self.encoder.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the head that the output depends on."""
        unused = {id(p) for p in getattr(self.head.fuse[-1], "side", nn.Module()).parameters()}
        return (p for p in self.head.parameters() if id(p) not in unused)

    def _check(self, images: Tensor) -> None:
        step = self.arch.multiple
        good = images.ndim == 4 and images.shape[1] == 3 and all(s > 0 and s % step == 0 for s in images.shape[-2:])
        if not good:
            shape = "x".join(map(str, images.shape))
            raise UsageProblem(f"{self.arch.name} takes Bx3xHxW with sides that are multiples of {step}, not {shape}.")
