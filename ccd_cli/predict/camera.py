"""The camera of a photo as it is worked on: the user's, EXIF's, the model's, or an assumed one."""

from __future__ import annotations

from pathlib import Path

from ccd_cli.geometry.camera import Calibration, Source, resize_camera, resolve_camera
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.geometry.kinds import Kind
from ccd_cli.media.exif import read_focal_35mm
from ccd_cli.media.photos import Photo
from ccd_cli.models.arch import Arch


def photo_camera(
    photo: Photo,
    path: Path | None,
    predicted: DepthMap | None,
    intrinsics: Calibration | Camera | None = None,
    fov: float | None = None,
) -> tuple[Camera, Source]:
    """Return (camera in pixels of the photo as it is worked on, its source); what the user says and EXIF speak of its full size.

    `path` None: a photo that is no file; `predicted` None: without what the model says. Raises UsageProblem as `resolve_camera`.
    """
    focal = None if path is None else read_focal_35mm(path)
    camera, source = resolve_camera(*photo.full_size, intrinsics=intrinsics, fov=fov, focal_35mm=focal)
    if source == "guess" and predicted is not None and predicted.camera is not None:
        return predicted.camera, "model"
    size = photo.rgb.shape[0], photo.rgb.shape[1]
    return camera if size == photo.full_size else resize_camera(camera, photo.full_size, size), source


def unit_note(arch: Arch | None, kind: Kind) -> list[str]:
    """Return a note on maps of a network that gives meters where it is told a focal length, and was told none."""
    if arch is None or arch.canonical_focal is None or kind == "metric":
        return []
    return [
        "the model gives meters only with a focal length, and none is known: depth is relative; give --fov or --intrinsics"
    ]


def kind_with(arch: Arch | None, kind: Kind, focal: bool) -> Kind:
    """Return the kind of the maps of a network of `kind`, where a focal length is told or not: with one, some give meters."""
    return "metric" if focal and arch is not None and arch.canonical_focal is not None else kind


def known_focal(camera: Camera, source: Source) -> float | None:
    """Return the focal length in pixels, an input of some models; None where it is only assumed."""
    return None if source == "guess" else camera.fx
