"""Which files the results of a video are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ccd_cli.core.errors import CcdError
from ccd_cli.media.colorize import side_by_side
from ccd_cli.media.map_write import NO_SKY, SKY, with_suffix
from ccd_cli.media.video.write import Track
from ccd_cli.predict.settings import Settings
from ccd_cli.predict.video_clouds import preview_of

PER_FRAME = frozenset({"npy", "npz", "exr"})
"""Outputs that are one file for each frame, in the folder of the clip's name."""


def tracks_of(base: Path, shape: tuple[int, int], settings: Settings, sky: bool) -> dict[str, Track]:
    """Return the videos among the results of a clip with frames of `shape` (height, width); `sky`: the model marks it.

    Raises CcdError where sky alone is asked for and not marked.
    """
    if settings.save == (SKY,) and not sky:
        raise CcdError(*NO_SKY)
    height, width = shape
    strip = side_by_side(np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)).shape[1]
    tracks = {
        "color": Track(with_suffix(base, ".color.mp4"), "color", width, height),
        "side": Track(with_suffix(base, ".side.mp4"), "color", strip, height),
        "png16": Track(with_suffix(base, ".depth.mkv"), "codes", width, height),
    }
    if sky:
        tracks[SKY] = Track(with_suffix(base, ".sky.mkv"), "mask", width, height)
    return {name: track for name, track in tracks.items() if name in settings.save}


def targets_of(base: Path, tracks: Mapping[str, Track], settings: Settings) -> list[Path]:
    """Return the files of a clip's results that have known names, and those in its folder that numbered ones could replace."""
    endings = sorted(PER_FRAME & set(settings.save))
    if settings.pointcloud:
        endings.append(settings.cloud_format)
    previews = [preview_of(base)] if settings.pointcloud and settings.preview else []
    numbered = [path for ending in endings for path in base.glob(f"[0-9][0-9][0-9][0-9][0-9][0-9]*.{ending}")]
    return [*(track.path for track in tracks.values()), *previews, *numbered]
