"""Point clouds as Python callers get them, and what made a map. No torch here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from ccd_cli.api.options import text_of
from ccd_cli.api.reporting import plain_errors, warn
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.paths import expand_home

if TYPE_CHECKING:
    from ccd_cli.pointcloud.cloud import Cloud
    from ccd_cli.pointcloud.settings import Format


class GeometryOptions(TypedDict, total=False):
    """How depth becomes points: the options of `ccd predict --pointcloud`, lengths in meters."""

    near: float | None
    far: float | None
    edge_cut: bool
    max_depth: float | None
    voxel: float | None
    normals: bool
    outliers: bool


class CloudOptions(GeometryOptions, total=False):
    """The same with `reference`: meters [h, w], or a metric `DepthMap`."""

    reference: Any


@dataclass(frozen=True)
class Provenance:
    """What made a map: model, sha256 of its weights, license, short side that the network saw, precision, runtime, pixels of the
    map for one pixel of the network, and the file of the photo.
    """

    model: str = "unknown"
    checkpoint_sha256: str = ""
    license: str = "unknown"
    resolution: int | None = None
    precision: str = ""
    runtime: str = ""
    upsampling: float = 1.0
    path: Path | None = None


@dataclass(frozen=True)
class PointCloud:
    """Points of one photo in camera coordinates: x right, y down, z forward.

    `points` float32 [N, 3] in meters; `colors` uint8 [N, 3], sRGB; `normals` float32 [N, 3], unit length, toward the camera, or
    None. `unit` says how far the meters can be trusted, `notes` what was assumed or fitted, `about` what files carry as comments.
    """

    points: NDArray[np.float32]
    colors: NDArray[np.uint8]
    normals: NDArray[np.float32] | None
    unit: str
    notes: tuple[str, ...]
    about: dict[str, str]

    def __len__(self) -> int:
        return len(self.points)

    @plain_errors()
    def preview(self, width: int = 960, height: int = 720) -> NDArray[np.uint8]:
        """Return uint8 RGB [height, width, 3]: the points from a little beside the camera, as `ccd predict` draws them."""
        from ccd_cli.pointcloud.preview import preview

        for name, value in (("width", width), ("height", height)):
            if isinstance(value, bool) or not isinstance(value, int) or not 16 <= value <= 8192:
                raise UsageProblem(f"{name} is a whole number of pixels from 16 to 8192, not {value!r}.")
        return preview(self.points, self.colors, (height, width))

    @plain_errors()
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write `.ply`, `.pcd`, `.xyz` or `.glb`, by the suffix, whole or not at all; return the path.

        In GLB y is up and z toward the viewer, as its standard asks. Raises CcdError for another suffix, and Unwritable where
        nothing can be written.
        """
        from ccd_cli.pointcloud.files import FORMATS, write_cloud

        target = expand_home(text_of("path", path))
        form = target.suffix.lower().removeprefix(".")
        if form not in FORMATS:
            raise UsageProblem(f"{target}: no format of clouds.", f"End it in .{', .'.join(FORMATS)}.")
        chosen = cast("Format", form)
        write_cloud(target, self.points, self.colors, self.normals, chosen, self.about)
        return target


def public_cloud(made: Cloud) -> PointCloud:
    """The cloud as callers get it; what it assumes about scale and camera is a warning."""
    for note in made.notes:
        if note.startswith("Assumed") or "principal point" in note:
            warn(note.replace("--align-to", "reference"))
    return PointCloud(made.points, made.colors, made.normals, made.unit, tuple(made.notes), made.about)
