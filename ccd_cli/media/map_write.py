"""Write maps: raw as .npy, .npz and .exr, 16-bit as .depth.png, for eyes as .color.png and .side.png, with a sidecar.

What a network marks as sky is .sky.png (`sky_mask`).

Every file is whole or absent, and the sidecar comes last: where it is, the rest is. Raw files hold the model's own values,
never normalized, NaN where invalid and infinite where a network puts sky infinitely far (in 16-bit codes: invalid).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, Unwritable, UsageProblem
from ccd_cli.core.files import atomic_write, write_json
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.geometry.kinds import DIRECTION, UNIT, Kind
from ccd_cli.media.colorize import DEFAULT, color_table, colorize, side_by_side
from ccd_cli.media.map_sidecar import SIDECAR_KEY, SIDECAR_VERSION
from ccd_cli.media.outputs import settle
from ccd_cli.media.png import encode_png

SUFFIX = {
    "npy": ".npy",
    "npz": ".npz",
    "png16": ".depth.png",
    "exr": ".exr",
    "color": ".color.png",
    "side": ".side.png",
    "sky": ".sky.png",
}
SKY = "sky"
NO_SKY = ("This network marks no sky: there is nothing to write.", "Choose other outputs with --save.")
ITEMS: tuple[str, ...] = tuple(SUFFIX)
TOP = 65535  # largest code; 0 is invalid
MILLIMETER = 0.001
_ROWS = 64  # of a map that are coded at a time

FloatMap = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Origin:
    """What made a map, for its sidecar: model name, sha256 of its weights, license, version of ccd, the resolution that the
    network saw (short side, pixels), where the intrinsics come from ("exif", "model", ...), the hash of all settings, and
    that of those that decide the map's values.
    """

    model: str
    checkpoint_sha256: str
    license: str
    version: str
    resolution: int | None
    intrinsics_source: str | None
    fingerprint: str
    map: str | None = None


def encode16(values: FloatMap, valid: Mask | None, kind: Kind) -> tuple[NDArray[np.uint16], float, float]:
    """Return (codes uint16 [H, W], scale, offset) with value = code * scale + offset and code 0 = invalid.

    Codes 1..65535 span the map's own minimum..maximum; for metric maps the offset is 0 and one step is a millimeter, or
    the least whole number of millimeters that reaches the farthest pixel beyond 65.535 m. The error is at most half a
    step (metric depth under half a millimeter becomes one step). What is not finite is invalid, and so is metric depth that
    is not positive.
    """
    known = _known(values, valid, kind)
    span = _span(values, known)
    if span is None:
        return np.zeros(values.shape, np.uint16), MILLIMETER if kind == "metric" else 1.0, 0.0
    scale, offset = code_range(*span, kind)
    return codes16(values, known, kind, scale, offset), scale, offset


def code_range(low: float, high: float, kind: Kind) -> tuple[float, float]:
    """Return (scale, offset) of `encode16` for values from `low` to `high`. A constant gets code 1, exactly."""
    if kind == "metric":
        return max(1, math.ceil(high / MILLIMETER / (TOP + 0.499))) * MILLIMETER, 0.0
    scale = (high - low) / (TOP - 1)
    if scale <= 0:
        scale = abs(low) or 1.0
    return scale, low - scale


def codes16(values: FloatMap, valid: Mask | None, kind: Kind, scale: float, offset: float) -> NDArray[np.uint16]:
    """Return the codes of a map under a given (scale, offset); values outside its range get its ends."""
    codes = np.empty(values.shape, np.uint16)
    for first in range(0, len(values), _ROWS):  # a few rows at a time: they stay in the processor's cache
        rows = slice(first, first + _ROWS)
        known = _known(values[rows], None if valid is None else valid[rows], kind)
        exact = values[rows].astype(np.float64)
        if whole := bool(known.all()):
            exact -= offset
        else:
            np.subtract(exact, offset, out=exact, where=known)
            exact[~known] = 0.0
        exact /= scale
        np.rint(exact, out=exact)
        np.clip(exact, 1, TOP, out=exact)
        codes[rows] = exact
        if not whole:
            codes[rows][~known] = 0
    return codes


def decode16(codes: NDArray[np.uint16], scale: float, offset: float) -> tuple[FloatMap, Mask]:
    """Return (values float32, valid bool), both [H, W], for codes; invalid pixels are NaN."""
    valid = codes > 0
    values = np.where(valid, codes.astype(np.float64) * scale + offset, np.nan)
    return values.astype(np.float32), valid


class CodeRange:
    """The (scale, offset) of a video's 16-bit codes, when only the frames so far are known.

    The first frame's range, with as much again on either side, serves as long as the frames fit; one that does not begins a new,
    wider range from there on, so that no value is ever cut off. `ranges` lists them as {"from": frame of the clip, counted
    as written, "scale", "offset"}; most clips have one. Metric: a step is a millimeter until something lies beyond 65.535 m.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.ranges: list[dict[str, float]] = []
        self._span: tuple[float, float] | None = None

    def fit(self, frame: int, values: FloatMap, valid: Mask | None) -> tuple[float, float]:
        """Return the (scale, offset) for frame number `frame` of the output, widened if it does not fit."""
        known = _known(values, valid, self.kind)
        if (found := _span(values, known)) is not None and (
            self._span is None or found[0] < self._span[0] or found[1] > self._span[1]
        ):
            self._widen(frame, *found)
        if not self.ranges:
            return code_range(0.0, 1.0, self.kind)
        return self.ranges[-1]["scale"], self.ranges[-1]["offset"]

    def _widen(self, frame: int, low: float, high: float) -> None:
        if self._span is not None:
            low, high = min(low, self._span[0]), max(high, self._span[1])
        if self.kind == "metric":
            scale, offset = code_range(0.0, high, "metric")
            self._span = (0.0, scale * TOP)
        else:
            room = (high - low) or abs(low) or 1.0
            self._span = (low - room, high + room)
            scale, offset = code_range(*self._span, self.kind)
        self.ranges.append({"from": 0 if not self.ranges else frame, "scale": scale, "offset": offset})

    def state(self) -> dict[str, Any]:
        """Return what `from_state` needs, as JSON."""
        return {"kind": self.kind, "ranges": self.ranges, "span": None if self._span is None else list(self._span)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> CodeRange:
        """Return the range that `state` describes."""
        made = cls(state["kind"])
        made.ranges = [dict(part) for part in state["ranges"]]
        made._span = None if state["span"] is None else (float(state["span"][0]), float(state["span"][1]))
        return made


def code_ranges(codings: list[Any]) -> list[dict[str, float]]:
    """Return from which frame on which of the frames' (scale, offset) hold; [] without 16-bit codes."""
    ranges: list[dict[str, float]] = []
    for number, coding in enumerate(codings):
        if coding is not None and (not ranges or [ranges[-1]["scale"], ranges[-1]["offset"]] != list(coding)):
            ranges.append({"from": number, "scale": coding[0], "offset": coding[1]})
    return ranges


@dataclass(frozen=True)
class SidecarExtras:
    """What else a sidecar holds: `files` that were made beside the maps (name by item), and further `content`."""

    files: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, Any] = field(default_factory=dict)


