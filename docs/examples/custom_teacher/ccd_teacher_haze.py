"""An example teacher for ccd: relative depth from haze, a formula in place of a network.

Far things look paler through haze. He, Sun and Tang, "Single Image Haze Removal Using Dark Channel Prior" (CVPR 2009):
transmission t = 1 - 0.95 dark(I / A) (equation 12) and depth = -log t up to a scale (from equation 3). Nothing is learned,
so it is rough and often wrong indoors; replace `Haze` with a network of your own and keep the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.teachers.registry import Card
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 15  # pixels of the window whose darkest value counts, at any input resolution
NEAREST, HAZE_KEPT = 0.05, 0.95


class Haze(nn.Module):
    """RGB [B, 3, H, W] in 0..1 -> relative depth [B, H, W], larger is farther."""

    def forward(self, rgb: Tensor) -> Tensor:
        """Airlight is the mean color of the pixels whose dark channel is in the top 0.1 % (at least one pixel)."""
        dark = _dark(rgb)
        count = max(1, dark[0].numel() // 1000)
        palest = dark.flatten(1).topk(count).indices[:, None].expand(-1, 3, -1)
        airlight = rgb.flatten(2).gather(2, palest).mean(2)[:, :, None, None].clamp_min(1 / 255)
        transmission = 1 - HAZE_KEPT * _dark((rgb / airlight).clamp(0, 1))
        return -transmission.log().clamp_max(-NEAREST)


def _dark(rgb: Tensor) -> Tensor:
    """RGB [B, 3, H, W] -> the darkest value of any channel in the window around each pixel [B, H, W]."""
    return -F.max_pool2d(-rgb.amin(1, keepdim=True), PATCH, stride=1, padding=PATCH // 2)[:, 0]


class HazeTeacher:
    """What `ccd_cli.teachers.base.Teacher` describes: frozen, with input rule and resizing of its own."""

    feature_width = None  # no patch features: the feature loss of a recipe skips this teacher

    def __init__(self, card: Card, device: torch.device | str, precision: str, resolution: int | None) -> None:
        if precision != "fp32":
            raise UsageProblem(f"The teacher {card.name} computes in fp32 alone, not in {precision}.")
        self.name, self.kind, self.license = card.name, card.kind, card.effective_license
        self.checkpoint_sha256 = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self.resolution = resolution or card.resolution
        self.device = torch.device(device)
        self.network = Haze().eval().requires_grad_(False)

    def to(self, device: torch.device | str) -> Self:
        """Move to `device` and return itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    @torch.no_grad()
    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> depth [B, H, W] float32 at the same size. For training crops."""
        return self.network(rgb.to(self.device).float())

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, None]:
        """As `predict`; there are no patch features."""
        return self.predict(rgb), None

    def features(self, rgb: Tensor) -> None:
        """None: there are no patch features."""

    @torch.no_grad()
    def predict_photos(
        self,
        photos: Sequence[np.ndarray],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> one checked map each, at the photo's size. Short side: `resolution` pixels."""
        maps = []
        for photo in photos:
            rgb = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
            height, width = photo.shape[:2]
            scale = (resolution or self.resolution) / min(height, width)
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
            depth = self.predict(F.interpolate(rgb, size, mode="bilinear", antialias=True))
            whole = F.interpolate(depth[:, None], (height, width), mode="bilinear")[0, 0]
            maps.append(checked(whole.cpu().numpy(), self.kind))
        return maps


def teacher() -> tuple[Card, type[HazeTeacher]]:
    """Return the card and what loads it: `loader(card, device, precision, resolution)`. Named in pyproject.toml."""
    card = Card(
        name="haze",
        family="haze",
        adapter="plugin",
        arch=None,  # a network that ccd does not know
        repo="",
        file="",
        path=Path(__file__),  # the weights; here the formula is all there is
        size_bytes=Path(__file__).stat().st_size,
        parameters=0,
        license="CC-BY-NC-4.0",  # of the weights; students inherit the strictest of their teachers
        license_url="https://creativecommons.org/licenses/by-nc/4.0/",
        commercial=False,
        paper="https://doi.org/10.1109/CVPR.2009.5206515",
        normalization="none",
        multiple=1,
        resolution=320,
        resolution_rule="lower",  # the short side
        kind="depth",  # larger is farther, zero is zero, unknown scale
        note="An example of a teacher in a package of its own.",
    )
    return card, HazeTeacher
