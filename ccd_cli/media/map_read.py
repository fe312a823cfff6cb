"""Read depth maps from files of any format (`depth_files`), with the JSON sidecar of ccd that says what they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.geometry.camera import Source
from ccd_cli.geometry.depth_map import Camera, DepthMap, checked
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.media.depth_files.no_depth import has_depth
from ccd_cli.media.depth_files.plane import RawMap
from ccd_cli.media.depth_files.raw import MAP_SUFFIXES, read_raw
from ccd_cli.media.map_sidecar import CLIP_SKY, read_sidecar_of, sidecar_of

SOURCES = ("flag", "fov", "file", "exif", "model", "guess")
LOSSY = (".jpg", ".jpeg")


@dataclass(frozen=True)
class StoredMap:
    """A map from a file; `camera_source` says where `depth_map.camera` came from when it was written.

    `notes` are sentences about what was assumed or ignored.
    """

    path: Path
    depth_map: DepthMap
    camera_source: Source = "file"
    sidecar: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def upsampling(self) -> float:
        """Pixels of the map for one pixel of its network, by the sidecar's `resolution` (short side, or two sides)."""
        used = self.sidecar.get("resolution")
        sides = used if isinstance(used, list) and used else [used]
        if not all(isinstance(side, int | float) and side > 0 for side in sides):
            return 1.0
        return max(1.0, min(self.depth_map.values.shape) / min(sides))


@dataclass(frozen=True)
class Meaning:
    """What a caller says about maps without a sidecar.

    `depth_scale` S: meters (or the unit of `kind`) = value / S. `no_depth`: values of the file without depth, None: see
    `has_depth`. `key`: the array or channel of a file that holds several.
    """

    kind: Kind | None = None
    depth_scale: float | None = None
    no_depth: tuple[float, ...] | None = None
    key: str | None = None
    scale_flag: str = "--depth-scale"
    """What the user types for `depth_scale`."""


def find_map(
    folder: Path, stems: Sequence[Path], suffixes: Sequence[str] = MAP_SUFFIXES, image: Path | None = None
) -> Path:
    """Return the map of a photo: `folder / stem` with the first ending that exists, of the first stem that has one.

    Endings may be in capitals; the photo `image` itself is none of its maps. With `image`, one called color or rgb also has the
    only map that is called depth in the same place of its name. Raises ImageError with the name that was looked for.
    """
    for stem in stems:
        names = _names(folder / stem.parent)
        for suffix in suffixes:
            for name in _alike(names, stem.name, suffix):
                path = folder / stem.with_name(name)
                if path.is_file() and not _same_file(path, image):
                    return path
    for stem in stems if image is not None else ():
        if found := _called_depth(folder / stem.parent, stem.name, suffixes):
            return found
    raise ImageError(f"{folder / stems[0]}: no depth map of this name ({', '.join(suffixes)})")


def read_map(path: Path, meaning: Meaning | None = None) -> StoredMap:
    """Return the map in `path` with the meaning that ccd's sidecar (`<stem>.json`), or else the caller, gives it.

    Without a sidecar a kind is needed; a depth scale alone says meters. Metric depth in whole numbers needs a scale, and
    images of 8 bits a kind. NaN, infinity, what `has_depth` names and, for `metric`, what is not positive are invalid. Raises
    ImageError for what cannot be read, has no meaning, is not what its sidecar recorded, contradicts it, or is empty.
    """
    meaning = meaning or Meaning()
    side, notes = read_sidecar_of(path)
    raw = read_raw(path, meaning.key)
    if raw.bits == 1:
        raise ImageError(f"{path}: not a map of numbers (a mask)")
    if side:
        kind, values, valid = by_sidecar(path, raw, side, meaning)
    else:
        kind = _kind(path, raw, meaning)
        scale = divisor(path, raw, kind, meaning)
        valid, more = has_depth(raw.values, kind, raw.bits is not None, meaning.no_depth)
        values = raw.values / np.float32(scale)
        notes = [*notes, *raw.notes, *more, *_doubts(path, raw)]
    if raw.valid is not None:
        valid = valid & raw.valid
    camera, source = raw.camera, side.get("intrinsics_source")
    try:
        if side.get("intrinsics") is not None and (
            raw.camera is None or "files" in side
        ):  # a clip's is of its first frame
            camera = Camera(*np.array(side["intrinsics"], np.float64).tolist())
        made = checked(values, kind, valid, camera)
    except (CcdError, TypeError, ValueError) as error:
        raise ImageError(f"{path}: {str(error).rstrip('.')}") from error
    if made.valid is not None and not made.valid.any():
        raise ImageError(f"{path}: the map is empty: no value is valid")
    return StoredMap(path, made, cast(Source, source) if source in SOURCES else "file", side, tuple(notes))


