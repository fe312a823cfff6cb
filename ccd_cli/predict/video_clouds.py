"""Point clouds of a clip: frames are kept while it runs, and become clouds on one scale once the whole range is known."""

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
from ccd_cli.pointcloud.cloud import choose_rule, cloud_from_map
from ccd_cli.pointcloud.files import write_cloud
from ccd_cli.predict.job import photo_camera, reference_file
from ccd_cli.predict.settings import Settings
from ccd_cli.teachers.model import Model

SAMPLES = 4000  # values a frame that the clip's quantiles are taken from


class CloudFrames:
    """Every `every`-th frame of a clip, kept on disk in a hidden folder beside the results until `write`."""

    def __init__(self, base: Path, every: int, settings: Settings, fresh: bool) -> None:
        self.base, self.every, self.settings = base, every, settings
        self.folder = base.parent / f".{base.name}.clouds"
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, number: int, rgb: NDArray[np.uint8], made: DepthMap) -> None:
        """Keep frame `number` if it is one of those that become clouds; `made` is its stabilized map."""
        if number % self.every:
            return
        camera = made.camera
        camera_choice = [] if camera is None else [camera.fx, camera.fy, camera.cx, camera.cy]
        valid = np.isfinite(made.values) if made.valid is None else made.valid
        with atomic_write(self.folder / f"{number:06d}.npz") as temporary:
            np.savez(
                temporary, values=made.values, valid=valid, rgb=rgb, camera=np.array(camera_choice), kind=made.kind
            )

    def write(
        self, item: Media, model: Model, report: Report, stop: Callable[[], bool] = lambda: False
    ) -> tuple[Camera, Source]:
        """Write <stem>/NNNNNN.<format> for all kept frames; return the camera (of the first frame) and its source.

        Without a reference, the clip's 1 % and 99 % values land on near and far; with one, the first kept frame is fitted to it
        and the rest follow. Raises CcdError where no frame has a cloud, Unwritable where nothing can be written, Interrupted
        when `stop` says so; a frame without a point is warned about.
        """
        settings, files = self.settings, sorted(self.folder.glob("*.npz"), key=lambda file: int(file.stem))
        if not files:
            raise CcdError("The frames kept for it are gone.")
        cloud_settings = settings.cloud
        if (reference := reference_file(item, settings)) is not None:
            cloud_settings = replace(cloud_settings, reference=read_reference(reference, settings.ref_scale))
        first, rgb = _read(files[0])
        shape = rgb.shape[:2]
        camera_choice = photo_camera(item, shape, first, settings)
        rule = choose_rule(first, cloud_settings, self._quantiles(files))
        grain, said, written = model.grain(*shape), set[str](), 0
        report.begin(f"{item.path.name}: clouds", len(files))
        try:
            for done, file in enumerate(files, 1):
                if stop():
                    raise Interrupted("Interrupted.", "Run again to go on.")
                made, rgb = _read(file)
                camera, source = photo_camera(item, shape, made, settings)
                try:
                    cloud = cloud_from_map(
                        made, rgb, camera, cloud_settings, camera_source=source, rule=rule, grain=grain
                    )
                except Interrupted:
                    raise
                except CcdError as error:
                    report.warn(f"{item.path.name}, frame {int(file.stem)}: {error.message}")
                    continue
                for note in (n for n in cloud.notes if n not in said):
                    said.add(note)
                    report.note(f"{item.path.name}: {note}")
                target = with_suffix(self.base / file.stem, f".{settings.cloud_format}")
                write_cloud(target, cloud.points, cloud.colors, cloud.normals, settings.cloud_format, cloud.about)
                written += 1
                report.advance(done)
        finally:
            report.end()
        if not written:
            raise CcdError("No frame has a point.")
        return camera_choice

    def discard(self) -> None:
        """Remove the frames kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _quantiles(self, files: list[Path]) -> tuple[float, float]:
        """The 1 % and 99 % values of the clip, from some of each kept frame's pixels."""
        samples = []
        for file in files:
            made, _ = _read(file)
            known = made.values if made.valid is None else made.values[made.valid]
            if made.kind in ("depth", "metric"):
                known = known[known > 0]
            samples.append(known.ravel()[:: max(1, known.size // SAMPLES)])
        values = np.concatenate(samples)
        if not values.size:
            raise CcdError("The frames kept for it have no valid value.")
        low, high = np.quantile(values, (0.01, 0.99))
        return float(low), float(high)


def _read(file: Path) -> tuple[DepthMap, NDArray[np.uint8]]:
    with np.load(file, allow_pickle=False) as kept:
        camera_choice = Camera(*map(float, kept["camera"])) if kept["camera"].size else None
        return DepthMap(kept["values"], str(kept["kind"]), kept["valid"], camera_choice), kept["rgb"]  # type: ignore[arg-type]
