"""Camera poses from text files: 4x4 or 3x4 matrices, one file a frame (7-Scenes, ScanNet) or one line a frame (KITTI)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.core.parse import decode_text

MAX_BYTES = 50_000_000
RIGID = 1e-2
"""How far R R^T may be from the identity: files hold few digits."""

Matrix = NDArray[np.float64]


def read_poses(paths: list[Path], count: int) -> list[Matrix]:
    """Return `count` poses float64 [4, 4], from as many files or from one file with as many lines.

    Raises CcdError, naming file and line, for what is no rigid motion and where the numbers differ.
    """
    if len(paths) == 1 and count > 1:
        lines = [line for line in _text(paths[0]).splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) != count:
            raise CcdError(f"{paths[0]} holds {len(lines)} lines of poses, and the clip has {count} frames.")
        return [_matrix(line, f"{paths[0]}: pose {i}") for i, line in enumerate(lines, 1)]
    if len(paths) != count:
        raise CcdError(
            f"{len(paths)} files of poses were found, the first {paths[0]}, and the clip has {count} frames."
        )
    return [_matrix(_text(path), str(path)) for path in paths]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CcdError(f"{path} is larger than {MAX_BYTES:,} bytes: no text file of poses.")
        return decode_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CcdError(f"{path} is not a readable text file of poses.") from error


def _matrix(text: str, where: str) -> Matrix:
    try:
        values = np.array([float(word) for word in text.replace(",", " ").split()], np.float64)
    except ValueError:
        raise CcdError(f"{where}: holds something that is no number.") from None
    if values.size not in (12, 16):
        raise CcdError(f"{where}: {values.size} numbers, and a matrix 3x4 or 4x4 has 12 or 16.")
    pose = np.eye(4)
    pose.ravel()[: values.size] = values
    turn = pose[:3, :3]
    rigid = np.isfinite(pose).all() and np.abs(turn @ turn.T - np.eye(3)).max() < RIGID and np.linalg.det(turn) > 0
    if not rigid or not np.allclose(pose[3], (0, 0, 0, 1)):
        raise CcdError(f"{where}: no rigid motion: a rotation, a translation and a last row 0 0 0 1 are wanted.")
    return pose