def sky_mask(sky: Mask) -> NDArray[np.uint8]:
    """Return the mask [H, W] of what is marked as sky: 255 there, 0 in the rest."""
    return sky.astype(np.uint8) * np.uint8(255)


def map_files(base: Path, items: Collection[str], sky: bool) -> dict[str, Path]:
    """Return the file of each of `items` that a map gives; `sky`: the network marked sky. Raises CcdError where there is none."""
    paths = {item: with_suffix(base, SUFFIX[item]) for item in ITEMS if item in items and (sky or item != SKY)}
    if items and not paths:
        raise CcdError(*NO_SKY)
    return paths


def write_maps(
    base: Path,
    made: DepthMap,
    rgb: NDArray[np.uint8],
    items: Collection[str],
    origin: Origin,
    *,
    cmap: str = DEFAULT,
    more: SidecarExtras | None = None,
) -> dict[str, Any]:
    """Write the files of `items` for one photo, then its sidecar; return the sidecar.

    `base` is the output without any suffix: <folder>/<stem>. `rgb` is the photo, uint8 [H, W, 3]. Raises
    UsageProblem for an unknown item, CcdError on a full disk or for a photo of another
    size than the map.
    """
    if unknown := sorted(set(items) - set(ITEMS)):
        raise UsageProblem(f"--save {','.join(unknown)}: there is no such output.", f"Choose from {', '.join(ITEMS)}.")
    if rgb.shape[:2] != made.values.shape:
        raise CcdError(f"{base}: the map and its photo differ in size.")
    more = more or SidecarExtras()
    raw = made.raw
    paths = map_files(base, items, made.sky is not None)
    coding: tuple[float | None, float | None] = (None, None)
    if "npy" in paths:
        write_npy(paths["npy"], raw)
    if "npz" in paths:
        write_npz(paths["npz"], raw, made.valid, made.camera)
    if "exr" in paths:
        write_exr(paths["exr"], raw, made.kind)
    if "png16" in paths:
        codes, *coding_ = encode16(made.values, made.valid, made.kind)
        coding = (coding_[0], coding_[1])
        write_png(paths["png16"], codes)
    if "color" in paths or "side" in paths:
        color = color_map(made, cmap)
        if "color" in paths:
            write_png(paths["color"], color)
        if "side" in paths:
            write_png(paths["side"], side_by_side(rgb, color), photo=True)
    if SKY in paths and made.sky is not None:
        write_png(paths[SKY], sky_mask(made.sky))
    names = {item: path.name for item, path in paths.items()} | dict(more.files)
    content = settle(base, sidecar(made.kind, origin, names, made.camera, *coding) | dict(more.content))
    write_json(with_suffix(base, ".json"), content)
    return content


