"""Exported networks (ONNX, OpenVINO IR) as teachers. Torch loads only where tensors come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.runtimes.sessions import Session
from ccd_cli.teachers.adapters.photos import depth_maps, predict_maps
from ccd_cli.teachers.adapters.sizes import nearest_size, network_size

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class ExportedTeacher:
    """A network that another runtime runs, as a `Teacher`: on the CPU, without patch features.

    `resolution` makes it see every image at that side (None: its own rule). Raises `UsageProblem` for a `resolution` that a
    network of one fixed size does not take.
    """

    def __init__(
        self, session: Session, facts: ExportFacts, checkpoint_sha256: str, resolution: int | None = None
    ) -> None:
        self.session = session
        self.facts = facts
        self.arch = facts.arch
        self.name = facts.name
        self.kind: Kind = facts.arch.kind
        self.license = facts.license
        self.checkpoint_sha256 = checkpoint_sha256
        self.feature_width: int | None = None
        self.precision = facts.precision
        self.resolution = resolution

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes; see `Teacher`."""
        side = self.resolution if resolution is None else resolution
        maps = predict_maps(self.arch, self.session, photos, side)
        return depth_maps(self.arch, maps, side, focals)

    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size."""
        import torch
        from torch.nn import functional as F

        height, width = rgb.shape[-2:]
        size = nearest_size(height, width, self.arch.multiple)
        if self.resolution is not None:
            size = network_size(self.arch, height, width, self.resolution)
        images = rgb.to("cpu", torch.float32)
        if size != (height, width):
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
        made = torch.from_numpy(self.session(images.numpy()))
        if size != (height, width):
            made = F.interpolate(made[:, None], size=(height, width), mode="bilinear", align_corners=True)[:, 0]
        return made

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with None for the patch features."""
        return self.predict(rgb), None

    def features(self, rgb: Tensor) -> Tensor | None:
        """None: an exported network gives its map alone."""
        return None

    def to(self, device: torch.device | str) -> Self:
        """Return itself; raises `UsageProblem` for a device that is not the CPU."""
        if str(device).split(":")[0] != "cpu":
            raise UsageProblem(f"{self.name} is an exported network, which runs on the CPU here.", "Use --device cpu.")
        return self
