"""Point clouds of a clip: frames are stored during prediction and unprojected with one scale once the clip's range is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, Interrupted
from ccd_cli.core.files import atomic_write
from ccd_cli.core.report import Report
from ccd_cli.geometry.camera import Source
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.find import Media
from ccd_cli.media.map_read import read_reference
from ccd_cli.media.map_write import with_suffix
from ccd_cli.media.outputs import CLOUD_PICTURE
from ccd_cli.pointcloud.cloud import choose_rule, cloud_from_map
from ccd_cli.pointcloud.files import write_cloud
from ccd_cli.pointcloud.preview import write_preview
from ccd_cli.predict.job import reference_file
from ccd_cli.predict.letterbox import Letterbox
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model

SAMPLES = 4000  # values per frame from which the clip's quantiles are computed


class CloudFrames:
    """Every `every`-th frame of a clip, stored in a hidden folder beside the results until `write`."""

    def __init__(self, base: Path, every: int, settings: Settings, fresh: bool) -> None:
        self.base, self.every, self.settings = base, every, settings
        self.folder = _folder(base)
        if fresh:
            discard_frames(base)

    def store(self, number: int, rgb: NDArray[np.uint8], depth_map: DepthMap) -> None:
        """Store frame `number` if it is due for a cloud; `depth_map` is its stabilized map."""
        if number % self.every:
            return
        camera = depth_map.camera
        intrinsics = [] if camera is None else [camera.fx, camera.fy, camera.cx, camera.cy]
        values, kind = depth_map.values, depth_map.kind
        valid = np.isfinite(values) if depth_map.solid is None else depth_map.solid
        with atomic_write(self.folder / f"{number:06d}.npz") as temporary:
            np.savez(temporary, values=values, valid=valid, rgb=rgb, camera=np.array(intrinsics), kind=kind)

    def write(
        self, item: Media, letterbox: Letterbox, model: Model, report: Report, stop: Callable[[], bool] = lambda: False
    ) -> tuple[Camera, Source]:
        """Write <stem>/NNNNNN.<format> for all stored frames, and of the one in the middle <stem>.cloud.png; return the camera
        of the first frame and its source.

        Without a reference, the clip's 1 % and 99 % values are mapped to near and far; with one, the first stored frame is
        fitted to it and the scale is used for all. Raises CcdError where no frame has a cloud, Unwritable where the output
        cannot be written, Interrupted when `stop()` is true; a frame without points is skipped with a warning.
        """
        settings, files = self.settings, sorted(self.folder.glob("*.npz"), key=lambda file: int(file.stem))
        if not files:
            raise CcdError("The frames stored for them do not exist.")
        cloud_settings = settings.cloud
        if (reference := reference_file(item, settings)) is not None:
            cloud_settings = replace(cloud_settings, reference=read_reference(reference, settings.ref_scale))
        first, _ = _read(files[0])
        first_camera = letterbox.camera(settings.intrinsics, settings.fov, first.camera)
        conversion = choose_rule(first, cloud_settings, self._quantiles(files))
        upsampling, reported, written = model.upsampling(*letterbox.picture), set[str](), 0
        report.begin(f"{item.path.name}: clouds", len(files))
        try:
            for done, file in enumerate(files, 1):
                if stop():
                    raise Interrupted("Interrupted.", "Run again to resume.")
                depth_map, rgb = _read(file)
                camera, source = letterbox.camera(settings.intrinsics, settings.fov, depth_map.camera)
                try:
                    cloud = cloud_from_map(
                        depth_map,
                        rgb,
                        camera,
                        cloud_settings,
                        camera_source=source,
                        rule=conversion,
                        upsampling=upsampling,
                    )
                except Interrupted:
                    raise
                except CcdError as error:
                    report.warn(f"{item.path.name}, frame {int(file.stem)}: {error.message}")
                    continue
                for note in (n for n in cloud.notes if n not in reported):
                    reported.add(note)
                    report.note(f"{item.path.name}: {note}")
                target = with_suffix(self.base / file.stem, f".{settings.cloud_format}")
                write_cloud(target, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
                if settings.preview and (not written or done == (len(files) + 1) // 2):
                    write_preview(preview_of(self.base), cloud.points, cloud.colors)
                written += 1
                report.advance(done)
        finally:
            report.end()
        if not written:
            raise CcdError("No frame has a point.")
        return first_camera

    def discard(self) -> None:
        """Delete the stored frames."""
        discard_frames(self.base)

    def _quantiles(self, files: list[Path]) -> tuple[float, float]:
        """The 1 % and 99 % values of the clip, from a sample of each stored frame's pixels."""
        samples = []
        for file in files:
            depth_map, _ = _read(file)
            valid = depth_map.values if depth_map.valid is None else depth_map.values[depth_map.valid]
            if depth_map.kind in ("depth", "metric"):
                valid = valid[valid > 0]
            samples.append(valid.ravel()[:: max(1, valid.size // SAMPLES)])
        values = np.concatenate(samples)
        if not values.size:
            raise CcdError("The stored frames have no valid value.")
        low, high = np.quantile(values, (0.01, 0.99))
        return float(low), float(high)


def preview_of(base: Path) -> Path:
    """Return where the picture of a clip's clouds is."""
    return with_suffix(base, CLOUD_PICTURE)


def discard_frames(base: Path) -> None:
    """Delete the frames stored for the clouds of the clip whose results lie at `base`."""
    shutil.rmtree(_folder(base), ignore_errors=True)


def _folder(base: Path) -> Path:
    return base.parent / f".{base.name}.clouds"


def _read(file: Path) -> tuple[DepthMap, NDArray[np.uint8]]:
    with np.load(file, allow_pickle=False) as stored:
        camera = Camera(*map(float, stored["camera"])) if stored["camera"].size else None
        return DepthMap(stored["values"], str(stored["kind"]), stored["valid"], camera), stored["rgb"]  # type: ignore[arg-type]
