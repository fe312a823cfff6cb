"""Camera RAW files, developed by LibRaw (rawpy, in the extra `heic`): white balance of the camera, sRGB, upright."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.core.errors import ImageError
from ccd_cli.media.formats import why_unread

_DNG_VERSION = 50706


def is_dng(image: Image.Image) -> bool:
    """Whether an opened TIFF is a DNG, whatever its name: Pillow would read its preview."""
    return image.format == "TIFF" and _DNG_VERSION in getattr(image, "tag_v2", ())


def size(file: IO[bytes]) -> tuple[int, int]:
    """Return (height, width) of the developed photo before rotation, from the header.

    Raises ImageError without rawpy or for a file that LibRaw does not know.
    """
    with _opened(file) as raw:
        return int(raw.sizes.height), int(raw.sizes.width)


def develop(file: IO[bytes]) -> NDArray[np.uint8]:
    """Return uint8 sRGB (H, W, 3), upright; raises ImageError for damaged data."""
    rawpy: Any = _library()
    with _opened(file) as raw:
        try:
            return np.ascontiguousarray(raw.postprocess(use_camera_wb=True, output_bps=8))
        except rawpy.LibRawError as error:
            raise ImageError(f"damaged ({_said(error)})") from error


def _opened(file: IO[bytes]) -> Any:
    rawpy: Any = _library()
    file.seek(0)
    try:
        return rawpy.imread(file)
    except rawpy.LibRawError as error:
        raise ImageError(f"not a RAW file that LibRaw reads ({_said(error)})") from error


def _library() -> Any:
    try:
        import rawpy
    except ImportError as error:
        raise ImageError(why_unread(".dng")) from error
    return rawpy


def _said(error: BaseException) -> str:
    text = error.args[0] if error.args else ""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
