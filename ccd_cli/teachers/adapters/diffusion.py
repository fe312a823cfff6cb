"""Teachers made of Stable Diffusion's parts (Marigold, GenPercept): what they share, and the door to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ccd_cli.core.errors import TeacherError, UsageProblem
from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.geometry.kinds import Kind
from ccd_cli.teachers.adapters.base import TeacherFacts
from ccd_cli.teachers.adapters.preprocess import check_photo

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MAX_PIXELS = 2048 * 2048  # of one pass: memory grows with them, and attention's time with their square
_SIDES = (8, 8192)


@dataclass(frozen=True)
class DiffusionSettings:
    """How a diffusion teacher samples.

    `steps` of denoising (None: what its authors' configuration says), `ensemble` predictions that are aligned and
    merged into one, `seed` of the noise. Raises `UsageProblem` for values out of range.
    """

    steps: int | None = None
    ensemble: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("steps", 1 if self.steps is None else self.steps, 1, 1000),
            ("ensemble", self.ensemble, 1, 100),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageProblem(f"A diffusion teacher takes {name} from {low} to {high}, not {value}.")


class DiffusionTeacher:
    """The `Teacher` side of a family: sizes, batches and the way back to the photo's size.

    A family says how large it sees an image (`size_for`) and what it makes of it (`run`). Images are resized with
    antialiased bilinear interpolation, maps go back with bilinear interpolation. What comes out depends on the
    image and the settings alone, not on what else is in the batch.
    """

    feature_width: int | None = None
    antialias_maps = False  # where a map is larger than its photo

    def __init__(
        self,
        facts: TeacherFacts,
        networks: Mapping[str, torch.nn.Module],
        resolution: int | None,
        photo_resolution: int | None,
    ) -> None:
        self.name = facts.name
        self.kind: Kind = facts.kind
        self.license = facts.license
        self.checkpoint_sha256 = facts.checkpoint_sha256
        self.resolution = check_resolution(resolution)  # longer side for crops and photos; None = see below
        self.photo_resolution = check_resolution(photo_resolution)  # for photos; None = their own size
        self.networks = {key: network.eval().requires_grad_(False) for key, network in networks.items()}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.networks["unet"].parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move to `device` and return itself."""
        for network in self.networks.values():
            network.to(device)
        return self

    def size_for(self, height: int, width: int, longer: int | None) -> tuple[int, int]:
        """Return the (height, width) at which an image is seen; `longer` bounds the longer side, None = its own."""
        raise NotImplementedError

    def run(self, images: Tensor) -> Tensor:
        """Images [B, 3, h, w] in -1..1 of a size from `size_for` -> maps [B, h, w] in 0..1, of any float type."""
        raise NotImplementedError

    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size.

        For training crops: seen at their own size, or with `resolution` as the longer side.
        """
        height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
        size = self._checked_size(height, width, self.resolution)
        with torch.no_grad():
            images = _resized(rgb.detach(), size, self.device)
            return self._back(self._run_in_parts(images), (height, width))

    def predict_with_features(self, rgb: Tensor) -> tuple[Tensor, Tensor | None]:
        """As `predict`; there are no patch features, so the second value is None."""
        return self.predict(rgb), None

    def features(self, rgb: Tensor) -> Tensor | None:
        """There are none: None."""
        return None

    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes; see `Teacher`.

        `resolution` is the longer side. Photos that come to one size go together, as many as `MAX_PIXELS` allows.
        `focals` are not needed: these maps have no unit. Raises `UsageProblem` for a photo that is too large.
        """
        wanted = check_resolution(resolution)
        longer = next((r for r in (wanted, self.resolution, self.photo_resolution) if r is not None), None)
        groups: dict[tuple[int, int], list[int]] = {}
        for i, photo in enumerate(photos):
            check_photo(photo)
            groups.setdefault(self._checked_size(photo.shape[0], photo.shape[1], longer), []).append(i)
        maps: dict[int, DepthMap] = {}
        with torch.no_grad():
            for size, group in groups.items():
                for part in _parts(group, size):
                    images = [_resized(_tensor(photos[i]), size, self.device) for i in part]
                    for i, made in zip(part, self._finite(torch.cat(images)), strict=True):
                        height, width = photos[i].shape[:2]
                        maps[i] = checked(self._back(made[None], (height, width))[0].cpu().numpy(), self.kind)
        return [maps[i] for i in range(len(photos))]

    def _run_in_parts(self, images: Tensor) -> Tensor:
        parts = _parts(range(len(images)), (int(images.shape[-2]), int(images.shape[-1])))
        return torch.cat([self._finite(images[part[0] : part[-1] + 1]) for part in parts])

    def _finite(self, images: Tensor) -> Tensor:
        maps = self.run(images).float()
        if not bool(torch.isfinite(maps).all()):
            raise TeacherError(f"{self.name} made values that are not finite.", "Try precision fp32 or bf16.")
        return maps

    def _back(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        if maps.shape[-2:] == size:
            return maps
        made = F.interpolate(maps[:, None], size=size, mode="bilinear", antialias=self.antialias_maps)
        return made[:, 0]

    def _checked_size(self, height: int, width: int, longer: int | None) -> tuple[int, int]:
        size = self.size_for(height, width, longer)
        if 0 in size:
            raise UsageProblem(f"{width} x {height} pixels are too long and narrow for {self.name}.")
        if size[0] * size[1] > MAX_PIXELS:
            raise UsageProblem(
                f"{self.name} would see {size[1]} x {size[0]} pixels; it takes {MAX_PIXELS / 1e6:.1f} million at most.",
                "Give a resolution (pixels of the longer side), for instance 1024.",
            )
        return size


def _parts(indices: Sequence[int], size: tuple[int, int]) -> list[Sequence[int]]:
    step = max(1, MAX_PIXELS // (size[0] * size[1]))
    return [indices[i : i + step] for i in range(0, len(indices), step)]


def _tensor(photo: NDArray[np.uint8]) -> Tensor:
    """Photo uint8 [H, W, 3] -> float32 [1, 3, H, W] in 0..1."""
    return torch.from_numpy(photo.astype(np.float32) / 255.0).permute(2, 0, 1)[None]


def _resized(images: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """Images [B, 3, H, W] in 0..1 -> float32 [B, 3, h, w] in -1..1; that first, as Marigold's pipeline does it.

    One memory layout whatever the input's, because convolutions round differently in another.
    """
    images = images.to(device, torch.float32).clamp(0, 1) * 2 - 1
    if images.shape[-2:] != size:
        images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
    return images.contiguous(memory_format=torch.channels_last)


def check_resolution(resolution: int | None) -> int | None:
    """Return `resolution`, the pixels of a longer side; `UsageProblem` where it is senseless."""
    if resolution is not None and not _SIDES[0] <= resolution <= _SIDES[1]:
        raise UsageProblem(f"A resolution is {_SIDES[0]} to {_SIDES[1]} pixels, not {resolution}.")
    return resolution
