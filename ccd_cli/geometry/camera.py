"""The pinhole camera of an image: from flags, a stored file, EXIF, the model, or an assumed field of view.

One convention everywhere: pixel (0, 0) has its center at (0.5, 0.5), so the image spans 0..W and 0..H, the middle is
(W / 2, H / 2), and resizing an image only multiplies its intrinsics. Calibrations that put the center of the first
pixel at (0, 0) (OpenCV, TUM, NYUv2) need 0.5 added to cx and cy.
"""

from __future__ import annotations

import math
from typing import Literal

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.depth_map import Camera

Source = Literal["flag", "fov", "file", "exif", "model", "guess"]

FILM_DIAGONAL = math.hypot(36.0, 24.0)
"""Millimeters: 43.27, the diagonal of a 35-mm film frame."""
GUESSED_FOV = 60.0
"""Degrees across the longer side where nothing else is available; a phone's main lens has 65 to 70, a 35-mm lens 54."""
ABOUT: dict[str, str] = {
    "flag": "from --intrinsics",
    "fov": "from --fov",
    "file": "stored with the depth map",
    "exif": "from the photo's EXIF focal length",
    "model": "predicted by the model",
    "guess": f"assumed: {GUESSED_FOV:g} degrees across the longer side; set --intrinsics or --fov",
}


def parse_intrinsics(text: str) -> Camera:
    """Parse "fx,fy,cx,cy" (pixels of the image).

    Raises UsageProblem for anything but four finite numbers with positive focal lengths.
    """
    try:
        fx, fy, cx, cy = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageProblem(f"--intrinsics takes four numbers fx,fy,cx,cy in pixels, not '{text}'.") from None
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        raise UsageProblem(f"--intrinsics needs finite numbers and positive focal lengths, not '{text}'.")
    return Camera(fx, fy, cx, cy)


def camera_from_fov(degrees: float, height: int, width: int) -> Camera:
    """Return the camera whose longer image side spans `degrees`: f = side / 2 / tan(angle / 2), centered, square pixels.

    Raises UsageProblem unless 0 < degrees < 180.
    """
    if not 0 < degrees < 180:
        raise UsageProblem(f"--fov is an angle between 0 and 180 degrees across the longer side, not {degrees:g}.")
    return _centered(max(height, width) / 2 / math.tan(math.radians(degrees) / 2), height, width)


def camera_from_focal_35mm(millimeters: float, height: int, width: int) -> Camera:
    """Return the camera of a 35-mm equivalent focal length: f = mm * image diagonal / 43.27 mm.

    The equivalent is defined by the angle across the diagonal (CIPA DCG-001; Depth Pro computes the same), so the formula
    does not depend on the aspect ratio, on rotation or on uniform resizing.
    """
    return _centered(millimeters * math.hypot(height, width) / FILM_DIAGONAL, height, width)


def resize_camera(camera: Camera, size: tuple[int, int], to: tuple[int, int]) -> Camera:
    """Return the camera of the same image after resizing it from `size` to `to`, both (height, width)."""
    down, across = to[0] / size[0], to[1] / size[1]
    return Camera(camera.fx * across, camera.fy * down, camera.cx * across, camera.cy * down)


def resolve_camera(
    height: int,
    width: int,
    *,
    intrinsics: Camera | None = None,
    fov: float | None = None,
    stored: tuple[Camera, Source] | None = None,
    focal_35mm: float | None = None,
    model: Camera | None = None,
) -> tuple[Camera, Source]:
    """Return (camera in pixels of the upright image, its source).

    The first one available is used: the user's intrinsics, the user's field of view, the camera `stored` with an existing
    depth map (with its original source), the EXIF 35-mm equivalent focal length, the model's prediction, else 60 degrees
    across the longer side. Raises UsageProblem where both flags are set or the angle is impossible.
    """
    if intrinsics is not None and fov is not None:
        raise UsageProblem("--intrinsics and --fov contradict each other: use one of them.")
    if intrinsics is not None:
        return intrinsics, "flag"
    if fov is not None:
        return camera_from_fov(fov, height, width), "fov"
    if stored is not None:
        return stored
    if focal_35mm is not None:
        return camera_from_focal_35mm(focal_35mm, height, width), "exif"
    if model is not None:
        return model, "model"
    return camera_from_fov(GUESSED_FOV, height, width), "guess"


def field_of_view(camera: Camera, height: int, width: int) -> float:
    """Return the angle in degrees across the longer side, also for an off-center principal point."""
    side, focal, center = (width, camera.fx, camera.cx) if width >= height else (height, camera.fy, camera.cy)
    return math.degrees(math.atan2(center, focal) + math.atan2(side - center, focal))


def _centered(focal: float, height: int, width: int) -> Camera:
    return Camera(focal, focal, width / 2, height / 2)
