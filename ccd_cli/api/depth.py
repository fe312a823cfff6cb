"""Depth maps and point clouds as Python callers get them. No torch here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

import ccd_cli
from ccd_cli.api.clouds import CloudOptions, PointCloud, Provenance, public_cloud
from ccd_cli.api.options import camera_of, map_of, number_of, settings_from, text_of
from ccd_cli.api.reporting import plain_errors
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.nearest import choose_from
from ccd_cli.core.paths import expand_home
from ccd_cli.geometry import depth_map as core
from ccd_cli.geometry.camera import GUESSED_FOV, Calibration, Source, camera_from_fov, resolve_camera
from ccd_cli.geometry.depth_map import Camera, checked
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.geometry.metric_scale import ToDepth, to_depth_by_range, to_depth_by_reference, value_quantiles
from ccd_cli.media.map_write import SUFFIX, Origin, SidecarExtras, color_map, with_suffix, write_maps
from ccd_cli.media.outputs import claim, writing
from ccd_cli.pointcloud.settings import CloudSettings, GeometrySettings
from ccd_cli.predict.settings import Settings

_SUFFIXES = {*(f".{end.rpartition('.')[2]}" for end in SUFFIX.values()), ".json"}
Intrinsics = Camera | Calibration | str | os.PathLike[str] | Collection[Any]
"""What is taken for a camera: a `Camera`, (fx, fy, cx, cy) in pixels, a 3x3 matrix, or the texts and files of `--intrinsics`."""


class DepthMap:
    """A depth map of one photo, with its kind, mask and camera.

    `values` float32 [H, W], NaN where invalid and infinite in the sky of students that mark it; `valid` bool [H, W], always there;
    `sky` bool [H, W] where the network marks it, else None; `kind` disparity, depth, affine-depth or
    metric, `direction` and `unit` in words; `intrinsics` the camera in pixels of the map (pixel (0, 0) has its center at (0.5,
    0.5)) or None, `intrinsics_source` where it is from: flag, fov, exif, model or guess (60 degrees across the longer side);
    `rgb` the photo uint8 [H, W, 3], upright, or None; `seconds` the time of a video's frame; `notes` what is worth knowing.
    """

    @plain_errors()
    def __init__(
        self,
        values: NDArray[Any],
        kind: Kind,
        *,
        valid: NDArray[np.bool_] | None = None,
        intrinsics: Intrinsics | None = None,
        rgb: NDArray[np.uint8] | None = None,
    ) -> None:
        """Take a map [H, W] of numbers from anywhere; what is not finite, or of a metric map not positive, is invalid.

        Raises CcdError for an unknown kind, other shapes and types, and a mask or photo of another size.
        """
        if kind not in KINDS:
            raise UsageProblem(f"There is no kind of map '{kind}'.", choose_from(str(kind), KINDS))
        values = map_of("A depth map", values)
        if valid is not None and (np.shape(valid) != values.shape or np.asarray(valid).dtype != np.bool_):
            raise CcdError(f"The mask of a depth map is bool {_shape(values)}, as the map.")
        if rgb is not None and (np.shape(rgb) != (*values.shape, 3) or np.asarray(rgb).dtype != np.uint8):
            raise CcdError(f"The photo of a depth map is uint8 {_shape(values)}x3, of the map's size.")
        made = checked(values, kind, None if valid is None else np.asarray(valid))
        camera = camera_of(intrinsics)
        self.kind: Kind = kind
        self.valid: NDArray[np.bool_] = np.ones(values.shape, bool) if made.valid is None else made.valid
        self.values: NDArray[np.float32] = np.where(self.valid, made.values, np.float32(np.nan))
        self.intrinsics = camera.at(*values.shape) if isinstance(camera, Calibration) else camera
        self.intrinsics_source: Source | None = None if camera is None else "flag"
        self.rgb: NDArray[np.uint8] | None = None if rgb is None else np.asarray(rgb)
        self.sky: NDArray[np.bool_] | None = None
        self.seconds: float | None = None
        self.notes: tuple[str, ...] = ()
        self._made_by = Provenance()

    @classmethod
    def _of(
        cls,
        made: core.DepthMap,
        camera: tuple[Camera, Source],
        made_by: Provenance,
        notes: Collection[str],
        **more: Any,
    ) -> DepthMap:
        """A map that a model made, with its (camera, source); `more`: `rgb`, `seconds`."""
        new = cls(made.values, made.kind, valid=made.valid, intrinsics=camera[0], rgb=more.get("rgb"))
        new.values, new.sky = made.raw, made.sky
        new.intrinsics_source, new.seconds, new.notes, new._made_by = (
            camera[1],
            more.get("seconds"),
            tuple(notes),
            made_by,
        )
        return new

    def __repr__(self) -> str:
        height, width = self.shape
        part = "" if self.valid.all() else f", {self.valid.mean():.1%} valid"
        return f"DepthMap({self.kind}, {width}x{height}, {self.unit}, {self.direction}{part})"

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def direction(self) -> str:
        """`larger = nearer` or `larger = farther`."""
        return self._core.direction

    @property
    def unit(self) -> str:
        """`meter`, or what is unknown of a relative map."""
        return self._core.unit

    @property
    def model(self) -> str:
        """The name of the model that made the map."""
        return self._made_by.model

    @property
    def _core(self) -> core.DepthMap:
        valid = None if self.valid.all() else self.valid
        return core.DepthMap(self.values, self.kind, valid, self.intrinsics, self.sky)

    @property
    def _solid(self) -> core.DepthMap:
        """The map without what is marked as sky."""
        return replace(self._core, valid=self._core.solid)

    @plain_errors()
    def to_metric(
        self, *, near: float | None = None, far: float | None = None, reference: NDArray[Any] | DepthMap | None = None
    ) -> DepthMap:
        """Return the map in meters, of kind metric.

        `near` and `far`: the depth of the nearest and of the farthest 1 % of the pixels. `reference`: depth [h, w] in meters of
        the same view and any size, unknown where not finite or <= 0, to which the map is fitted robustly (least median of
        squares, then Tukey's biweight; scale and shift in 1 / depth for disparity, scale alone for depth and metric). A metric map
        without `reference` is returned as it is. Raises CcdError without either, and where the map or the fit does not allow it
        (see `geometry.metric_scale`).
        """
        if reference is not None:
            if near is not None or far is not None:
                raise UsageProblem("near and far contradict reference: give the one or the other.")
            fit = to_depth_by_reference(self._solid, _meters(reference))
            return self._converted(fit.to_depth, f"fitted to a reference over {fit.pixels} pixels")
        if self.kind == "metric":
            if near is not None or far is not None:
                raise UsageProblem("near and far are for maps of unknown scale: this one is in meters.")
            return self
        if near is None or far is None:
            raise UsageProblem(
                f"The scale of a {self.kind} map is unknown.", "Give near and far in meters, or reference."
            )
        ends = number_of("near", near, float), number_of("far", far, float)
        rule = to_depth_by_range(self.kind, value_quantiles(self._solid), *ends)
        return self._converted(rule, f"scaled to a range from {near:g} to {far:g} m")

    @plain_errors()
    def point_cloud(self, **options: Unpack[CloudOptions]) -> PointCloud:
        """Return the colored point cloud, in meters.

        `near`, `far` (0.5 and 20 where both are absent, with a warning) or `reference` as of `to_metric`, for maps of unknown
        scale; `edge_cut=False` keeps flying pixels; `max_depth` drops what is farther; `voxel` thins to one point a cube of that
        side; `normals`; `outliers` removes sparse points. Without a photo the colors are those of `colorize`, without a camera
        one of 60 degrees is assumed. Raises CcdError where no point is left.
        """
        from ccd_cli.pointcloud.cloud import cloud_from_map

        plain: dict[str, Any] = dict(options)
        reference = plain.pop("reference", None)
        settings = settings_from(CloudSettings, plain)
        if reference is not None:
            settings = replace(settings, reference=_meters(reference))
        camera, source = self.intrinsics, self.intrinsics_source
        if camera is None:
            camera, source = camera_from_fov(GUESSED_FOV, *self.shape), "guess"
        rgb = self.colorize() if self.rgb is None else self.rgb
        upsampling = self._made_by.upsampling
        made = cloud_from_map(self._solid, rgb, camera, settings, camera_source=source, upsampling=upsampling)
        return public_cloud(made)

    @plain_errors()
    def colorize(self, cmap: str = "inferno") -> NDArray[np.uint8]:
        """Return uint8 RGB [H, W, 3] for eyes, as `ccd predict` draws it: near is warm, invalid pixels are gray.

        `cmap` is any color map of matplotlib. Raises UsageProblem for an unknown one.
        """
        return color_map(self._core, text_of("cmap", cmap))

    @plain_errors()
    def save(
        self,
        path: str | os.PathLike[str],
        items: str | Collection[str] = ("color", "png16"),
        *,
        cmap: str = "inferno",
        overwrite: bool = False,
    ) -> dict[str, Path]:
        """Write files as `ccd predict` does, and return them by item; `sidecar` is the JSON that says what they mean.

        `path` is folder and name without a suffix: `out/room` gives `out/room.depth.png`, `out/room.json`. `items`: npy, npz,
        png16, exr, color, side (needs the photo), sky (where the network marks it). Files of an earlier map under the name are
        replaced; files that are not ccd's only with `overwrite`. Raises CcdError for unknown items, and Unwritable where
        nothing can be written.
        """
        text = text_of("path", path)
        base = expand_home(text)
        if base.suffix.lower() in _SUFFIXES:
            raise UsageProblem(
                f"{base}: give folder and name without a suffix.", f"For instance {base.with_suffix('')}."
            )
        if base.name in ("", "..") or text.endswith(("/", os.sep)):
            raise UsageProblem(f"{text or base}: give folder and name, not a folder.", f"For instance {base / 'room'}.")
        asked = settings_from(Settings, {"save": items, "cmap": cmap, "overwrite": overwrite})
        words = asked.save
        if "side" in words and self.rgb is None:
            raise UsageProblem("The item side needs the photo.", "Make the map with rgb=.")
        made_by = self._made_by
        claim(base, set() if made_by.path is None else {made_by.path.resolve()}, asked.overwrite)
        if not self.valid.any() and self._core.infinite is None:
            raise CcdError("The map has no valid value: there is nothing to save.")
        rgb = np.zeros((*self.shape, 3), np.uint8) if self.rgb is None else self.rgb
        extras = SidecarExtras(
            content={"made_with": self._made_with(), **({"notes": list(self.notes)} if self.notes else {})}
        )
        targets = [with_suffix(base, SUFFIX[item]) for item in words if item in SUFFIX]
        with writing(base, targets, asked.overwrite):
            content = write_maps(base, self._core, rgb, words, self._origin(words, cmap), cmap=cmap, more=extras)
        written = {item: base.parent / str(content["files"][item]) for item in words if item in content["files"]}
        return {**written, "sidecar": with_suffix(base, ".json")}

    def _converted(self, rule: ToDepth, note: str) -> DepthMap:
        made = DepthMap(rule(self._core), "metric", rgb=self.rgb)
        made.sky = self.sky
        if (far := self._core.infinite) is not None:
            made.values[far] = np.inf
        made.intrinsics, made.intrinsics_source = self.intrinsics, self.intrinsics_source
        made.seconds, made._made_by = self.seconds, self._made_by
        made.notes = (*self.notes, f"{note}; the {self.kind} map times {rule.scale:.6g} plus {rule.shift:.6g}")
        return made

    def _made_with(self) -> dict[str, Any]:
        made_by, camera = self._made_by, self.intrinsics
        return {
            "input": None if made_by.path is None else str(made_by.path),
            "resolution": made_by.resolution,
            "precision": made_by.precision,
            "runtime": made_by.runtime,
            "intrinsics": None if camera is None else [camera.fx, camera.fy, camera.cx, camera.cy],
            "python": True,
        }

    def _origin(self, items: Collection[str], cmap: str) -> Origin:
        """The provenance for the sidecar; its hashes are of the values themselves, so no command takes the files for its own."""
        by = self._made_by
        facts = [by.model, by.checkpoint_sha256, self.kind, self.values.shape, sorted(self._made_with().items())]
        hashed = hashlib.sha256(repr(facts).encode() + self.values.tobytes()).hexdigest()
        whole = hashlib.sha256(repr((hashed, sorted(items), cmap)).encode()).hexdigest()
        made_by = (by.model, by.checkpoint_sha256, by.license, ccd_cli.__version__, by.resolution)
        return Origin(*made_by, self.intrinsics_source, whole, hashed)


def point_cloud(
    depth: DepthMap | NDArray[Any],
    rgb: NDArray[np.uint8] | None = None,
    *,
    kind: Kind | None = None,
    intrinsics: Intrinsics | None = None,
    fov: float | None = None,
    **options: Unpack[CloudOptions],
) -> PointCloud:
    """Return the point cloud of a depth map [H, W] from anywhere; see `DepthMap.point_cloud` for the options.

    `depth` is a `DepthMap`, or an array of `kind`. `rgb` uint8 [H, W, 3], `intrinsics` or `fov` (degrees across the longer side)
    replace those of a `DepthMap`. Raises CcdError for an array without a kind, other shapes, and where no point is left.
    """
    with plain_errors():
        if isinstance(depth, DepthMap):
            if kind not in (None, depth.kind):
                raise UsageProblem(f"The map is of kind {depth.kind}, not {kind}.")
            made = DepthMap(depth.values, depth.kind, valid=depth.valid, rgb=depth.rgb if rgb is None else rgb)
            made.values, made.sky = depth.values, depth.sky
            made.intrinsics, made.intrinsics_source, made._made_by = (
                depth.intrinsics,
                depth.intrinsics_source,
                depth._made_by,
            )
        elif kind is None:
            raise UsageProblem("An array does not say what its values mean.", f"Give kind: {', '.join(KINDS)}.")
        else:
            made = DepthMap(depth, kind, rgb=rgb)
        asked = settings_from(GeometrySettings, {"intrinsics": intrinsics, "fov": fov})
        if asked.intrinsics is not None or asked.fov is not None:
            made.intrinsics, made.intrinsics_source = resolve_camera(
                *made.shape, intrinsics=asked.intrinsics, fov=asked.fov
            )
    return made.point_cloud(**options)


def _meters(reference: NDArray[Any] | DepthMap) -> NDArray[np.float32]:
    if isinstance(reference, DepthMap):
        if reference.kind != "metric":
            raise UsageProblem(f"A reference is depth in meters, not a {reference.kind} map.")
        return reference.values
    return map_of("A reference, in meters,", reference)


def _shape(values: NDArray[Any]) -> str:
    return "x".join(map(str, values.shape)) or "of no size"
