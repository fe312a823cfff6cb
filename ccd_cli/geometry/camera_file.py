"""Cameras from the files that people have: a matrix, Open3D, COLMAP, ARKit and 3D Scanner App, nerfstudio.

The first pixel has its center at (0.5, 0.5) in COLMAP, ARKit and here. Open3D puts it at (0, 0): half a pixel is added to
the principal point of its files. A bare matrix does not say; it is taken as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.parse import UTF16_MARKS, parse_json
from ccd_cli.core.paths import expand_home
from ccd_cli.geometry.camera import Calibration, camera_from_numbers, parse_intrinsics
from ccd_cli.geometry.depth_map import Camera

MAX_BYTES = 4_000_000
"""Nobody's camera file is larger."""
SUFFIXES = (".txt", ".npy", ".json")
_COLMAP: dict[str, tuple[int, int]] = {  # parameters: focal lengths (1 or 2) and all of them
    "SIMPLE_PINHOLE": (1, 3),
    "PINHOLE": (2, 4),
    "SIMPLE_RADIAL": (1, 4),
    "RADIAL": (1, 5),
    "OPENCV": (2, 8),
    "FULL_OPENCV": (2, 12),
}
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_UNDISTORT = "Undistort the images (COLMAP: image_undistorter; OpenCV: undistort), and use the camera of those."


def camera_from_text(text: str) -> Calibration:
    """Return the camera of `fx,fy,cx,cy`, nine numbers of a matrix, or a file's name; raises UsageProblem for anything else."""
    if text.lower().endswith(SUFFIXES) or Path(text).is_file():
        return read_camera_file(expand_home(text))
    return parse_intrinsics(text)


def read_camera_file(path: Path) -> Calibration:
    """Return the camera that a file states, and the size of the images that it is for where it states that.

    `.npy` and `.txt`: fx fy cx cy, or a matrix 3x3, 3x4 or 4x4; COLMAP's `cameras.txt` with one camera; `.json`: Open3D
    (intrinsic_matrix), ARKit and 3D Scanner App (intrinsics, in rows or columns), nerfstudio (fl_x), or fx, fy, cx, cy.
    Raises UsageProblem, with the name, for anything else, and for lenses with distortion.
    """
    name = f"--intrinsics {path}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageProblem(f"{name} is too large for a camera.", "Use a file with one camera.")
        data = path.read_bytes()
    except OSError as error:
        raise UsageProblem(f"{name} cannot be read ({error.strerror or error}).") from error
    if data.startswith(b"\x93NUMPY"):
        camera, size = camera_from_numbers(_array(path, name), name), None
    elif b"\0" in data and not data.startswith(UTF16_MARKS):
        raise UsageProblem(f"{name} is a binary file.", "COLMAP: model_converter --output_type TXT writes cameras.txt.")
    else:
        text = data.decode("utf-16" if data.startswith(UTF16_MARKS) else "utf-8-sig", "replace").strip()
        camera, size = _from_json(text, name) if text.startswith(("{", "[{")) else _from_text(text, name)
    return Calibration(camera, size, str(path))


def _array(path: Path, name: str) -> list[float]:
    try:
        values = np.load(path, allow_pickle=False)
        if values.size > 16:
            raise UsageProblem(f"{name} has the shape {values.shape}, not that of one camera (3x3, or 4 numbers).")
        return [float(value) for value in values.ravel()]
    except UsageProblem:
        raise
    except Exception as error:  # numpy raises anything for a damaged file
        raise UsageProblem(f"{name} is not an array of numbers.") from error


def _from_text(text: str, name: str) -> tuple[Camera, tuple[int, int] | None]:
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    words = [line.split() for line in lines]
    if words and len(words[0]) > 4 and re.fullmatch(r"[A-Z][A-Z_0-9]+", words[0][1]):
        return _colmap(words, name)
    try:
        values = [float(part) for part in re.split(r"[\s,;\[\]()]+", " ".join(lines)) if part]
    except ValueError:
        raise UsageProblem(
            f"{name} is not understood.",
            "Known: fx fy cx cy, a 3x3 matrix, COLMAP's cameras.txt, and JSON of a camera.",
        ) from None
    return camera_from_numbers(values, name), None


