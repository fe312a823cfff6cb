"""Read depth maps from files: `.npy`, `.npz`, 16-bit PNG, `.exr`, with the JSON sidecar that says what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccd_cli.core.errors import CcdError, ImageError, first_line
from ccd_cli.core.parse import parse_json
from ccd_cli.geometry.camera import Source
from ccd_cli.geometry.depth_map import Camera, DepthMap, checked
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.media.photos import MAX_PIXELS, check_header
from ccd_cli.media.pillow import without_pillow_limit

MAP_SUFFIXES = (".npz", ".npy", ".exr", ".depth.png", ".png")
"""Endings behind a photo's stem, in the order in which they are looked for; `.npz` knows its own invalid pixels."""
SOURCES = ("flag", "fov", "file", "exif", "model", "guess")


@dataclass(frozen=True)
class StoredMap:
    """A map from a file; `camera_source` says where `depth_map.camera` came from when it was written."""

    path: Path
    depth_map: DepthMap
    camera_source: Source = "file"
    sidecar: dict[str, Any] = field(default_factory=dict)

    @property
    def upsampling(self) -> float:
        """Pixels of the map for one pixel of its network, by the sidecar's `resolution` (short side, or two sides)."""
        used = self.sidecar.get("resolution")
        sides = used if isinstance(used, list) and used else [used]
        if not all(isinstance(side, int | float) and side > 0 for side in sides):
            return 1.0
        return max(1.0, min(self.depth_map.values.shape) / min(sides))


def find_map(folder: Path, stems: Sequence[Path], suffixes: Sequence[str] = MAP_SUFFIXES) -> Path:
    """Return the map of a photo: `folder / stem` with the first ending that exists, of the first stem that has one.

    Raises ImageError with the name that was looked for.
    """
    for stem in stems:
        for suffix in suffixes:
            if (path := folder / stem.with_name(stem.name + suffix)).is_file():
                return path
    raise ImageError(f"{folder / stems[0]}: no depth map of this name ({', '.join(suffixes)})")


def sidecar_of(path: Path) -> Path:
    """Return where the sidecar of a map is looked for: `in.depth.png` and `in.npy` both have `in.json`."""
    name = path.name.removesuffix(".depth.png")
    return path.with_name((name if name != path.name else path.stem) + ".json")


def read_map(path: Path, *, kind: Kind | None = None, depth_scale: float | None = None) -> StoredMap:
    """Return the map in `path` with the meaning that its sidecar (`<stem>.json`), or else the caller, gives it.

    `kind` is needed where no sidecar tells. `depth_scale` S makes values `code / S` of a PNG without a sidecar, and
    meters of them unless `kind` says otherwise. PNG code 0, NaN, infinity and, for `metric`, what is not positive are
    invalid. Raises ImageError for what cannot be read, has no meaning, contradicts its sidecar, or is empty.
    """
    side = _read_sidecar(sidecar_of(path))
    values, valid, camera = _read_values(path, side, depth_scale)
    if depth_scale is not None and kind is None and path.suffix == ".png":
        kind = "metric"
    stored = side.get("kind")
    if stored is not None and stored not in KINDS:
        raise ImageError(f"{sidecar_of(path)}: there is no kind of map '{stored}' ({', '.join(KINDS)})")
    if stored is not None and kind is not None and stored != kind:
        raise ImageError(f"{path}: its sidecar says '{stored}', which contradicts the kind '{kind}' given")
    meaning = stored or kind
    if meaning is None:
        raise ImageError(f"{path}: nothing says what its values mean; give --kind ({', '.join(KINDS)})")
    source = side.get("intrinsics_source")
    try:
        if side.get("intrinsics") is not None:
            camera = Camera(*(float(value) for value in side["intrinsics"]))
        made = checked(values, cast(Kind, meaning), valid, camera)
    except (CcdError, TypeError, ValueError) as error:
        raise ImageError(f"{path}: {str(error).rstrip('.')}") from error
    if made.valid is not None and not made.valid.any():
        raise ImageError(f"{path}: the map is empty: no value is valid")
    return StoredMap(path, made, cast(Source, source) if source in SOURCES else "file", side)


def read_reference(path: Path, scale: float | None) -> NDArray[np.float32]:
    """Return a reference depth float32 [h, w] in meters, NaN where unknown: 16-bit PNG or `.npy`, meters = code / scale.

    Code 0 is unknown. `scale` may be left out for `.npy` in meters. Raises ImageError.
    """
    if path.suffix.lower() == ".npy":
        values = _npy(path)
    else:
        if scale is None:
            raise ImageError(f"{path}: give --ref-scale S (meters = code / S: 1000 for millimeters, 256 for KITTI)")
        values = _png(path).astype(np.float32)
    values = values / np.float32(scale or 1.0)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(np.nan))


