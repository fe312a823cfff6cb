"""Teachers that run in `transformers`: MiDaS 3.0 and 3.1 (DPT), ZoeDepth, Depth Pro, GLPN, Depth Anything's ports.

What a photo goes through before and after the network is the library's own image processor, set up by the folder's own
preprocessor_config.json.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.compute import autocast, moved
from ccd_cli.core.errors import UsageProblem, first_line
from ccd_cli.geometry.depth_map import Camera, DepthMap, checked
from ccd_cli.models.files import sha256_file
from ccd_cli.teachers.adapters.base import FrozenTeacher, TeacherFacts, to_host
from ccd_cli.teachers.adapters.hf_folder import kind_of, load_folder, read_config, weights_file
from ccd_cli.teachers.adapters.preprocess import check_photo, same_sizes

if TYPE_CHECKING:
    from ccd_cli.teachers.card import Card

_MULTIPLE = {"dpt": 32, "depth_anything": 14, "zoedepth": 32}  # of the sides, where a resolution is asked for
_LARGEST = 8192


def load(
    path: Path, card: Card, precision: str = "fp32", resolution: int | None = None, sha256: str = ""
) -> TransformersTeacher:
    """Return the teacher in the folder `path`: config.json, preprocessor_config.json and model.safetensors.

    `sha256` (computed from the weights where it is empty) only goes into `checkpoint_sha256`. Raises what `read_config`,
    `kind_of` and `load_folder` raise, and `UsageProblem` for a precision or resolution that there is not.
    """
    config = read_config(path)
    kind = kind_of(config, card.kind)
    model, processor = load_folder(path, config)
    sha256 = sha256 or sha256_file(weights_file(path))
    facts = TeacherFacts(card.name, kind, card.effective_license, sha256)
    return TransformersTeacher(model, processor, facts, precision, resolution)


class TransformersTeacher(FrozenTeacher):
    """A frozen depth network of `transformers` with its image processor, as a `Teacher`.

    Sizes follow the processor's configuration, with one exception: DPT on a plain ViT (MiDaS 3.0) can only take squares,
    so there the aspect is never kept. `resolution` is the side of the box that the processor fits photos to: a square
    for DPT and Depth Anything, the height of its 3:4 box for ZoeDepth; Depth Pro, GLPN, Swin2 and hybrid DPT have one size.
    ZoeDepth runs once, as its processor and pipeline in `transformers` do it; its authors average with a flipped run.
    `precision` is the autocast type; maps are float32 in any case.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        facts: TeacherFacts,
        precision: str = "fp32",
        resolution: int | None = None,
    ) -> None:
        super().__init__(model, facts, precision, resolution)
        self.processor = processor
        self._type: str = model.config.model_type
        self._size_options(resolution)  # an impossible one is told here, not at the first photo

    @torch.no_grad()
    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> map [B, H, W] float32 at the same size, NaN where it cannot be (metric: not > 0).

        The crop is resized as a photo of its size would be, in float and on the teacher's device. Depth Pro takes the
        field of view that it sees in the crop.
        """
        size = (int(rgb.shape[-2]), int(rgb.shape[-1]))
        pixels = self._prepare(moved(rgb, self.device, torch.float32), self.resolution)
        depth, fov = self._run(pixels)
        maps = torch.stack([self._finish(depth[i : i + 1], _at(fov, i), size) for i in range(len(depth))])
        possible = maps.isfinite() & (maps > 0) if self.kind == "metric" else maps.isfinite()
        return torch.where(possible, maps, torch.nan)

    @torch.no_grad()
    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes; see `Teacher`.

        Depth Pro gives the camera too: focal length = W / 2 / tan(field of view / 2), principal point in the middle; a
        focal length that is told takes the place of its own. The others have no use for it.
        """
        for photo in photos:
            check_photo(photo)
        side = self.resolution if resolution is None else resolution
        writable = [torch.from_numpy(np.require(photo, requirements=("C", "W"))) for photo in photos]
        pixels = [self._prepare(photo.permute(2, 0, 1)[None], side) for photo in writable]
        told = focals or [None] * len(photos)
        maps: dict[int, DepthMap] = {}
        for group in same_sizes([p.numpy() for p in pixels]):
            depth, fov = self._run(moved(torch.cat([pixels[i] for i in group]), self.device))
            made = []
            for row, i in enumerate(group):
                size = (photos[i].shape[0], photos[i].shape[1])
                made.append(self._finish(depth[row : row + 1], _seen(told[i], _at(fov, row), size[1]), size))
            *found, degrees = to_host([*made, depth.new_zeros(len(group)) if fov is None else fov])
            for row, i in enumerate(group):
                seen = None if fov is None else float(degrees[row])
                maps[i] = checked(found[row], self.kind, camera=_camera(told[i], seen, *photos[i].shape[:2]))
        return [maps[i] for i in range(len(photos))]

    def _prepare(self, images: Tensor, resolution: int | None) -> Tensor:
        """Images [B, 3, H, W], uint8 or float in 0..1 -> network input [B, 3, h, w] by the processor's rules."""
        processor = self.processor
        quick = images.is_floating_point()
        flags = {"do_rescale": False, "do_normalize": False} if quick else {}
        height, width = images.shape[-2:]
        options = self._size_options(resolution)
        try:
            made = processor(list(images), return_tensors="pt", input_data_format="channels_first", **options, **flags)[
                "pixel_values"
            ]
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            raise UsageProblem(
                f"{self.name} cannot take a photo of {width}x{height} pixels ({first_line(error)})."
            ) from None
        pixels: Tensor = made
        if quick:  # bicubic overshoots; in the uint8 of a photo it is cut off as well
            pixels = pixels.clamp(0, 1)
            if processor.do_normalize:
                mean, std = (
                    torch.tensor(v).view(3, 1, 1).to(pixels.device, non_blocking=True)
                    for v in (processor.image_mean, processor.image_std)
                )
                pixels = (pixels - mean) / std
        return pixels

    def _run(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Network input [B, 3, h, w] -> (its raw map [B, h', w'], field of view in degrees [B] or None), float32."""
        # ZoeDepth with two heads chooses one for the whole batch by a vote (`domain_vote`): each photo is its own batch.
        votes = self._type == "zoedepth" and len(self.model.config.bin_configurations) > 1
        with autocast(self.device.type, self.precision):
            made = [self.model(pixel_values=part) for part in (pixels.split(1) if votes else [pixels])]
        depth = torch.cat([m.predicted_depth.float() for m in made])
        fov = getattr(made[0], "field_of_view", None)
        return depth, None if fov is None else fov.float()

    def _finish(self, depth: Tensor, fov: Tensor | None, size: tuple[int, int]) -> Tensor:
        """One raw map [1, h', w'] -> map [H, W] of `kind`, by the processor's `post_process_depth_estimation`."""
        outputs = SimpleNamespace(predicted_depth=depth, field_of_view=fov)
        # The second argument is `source_sizes` for ZoeDepth, which takes its padding off, and `target_sizes` for the rest.
        made = self.processor.post_process_depth_estimation(outputs, [size])[0]["predicted_depth"]
        result: Tensor = made.reshape(size)  # it drops sides of one pixel
        return result

    def _size_options(self, resolution: int | None) -> Mapping[str, Any]:
        """Arguments for the processor that make it fit images to `resolution`, within what the network can take."""
        config, network = self.model.config, self._type
        options: dict[str, Any] = {}
        if network == "dpt" and (config.is_hybrid or config.backbone_config is None):
            options["keep_aspect_ratio"] = False  # a plain ViT: `DPTReassembleStage` takes its tokens for a square
        if network == "dpt" and config.is_hybrid:
            options["size"] = {"height": config.image_size, "width": config.image_size}
        if network == "glpn":
            if resolution is not None:
                raise UsageProblem(f"{self.name} sees photos at their own size; leave the resolution out.")
            return options
        size = options.get("size") or {side: self.processor.size[side] for side in ("height", "width")}
        if resolution is None or resolution == size["height"]:
            return options
        swin = network == "dpt" and getattr(config.backbone_config, "model_type", "") == "swinv2"
        if network == "depth_pro" or swin or "size" in options:
            raise UsageProblem(f"{self.name} sees photos at {size['height']} pixels only, not at {resolution}.")
        step = _MULTIPLE[network]
        if not step <= resolution <= _LARGEST:
            raise UsageProblem(f"{self.name} takes a resolution of {step} to {_LARGEST}, not {resolution}.")
        width = round(resolution * size["width"] / size["height"])
        return options | {"size": {"height": resolution, "width": width}, "ensure_multiple_of": step}


def _at(values: Tensor | None, index: int) -> Tensor | None:
    return None if values is None else values[index : index + 1]


def _seen(focal: float | None, fov: Tensor | None, width: int) -> Tensor | None:
    """The field of view in degrees [1] to use, None for networks without: from the focal length in pixels, else as predicted."""
    if fov is None or focal is None:
        return fov
    return torch.full_like(fov, math.degrees(2 * math.atan(width / (2 * focal))))


def _camera(focal: float | None, fov: float | None, height: int, width: int) -> Camera | None:
    """The camera of a photo: from the focal length in pixels, else from the predicted field of view in degrees."""
    if fov is None:
        return None
    if focal is None:
        half = math.radians(fov) / 2
        if not 0 < half < math.pi / 2:  # nonsense, whose map comes out at its bounds
            return None
        focal = width / 2 / math.tan(half)
    return Camera(focal, focal, width / 2, height / 2)