def _colmap(lines: Sequence[Sequence[str]], name: str) -> tuple[Camera, tuple[int, int]]:
    """COLMAP: CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]; several cameras only if all are alike."""
    cameras = {tuple(words[1:]) for words in lines}
    if len(cameras) > 1:
        raise UsageProblem(f"{name} holds {len(cameras)} different cameras.", "Keep the line of the one that is meant.")
    model, *numbers = next(iter(cameras))
    if model not in _COLMAP:
        raise UsageProblem(f"{name}: the camera model {model} is not a pinhole camera.", _UNDISTORT)
    focals, count = _COLMAP[model]
    try:
        width, height, *parameters = [float(number) for number in numbers]
    except ValueError:
        parameters = []
    if len(parameters) != count:
        raise UsageProblem(f"{name}: {model} needs width, height and {count} parameters.")
    _refuse_distortion(parameters[focals + 2 :], model, name)
    focal = parameters[:focals] * (3 - focals)
    return camera_from_numbers([*focal, *parameters[focals : focals + 2]], name), _size(width, height, name)


def _from_json(text: str, name: str) -> tuple[Camera, tuple[int, int] | None]:
    try:
        found = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise UsageProblem(f"{name} is not readable JSON.") from error
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, dict) and isinstance(found.get("intrinsic"), dict):  # Open3D's PinholeCameraParameters
        found = found["intrinsic"]
    if not isinstance(found, dict):
        raise UsageProblem(f"{name} is no camera.")
    if str(found.get("camera_model", "")).upper() not in ("", "PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "PERSPECTIVE"):
        raise UsageProblem(f"{name}: the camera model {found['camera_model']} is not a pinhole camera.", _UNDISTORT)
    try:
        _refuse_distortion([float(found[key]) for key in _DISTORTION if key in found], "the camera", name)
        width, height = (
            _first(found, keys) for keys in (("width", "w", "image_width"), ("height", "h", "image_height"))
        )
        size = None if width is None or height is None else _size(float(width), float(height), name)
        for keys, camera_of in _FORMS:
            if all(key in found for key in keys):
                return camera_of(found, name), size
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageProblem(f"{name} holds something else than numbers.") from error
    raise UsageProblem(
        f"{name} states no camera.",
        "Known keys: intrinsic_matrix (Open3D), intrinsics (ARKit), K, fl_x (nerfstudio), fx.",
    )


def _open3d(found: Mapping[str, Any], name: str) -> Camera:
    camera = _matrix(found["intrinsic_matrix"], name)
    return Camera(camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5)


def _matrix(value: Any, name: str) -> Camera:
    """A matrix as nested or flat lists, or fx, fy, cx, cy; flat in columns where its last row stands at its side."""
    values = [float(number) for number in np.asarray(value, np.float64).ravel()]
    if len(values) == 9 and values[2] == values[5] == 0 and (values[6] or values[7]):
        values = [values[i] for i in (0, 3, 6, 1, 4, 7, 2, 5, 8)]
    return camera_from_numbers(values, name)


def _four(*keys: str) -> Callable[[Mapping[str, Any], str], Camera]:
    return lambda found, name: camera_from_numbers([float(found[key]) for key in keys], name)


_FORMS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any], str], Camera]], ...] = (
    (("intrinsic_matrix",), _open3d),
    (("intrinsics",), lambda found, name: _matrix(found["intrinsics"], name)),
    (("K",), lambda found, name: _matrix(found["K"], name)),
    (("camera_matrix",), lambda found, name: _matrix(found["camera_matrix"], name)),
    (("fl_x", "fl_y", "cx", "cy"), _four("fl_x", "fl_y", "cx", "cy")),
    (("fx", "fy", "cx", "cy"), _four("fx", "fy", "cx", "cy")),
)
"""Keys of a JSON camera, and what reads it; the first that is there counts."""


def _first(found: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((found[key] for key in keys if key in found), None)


def _size(width: float, height: float, name: str) -> tuple[int, int]:
    if width < 1 or height < 1 or width != int(width) or height != int(height):
        raise UsageProblem(f"{name}: {width:g}x{height:g} is no image size.")
    return int(height), int(width)


def _refuse_distortion(parameters: Sequence[float], what: str, name: str) -> None:
    if any(parameters):
        raise UsageProblem(f"{name}: {what} has lens distortion, which a pinhole camera has not.", _UNDISTORT)
