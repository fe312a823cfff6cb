"""Options of point clouds, shared by `ccd pointcloud` and `ccd predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ccd_cli.geometry.depth_map import Camera
    from ccd_cli.pointcloud.cloud import CloudSettings
    from ccd_cli.pointcloud.files import Format

_METERS = click.FloatRange(min=0, min_open=True)


@dataclass(frozen=True)
class CloudFlags:
    """What the user said about cameras and clouds, as typed."""

    intrinsics: str | None
    fov: float | None
    near: float | None
    far: float | None
    align_to: str | None
    ref_scale: float | None
    edge_cut: bool
    voxel: float | None
    normals: bool
    outliers: bool
    max_depth: float | None
    cloud_format: Format
    preview: bool

    def camera(self) -> Camera | None:
        """Return the camera of --intrinsics; raises UsageProblem for bad numbers, and where --fov is given too."""
        from ccd_cli.geometry.camera import parse_intrinsics, resolve_camera

        given = None if self.intrinsics is None else parse_intrinsics(self.intrinsics)
        resolve_camera(1, 1, intrinsics=given, fov=self.fov)
        return given

    def settings(self) -> CloudSettings:
        """Return the settings of a cloud, without a reference; raises UsageProblem for impossible lengths."""
        from ccd_cli.pointcloud.cloud import CloudSettings

        return CloudSettings(
            near=self.near,
            far=self.far,
            edge_cut=self.edge_cut,
            max_depth=self.max_depth,
            voxel=self.voxel,
            normals=self.normals,
            outliers=self.outliers,
        )

    def given(self) -> list[str]:
        """Return the options, of those that only clouds read, that the user changed."""
        usual = {"edge_cut": True, "preview": True, "normals": False, "outliers": False, "cloud_format": "ply"}
        names = {"edge_cut": "no-edge-cut", "preview": "no-preview", "cloud_format": "format"}
        both = ("intrinsics", "fov")  # a sidecar holds the camera too
        changed = [f.name for f in fields(self) if f.name not in both and getattr(self, f.name) != usual.get(f.name)]
        return [f"--{names.get(name, name).replace('_', '-')}" for name in changed]

    def reference_path(self) -> Path | None:
        """Return --align-to."""
        return None if self.align_to is None else Path(self.align_to)


def cloud_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command receives them as one argument, `cloud: CloudFlags`."""

    @wraps(function)
    def collected(*args: Any, **values: Any) -> Any:
        flags = CloudFlags(**{f.name: values.pop(f.name) for f in fields(CloudFlags)})
        return function(*args, cloud=flags, **values)

    command: Callable[..., Any] = collected
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.option(
        "--intrinsics",
        metavar="FX,FY,CX,CY",
        help="Camera in pixels of the photo; the first pixel's center is (0.5, 0.5). "
        "[default: stored with the map, EXIF, the model's own, else 60 degrees across the longer side]",
    ),
    click.option("--fov", type=float, metavar="DEG", help="Field of view across the longer side, in degrees."),
    click.option(
        "--near", type=_METERS, metavar="M", help="Maps without a scale: where their nearest 1 % begins. [default: 0.5]"
    ),
    click.option(
        "--far", type=_METERS, metavar="M", help="Maps without a scale: where their farthest 1 % begins. [default: 20]"
    ),
    click.option(
        "--align-to",
        type=click.Path(),
        metavar="REF",
        help="Instead of near and far: fit to this reference depth (16-bit PNG or .npy).",
    ),
    click.option(
        "--ref-scale",
        type=_METERS,
        metavar="S",
        help="Meters of the reference = code / S, for instance 1000 for millimeters.",
    ),
    click.option(
        "--edge-cut/--no-edge-cut",
        default=True,
        show_default=True,
        help="Drop flying pixels, which hang between surfaces at depth edges.",
    ),
    click.option("--voxel", type=_METERS, metavar="M", help="Thin to one point for every cube of this side."),
    click.option("--normals", is_flag=True, help="Add normals that face the camera."),
    click.option("--outliers", is_flag=True, help="Remove lone points (statistical outlier removal)."),
    click.option("--max-depth", type=_METERS, metavar="M", help="Leave out what is farther."),
    click.option(
        "--format",
        "cloud_format",
        type=click.Choice(["ply", "pcd", "xyz", "glb"]),
        default="ply",
        show_default=True,
        help="Cloud file: x right, y down, z forward; glb is y up, as its standard asks.",
    ),
    click.option(
        "--preview/--no-preview",
        default=True,
        show_default=True,
        help="Draw each cloud, seen from the side, as <stem>.cloud.png.",
    ),
)
