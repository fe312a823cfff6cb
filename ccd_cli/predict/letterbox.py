"""Films with black bars: the network sees the picture alone, and the map has no valid pixel in the bars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ccd_cli.geometry.camera import Calibration, Source, resolve_camera
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.video.bars import Bars, find_bars
from ccd_cli.media.video.read import Video


@dataclass(frozen=True)
class Letterbox:
    """Where the picture lies in frames of `shape` (height, width)."""

    shape: tuple[int, int]
    bars: Bars

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the picture."""
        bars, (height, width) = self.bars, self.shape
        return height - bars.top - bars.bottom, width - bars.left - bars.right

    @property
    def note(self) -> str | None:
        """What is said of a film with bars."""
        height, width = self.picture
        return (
            f"black bars ({self.bars}): the picture of {width}x{height} is predicted alone, the bars have no depth"
            if any(self.bars)
            else None
        )

    def place(self, depth_map: DepthMap) -> DepthMap:
        """Return the picture's map as one of the whole frame, invalid in the bars; a predicted camera moves with it."""
        if not any(self.bars):
            return depth_map
        values, valid = np.zeros(self.shape, np.float32), np.zeros(self.shape, bool)
        self.bars.crop(values)[:] = depth_map.values
        self.bars.crop(valid)[:] = True if depth_map.valid is None else depth_map.valid
        sky = None
        if depth_map.sky is not None:
            sky = np.zeros(self.shape, bool)
            self.bars.crop(sky)[:] = depth_map.sky
        return DepthMap(values, depth_map.kind, valid, depth_map.camera and self._moved(depth_map.camera), sky)

    def camera(
        self, intrinsics: Calibration | Camera | None, fov: float | None, model: Camera | None = None
    ) -> tuple[Camera, Source]:
        """Return the camera in pixels of the whole frame, and its source, as `resolve_camera` does.

        Intrinsics are those of the whole frame; an angle, given or assumed, is the picture's. `model`: the camera of a placed map.
        """
        shape = self.picture if intrinsics is None else self.shape
        camera, source = resolve_camera(*shape, intrinsics=intrinsics, fov=fov, model=model)
        return self._moved(camera) if source in ("fov", "guess") else camera, source

    def _moved(self, camera: Camera) -> Camera:
        return replace(camera, cx=camera.cx + self.bars.left, cy=camera.cy + self.bars.top)


def letterbox_of(video: Video) -> Letterbox:
    """Look for black bars in frames from all over a video."""
    return Letterbox((video.height, video.width), find_bars(video.samples()))
