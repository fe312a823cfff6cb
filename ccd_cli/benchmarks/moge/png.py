"""The depth PNG of MoGe's bundle: 16-bit codes on a logarithmic scale between two depths kept as text chunks.

Code 0 is unknown, 65535 infinitely far (sky), and code c otherwise near^(1-t) far^t with t = (c - 1) / 65533.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from ccd_cli.benchmarks.decode import FloatMap, decode_codes
from ccd_cli.core.errors import ImageError

STEPS = 65533
SKY = 65535


def decode_depth_png(data: bytes, name: str) -> FloatMap:
    """Return depth float32 [H, W]: NaN where unknown, inf for sky. Raises ImageError where a chunk is missing or wrong."""
    codes, text = decode_codes(data, name)
    try:
        near, far, unit = float(text["near"]), float(text["far"]), float(text.get("unit", 1.0))
    except (KeyError, ValueError) as error:
        raise ImageError(f"{name}: no usable text chunks 'near' and 'far'") from error
    if not (isfinite(near) and isfinite(far) and isfinite(unit) and 0 < near < far and unit > 0):
        raise ImageError(f"{name}: near {near}, far {far}, unit {unit} are no range of depth")
    share = (np.arange(SKY + 1, dtype=np.float32) - 1) / STEPS
    depth = (near ** (1 - share) * far**share * np.float32(unit)).astype(np.float32)
    depth[0], depth[SKY] = np.nan, np.inf
    return depth[codes]


def normalized_intrinsics(values: object, name: str) -> NDArray[np.float64]:
    """Return the 3x3 matrix of `meta.json`, in shares of width and height; raises ImageError for anything else."""
    try:
        matrix = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name}: 'intrinsics' is no 3x3 matrix") from error
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise ImageError(f"{name}: 'intrinsics' is no 3x3 camera matrix")
    if matrix[1, 0] != 0 or (matrix[2] != (0, 0, 1)).any():
        raise ImageError(f"{name}: 'intrinsics' is no 3x3 camera matrix")
    return matrix
