"""Videos: files as `ccd predict` writes them, or depth maps frame by frame."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np

from ccd_cli.api.depth import DepthMap, Intrinsics
from ccd_cli.api.model import Model, as_model
from ccd_cli.api.options import settings_from, text_of
from ccd_cli.api.reporting import plain_errors, report_for, warn
from ccd_cli.core.concurrency import chunks, prefetched
from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.core.paths import expand_home
from ccd_cli.core.report import Report, Silent
from ccd_cli.geometry.camera import resolve_camera
from ccd_cli.geometry.depth_map import checked
from ccd_cli.media.find import find_media
from ccd_cli.media.outputs import read_sidecar
from ccd_cli.media.photos import Photo
from ccd_cli.media.video_read import Video, open_video
from ccd_cli.predict.camera import known_focal
from ccd_cli.predict.run import run
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.temporal import Stabilizer, default_mode
from ccd_cli.predict.video import GPU_BATCH, PREFETCHED_FRAMES

if TYPE_CHECKING:
    from ccd_cli.pointcloud.settings import Format
    from ccd_cli.predict.temporal import Mode


class VideoOptions(TypedDict, total=False):
    """The options of `ccd predict` that concern a video; `save` also as a list."""

    save: str | tuple[str, ...] | list[str]
    cmap: str
    overwrite: bool
    verify: bool
    batch: int | None
    temporal: Mode | None
    start: float
    end: float | None
    stride: int
    intrinsics: Intrinsics | None
    fov: float | None
    pointcloud: bool
    every: int | None
    cloud_format: Format
    preview: bool
    align_to: str | os.PathLike[str] | None
    ref_scale: float | None
    near: float | None
    far: float | None
    edge_cut: bool
    max_depth: float | None
    voxel: float | None
    normals: bool
    outliers: bool


@dataclass(frozen=True)
class VideoResult:
    """What was written of a video: the `sidecar` JSON, the `files` by item, how many `frames`, of what `kind`; `skipped`: it was
    there already, made by the same settings.
    """

    sidecar: Path
    files: dict[str, Path]
    frames: int
    kind: str
    skipped: bool


def predict_video(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "ccd-out",
    model: Model | str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Unpack[VideoOptions],
) -> VideoResult:
    """Predict a video and write color video, 16-bit video and sidecar into the folder `out`, as `ccd predict` does.

    `model` is what `load` returns or takes; `options` are those of the command, such as `save=("color", "npy")`, `temporal="ema"`,
    `start=2.0`. Temporally aligned; results of the same settings are skipped, and an interrupted run resumes. Raises CcdError for
    a file that is no video, that ends early (what decodes is written), and for results of other settings (`overwrite=True`
    replaces them); Interrupted after Ctrl-C.
    """
    with plain_errors():
        word = text_of("path", path)
        settings = settings_from(Settings, {**options, "out": out})
        found = find_media([word], out=settings.out)
        for _, reason in found[1]:
            raise ImageError(f"{word}: {reason}.")
        if len(found[0]) != 1 or not found[0][0].video:
            raise ImageError(f"{word}: not one video.", "Images are for load(...).predict.")
        loaded = as_model(model)
        report: Report = report_for(progress) if progress else Silent()
        outcome = run([word], loaded._loaded, settings, loaded._compute, report)
        for name, reason in outcome.failed:
            raise CcdError(f"{name}: {reason}")
        for text in report.warnings if isinstance(report, Silent) else ():
            warn(text)
        (record,) = outcome.done
        sidecar = Path(record["sidecar"])
        content = read_sidecar(sidecar.with_name(sidecar.name.removesuffix(".json")))
        if content is None:
            raise CcdError(f"{sidecar} cannot be read.")
        files = {item: sidecar.parent / str(name) for item, name in content["files"].items()}
        return VideoResult(sidecar, files, content["video"]["frames"], content["kind"], record["skipped"])


@plain_errors()
def frames_of(model: Model, path: str | os.PathLike[str], options: Mapping[str, Any]) -> Iterator[DepthMap]:
    """Check the video and the options, and return the iterator of `Model.video`."""
    settings = settings_from(Settings, options)
    video = open_video(expand_home(text_of("path", path)))
    video.frames(settings.start, settings.end, settings.stride)  # raises for an impossible span
    resolve_camera(video.height, video.width, intrinsics=settings.intrinsics, fov=settings.fov)
    return _frames(model, video, settings)


def _frames(model: Model, video: Video, settings: Settings) -> Iterator[DepthMap]:
    teacher = model._loaded.teacher
    stabilizer = Stabilizer(settings.temporal or default_mode(teacher.kind), teacher.kind)
    size, batch = (video.height, video.width), GPU_BATCH if model._compute.device.type == "cuda" else 1
    given, fov = settings.intrinsics, settings.fov
    focal = known_focal(*resolve_camera(*size, intrinsics=given, fov=fov))
    frames = video.frames(settings.start, settings.end, settings.stride)
    with prefetched(frames, PREFETCHED_FRAMES + batch) as decoded:
        for group in chunks(decoded, batch):
            rgbs = [frame.rgb for frame in group]
            maps = teacher.predict_photos(rgbs, model._loaded.asked, [focal] * len(group))
            for frame, made in zip(group, maps, strict=True):
                scale, shift, _ = stabilizer.update(frame.rgb, made.values, made.valid)
                if (scale, shift) != (1.0, 0.0):
                    made = checked(
                        made.values * np.float32(scale) + np.float32(shift), made.kind, made.valid, made.camera
                    )
                camera = resolve_camera(*size, intrinsics=given, fov=fov, model=made.camera)
                by = model._provenance(Photo(frame.rgb, size), video.path)
                yield DepthMap._of(made, camera, by, (), rgb=frame.rgb, seconds=float(frame.seconds))
    if video.truncated is not None:
        warn(f"{video.truncated}.")
