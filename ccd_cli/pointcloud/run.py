"""Point clouds of photos from depth maps that already exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, ImageError, Unwritable, UsageProblem
from ccd_cli.core.report import Report
from ccd_cli.geometry.camera import Source, field_of_view, resize_camera, resolve_camera
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.media.exif import panorama_note, read_focal_35mm
from ccd_cli.media.find import Media, find_media
from ccd_cli.media.map_read import StoredMap, find_map, read_map, read_reference, without_sky
from ccd_cli.media.not_read import NotRead
from ccd_cli.media.outputs import CLOUD_PICTURE, read_sidecar
from ccd_cli.media.photos import read_photo
from ccd_cli.pointcloud.cloud import Cloud, cloud_from_map
from ccd_cli.pointcloud.files import write_cloud
from ccd_cli.pointcloud.preview import write_preview
from ccd_cli.pointcloud.settings import Settings


@dataclass
class Clouds:
    """What was written (one record a cloud, ready for JSON) and what was not, with the reason."""

    clouds: list[dict[str, Any]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


def run(words: Sequence[str], settings: Settings, report: Report) -> Clouds:
    """Write `<stem>.<format>` into the output folder, and `<stem>.cloud.png` with a preview, for every image with a map.

    Bad images and maps are warned about, listed in the result and skipped. Raises UsageProblem for settings that
    contradict the number of images, Unwritable where nothing can be written.
    """
    not_read = NotRead()
    media, bad = find_media(words, out=settings.out, not_read=not_read)
    for warning in not_read.warnings():
        report.warn(warning)
    result = Clouds(failed=[*bad, *((str(m.path), "a video: extract its frames as images") for m in media if m.video)])
    for name, reason in result.failed:
        report.warn(f"{name}: {reason}")
    photos = [m for m in media if not m.video]
    _check(settings, photos)
    own = {m.path.resolve() for m in photos}
    said: set[str] = set()
    report.begin("Clouds", len(photos))
    try:
        for number, photo in enumerate(photos, 1):
            try:
                cloud, record = _make(photo, settings)
                record |= _write(cloud, settings, photo.stem, own)
            except Unwritable:  # the rest of the batch could not be written either
                raise
            except CcdError as error:
                reason = str(error).removeprefix(f"{photo.path}: ")
                result.failed.append((str(photo.path), reason))
                report.warn(f"{photo.path}: {reason}")
            else:
                result.clouds.append(record)
                _tell(report, photo.stem, record, said)
            report.advance(number)
    finally:
        report.end()
    return result


def _tell(report: Report, stem: Path, record: dict[str, Any], said: set[str]) -> None:
    """Say what a cloud rests on, each assumption once, and what it holds."""
    for note in record["notes"]:
        if note not in said:
            said.add(note)
            report.note(f"{stem}: {note}")
    lost = ", ".join(f"{count:,} {what}" for what, count in record["left_out"].items() if count)
    report.note(f"{record['cloud']}: {record['points']:,} points" + (f" (removed: {lost})" if lost else ""))


def _check(settings: Settings, photos: list[Media]) -> None:
    """Raise UsageProblem for maps or references that are absent or fewer than the images."""
    for flag, path in (("--depth", settings.maps), ("--align-to", settings.align_to)):
        if path is not None and not path.exists():
            raise UsageProblem(
                f"{flag}: {path} does not exist.", "Pass a file, or a folder with <stem> of every image."
            )
        if path is not None and path.is_file() and len(photos) > 1:
            raise UsageProblem(
                f"{flag} is one file for {len(photos)} images.", "Pass a folder with <stem> of every image."
            )


def _make(photo: Media, settings: Settings) -> tuple[Cloud, dict[str, Any]]:
    """Return the cloud of one photo and its record."""
    rgb = read_photo(photo.path)
    stems = (photo.stem, photo.stem.with_name(photo.path.name))  # `ccd predict` may have kept the suffix in the name
    path = settings.maps if settings.maps.is_file() else find_map(settings.maps, stems, image=photo.path)
    stored = without_sky(read_map(path, settings.meaning))
    camera, source = _camera(photo.path, rgb.shape[:2], stored, settings)
    rgb = _at_size_of(stored, rgb)
    shape = settings.cloud
    if settings.align_to is not None:
        file = settings.align_to
        file = file if file.is_file() else find_map(file, stems, image=photo.path)
        shape = replace(shape, reference=read_reference(file, settings.ref_scale))
    cloud = cloud_from_map(stored.depth_map, rgb, camera, shape, camera_source=source, upsampling=stored.upsampling)
    height, width = stored.depth_map.values.shape
    return cloud, {
        "input": str(photo.path),
        "depth": str(path),
        "points": len(cloud.points),
        "kind": stored.depth_map.kind,
        "unit": cloud.unit,
        "scale": cloud.to_depth.scale,
        "shift": cloud.to_depth.shift,
        "size": [width, height],
        "intrinsics": [camera.fx, camera.fy, camera.cx, camera.cy],
        "intrinsics_source": source,
        "fov": field_of_view(camera, height, width),
        "left_out": cloud.left_out,
        "notes": [*stored.notes, *cloud.notes, *panorama_note(photo.path, height, width, source in ("flag", "fov"))],
    }


def _camera(path: Path, size: tuple[int, int], stored: StoredMap, settings: Settings) -> tuple[Camera, Source]:
    """Return the camera in pixels of the map: flags and EXIF speak of the photo, stored intrinsics of the map."""
    map_size = stored.depth_map.values.shape
    known = stored.depth_map.camera
    if known is not None and settings.intrinsics is None and settings.fov is None:
        return known, stored.camera_source
    camera, source = resolve_camera(
        *size, intrinsics=settings.intrinsics, fov=settings.fov, focal_35mm=read_focal_35mm(path)
    )
    return resize_camera(camera, size, map_size), source


def _at_size_of(stored: StoredMap, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the photo at the size of its map; raises ImageError where the two cannot show the same picture."""
    height, width = stored.depth_map.values.shape
    h, w = rgb.shape[:2]
    if (h, w) == (height, width):
        return rgb
    if abs(height * w - width * h) > 0.01 * width * h:
        raise ImageError(f"{stored.path}: the map is {width}x{height} and the photo {w}x{h}: not the same image")
    way = cv2.INTER_AREA if width < w else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, dsize=(width, height), interpolation=way), np.uint8)


def _write(cloud: Cloud, settings: Settings, stem: Path, own: set[Path]) -> dict[str, Any]:
    """Write the cloud and its preview; returns their paths for the record."""
    fmt = settings.cloud_format
    path = settings.out / stem.with_name(f"{stem.name}.{fmt}")
    side = read_sidecar(path.with_name(stem.name))
    if side is not None and path.name in side["files"].values():
        raise CcdError(f"{path} is a result of ccd predict, which {stem.name}.json describes.", "Choose another --out.")
    write_cloud(path, cloud.points, cloud.colors, cloud.normals, fmt, cloud.about)
    if not settings.preview:
        return {"cloud": str(path), "preview": None}
    picture = path.with_name(f"{stem.name}{CLOUD_PICTURE}")
    if picture.resolve() in own:
        raise CcdError(f"{picture}: the preview would overwrite a photo.", "Choose another --out, or --no-preview.")
    write_preview(picture, cloud.points, cloud.colors)
    return {"cloud": str(path), "preview": str(picture)}
