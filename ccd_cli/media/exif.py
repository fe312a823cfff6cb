"""What a photo's EXIF says about its lens, read from the header without decoding a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ccd_cli.geometry.camera import FILM_DIAGONAL
from ccd_cli.media.pillow import open_image
from ccd_cli.media.pixels import ORIENTATION

_EXIF_IFD = 0x8769
_FOCAL_35MM = 0xA405
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_FOCAL, _PLANE_X, _PLANE_Y, _PLANE_UNIT = 0x920A, 0xA20E, 0xA20F, 0xA210
_MILLIMETERS = {2: 25.4, 3: 10.0, 4: 1.0}  # inch (EXIF's default), centimeter; millimeter, which some cameras write


def read_focal_35mm(path: Path) -> float | None:
    """Return the 35-mm equivalent focal length in millimeters, or None where a photo does not tell.

    Without the tag of that name it follows from the focal length and the sensor's size, which is the recorded size in
    pixels over the focal plane's resolution. None too where the size that EXIF recorded has another aspect ratio than
    the image: it was cropped since, and the focal length belongs to the whole frame. Rotation and resizing do not matter.
    Never raises: an unreadable photo is the reader's to report, and damaged EXIF is no EXIF.
    """
    try:
        with open_image(path) as image:
            if image.format == "PNG" and "exif" not in image.info:
                return None  # Pillow would decode the image to look for EXIF at its end
            tags = image.getexif().get_ifd(_EXIF_IFD)
            size = image.size
        focal = float(tags.get(_FOCAL_35MM, 0)) or _from_sensor(tags)
        if not 1 <= focal <= 10_000 or _cropped(size, float(tags.get(_PIXEL_X, 0)), float(tags.get(_PIXEL_Y, 0))):
            return None
    except Exception:  # EXIF written by cameras and editors is damaged in every possible way
        return None
    return focal


def is_turned(path: Path) -> bool:
    """Return whether a photo is stored turned or mirrored, by its EXIF orientation. Never raises."""
    with suppress(Exception), open_image(path) as image:
        if image.format != "PNG" or "exif" in image.info:
            return int(image.getexif().get(ORIENTATION, 1)) not in (0, 1)
    return False


def panorama_note(path: Path, height: int, width: int, specified: bool) -> list[str]:
    """Return a warning for the cloud of a 360-degree panorama, which no pinhole camera has taken.

    Its XMP says so (GPano), or its shape of 2:1 does, unless the camera is `specified` by the user. Never raises.
    """
    assumed = "a pinhole camera is assumed, which is wrong for a panorama"
    with suppress(Exception), open_image(path) as image:
        about = image.info.get("xmp", b"")
        if b"ProjectionType" in about and b"equirectangular" in about:
            return [f"a 360-degree panorama by its metadata: {assumed}; cut perspective views out of it first"]
    if not specified and abs(width - 2 * height) <= 0.005 * width:
        return [f"its shape of 2:1 is that of 360-degree panoramas: {assumed} (--intrinsics or --fov says it is none)"]
    return []


def _from_sensor(tags: Mapping[int, Any]) -> float:
    """Return focal length * 43.27 mm / sensor diagonal; 0 where a tag is missing. ZeroDivisionError means the same."""
    unit = _MILLIMETERS.get(int(tags.get(_PLANE_UNIT, 2)), 0.0)
    width, height = (
        float(tags.get(pixels, 0)) / float(tags.get(density, 0)) * unit
        for pixels, density in ((_PIXEL_X, _PLANE_X), (_PIXEL_Y, _PLANE_Y))
    )
    return float(tags.get(_FOCAL, 0)) * FILM_DIAGONAL / math.hypot(width, height)


def _cropped(size: tuple[int, int], recorded_x: float, recorded_y: float) -> bool:
    """Whether the recorded size, on its side or not, has another shape than the image (2 % for rounding)."""
    if recorded_x <= 0 or recorded_y <= 0:
        return False
    now, then = max(size) / min(size), max(recorded_x, recorded_y) / min(recorded_x, recorded_y)
    return abs(now / then - 1) > 0.02
