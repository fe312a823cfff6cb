"""PNG files of maps: one filter for all rows and zlib-ng, which is all that maps need.

PNG (ISO/IEC 15948) allows a filter a row; encoders that look for the best one spend most of their time on it. Codes and photos
repeat in their difference to the row above, the colors of a map as they are. OpenCV and Pillow take several times as long for
smaller files (`tests/benchmarks/bench_png.py`).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from zlib_ng import zlib_ng

_LEVEL = 1
_NONE, _UP = 0, 2  # filter types 0 and 2
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _RGB = 0, 2  # color types


def encode_png(picture: NDArray[np.uint8] | NDArray[np.uint16], flat: bool = False) -> bytes:
    """Return a PNG file of uint8 RGB [H, W, 3], or gray [H, W] of 8 or 16 bits; `flat`: of few colors, as a color map's."""
    height, width = picture.shape[:2]
    deep = picture.dtype == np.uint16
    rows = (picture.astype(">u2") if deep else np.ascontiguousarray(picture)).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _NONE if flat else _UP
    if flat:
        filtered[:, 1:] = rows
    else:
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, _GRAY if picture.ndim == 2 else _RGB, 0, 0, 0)
    data = zlib_ng.compress(filtered, _LEVEL)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib_ng.crc32(data, zlib_ng.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", check)))
