"""Open images with Pillow under ccd's own size limit, and leave Pillow as the program around ccd set it up."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from PIL import Image

FORMATS = [
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "TIFF",
    "BMP",
    "DIB",
    "GIF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "TGA",
    "PCX",
    "QOI",
    "HEIF",
]
"""Decoders for photos. Pillow has more, which call other programs (EPS) or are for documents."""
_lock = threading.Lock()
_inside = 0
_before: Any = None


@contextmanager
def without_pillow_limit() -> Iterator[None]:
    """Put Pillow's limit on pixels, which is global, and Python's warnings aside for a block that opens a file.

    Pillow refuses photos over 179 megapixels and warns from 89 on; the caller checks the size itself and tells the file's
    name. Threads may be inside at a time: the first one in puts both aside, the last one out puts them back.
    """
    global _inside, _before
    with _lock:
        if _inside == 0:
            quiet = warnings.catch_warnings(action="ignore")
            quiet.__enter__()
            _before = (Image.MAX_IMAGE_PIXELS, quiet)
            Image.MAX_IMAGE_PIXELS = None
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                Image.MAX_IMAGE_PIXELS, quiet = _before
                quiet.__exit__(None, None, None)


def open_image(source: Path | IO[bytes]) -> Image.Image:
    """Open a photo lazily, HEIC too where pillow-heif is installed; raises what Pillow raises."""
    with without_pillow_limit():
        made = Image.open(source, formats=_decoders())
        if isinstance(source, Path) and made.format == "TIFF":
            # by name, Pillow maps gray TIFFs into memory, with wrong rows where EXIF turns them
            made.close()
            made = Image.open(source.open("rb"), formats=_decoders())
        return made


@cache
def _decoders() -> tuple[str, ...]:
    """The decoders of FORMATS that this installation has."""
    Image.init()
    with suppress(Exception):  # an extra that is absent or broken costs its formats alone
        import pillow_heif

        pillow_heif.register_heif_opener(thumbnails=False)
    return tuple(name for name in FORMATS if name in Image.OPEN)
