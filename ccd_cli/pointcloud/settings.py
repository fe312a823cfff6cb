"""What `ccd pointcloud` is asked for, and what `ccd predict` shares with it; each option typed once."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.options import check_choices, option
from ccd_cli.core.settings import out_option
from ccd_cli.geometry.kinds import FAR, NEAR, Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ccd_cli.geometry.camera import Calibration
    from ccd_cli.geometry.depth_map import Camera
    from ccd_cli.media.map_read import Meaning

Format = Literal["ply", "pcd", "xyz", "glb"]


def _meters(text: str, default_text: str = "") -> Any:
    return option(None, text, "Point cloud", metavar="M", above=0, default_text=default_text)


@dataclass(frozen=True)
class CloudSettings:
    """How depth maps become point clouds; lengths in meters. Raises UsageProblem for lengths that are not positive and
    finite, and unless near < far.

    `reference` is a depth float32 [h, w] in meters, NaN where unknown, to which the map is fitted instead of near/far.
    """

    near: float | None = _meters("Depth of the nearest 1 % of pixels, for maps without metric scale.", f"{NEAR:g}")
    far: float | None = _meters("Depth of the farthest 1 % of pixels, for maps without metric scale.", f"{FAR:g}")
    reference: "NDArray[np.float32] | None" = None
    edge_cut: bool = option(True, "Remove flying pixels at depth discontinuities.", "Point cloud")
    max_depth: float | None = _meters("Discard points beyond M meters.")
    voxel: float | None = _meters("Voxel downsampling with voxels of M meters.")
    normals: bool = option(False, "Estimate normals, oriented toward the camera.", "Point cloud")
    outliers: bool = option(False, "Statistical outlier removal.", "Point cloud")

    def __post_init__(self) -> None:
        """Check the lengths, and that Open3D is there where it is needed (CcdError)."""
        for name in ("near", "far", "max_depth", "voxel"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageProblem(f"--{name.replace('_', '-')} must be a positive number of meters, not {value:g}.")
        near, far = self.range
        if near >= far:
            raise UsageProblem(f"--near ({near:g} m) must be less than --far ({far:g} m).")
        if self.voxel is not None or self.outliers:
            from ccd_cli.geometry.open3d_library import load_open3d

            load_open3d()  # its absence is reported now, not at every image

    @property
    def range(self) -> tuple[float, float]:
        """Near and far in meters: the user's, else 0.5 and 20."""
        return NEAR if self.near is None else self.near, FAR if self.far is None else self.far


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """Camera, reference depth and the files of clouds. Raises UsageProblem for contradictions.

    `intrinsics` are in pixels of the image, or of images of the size that they state; `align_to` is a file (for one image)
    or a folder of `<stem>.*`.
    """

    intrinsics: "Calibration | Camera | None" = option(
        None,
        "Pinhole intrinsics in pixels of the image, or a file: a 3x3 matrix (.txt, .npy), COLMAP cameras.txt, JSON of "
        "Open3D, ARKit or nerfstudio, scaled to the image where it states a size; the center of the first pixel is (0.5, 0.5).",
        "Camera",
        metavar="FX,FY,CX,CY|FILE",
        parser="intrinsics",
        default_text="stored with the depth map, EXIF, predicted by the model, else a field of view of 60 degrees",
    )
    fov: float | None = option(None, "Field of view across the longer side, in degrees.", "Camera", metavar="DEG")
    align_to: Path | None = option(
        None,
        "Fit scale and shift to this reference depth instead of using --near and --far: a file as for --depth of "
        "pointcloud, or a folder with one per input.",
        "Point cloud",
        metavar="REF",
    )
    ref_scale: float | None = option(
        None,
        "Depth scale of the reference: meters = value / S, e.g. 1000 for millimeters; needed for whole numbers.",
        "Point cloud",
        metavar="S",
        above=0,
    )
    cloud_format: Format = option(
        "ply",
        "File format of point clouds; axes are x right, y down, z forward, except in glb (y up, as its standard asks).",
        "Point cloud",
        flags="--format",
    )
    preview: bool = option(
        True, "Render each point cloud as <stem>.cloud.png; of a video, one from its middle.", "Point cloud"
    )

    def __post_init__(self) -> None:
        """Check what holds for any image."""
        from ccd_cli.geometry.camera import Calibration, resolve_camera  # numpy

        check_choices(self)
        size = self.intrinsics.size if isinstance(self.intrinsics, Calibration) else None
        resolve_camera(*(size or (1, 1)), intrinsics=self.intrinsics, fov=self.fov)
        if self.align_to is not None and not self.align_to.exists():
            raise UsageProblem(f"--align-to: {self.align_to} does not exist.", "Pass a file or a folder.")
        if self.ref_scale is not None and self.align_to is None:
            raise UsageProblem("--ref-scale needs --align-to.", "Add --align-to REF.")


@dataclass(frozen=True, kw_only=True)
class Settings(GeometrySettings):
    """Where depth maps come from and what their clouds look like.

    `depth` is a file (for one image) or a folder of `<stem>.*`, None: `out`. `kind`, `depth_scale` and `no_depth` are for maps
    without a sidecar.
    """

    depth: Path | None = option(
        None,
        "Depth map of the image, or folder of <stem>.npy, .npz, .depth.png, .png, .exr, .tiff, .pfm, .mat or .h5.",
        "Input",
        metavar="PATH",
        default_text="--out",
    )
    kind: Kind | None = option(
        None,
        "Kind of depth maps without a sidecar: disparity (affine-invariant disparity), depth (scale-invariant depth), "
        "affine-depth (affine-invariant depth), metric (depth in meters).",
        "Input",
    )
    depth_scale: float | None = option(
        None,
        "Depth scale of depth maps without a sidecar, of any format: meters = value / S, e.g. 1000 for millimeters.",
        "Input",
        metavar="S",
        above=0,
    )
    no_depth: str | None = option(
        None,
        "Values of the file that mean no depth: numbers separated by commas, or none.",
        "Input",
        metavar="VALUES",
        default_text="0 in whole numbers; for depth also 65535, 65504 and what is 1e9 or more; reported",
    )
    depth_key: str | None = option(
        None,
        "Channel of .exr, or array of .npz, .mat or .h5, that is the depth.",
        "Input",
        metavar="NAME",
        default_text="found by its name: Z, depth, ...",
    )
    out: Path = out_option(Path("ccd-out"), "Output folder.")
    cloud: CloudSettings = CloudSettings()

    def __post_init__(self) -> None:
        """Check what holds for any image."""
        super().__post_init__()
        _ = self.meaning

    @property
    def meaning(self) -> "Meaning":
        """What is said about maps without a sidecar. Raises UsageProblem for a bad `no_depth`."""
        from ccd_cli.media.depth_files.no_depth import parse_no_depth  # numpy
        from ccd_cli.media.map_read import Meaning

        return Meaning(self.kind, self.depth_scale, parse_no_depth(self.no_depth), self.depth_key)

    @property
    def maps(self) -> Path:
        """The file or folder of depth maps."""
        return self.out if self.depth is None else self.depth
