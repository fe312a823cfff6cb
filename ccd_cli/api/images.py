"""What callers hand over as images, as photos uint8 RGB [H, W, 3]."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.paths import builtin_path, expand_home
from ccd_cli.media.photos import MAX_PIXELS, MIN_SIDE, Limits, Photo, load_photo
from ccd_cli.media.pixels import reduce_by, to_rgb

if TYPE_CHECKING:
    import torch

    ImageLike = str | os.PathLike[str] | NDArray[np.uint8] | Image.Image | torch.Tensor

TAKEN = "Give a path, a PIL image, a uint8 array HxWx3 (RGB), a torch tensor [3, H, W] or [B, 3, H, W] in 0..1, or a list of these."


class Given(NamedTuple):
    """One image, not read yet, and how errors name it; tensors are arrays already."""

    image: Path | Image.Image | NDArray[np.uint8]
    name: str

    @property
    def path(self) -> Path | None:
        """The file, None for an image in memory."""
        return self.image if isinstance(self.image, Path) else None


def listed(images: Any) -> tuple[list[Given], bool]:
    """Return (the images, whether it is one alone that is not a list). Raises CcdError for anything that is no image."""
    if isinstance(images, str | os.PathLike | Image.Image):
        return [_one(images, "image")], True
    if _is_tensor(images) or isinstance(images, np.ndarray):
        if _is_tensor(images) and images.ndim == 4:
            if not len(images):
                raise CcdError("A batch of no image: there is nothing to predict.")
            return [_one(image, f"image {i}") for i, image in enumerate(images)], False
        return [_one(images, "image")], True
    if isinstance(images, Sequence) and not isinstance(images, bytes):
        return [_one(image, f"image {i}") for i, image in enumerate(images)], False
    raise CcdError(f"{type(images).__name__} is no image.", TAKEN)


def read(given: Given, limits: Limits) -> Photo:
    """Return the photo; files as `ccd predict` reads them: upright, alpha over white, 16 bit scaled to 8, reduced by `limits`.

    Raises ImageError, with the name, for what cannot be read.
    """
    image = given.image
    if isinstance(image, Path):
        return load_photo(image, limits)
    if isinstance(image, Image.Image):
        try:
            image, _ = to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # a file that Pillow opened and cannot decode
            raise ImageError(f"{given.name}: damaged ({type(error).__name__}).") from error
    size = image.shape[0], image.shape[1]
    if min(size) < MIN_SIDE or size[0] * size[1] > MAX_PIXELS:
        limit = f"under {MIN_SIDE} pixels" if min(size) < MIN_SIDE else f"over {MAX_PIXELS // 1_000_000} megapixels"
        raise ImageError(f"{given.name}: {size[1]}x{size[0]} is {limit}.")
    if (factor := limits.factor(size)) == 1:
        return Photo(image, size)
    small, _ = to_rgb(reduce_by(Image.fromarray(image), factor))
    note = f"{size[1]}x{size[0]} pixels are reduced to {small.shape[1]}x{small.shape[0]} (full_size keeps them)"
    return Photo(small, size, [note])


def _one(image: Any, name: str) -> Given:
    if isinstance(image, str | os.PathLike):
        return Given(expand_home(builtin_path(os.fspath(image))), name)
    if isinstance(image, Image.Image):
        return Given(image, name)
    if _is_tensor(image):
        return Given(_from_tensor(image, name), name)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            shape = "x".join(map(str, image.shape))
            raise CcdError(f"{name}: a photo is a uint8 array HxWx3 (RGB), not {image.dtype} {shape}.", TAKEN)
        return Given(np.ascontiguousarray(image), name)
    raise CcdError(f"{name}: {type(image).__name__} is no image.", TAKEN)


def _from_tensor(image: torch.Tensor, name: str) -> NDArray[np.uint8]:
    """RGB [3, H, W] in 0..1 as uint8 [H, W, 3], rounded to 8 bits as photos are."""
    shape = "x".join(map(str, image.shape))
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise CcdError(f"{name}: a tensor is float [3, H, W] or [B, 3, H, W], not {image.dtype} {shape}.", TAKEN)
    try:
        values = image.detach().float().cpu().numpy()
    except (TypeError, NotImplementedError) as error:  # a sparse one, or one without values
        raise CcdError(f"{name}: the values of the tensor {shape} cannot be read: {error}", TAKEN) from error
    if not values.size or not np.isfinite(values).all():
        raise CcdError(
            f"{name}: the tensor {shape} holds values that are not finite." if values.size else f"{name}: empty."
        )
    if values.min() < 0 or values.max() > 1:
        raise CcdError(
            f"{name}: the tensor spans {values.min():.3g} to {values.max():.3g}, and RGB is in 0..1 here.",
            "Undo the normalization, or divide by 255.",
        )
    return np.ascontiguousarray(np.rint(values * 255).astype(np.uint8).transpose(1, 2, 0))


def _is_tensor(image: Any) -> bool:
    """Whether it is a tensor, without importing torch for who has none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)
