"""MoGe 1 and 2 as teachers, through the package `dlr-moge`: depth (2: in meters), a mask and the camera.

Everything between the network and a map (finding the shift and the focal length, the metric scale, the mask) is the
package's own `MoGeModel.infer`. Only loading is done here, because a teacher has to be there whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.compute import autocast, moved
from ccd_cli.core.errors import CheckpointError, TeacherError, UsageProblem, first_line
from ccd_cli.geometry.depth_map import Camera, DepthMap, checked
from ccd_cli.geometry.kinds import Kind
from ccd_cli.models.files import check_file, sha256_file
from ccd_cli.models.strict import load_strict
from ccd_cli.teachers.adapters.base import FrozenTeacher, TeacherFacts, to_host
from ccd_cli.teachers.adapters.preprocess import check_photo

if TYPE_CHECKING:
    from ccd_cli.teachers.card import Card

_INSTALL = 'pip install -e ".[moge]"'
_BACKBONES = tuple(f"dinov2_vit{size}14{suffix}" for suffix in ("", "_reg") for size in "sblg")
_PATCH = 14
_LARGEST = 8192
# The package loads the second generation with strict=False. Constants that it makes itself may be absent, a token for
# pre-training too; a head for normals, which no teacher uses, may be extra.
_MAY_LACK = re.compile(r"(^|\.)(image_mean|image_std|mask_token)$")
_MAY_HOLD = re.compile(r"^normal_head\.|(^|\.)mask_token$")


def load(
    path: Path, card: Card, precision: str = "fp32", resolution: int | None = None, sha256: str = ""
) -> MogeTeacher:
    """Return the teacher in the file `path`, a `model.pt` with its configuration and weights.

    `sha256` (computed where it is empty) only goes into `checkpoint_sha256`. Nothing in the file is executed. Raises
    `TeacherError` where the package is missing, `CheckpointError` for a file that is damaged, of another network, lacks
    tensors, or contradicts the card, and `UsageProblem` for a precision or resolution that there is not.
    """
    package = _package()
    config, weights = _read(path)
    version = 2 if isinstance(config.get("encoder"), dict) else 1
    told = card.options.get("version", version)
    kind: Kind = "metric" if version == 2 and config.get("scale_head") else "depth"
    if told != version or kind != card.kind:
        raise CheckpointError(
            f"{path} holds MoGe-{version} for {kind} maps, its card says MoGe-{told} for {card.kind} maps."
        )
    model = _build(package, version, config, path)
    _fill(model, weights, path)
    sha256 = sha256 or sha256_file(path)
    return MogeTeacher(model, TeacherFacts(card.name, kind, card.effective_license, sha256), precision, resolution)


class MogeTeacher(FrozenTeacher):
    """A frozen MoGe network as a `Teacher`: meters for the second generation, depth of unknown scale for the first.

    The network divides a photo of any size into a number of tokens (14 x 14 pixels each) of the photo's aspect.
    `resolution` is the short side in pixels that this comes to: (resolution / 14)^2 x long side / short side tokens, kept
    within the range that the network was trained for; None takes the upper end of the range, the package's
    `resolution_level` 9. `precision` is the autocast type of the network; all that follows it is float32.
    """

    def __init__(
        self,
        model: Any,
        facts: TeacherFacts,
        precision: str = "fp32",
        resolution: int | None = None,
    ) -> None:
        super().__init__(model, facts, precision, resolution)
        self._tokens(1, 1, resolution)  # an impossible one is told here, not at the first photo
        model.forward = self._forward  # `infer` calls it: the package's own autocast knows no bfloat16

    @torch.no_grad()
    def predict(self, rgb: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in 0..1 -> depth [B, H, W] float32 at the same size, NaN where the network knows none.

        Masked pixels (sky, mostly) are unknown, and so are those that come out behind the camera.
        """
        depth, _ = self._infer(rgb, self.resolution)
        return depth

    @torch.no_grad()
    def predict_photos(
        self,
        photos: Sequence[NDArray[np.uint8]],
        resolution: int | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DepthMap]:
        """RGB photos uint8 [H, W, 3] -> maps at the photos' sizes with masks and cameras; see `Teacher`.

        A focal length in pixels that is told goes into `infer` as the horizontal field of view 2 atan(W / 2f) and takes
        the place of the one that is recovered from the points; it changes the depth as well, which is shifted to fit it.
        """
        for photo in photos:
            check_photo(photo)
        side = self.resolution if resolution is None else resolution
        told = list(focals) if focals else [None] * len(photos)
        groups: dict[tuple[int, int, bool], list[int]] = {}
        for i, photo in enumerate(photos):
            groups.setdefault((photo.shape[0], photo.shape[1], told[i] is None), []).append(i)
        maps: dict[int, DepthMap] = {}
        for (height, width, _), group in groups.items():
            rgb = torch.from_numpy(np.stack([photos[i] for i in group])).permute(0, 3, 1, 2).float() / 255
            known = [focal for i in group if (focal := told[i]) is not None]
            cameras: list[Camera | None] = [Camera(f, f, width / 2, height / 2) for f in known]
            fov = [math.degrees(2 * math.atan(width / (2 * f))) for f in known]
            depth, intrinsics = self._infer(rgb, side, torch.tensor(fov) if fov else None)
            made, matrices = to_host([depth, intrinsics])
            cameras = cameras or [_camera(matrix, height, width) for matrix in matrices.astype(np.float64)]
            for i, values, camera in zip(group, made, cameras, strict=True):
                maps[i] = checked(values, self.kind, camera=camera)
        return [maps[i] for i in range(len(photos))]

    def _forward(self, image: Tensor, num_tokens: int) -> dict[str, Tensor]:
        with autocast(self.device.type, self.precision):
            made: dict[str, Tensor] = type(self.model).forward(self.model, image, num_tokens)
        return made

    def _infer(self, rgb: Tensor, resolution: int | None, fov: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """RGB [B, 3, H, W] in 0..1 (and fields of view in degrees [B]) -> depth [B, H, W], intrinsics [B, 3, 3].

        Unknown depth is NaN; intrinsics are in parts of the photo's width and height.
        """
        tokens = self._tokens(int(rgb.shape[-2]), int(rgb.shape[-1]), resolution)
        rgb = moved(rgb, self.device, torch.float32)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*autocast")  # it asks for a float32 one, which is none
                made = self.model.infer(
                    rgb, fov_x=fov, num_tokens=tokens, apply_mask=False, force_projection=False, use_fp16=False
                )
        except ValueError as error:  # of the solver, for points that are not finite
            raise TeacherError(f"{self.name} found no camera ({first_line(error)}).", "Try --precision fp32.") from None
        depth, mask = made["depth"], made.get("mask")
        possible = depth.isfinite() & (depth > 0)
        if mask is not None:
            possible = possible & mask
        return torch.where(possible, depth, torch.nan), made["intrinsics"]  # a new tensor: may enter a graph

    def _tokens(self, height: int, width: int, resolution: int | None) -> int:
        """How many tokens a photo is seen in."""
        least, most = (int(n) for n in self.model.num_tokens_range)
        if resolution is None:
            return most
        if not _PATCH <= resolution <= _LARGEST:
            raise UsageProblem(f"{self.name} takes a resolution of {_PATCH} to {_LARGEST}, not {resolution}.")
        tokens = (resolution / _PATCH) ** 2 * max(height, width) / min(height, width)
        return min(max(round(tokens), least), most)


def _camera(matrix: NDArray[np.float64], height: int, width: int) -> Camera | None:
    """Intrinsics [3, 3] in parts of width and height -> camera in pixels; None for a focal length that cannot be."""
    fx, fy, cx, cy = matrix[0, 0] * width, matrix[1, 1] * height, matrix[0, 2] * width, matrix[1, 2] * height
    if not np.isfinite([fx, fy, cx, cy]).all() or min(fx, fy) <= 0:
        return None
    return Camera(float(fx), float(fy), float(cx), float(cy))


def _package() -> Any:
    """The package's `moge.model`."""
    if importlib.util.find_spec("moge") is None:
        raise TeacherError("MoGe needs the dlr-moge package.", _INSTALL)
    try:
        return importlib.import_module("moge.model")
    except ImportError as error:
        raise TeacherError(f"The dlr-moge package cannot be imported ({first_line(error)}).", _INSTALL) from None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, weights) of a `model.pt`, read without running anything in it."""
    check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors, or is no checkpoint, so it was not loaded.") from None
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(f"{path} is not a whole checkpoint ({first_line(error)}).") from None
    config, weights = (content.get(k) if isinstance(content, dict) else None for k in ("model_config", "model"))
    if not isinstance(config, dict) or not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} is not a MoGe checkpoint: it holds no model_config and model.")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()):
        raise CheckpointError(f"{path} is not a MoGe checkpoint: its weights are not a table of tensors.")
    encoder = config.get("encoder")
    backbone = encoder.get("backbone") if isinstance(encoder, dict) else encoder
    if backbone not in _BACKBONES:  # the package calls whatever is named here
        raise CheckpointError(f"{path} is not a MoGe checkpoint: it has no encoder '{str(backbone)[:60]}'.")
    if isinstance(encoder, dict) and not config.get("points_head"):
        raise CheckpointError(f"{path} holds a MoGe-2 without its points, which gives no depth.")
    return config, weights


def _build(package: Any, version: int, config: Mapping[str, Any], path: Path) -> Any:
    """The network with random weights, its attention by PyTorch's own kernel (less memory, same values)."""
    try:
        network = package.import_model_class_by_version(f"v{version}")
        attention = importlib.import_module("moge.model.utils").wrap_dinov2_attention_with_sdpa
    except ImportError as error:
        raise TeacherError(f"The dlr-moge package cannot be imported ({first_line(error)}).", _INSTALL) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # xformers is absent; settings of old versions are ignored
            model = network(**config)
    except Exception as error:  # whatever a wrong configuration makes it raise
        raise CheckpointError(f"{path} has a configuration that MoGe refuses ({first_line(error)}).") from None
    for block in (model.encoder if version == 2 else model).backbone.blocks:
        attention(block.attn)
    return model


def _fill(model: Any, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load all weights strictly, but for what a teacher never runs."""
    load_strict(model, weights, path, may_lack=_MAY_LACK, may_hold=_MAY_HOLD)
    if hasattr(model, "normal_head"):
        del model.normal_head  # it would run at every photo, and a teacher has no use for normals
