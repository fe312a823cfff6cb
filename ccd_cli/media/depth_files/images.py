"""Depth in image files of one channel: PNG, TIFF, JPEG, BMP and PFM."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ccd_cli.core.errors import ImageError, first_line
from ccd_cli.media.depth_files.plane import RawMap, check_size, plane
from ccd_cli.media.pillow import without_pillow_limit

IMAGES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".pgm")
_BITS, _FORMAT, _FLOAT = 258, 339, 3  # TIFF: bits of a sample, what they are, floating point
_PFM = re.compile(rb"(P[fF])\s+(\d{1,7})\s+(\d{1,7})\s+([-+0-9.eE]{1,30})\s")


def read_image(path: Path) -> RawMap:
    """Return the numbers of a gray image as they are stored; three equal channels are one.

    EXIF rotations are not applied, but for those of TIFF, which Pillow applies. Raises ImageError for color images, stacks of
    images and damaged files.
    """
    try:
        with without_pillow_limit():
            # by name, Pillow maps gray TIFFs into memory, with wrong rows where EXIF turns them
            image: Image.Image = Image.open(path.open("rb"))
    except Exception as error:
        raise ImageError(f"{path}: {_unopened(path, error)}") from error
    with image:
        check_size((image.height, image.width), path)
        try:
            return _decoded(path, image)
        except ImageError:
            raise
        except Exception as error:  # a decoder may raise anything for a damaged file
            raise ImageError(f"{path}: damaged ({_reason(error)})") from error


def _unopened(path: Path, error: BaseException) -> str:
    """Why Pillow does not open an image."""
    with suppress(OSError), path.open("rb") as file:
        if file.read(4) in (b"II*\0", b"MM\0*"):
            return "a TIFF of a kind that is not read (64-bit numbers? colors of 32 bits?); depth is one channel of up to 32 bits"
    return f"not a readable image ({_reason(error)})"


def _decoded(path: Path, image: Image.Image) -> RawMap:
    bits = _bits(path, image)
    size = image.size
    if getattr(image, "n_frames", 1) > 1:
        image.seek(1)
        if image.size == size:
            raise ImageError(f"{path}: several images in one file, not one depth map")
        image.seek(0)
    image.load()  # whole, or an error
    if image.mode in ("L", "1", "F") or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.format == "PNG" and image.mode == "I":
            values = values.astype(np.uint16)
        if image.mode == "1":
            values = values.astype(np.uint8) * 255
        return plane(values, path)
    if bits > 8:  # Pillow would cut them to 8
        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise ImageError(f"{path}: an image ({image.mode}, {bits} bits) that cannot be read as depth")
        values = np.asarray(decoded)
    else:
        values = np.asarray(image.convert("RGBA" if "A" in image.mode else "RGB"))
    color = values[..., :3]
    gray = values.ndim == 3 and values.shape[2] >= 3 and (color == color[..., :1]).all()
    if not gray or (values.shape[2] == 4 and np.ptp(values[..., 3]) > 0):
        raise ImageError(f"{path}: an image ({image.mode}), not a 16-bit depth map of one channel")
    return plane(np.ascontiguousarray(values[..., 0]), path)


def _bits(path: Path, image: Image.Image) -> int:
    """Bits of a sample, as the file's header says."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = int(np.max(tags.get(_BITS, 8)))
        if bits == 16 and _FLOAT in np.atleast_1d(tags.get(_FORMAT, 1)):
            raise ImageError(f"{path}: a TIFF of 16-bit floating point, which is not read; store 32 bits, or .npy")
        return bits
    return 8


def read_pfm(path: Path) -> RawMap:
    """Return a gray PFM: rows from the bottom, bytes in the order that the sign of its scale says; raises ImageError.

    The scale's magnitude is not applied; where it is not 1, a note says so. Netpbm's pfm(5) calls it the unit of the samples
    and leaves its meaning open. The readers of the Middlebury sets (pfmLib, ReadFilePFM), whose disparities in pixels are
    written with 1/255 by default, and of MiDaS leave the samples as they are. OpenCV alone divides by it (grfmt_pfm.cpp),
    which makes 255 times the disparity of a Middlebury file.
    """
    try:
        with path.open("rb") as file:
            head = _PFM.match(file.read(200))
            if head is None:
                raise ImageError(f"{path}: not a readable .pfm (no header)")
            if head[1] == b"PF":
                raise ImageError(f"{path}: a color image, not a map of one channel")
            width, height, scale = int(head[2]), int(head[3]), float(head[4])
            check_size((height, width), path)
            file.seek(head.end())
            data = file.read(4 * width * height + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: not a readable .pfm ({first_line(error)})") from error
    if scale == 0 or not math.isfinite(scale):
        raise ImageError(
            f"{path}: not a readable .pfm (its scale is {scale:g}, whose sign would say the order of bytes)"
        )
    if len(data) != 4 * width * height:
        raise ImageError(f"{path}: not a readable .pfm (its header says {width}x{height}, and its length does not)")
    made = plane(np.frombuffer(data, "<f4" if scale < 0 else ">f4").reshape(height, width)[::-1], path)
    note = f"the scale {abs(scale):g} in the header of the .pfm is not applied: its values are taken as they are"
    return made if abs(scale) == 1 else replace(made, notes=(note,))


def _reason(error: BaseException) -> str:
    text = first_line(error)
    return text if len(text) < 100 and "<_io" not in text else type(error).__name__
