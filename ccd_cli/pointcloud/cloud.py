"""A colored point cloud from one depth map: meters, flying pixels, thinning, normals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError
from ccd_cli.geometry.camera import ABOUT, GUESSED_FOV, Source, camera_doubts
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.geometry.metric_scale import ToDepth, to_depth_by_range, to_depth_by_reference, value_quantiles
from ccd_cli.geometry.open3d_library import load_open3d
from ccd_cli.geometry.unproject import flying_pixels, normals_from_depth, unproject
from ccd_cli.pointcloud.settings import CloudSettings

AXES = "x right, y down, z forward (camera coordinates, as in OpenCV)"
TAIL = 3.0
"""Times `far` (of a fit: of the reference's 99 % quantile): disparities beyond run to infinity, and are cut here."""
NEIGHBORS, SPREADS = 20, 2.0
"""Outliers: points whose mean distance to 20 neighbors is over 2 standard deviations above the cloud's mean."""


@dataclass(frozen=True)
class DepthConversion:
    """How a map, or all frames of a clip, becomes meters, what that depth is called, beyond where it is cut, and in words what
    of it was `assumed` (empty: nothing).
    """

    to_depth: ToDepth
    unit: str
    farthest: float | None = None
    notes: list[str] = field(default_factory=list)
    assumed: str = ""


@dataclass(frozen=True)
class Cloud:
    """Points float32 [N, 3] (x right, y down, z forward), colors uint8 [N, 3], unit normals float32 [N, 3] or None.

    `unit` says how far meters can be trusted; `notes` what was assumed or fitted, to be said aloud; `left_out` how many
    pixels or points each step removed; `about` what files carry as comments; `to_depth` how values became meters.
    """

    points: NDArray[np.float32]
    colors: NDArray[np.uint8]
    normals: NDArray[np.float32] | None
    unit: str
    notes: list[str]
    left_out: dict[str, int]
    about: dict[str, str]
    to_depth: ToDepth


def choose_rule(
    depth_map: DepthMap, settings: CloudSettings, quantiles: tuple[float, float] | None = None
) -> DepthConversion:
    """Return how this map becomes meters. `quantiles`: a whole clip's 1 % and 99 % values, else the map's own.

    Metric maps go straight through; a reference is fitted; the rest gets near and far. Raises CcdError (see
    `geometry.metric_scale`).
    """
    disparity = depth_map.kind == "disparity"
    ranged = settings.near is not None or settings.far is not None
    unused = ["--near and --far are not used: the map needs no range"] if ranged else []
    if settings.reference is not None:
        fit = to_depth_by_reference(depth_map, settings.reference)
        shift = f", shift {fit.to_depth.shift:.6g}" if depth_map.kind in ("disparity", "affine-depth") else ""
        found = f"Fitted to the reference: scale {fit.to_depth.scale:.6g}{shift} over {fit.pixels} pixels"
        farthest = TAIL * float(np.nanquantile(settings.reference, 0.99)) if disparity else None
        notes = [f"{found}, {fit.inliers:.0%} of them taken as sound", *unused]
        return DepthConversion(fit.to_depth, "meter (fitted to a reference)", farthest, notes)
    if depth_map.kind == "metric":
        return DepthConversion(ToDepth("metric"), "meter", None, unused)
    near, far = settings.range
    rule = to_depth_by_range(depth_map.kind, quantiles or value_quantiles(depth_map), near, far)
    ends = {"--near": (settings.near, f"nearest {near:g} m"), "--far": (settings.far, f"farthest {far:g} m")}
    open_ends = {flag: text for flag, (given, text) in ends.items() if given is None}
    what = f"depth from {near:g} to {far:g} m" if not ranged else ", ".join(open_ends.values())
    said = f"{what} ({depth_map.kind} has no scale; set {' and '.join(open_ends)}, or --align-to)" if open_ends else ""
    unit = f"meter, assumed range {near:g} to {far:g}"
    return DepthConversion(rule, unit, TAIL * far if disparity else None, [], said)


def cloud_from_map(
    depth_map: DepthMap,
    rgb: NDArray[np.uint8],
    camera: Camera,
    settings: CloudSettings,
    *,
    camera_source: Source | None = None,
    rule: DepthConversion | None = None,
    upsampling: float = 1.0,
) -> Cloud:
    """Return the cloud of one photo: `rgb` uint8 [H, W, 3] of the map's size, `camera` in its pixels.

    `rule` makes the frames of a clip share one scale (see `choose_rule`). `upsampling` is the map's pixels for one pixel of
    the network that made it, 1 for a map at its own size: smeared edges are that much wider. Steps, in this order:
    meters, maximum depth, flying pixels, normals, points, voxels (points, colors and normals averaged), outliers.
    Raises CcdError where sizes differ or no point is left.
    """
    if rgb.shape != (*depth_map.values.shape, 3) or rgb.dtype != np.uint8:
        height, width = depth_map.values.shape
        raise CcdError(f"The photo is {rgb.dtype} {'x'.join(map(str, rgb.shape))}, the map {height}x{width}.")
    rule = rule or choose_rule(depth_map, settings)
    notes = [*_assumptions(rule, camera_source), *rule.notes, *camera_doubts(camera, depth_map.values.shape)]
    depth = rule.to_depth(depth_map)
    left_out = {"invalid": int(np.isnan(depth).sum())}
    limit = settings.max_depth or rule.farthest
    if limit is not None:
        beyond = depth > limit
        depth[beyond] = np.nan
        left_out["beyond"] = int(beyond.sum())
    if settings.edge_cut:
        flying = flying_pixels(depth, upsampling)
        depth[flying] = np.nan
        left_out["flying"] = int(flying.sum())
    known = ~np.isnan(depth)
    if not known.any():
        raise CcdError("No point is left: every pixel is invalid, infinitely far, or beyond --max-depth.")
    normals = normals_from_depth(depth, camera)[known] if settings.normals else None
    points, colors = unproject(depth, camera)[known], rgb[known]
    if settings.voxel is not None:
        points, colors, normals = _voxels(points, colors, normals, settings.voxel)
    if settings.outliers:
        kept = _without_outliers(points)
        left_out["outliers"] = len(points) - len(kept)
        points, colors, normals = points[kept], colors[kept], None if normals is None else normals[kept]
    about = _about(depth_map, camera, camera_source, rule)
    return Cloud(points, colors, normals, rule.unit, notes, left_out, about, rule.to_depth)


def _assumptions(rule: DepthConversion, source: Source | None) -> list[str]:
    """One line on the range and the camera, as far as they are assumed, and how to set them."""
    view = f"a view of {GUESSED_FOV:g} degrees across the longer side (set --fov or --intrinsics)"
    found = [*([rule.assumed] if rule.assumed else []), *([view] if source == "guess" else [])]
    return [f"Assumed for the point cloud: {'; '.join(found)}"] if found else []


def _about(depth_map: DepthMap, camera: Camera, source: Source | None, rule: DepthConversion) -> dict[str, str]:
    height, width = depth_map.values.shape
    where = f"fx {camera.fx:.6f} fy {camera.fy:.6f} cx {camera.cx:.6f} cy {camera.cy:.6f} of {width}x{height} pixels"
    return {
        "unit": rule.unit,
        "axes": AXES,
        "camera": f"{where}, first pixel center at 0.5 0.5" + (f" ({ABOUT[source]})" if source else ""),
        "depth": f"{depth_map.kind} map, scale {rule.to_depth.scale:.9g} shift {rule.to_depth.shift:.9g}",
    }


def _voxels(
    points: NDArray[np.float32], colors: NDArray[np.uint8], normals: NDArray[np.float32] | None, side: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None]:
    """Return one point for every cube of `side` meters, with its points' mean position, color and normal."""
    cloud = _open3d_cloud(points)
    cloud.colors = load_open3d().utility.Vector3dVector(colors.astype(np.float64))
    if normals is not None:
        cloud.normals = load_open3d().utility.Vector3dVector(normals.astype(np.float64))
    try:
        small = cloud.voxel_down_sample(side)
    except RuntimeError as error:
        extent = float(np.ptp(points, axis=0).max())
        raise CcdError(
            f"--voxel {side:g} is too small for a cloud {extent:.3g} m across.", "Give a larger one."
        ) from error
    mean_colors = (np.asarray(small.colors) + 0.5).astype(np.uint8)
    mean_normals = None
    if normals is not None:
        mean_normals = np.asarray(small.normals).astype(np.float32)
        mean_normals /= np.maximum(np.linalg.norm(mean_normals, axis=1, keepdims=True), np.float32(1e-12))
    return np.asarray(small.points).astype(np.float32), mean_colors, mean_normals


def _without_outliers(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the indices of the points that statistical outlier removal keeps."""
    _, kept = _open3d_cloud(points).remove_statistical_outlier(nb_neighbors=NEIGHBORS, std_ratio=SPREADS)
    if not kept:
        raise CcdError("No point is left after --outliers.", "The cloud is too sparse for it; run without that option.")
    return np.asarray(kept, np.int64)


def _open3d_cloud(points: NDArray[np.float32]) -> Any:
    o3d = load_open3d()
    return o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64)))
