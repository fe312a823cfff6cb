"""Teachers that are a `DepthNet`: Depth Anything 1, 2, 3, Distill Any Depth, and students of our own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.core.compute import autocast, moved
from ccd_cli.geometry.depth_map import DepthMap
from ccd_cli.losses.sky import is_sky
from ccd_cli.models.arch import Arch
from ccd_cli.models.compiling import plain_compile_errors
from ccd_cli.models.depth_net import DepthNet, farthest_sky, fill_sky, finite_sky
from ccd_cli.models.dpt import resize
from ccd_cli.teachers.adapters.base import FrozenTeacher, TeacherFacts
from ccd_cli.teachers.adapters.photos import depth_maps, predict_maps
from ccd_cli.teachers.adapters.sizes import nearest_size, network_size


def infer(model: DepthNet, images: Tensor, precision: str = "fp32") -> tuple[Tensor, Tensor]:
    """Normalized images [B, 3, H, W] of fitting sides -> (map [B, H, W], finite in the sky too, tokens), both float32.

    No gradients; the model's mode and parameters stay as they are.
    """
    values, sky, tokens = _outputs(model, images, precision)
    return finite_sky(values, sky, model.arch.kind), tokens


def _outputs(model: DepthNet, images: Tensor, precision: str) -> tuple[Tensor, Tensor | None, Tensor]:
    """As `infer`, with the sky scores [B, H, W]; the map is before the sky rule."""
    with torch.no_grad(), autocast(model.mean.device.type, precision):
        values, sky, tokens = model.forward_all(_placed(images, model.mean.device))
        return values, sky, tokens.float()


def _placed(images: Tensor, device: torch.device) -> Tensor:
    images = moved(images, device)
    return images.contiguous(memory_format=torch.channels_last)


def predict_photos(
    network: DepthNet,
    photos: Sequence[NDArray[np.uint8]],
    resolution: int | None = None,
    precision: str = "fp32",
    focals: Sequence[float | None] | None = None,
) -> list[DepthMap]:
    """RGB photos uint8 [H, W, 3] -> the network's maps, each at its photo's size; `focals` as `Teacher.predict_photos` takes them.

    The network's sky rule is applied: the published one before the map is resized, as its authors do, that of students after it, so
    that nothing is mixed with what is infinitely far. Photos that come to one size go through together. The network runs in
    evaluation mode and is left as it was.
    """
    arch = network.arch

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        tensor = torch.from_numpy(images).to(network.mean.device, non_blocking=True)
        values, sky, _ = _outputs(network, network.normalize(tensor), precision)
        if sky is not None:
            values = fill_sky(values, sky) if arch.sky_rule == "quantile" else values
            values = torch.stack([values, sky], dim=-1)
        made: NDArray[np.float32] = values.cpu().numpy()
        return made

    training = [module for module in network.modules() if module.training]
    for module in training:  # each call of eval() goes through all modules
        module.training = False
    try:
        made = predict_maps(arch, run, photos, resolution)
    finally:
        for module in training:
            module.training = True
    if not arch.sky:
        return depth_maps(arch, made, resolution, focals)
    skies = [is_sky(each[..., 1]) for each in made]
    maps = [np.ascontiguousarray(each[..., 0]) for each in made]
    if arch.sky_rule == "infinite":
        for values, sky in zip(maps, skies, strict=True):
            values[sky] = values.min() if arch.kind == "disparity" else np.inf
    return [
        replace(found, sky=sky) for found, sky in zip(depth_maps(arch, maps, resolution, focals), skies, strict=True)
    ]


class NativeTeacher(FrozenTeacher):
    """A frozen `DepthNet` as a `Teacher`.

    Sky that the network marks is put far away. Depth Anything 3 metric gives meters only together with a focal
    length, which a crop does not have: its output stays as it is, depth of unknown scale; `predict_photos` gives meters
    for photos whose focal length is told.
    `precision` is the autocast type; maps are float32 in any case. `resolution` makes it see every image at that
    side by the network's own rule (see `network_size`); None leaves the size alone, up to rounding.
    Raises `UsageProblem` for an unknown precision.
    """

    model: DepthNet

    def __init__(
        self,
        model: DepthNet,
        name: str,
        license: str = "unknown",
        checkpoint_sha256: str = "",
        precision: str = "fp32",
        resolution: int | None = None,
    ) -> None:
        super().__init__(model, TeacherFacts(name, model.arch.kind, license, checkpoint_sha256), precision, resolution)
        self.feature_width = model.feature_width

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.mean.device

    @property
    def arch(self) -> Arch:
        """What the network is."""
        return self.model.arch

    def to(self, device: torch.device | str) -> Self:
        """Move to `device`, channels last (faster convolutions, on CPUs too), and return itself."""
        self.model.to(device)
        self.model.to(memory_format=torch.channels_last)
        return self

    def compile(self) -> Self:
        """Compile the network with torch.compile and return itself; a first pass shows that this machine can.

        Another image size costs another compilation, or the first of them one for all sizes. Raises CcdError where
        it cannot be done: CPUs need a C++ compiler, CUDA needs Triton.
        """
        self.model.forward_all = torch.compile(self.model.forward_all)  # type: ignore[method-assign]
        side = network_size(self.model.arch, 256, 256, self.resolution or self.model.arch.resolution)[0]
        with plain_compile_errors("Leave --compile out."):
            self.predict(torch.zeros(1, 3, side, side, device=self.device))
        return self

    def compiled(self) -> Self:
        """Return a teacher of the same weights whose maps torch.compile makes, at its first pass, for that one shape."""
        other = copy.copy(self)
        other.model = copy.copy(self.model)
        other.model.forward_all = torch.compile(self.model.forward_all, dynamic=False)  # type: ignore[method-assign]
        return other

    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size.

        Other sides than the network's multiples are resized to the nearest ones and back.
        """
        return self.predict_with_features(rgb)[0]

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`, with the patch features [B, N, C] float32 of the same pass (of the resized image)."""
        return self.predict_all(rgb)[:2]

    @torch.no_grad()
    def predict_all(self, rgb: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As `predict_with_features`, with the sky scores [B, H, W] float32 of the same pass, None from networks without them."""
        arch = self.model.arch
        depth, sky, tokens = _outputs(self.model, self.model.normalize(self._fit(rgb)), self.precision)
        if sky is not None and arch.sky_rule == "quantile":
            depth = fill_sky(depth, sky)
        if depth.shape[-2:] != rgb.shape[-2:]:
            depth = resize(depth[:, None], rgb.shape[-2:])[:, 0]
            sky = None if sky is None else resize(sky[:, None], rgb.shape[-2:])[:, 0]
        if sky is not None and arch.sky_rule == "infinite":
            depth = farthest_sky(depth, sky, arch.kind)
        return depth, tokens, sky

    @torch.no_grad()
    def features(self, rgb: Tensor) -> Tensor | None:
        """RGB [B, 3, H, W] in 0..1 -> patch features [B, N, C] float32; the head does not run."""
        images = self.model.normalize(self._fit(rgb))
        with autocast(self.device.type, self.precision):
            return self.model.features(_placed(images, self.device)).float()

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes; see `Teacher`."""
        side = self.resolution if resolution is None else resolution
        return predict_photos(self.model, photos, side, self.precision, focals)

    def _fit(self, rgb: Tensor) -> Tensor:
        rgb = moved(rgb, self.device, torch.float32)
        height, width = rgb.shape[-2:]
        arch = self.model.arch
        if self.resolution is None:
            size = nearest_size(height, width, arch.multiple)
        else:
            size = network_size(arch, height, width, self.resolution)
        if size == (height, width):
            return rgb
        return F.interpolate(rgb, size=size, mode="bicubic", align_corners=False).clamp(0, 1)