def without_sky(stored: StoredMap) -> StoredMap:
    """Return a map without the pixels that the mask beside it, which its sidecar lists, marks as sky.

    Of a clip's frame, whose mask is a frame of a video, sky stays and a note says so. Raises
    ImageError where the mask cannot be read or is of another size.
    """
    if CLIP_SKY in stored.sidecar:
        video = stored.sidecar[CLIP_SKY]
        note = f"sky is not left out: the mask is a video ({video}). ccd predict --pointcloud makes clouds of clips without sky"
        return replace(stored, notes=(*stored.notes, note))
    files = stored.sidecar.get("files")
    name = files.get("sky") if isinstance(files, dict) else None
    if name is None:
        return stored
    path = stored.path.with_name(str(name))
    made = stored.depth_map
    sky = read_raw(path).values > 0
    if sky.shape != made.values.shape:
        raise ImageError(f"{path}: the mask of the sky is not of the map's size")
    valid = ~sky if made.valid is None else made.valid & ~sky
    if not valid.any():
        raise ImageError(f"{stored.path}: all that is valid is sky")
    return replace(stored, depth_map=replace(made, valid=valid))


def read_reference(path: Path, scale: float | None) -> NDArray[np.float32]:
    """Return a reference depth float32 [h, w] in meters, NaN where unknown, of any file of depth: meters = value / scale.

    `scale` may be left out for floating point in meters and for what ccd wrote as metric depth. What `read_map` takes for
    invalid is unknown. Raises ImageError.
    """
    side, _ = read_sidecar_of(path, compare=False)
    if side and side.get("kind") != "metric":
        raise ImageError(f"{path}: its sidecar says '{side.get('kind')}', and a reference is depth in meters")
    raw = None if side else read_raw(path)
    if raw is not None and raw.bits is not None and scale is None:
        raise ImageError(f"{path}: give --ref-scale S (meters = code / S: 1000 for millimeters, 256 for KITTI)")
    made = read_map(path, Meaning("metric", scale, scale_flag="--ref-scale")).depth_map
    return made.values if made.valid is None else np.where(made.valid, made.values, np.float32(np.nan))


def by_sidecar(
    path: Path, raw: RawMap, side: dict[str, Any], meaning: Meaning
) -> tuple[Kind, NDArray[np.float32], NDArray[np.bool_]]:
    """Return (kind, values [H, W], valid [H, W]) as ccd's sidecar says; a depth scale is for codes whose scale it does not say.

    Raises ImageError where `meaning` contradicts the sidecar, and for codes without a scale.
    """
    stored, given = side.get("kind"), meaning.kind
    if stored not in KINDS:
        raise ImageError(f"{sidecar_of(path)}: there is no kind of map '{stored}' ({', '.join(KINDS)})")
    if given is not None and stored != given:
        raise ImageError(f"{path}: its sidecar says '{stored}', which contradicts the kind '{given}' given")
    kind = cast(Kind, stored)
    if raw.bits is None:
        if meaning.depth_scale not in (None, 1.0):
            raise ImageError(f"{path}: its sidecar says what its values are, which contradicts {meaning.scale_flag}")
        return kind, raw.values, np.isfinite(raw.values)
    scale, offset = side.get("scale"), side.get("offset") or 0.0
    if scale is None and meaning.depth_scale is not None:
        scale = 1 / meaning.depth_scale
    elif scale is not None and meaning.depth_scale is not None:
        raise ImageError(f"{path}: its sidecar has a scale, which contradicts {meaning.scale_flag}")
    if scale is None:
        raise ImageError(f"{path}: no scale in its sidecar {sidecar_of(path).name}: give {meaning.scale_flag} S")
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (scale, offset)):
        raise ImageError(f"{sidecar_of(path)}: scale and offset are not two finite numbers")
    values = (raw.values.astype(np.float64) * float(scale) + float(offset)).astype(np.float32)
    return kind, values, raw.values > 0