def _read_sidecar(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        side = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: not a readable sidecar ({type(error).__name__})") from error
    if not isinstance(side, dict):
        raise ImageError(f"{path}: not a sidecar: its JSON is no object")
    return side


def _read_values(
    path: Path, side: dict[str, Any], depth_scale: float | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, Camera | None]:
    """Return (values, valid, camera) as they are stored."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _npy(path), None, None
    if suffix == ".npz":
        return _npz(path)
    if suffix == ".exr":
        return _exr(path), None, None
    if suffix != ".png":
        raise ImageError(f"{path}: not a depth map ({', '.join(MAP_SUFFIXES)})")
    codes = _png(path)
    scale, offset = side.get("scale"), side.get("offset") or 0.0
    if scale is None and depth_scale is not None:
        scale = 1 / depth_scale
    elif scale is not None and depth_scale is not None:
        raise ImageError(f"{path}: its sidecar has a scale, which contradicts --depth-scale")
    if scale is None:
        raise ImageError(
            f"{path}: no scale: neither a sidecar {sidecar_of(path).name} nor --depth-scale S (meters = code / S)"
        )
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (scale, offset)):
        raise ImageError(f"{sidecar_of(path)}: scale and offset are not two finite numbers")
    return (codes * float(scale) + float(offset)).astype(np.float32), codes > 0, None


def _png(path: Path) -> NDArray[np.uint16]:
    check_header(path)
    try:
        with without_pillow_limit():
            image: Image.Image = Image.open(path)
        with image:
            if not image.mode.startswith("I"):
                raise ImageError(f"{path}: an image ({image.mode}), not a 16-bit depth map of one channel")
            codes = np.asarray(image)
    except ImageError:
        raise
    except Exception as error:  # a decoder may raise anything for a damaged file
        raise ImageError(f"{path}: damaged ({type(error).__name__})") from error
    return codes.astype(np.uint16)


def _npy(path: Path) -> NDArray[np.float32]:
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")  # the shape first, then the memory
        return _plane(values, path)
    except ImageError:
        raise
    except Exception as error:  # a header is Python text: its reader raises whatever Python does for it
        raise ImageError(f"{path}: not a readable .npy ({first_line(error)})") from error


def _npz(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, Camera | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "depth" not in file:
                raise ImageError(f"{path}: no array 'depth' in it ({', '.join(file.files) or 'empty'})")
            if max(part.file_size for part in file.zip.infolist()) > 8 * MAX_PIXELS + 1000:
                raise ImageError(f"{path}: over {MAX_PIXELS // 1_000_000} megapixels")
            values = _plane(file["depth"], path)
            valid = file["valid"].astype(bool) if "valid" in file else None
            camera_choice = [float(v) for v in file["intrinsics"].ravel()] if "intrinsics" in file else []
    except ImageError:
        raise
    except Exception as error:  # zip, zlib and numpy each have errors of their own
        raise ImageError(f"{path}: not a readable .npz ({first_line(error)})") from error
    if valid is not None and valid.shape != values.shape:
        raise ImageError(f"{path}: its mask 'valid' is not of the size of its map")
    if len(camera_choice) == 9:  # a 3 x 3 matrix
        camera_choice = [camera_choice[0], camera_choice[4], camera_choice[2], camera_choice[5]]
    try:
        camera = Camera(*camera_choice) if camera_choice else None
    except (CcdError, TypeError) as error:
        raise ImageError(f"{path}: intrinsics are not four numbers with positive focal lengths") from error
    return values, valid, camera


def _exr(path: Path) -> NDArray[np.float32]:
    try:
        import OpenEXR
    except ImportError:
        raise CcdError(f"{path}: reading .exr needs the package OpenEXR.", "pip install OpenEXR") from None
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            names = [name for name in ("Z", "Y", "depth", "R") if name in channels] or list(channels)
            if names[0] == "R" and len(channels) > 1 and any(name in channels for name in ("G", "B")):
                same = all(np.array_equal(channels[c].pixels, channels["R"].pixels) for c in "GB" if c in channels)
                if not same:
                    raise ImageError(f"{path}: a color image, not a map of one channel")
            return _plane(np.array(channels[names[0]].pixels), path)
    except ImageError:
        raise
    except Exception as error:  # the binding raises RuntimeError, TypeError and others
        raise ImageError(f"{path}: not a readable .exr ({first_line(error)})") from error


def _plane(values: np.ndarray, path: Path) -> NDArray[np.float32]:
    """Return [H, W] float32 of an array of one channel; raises ImageError."""
    shape = "x".join(map(str, values.shape))
    if math.prod(values.shape) > MAX_PIXELS:
        raise ImageError(f"{path}: {shape} is over {MAX_PIXELS // 1_000_000} megapixels")
    if values.dtype.kind not in "fiu" or values.ndim not in (2, 3, 4) or 0 in values.shape:
        raise ImageError(f"{path}: not a map of numbers ({values.dtype} {shape})")
    sides = [side for side in values.shape if side != 1]
    if len(sides) != 2:
        raise ImageError(f"{path}: not a map of one channel ({shape})")
    with np.errstate(over="ignore"):
        return np.array(values, np.float32).reshape(sides)
