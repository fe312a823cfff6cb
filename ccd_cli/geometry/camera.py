"""The pinhole camera of an image: from flags, a stored file, EXIF, the model, or an assumed field of view.

One convention everywhere: pixel (0, 0) has its center at (0.5, 0.5), so the image spans 0..W and 0..H, the middle is
(W / 2, H / 2), and resizing an image only multiplies its intrinsics. Calibrations that put the center of the first
pixel at (0, 0) (OpenCV, TUM, NYUv2) need 0.5 added to cx and cy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Calibration:
    """A camera as a file or the user states it: `size` (height, width) of the images it was calibrated for, or None.

    `file` names the file; empty: numbers on the command line.
    """

    camera: Camera
    size: tuple[int, int] | None = None
    file: str = field(default="", repr=False)  # what depends on a calibration depends on its numbers

    def at(self, height: int, width: int) -> Camera:
        """Return the camera in pixels of an image; raises UsageProblem where its shape is not that of `size`."""
        if self.size is None or self.size == (height, width):
            return self.camera
        h, w = self.size
        if abs(h * width - w * height) > 0.01 * max(h * width, w * height):
            hint = "Use the intrinsics of this image, or --fov."
            if abs(w * width - h * height) <= 0.01 * max(w * width, h * height):
                hint = "The image is upright and the calibration is not, or the other way round. " + hint
            raise UsageProblem(
                f"--intrinsics {self.file} is for images of {w}x{h} pixels, and this one of {width}x{height} has another shape.",
                hint,
            )
        return resize_camera(self.camera, self.size, (height, width))


def parse_intrinsics(text: str) -> Calibration:
    """Parse "fx,fy,cx,cy" (pixels of the image) or the nine numbers of a 3x3 matrix, with commas or spaces.

    Raises UsageProblem for anything but finite numbers with positive focal lengths, in pixels.
    """
    try:
        values = [float(part) for part in re.split(r"[\s,;]+", text.strip())]
    except ValueError:
        values = []
    if len(values) not in (4, 9):
        raise UsageProblem(
            f"--intrinsics takes four numbers fx,fy,cx,cy in pixels, nine of a 3x3 matrix, or a file, not '{text}'."
        )
    return Calibration(camera_from_numbers(values, f"--intrinsics {text}"))


def camera_from_numbers(values: Sequence[float], name: str) -> Camera:
    """Return the camera of fx, fy, cx, cy, or of a matrix of 9 (3x3), 12 (3x4) or 16 (4x4) numbers in rows.

    Raises UsageProblem, with `name`, for skew, a matrix of another form, numbers that are not finite, focal lengths that are
    not positive, and intrinsics in units of the image's size (all below 10) instead of pixels.
    """
    if len(values) == 4:
        fx, fy, cx, cy = values
    elif len(values) in (9, 12, 16):
        columns = 3 if len(values) == 9 else 4
        rows = [list(values[i : i + columns]) for i in range(0, len(values), columns)]
        fx, skew, cx = rows[0][:3]
        below, fy, cy = rows[1][:3]
        last = [[0, 0, 1], [0, 0, 1, 0]][columns == 4]
        if below != 0 or rows[2] != last or (columns == 4 and rows[3:] and rows[3] != [0, 0, 0, 1]):
            raise UsageProblem(
                f"{name} is not a camera matrix: its rows should be fx 0 cx, 0 fy cy, 0 0 1.",
                "Is it transposed, or a pose?",
            )
        if abs(skew) > 1e-4 * abs(fx):
            raise UsageProblem(f"{name} has skew ({skew:g}), which a pinhole camera here has not.", "Set it to 0.")
    else:
        raise UsageProblem(f"{name} holds {len(values)} numbers, not 4 (fx fy cx cy) or a 3x3 matrix.")
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        raise UsageProblem(f"{name} needs finite numbers and positive focal lengths (--intrinsics).")
    if max(fx, fy) < 10 and 0 < cx <= 1 and 0 < cy <= 1:
        raise UsageProblem(
            f"{name} is in units of the image's size, and --intrinsics are pixels.",
            "Multiply fx and cx by the width, fy and cy by the height.",
        )
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
    intrinsics: Calibration | Camera | None = None,
    fov: float | None = None,
    stored: tuple[Camera, Source] | None = None,
    focal_35mm: float | None = None,
    model: Camera | None = None,
) -> tuple[Camera, Source]:
    """Return (camera in pixels of the upright image, its source).

    The first one available is used: the user's intrinsics, the user's field of view, the camera `stored` with an existing
    depth map (with its original source), the EXIF 35-mm equivalent focal length, the model's prediction, else 60 degrees
    across the longer side. Raises UsageProblem where both flags are set, the angle is impossible, or the intrinsics are for
    images of another shape.
    """
    if intrinsics is not None and fov is not None:
        raise UsageProblem("--intrinsics and --fov contradict each other: use one of them.")
    if intrinsics is not None:
        return intrinsics.at(height, width) if isinstance(intrinsics, Calibration) else intrinsics, "flag"
    if fov is not None:
        return camera_from_fov(fov, height, width), "fov"
    if stored is not None:
        return stored
    if focal_35mm is not None:
        return camera_from_focal_35mm(focal_35mm, height, width), "exif"
    if model is not None:
        return model, "model"
    return camera_from_fov(GUESSED_FOV, height, width), "guess"


def camera_doubts(camera: Camera, size: tuple[int, ...]) -> list[str]:
    """Return what looks wrong about a camera for images of `size` (height, width): intrinsics of another size, most often."""
    height, width = size
    if 0.2 * width < camera.cx < 0.8 * width and 0.2 * height < camera.cy < 0.8 * height:
        return []
    middle = f"({camera.cx:.1f}, {camera.cy:.1f}) is far from the middle of {width}x{height} pixels"
    return [f"The principal point {middle}: are the intrinsics those of this size?"]


def field_of_view(camera: Camera, height: int, width: int) -> float:
    """Return the angle in degrees across the longer side, also for an off-center principal point."""
    side, focal, center = (width, camera.fx, camera.cx) if width >= height else (height, camera.fy, camera.cy)
    return math.degrees(math.atan2(center, focal) + math.atan2(side - center, focal))


def _centered(focal: float, height: int, width: int) -> Camera:
    return Camera(focal, focal, width / 2, height / 2)
