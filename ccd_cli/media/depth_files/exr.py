"""Depth in OpenEXR files: the channel is found by its name, in layers and parts too, or refused with a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.core.errors import CcdError, ImageError, first_line
from ccd_cli.media.depth_files.plane import RawMap, check_size, plane

LAYERS = ("depth", "z", "zdepth", "depthz", "zbuffer", "distance")
"""Last names of layers, in small letters, that hold depth."""
_VALUES = ("z", "v", "y", "r", "g", "b", "depth")
"""What the channel of such a layer may be called: Blender's `Depth.Z` and `Depth.V`, Nuke's `depth.Z`."""
_NO_DEPTH = ("mist", "normal", "vector", "position", "alpha", "denoising")


def read_exr(path: Path, key: str | None = None) -> RawMap:
    """Return the depth of an .exr, at the size of its display window; NaN where the file has no data.

    `key` names the channel. Else it is `Z`, `depth`, a layer of such a name (`ViewLayer.Depth.Z`), another `*.Z` that is no
    part of a vector, the only channel there is, or a gray image's. Raises ImageError where that leaves none or several.
    """
    try:
        import OpenEXR
    except ImportError:
        raise CcdError(f"{path}: reading .exr needs the package OpenEXR.", "pip install OpenEXR") from None
    try:
        with OpenEXR.File(str(path), header_only=True) as file:
            for part in file.parts:
                for window in ("dataWindow", "displayWindow"):
                    check_size(_size(part.header[window]), path)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            several = len(file.parts) > 1
            channels: dict[str, Any] = {}
            for number, part in enumerate(file.parts):
                for name, channel in part.channels.items():
                    prefix = f"{part.name()}." if several and part.name() and not _starts(name, part.name()) else ""
                    full = prefix + name
                    channels[f"{full} ({number})" if full in channels else full] = (channel.pixels, part.header)
            name = choose_channel({name: pixels for name, (pixels, _) in channels.items()}, path, key)
            pixels, header = channels[name]
            return plane(_shown(np.array(pixels), header), path, name)
    except ImageError:
        raise
    except Exception as error:  # the binding raises RuntimeError, TypeError and others
        raise ImageError(f"{path}: not a readable .exr ({first_line(error)})") from error


def choose_channel(channels: dict[str, np.ndarray], path: Path, key: str | None = None) -> str:
    """Return the name of the depth channel; raises ImageError with all names."""
    names = list(channels)
    if key is not None:
        if key in names:
            return key
        raise ImageError(f"{path}: no channel '{key}' in it ({_listed(names)})")
    named = [name for name in names if _is_depth(name)]
    if len(named) > 1 and (exact := [name for name in named if name.lower() in ("z", "depth")]):
        named = exact
    if not named:
        named = [name for name in names if _is_z_alone(name, names)]
    if not named:
        rest = [name for name in names if _parts(name)[-1] not in ("a", "alpha")]
        gray = len(rest) == 1 or {name.upper() for name in rest} == set("RGB")
        named = rest if gray and not any(word in name.lower() for name in rest for word in _NO_DEPTH) else []
        if len(named) > 1 and not _same(channels, named):
            raise ImageError(f"{path}: a color image, not a map of one channel ({_listed(names)})")
    if not named:
        raise ImageError(f"{path}: no channel is depth by its name ({_listed(names)}); say which one: --depth-key NAME")
    if len(named) > 1 and not _same(channels, named):
        raise ImageError(f"{path}: several channels may be the depth ({_listed(named)}); say which: --depth-key NAME")
    return named[0]


def _parts(name: str) -> list[str]:
    return [part.strip().lower() for part in name.split(".")]


def _is_depth(name: str) -> bool:
    """Z, depth, or a channel of a layer that is called so."""
    *layers, last = _parts(name)
    if not layers:
        return last in ("z", "depth", "distance")
    return (layers[-1] in LAYERS and last in _VALUES) or last == "depth"


def _is_z_alone(name: str, names: list[str]) -> bool:
    """A `*.Z` without X and Y beside it: those three are a vector."""
    *layers, last = _parts(name)
    others = {_parts(other)[-1] for other in names if _parts(other)[:-1] == layers}
    return last == "z" and not {"x", "y"} & others and not any(word in name.lower() for word in _NO_DEPTH)


def _same(channels: dict[str, np.ndarray], names: list[str]) -> bool:
    first = channels[names[0]]
    return all(np.array_equal(channels[name], first, equal_nan=True) for name in names[1:])


def _starts(name: str, part: str) -> bool:
    return name.lower() == part.lower() or name.lower().startswith(f"{part.lower()}.")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _size(window: Any) -> tuple[int, int]:
    (left, top), (right, bottom) = window
    return int(bottom) - int(top) + 1, int(right) - int(left) + 1


def _shown(values: np.ndarray, header: dict[str, Any]) -> np.ndarray:
    """The data window's pixels in the display window: a render may be cropped, or larger than what is shown."""
    data, shown = header["dataWindow"], header["displayWindow"]
    if (_size(data) == _size(shown) and tuple(data[0]) == tuple(shown[0])) or values.shape != _size(data):
        return values
    height, width = _size(shown)
    down, across = int(data[0][1]) - int(shown[0][1]), int(data[0][0]) - int(shown[0][0])
    made = np.full((height, width), np.nan, np.float32)
    top, left = max(0, down), max(0, across)
    bottom, right = min(height, down + values.shape[0]), min(width, across + values.shape[1])
    if bottom > top and right > left:
        made[top:bottom, left:right] = values[top - down : bottom - down, left - across : right - across]
    return made
