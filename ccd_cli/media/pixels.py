"""From the pixels of any image mode to uint8 RGB, and the bit depth of data in 16-bit files."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""Cameras write values of so many bits into files of 16; read as 16 bits, such a photo is nearly black."""

OPAQUE = 128
"""Alpha from which on a pixel shows its own color more than what lies behind it."""


def to_rgb(image: Image.Image) -> tuple[NDArray[np.uint8], int | None]:
    """Return (uint8 RGB (H, W, 3), bits) of a decoded image of any mode.

    Alpha is laid over white; where none is below OPAQUE (a screenshot's soft border), the colors are the photo's own. Gray of 16
    bits is scaled by the smallest bit depth (8, 10, 12, 14, 16) that holds its largest value, which is returned where it is less
    than 16; gray of 32 bits beyond 65535 by its largest value (bits 0), and float too.
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float32)
        known = values[np.isfinite(values)]
        largest = float(known.max()) if known.size else 0.0
        top, bits = (max(largest, 1e-6), None) if image.mode == "F" else _range(largest)
        values = np.nan_to_num(values, nan=0.0, posinf=top, neginf=0.0)
        return np.ascontiguousarray(np.repeat(_eight_bits(values, top)[..., None], 3, axis=2)), bits
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() >= OPAQUE:
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))), None
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.ascontiguousarray(np.asarray(image if image.mode == "RGB" else image.convert("RGB"))), None


def dropped_bits(image: Image.Image, source: Path | IO[bytes]) -> tuple[Image.Image, int | None]:
    """Return (image, bits) of a decoded image of 16-bit color, of which Pillow keeps the upper eight.

    Where nothing is in the upper two, the file `source` is read again and scaled as `to_rgb` does with gray.
    """
    bands = image.split()[: 3 if image.mode.startswith("RGB") else 1]
    if max(int(band.getextrema()[1]) for band in bands) >= 64:  # type: ignore[arg-type]
        return image, None
    if isinstance(source, Path):
        data = source.read_bytes()
    else:
        source.seek(0)
        data = source.read()
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if (
        values is None
        or values.dtype != np.uint16
        or values.shape[:2] != (image.height, image.width)
        or values.ndim != 3
    ):
        return image, None
    color = values[..., 2::-1].astype(np.float32)
    top, bits = _range(float(color.max()))
    again = Image.fromarray(_eight_bits(color, top))
    if image.mode in ("RGBA", "LA"):
        again.putalpha(image.getchannel("A"))
    again.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return again, bits


def bit_depth_note(bits: int | None) -> list[str]:
    """Return what is said of a photo whose values were scaled by less (or, 0, more) than 16 bits."""
    if bits is None:
        return []
    if bits == 0:
        return ["values beyond 16 bits are scaled by the largest one"]
    return [f"a 16-bit file whose values need {bits} bits: read as {bits}-bit data"]


def is_deep_color(image: Image.Image) -> bool:
    """Whether a lazily opened image has color of 16 bits, of which Pillow will keep eight."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return False
    if image.format == "TIFF":
        return 16 in tuple(getattr(image, "tag_v2", {}).get(258, ()))
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def reduce_by(image: Image.Image, factor: int) -> Image.Image:
    """Return an image of 1 / `factor` the size, each pixel the mean of a square."""
    if factor <= 1:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image)
        values = values.astype(np.uint16 if image.mode.startswith("I;16") else np.float32, copy=False)
        size = (-(-image.width // factor), -(-image.height // factor))
        small = np.asarray(cv2.resize(values, dsize=size, interpolation=cv2.INTER_AREA))
        return Image.fromarray(small.astype(np.int32) if image.mode == "I" else small)
    if image.mode not in ("L", "RGB", "RGBA", "LA", "CMYK", "YCbCr"):
        image = image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB")
    return image.reduce(factor)


def _range(largest: float) -> tuple[float, int | None]:
    """(value that becomes white, bits to tell of)."""
    if largest <= 0:
        return 65535.0, None
    if largest > 65535:
        return largest, 0
    bits = next(each for each in BIT_DEPTHS if largest < 2**each)
    return 2.0**bits - 1, bits if bits < 16 else None


def _eight_bits(values: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    return np.clip(values / top * 255.0 + 0.5, 0, 255).astype(np.uint8)
