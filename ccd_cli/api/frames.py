"""Videos as depth maps, one frame after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.api.clouds import Provenance
from ccd_cli.api.depth import DepthMap
from ccd_cli.api.options import settings_from, text_of
from ccd_cli.api.reporting import plain_errors, warn
from ccd_cli.core.concurrency import chunks, prefetched
from ccd_cli.core.errors import CcdError
from ccd_cli.core.paths import expand_home
from ccd_cli.geometry.camera import resolve_camera
from ccd_cli.media.photos import Photo
from ccd_cli.media.video.read import Video, open_video
from ccd_cli.predict.camera import kind_with, known_focal
from ccd_cli.predict.letterbox import letterbox_of
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.temporal import Stabilizer, default_mode
from ccd_cli.predict.video import PREFETCHED_FRAMES
from ccd_cli.teachers.model import Model, predict_each


@plain_errors()
def frames_of(
    loaded: Model, provenance: Callable[[Photo, Path | None], Provenance], path: Any, options: Mapping[str, Any]
) -> Iterator[DepthMap]:
    """Check the video and the options, and return the iterator of `Model.video`; `provenance` says who made a map."""
    settings = settings_from(Settings, options)
    video = open_video(expand_home(text_of("path", path)))
    video.frames(settings.start, settings.end, settings.stride)  # raises for an impossible span
    resolve_camera(video.height, video.width, intrinsics=settings.intrinsics, fov=settings.fov)
    return _frames(loaded, provenance, video, settings)


def _frames(
    loaded: Model, provenance: Callable[[Photo, Path | None], Provenance], video: Video, settings: Settings
) -> Iterator[DepthMap]:
    teacher = loaded.teacher
    letterbox, batch = letterbox_of(video), settings.batch or 1
    given, fov = settings.intrinsics, settings.fov
    focal = known_focal(*letterbox.camera(given, fov))
    kind = kind_with(getattr(teacher, "arch", None), teacher.kind, focal is not None)
    stabilizer = Stabilizer(settings.temporal or default_mode(kind), kind)
    frames = video.frames(settings.start, settings.end, settings.stride)
    with prefetched(frames, PREFETCHED_FRAMES + batch) as decoded:
        for group in chunks(decoded, batch):
            rgbs = [np.ascontiguousarray(letterbox.bars.crop(frame.rgb)) for frame in group]
            maps = predict_each(teacher, rgbs, loaded.asked, [focal] * len(group))
            for frame, made in zip(group, maps, strict=True):
                if isinstance(made, CcdError):
                    raise made
                made = letterbox.place(made)
                made, _ = stabilizer.stabilize(frame.rgb, made)
                camera = letterbox.camera(given, fov, made.camera)
                by = provenance(Photo(frame.rgb, letterbox.shape), video.path)
                yield DepthMap._of(made, camera, by, (), rgb=frame.rgb, seconds=float(frame.seconds))
    if video.truncated is not None:
        warn(f"{video.truncated}.")
