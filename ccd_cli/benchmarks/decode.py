"""Bytes of a set's files as arrays; every limit is checked before memory is taken. Anything damaged is an ImageError."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.core.errors import ImageError
from ccd_cli.media.photos import MAX_PIXELS
from ccd_cli.media.pillow import without_pillow_limit

FloatMap = NDArray[np.float32]


def decode_rgb(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] as stored: an EXIF rotation is not applied, because the depth has none either."""
    with _image(data, name) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def decode_codes(data: bytes, name: str) -> tuple[NDArray[np.uint16], dict[str, str]]:
    """Return (uint16 codes [H, W] of a 16-bit gray PNG, its text chunks)."""
    with _image(data, name) as image:
        if image.format != "PNG" or not image.mode.startswith("I"):
            raise ImageError(f"{name}: a 16-bit gray PNG is wanted, not {image.format} {image.mode}")
        codes = np.asarray(image)
        text = {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
        return np.ascontiguousarray(codes.astype(np.uint16)), text


def decode_npy(data: bytes, name: str) -> NDArray[Any]:
    """Return the array of an `.npy` file of numbers; its header must agree with its length."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = reader(file)
    except Exception as error:  # the header is Python text, and its reader raises whatever Python does for it
        raise ImageError(f"{name}: not an .npy file") from error
    if any(side <= 0 for side in shape):
        raise ImageError(f"{name}: its header claims the shape {shape}")
    count = 1
    for side in shape:
        count *= side
    rest = data[file.tell() :]
    if kind.kind not in "fiub" or count * kind.itemsize != len(rest):
        raise ImageError(f"{name}: its header claims {shape} of {kind}, and {len(rest):,} bytes follow")
    return np.frombuffer(rest, dtype=kind).reshape(shape, order="F" if fortran else "C")


def one_channel(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Return [H, W] of [H, W], [H, W, 1] or [1, H, W]."""
    flat = np.squeeze(values)
    if flat.ndim != 2:
        raise ImageError(f"{name}: not a map of one channel, but {values.shape}")
    return flat


def decode_floats(data: bytes, shape: tuple[int, int], name: str) -> FloatMap:
    """Return float32 [H, W], read-only, from bare little-endian values, row by row; `shape` is the photo's."""
    if len(data) != 4 * shape[0] * shape[1]:
        raise ImageError(
            f"{name}: holds {len(data) / 4:g} floats, and its photo is {shape[1]}x{shape[0]} (is it the undistorted photo?)"
        )
    return np.frombuffer(data, dtype="<f4").reshape(shape).astype(np.float32, copy=False)


def known(depth: FloatMap) -> FloatMap:
    """Return depth with NaN for what is not finite and positive."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan)).astype(np.float32, copy=False)


@contextmanager
def _image(data: bytes, name: str) -> Iterator[Image.Image]:
    try:
        with without_pillow_limit():
            image: Image.Image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise ImageError(f"{name}: {image.width}x{image.height} is over {MAX_PIXELS // 1_000_000} megapixels")
        image.load()
    except ImageError:
        raise
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise ImageError(f"{name}: damaged or not an image ({type(error).__name__})") from error
    with image:
        yield image