def _kind(path: Path, raw: RawMap, meaning: Meaning) -> Kind:
    """The kind that the caller gives, or that a depth scale implies; raises ImageError where it cannot be."""
    if raw.bits == 8 and meaning.kind is None:
        raise ImageError(f"{path}: 8 bits, often made for eyes: say what they are by --kind ({', '.join(KINDS)})")
    kind = meaning.kind or ("metric" if meaning.depth_scale is not None else None)
    if kind is None:
        raise ImageError(f"{path}: nothing says what its values mean; give --kind ({', '.join(KINDS)})")
    if raw.inverse and kind != "disparity":
        raise ImageError(f"{path}: '{raw.name}' is a disparity by its name, which contradicts the kind '{kind}'")
    return kind


def divisor(path: Path, raw: RawMap, kind: Kind | None, meaning: Meaning) -> float:
    """Return what the values of a map without a sidecar are divided by.

    Raises ImageError for meters in whole numbers, and for what looks like codes, whose unit nobody said.
    """
    if meaning.depth_scale is not None or kind != "metric":
        return meaning.depth_scale or 1.0
    flag = f"{meaning.scale_flag} S (meters = value / S: 1000 for millimeters, 1 if they are meters)"
    if raw.bits is not None:
        raise ImageError(f"{path}: whole numbers and no scale: neither a sidecar of ccd nor {flag}")
    if raw.looks_like_codes:
        raise ImageError(f"{path}: all values are whole numbers, and most over 100: hardly meters; give {flag}")
    return 1.0


def _doubts(path: Path, raw: RawMap) -> list[str]:
    if path.suffix.lower() in LOSSY:
        return ["a JPEG of 8 bits holds 256 values, and blurs them at edges"]
    return ["a map of 8 bits holds 256 values"] if raw.bits == 8 else []


@lru_cache(maxsize=64)
def _listing(folder: Path, changed: int) -> dict[str, list[str]]:
    """The names in a folder by their small letters; `changed` is its time."""
    names: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        names.setdefault(path.name.lower(), []).append(path.name)
    return names


def _names(folder: Path) -> dict[str, list[str]]:
    try:
        return _listing(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


def _alike(names: dict[str, list[str]], stem: str, suffix: str) -> list[str]:
    """The names of a folder that are `stem` with an ending in small letters or capitals, the exact one first."""
    found = [name for name in names.get((stem + suffix).lower(), ()) if name.startswith(stem)]
    return sorted(found, key=lambda name: name != stem + suffix)


_COLOR = re.compile(r"(?<![a-z])(color|colour|rgb|image|img)(?![a-z])", re.IGNORECASE)


def _called_depth(folder: Path, stem: str, suffixes: Sequence[str]) -> Path | None:
    """The only map whose name has depth where the photo's has color: frame-1.color.jpg and frame-1.depth.png."""
    words = list(_COLOR.finditer(stem))
    if len(words) != 1:
        return None
    before, after = stem[: words[0].start()].lower(), stem[words[0].end() :].lower()
    rule = re.compile(re.escape(before) + r"depth([-_][a-z]+)?" + re.escape(after))
    found = [
        name
        for low, names in _names(folder).items()
        for name in names
        for suffix in suffixes
        if low.endswith(suffix) and rule.fullmatch(low[: -len(suffix)])
    ]
    return folder / found[0] if len(set(found)) == 1 else None


def _same_file(path: Path, image: Path | None) -> bool:
    try:
        return image is not None and path.samefile(image)
    except OSError:
        return False