def color_map(made: DepthMap, cmap: str) -> NDArray[np.uint8]:
    """Return uint8 RGB [H, W, 3] of a map: `colorize`, with infinitely far sky in the farthest color."""
    color = colorize(made.values, made.valid, made.kind, cmap=cmap)
    if made.infinite is not None:
        color[made.infinite] = color_table(cmap)[0]
    return color


def sidecar(
    kind: Kind,
    origin: Origin,
    files: dict[str, str],
    camera: Camera | None = None,
    scale: float | None = None,
    offset: float | None = None,
) -> dict[str, Any]:
    """Return a sidecar's content; `scale` and `offset` are those of the 16-bit file, null where there is none."""
    return {
        SIDECAR_KEY: SIDECAR_VERSION,
        "model": origin.model,
        "checkpoint_sha256": origin.checkpoint_sha256,
        "kind": kind,
        "direction": DIRECTION[kind],
        "unit": UNIT[kind],
        "resolution": origin.resolution,
        "intrinsics": None if camera is None else [camera.fx, camera.fy, camera.cx, camera.cy],
        "intrinsics_source": None if camera is None else origin.intrinsics_source,
        "scale": scale,
        "offset": offset,
        "license": origin.license,
        "version": origin.version,
        "fingerprint": origin.fingerprint,
        "map": origin.map,
        "files": files,
    }


def write_npy(path: Path, raw: FloatMap) -> None:
    """Write a raw map float32 [H, W]."""
    with atomic_write(path) as temporary:
        np.save(temporary, np.ascontiguousarray(raw, np.float32), allow_pickle=False)


def write_npz(path: Path, raw: FloatMap, valid: Mask | None, camera: Camera | None) -> None:
    """Write `depth` float32 [H, W], `valid` bool [H, W] and `intrinsics` float64 fx, fy, cx, cy (empty where not known)."""
    camera_choice = np.array([] if camera is None else [camera.fx, camera.fy, camera.cx, camera.cy], np.float64)
    known = np.isfinite(raw) if valid is None else valid
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, depth=raw.astype(np.float32), valid=known, intrinsics=camera_choice)


def write_exr(path: Path, raw: FloatMap, kind: Kind) -> None:
    """Write a raw map as one float32 channel Z, ZIP-compressed, NaN where invalid, with kind and unit in the header.

    Z is the channel for depth in the OpenEXR specification. Raises CcdError where the OpenEXR package is missing.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise CcdError("Writing .exr needs the package OpenEXR.", 'Install it: pip install "OpenEXR>=3.3"') from error
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, "kind": kind, "unit": UNIT[kind]}
    with atomic_write(path) as temporary:
        try:
            OpenEXR.File(header, {"Z": np.ascontiguousarray(raw, np.float32)}).write(str(temporary))
        except RuntimeError as error:  # what the library makes of a full disk
            raise Unwritable(f"{path}: cannot be written ({error}).", "Is the disk full?") from error
        except ValueError as error:  # and of a path that is not UTF-8
            raise CcdError(f"{path}: OpenEXR cannot write to a path that is not UTF-8.", "Rename it.") from error


def write_png(path: Path, picture: NDArray[np.uint8] | NDArray[np.uint16], photo: bool = False) -> None:
    """Write uint8 RGB [H, W, 3], or gray [H, W] of 8 or 16 bits; `photo`: more colors than a color map has."""
    encoded = encode_png(picture, flat=picture.ndim == 3 and not photo)
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded)


def with_suffix(base: Path, suffix: str) -> Path:
    """Return `base` with a suffix behind its whole name: a stem may hold dots."""
    return base.parent / f"{base.name}{suffix}"


def _known(values: FloatMap, valid: Mask | None, kind: Kind) -> Mask:
    known = np.isfinite(values) if valid is None else np.isfinite(values) & valid
    return known & (values > 0) if kind == "metric" else known


def _span(values: FloatMap, known: Mask) -> tuple[float, float] | None:
    """The least and the largest known value; None without any."""
    if not known.any():
        return None
    found = values if known.all() else values[known]
    return float(found.min()), float(found.max())
