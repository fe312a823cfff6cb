"""Write point clouds: binary PLY and PCD, text XYZ, GLB. No library needed; tests read them back with Open3D.

Open3D's writers would double the coordinates' size, drop XYZ colors and leave no room for comments, and it takes
seconds to import. Axes are the camera's (x right, y down, z forward) but in GLB, whose standard has y up and z toward
the viewer: there y and z change sign.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

import ccd_cli
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import atomic_write, check_free_space
from ccd_cli.pointcloud.settings import Format

FORMATS: tuple[str, ...] = get_args(Format)
_BYTES = {"ply": 15, "pcd": 16, "xyz": 50, "glb": 20}
_BYTES_NORMALS = {"ply": 12, "pcd": 12, "xyz": 40, "glb": 12}
_TO_GLB = np.array([1, -1, -1], np.float32)
_LINES = 100_000

Floats = NDArray[np.float32]


def write_cloud(
    path: Path,
    points: Floats,
    colors: NDArray[np.uint8],
    normals: Floats | None = None,
    fmt: Format = "ply",
    about: Mapping[str, str] | None = None,
) -> None:
    """Write points float32 [N, 3] in meters, sRGB colors uint8 [N, 3] and unit normals [N, 3], whole or not at all.

    ply: binary little-endian, float and uchar, `about` as comment lines. pcd: binary v0.7, packed rgb, `about` as
    comments. xyz: a line `x y z r g b [nx ny nz]` a point, no header. glb: one POINTS primitive, y up, linear colors
    as glTF asks, `about` in asset.extras. Raises CcdError for wrong shapes, non-finite points and a full disk.
    """
    if fmt not in FORMATS:
        raise UsageProblem(f"There is no cloud format '{fmt}' ({', '.join(FORMATS)}).")
    rows = [colors.shape, *([] if normals is None else [normals.shape])]
    if points.ndim != 2 or points.shape[1] != 3 or any(shape != points.shape for shape in rows):
        raise CcdError(f"A cloud has [N, 3] points, colors and normals, not {[points.shape, *rows]}.")
    if not len(points) or not np.isfinite(points).all() or colors.dtype != np.uint8:
        raise CcdError("A cloud has at least one point, finite coordinates and colors of 8 bits.")
    size = len(points) * (_BYTES[fmt] + (0 if normals is None else _BYTES_NORMALS[fmt]))
    check_free_space(path.parent, size + 100_000, f"{path.name} ({len(points):,} points)")
    writer = {"ply": _write_ply, "pcd": _write_pcd, "xyz": _write_xyz, "glb": _write_glb}[fmt]
    with atomic_write(path) as temporary:
        writer(temporary, points, colors, normals, _comments(about or {}))


def _comments(about: Mapping[str, str]) -> dict[str, str]:
    """Return `about` with the writer's name, as single lines of ASCII, which PLY and PCD ask for."""
    lines = {"made by": f"ccd {ccd_cli.__version__}", **about}
    return {key: " ".join(str(text).encode("ascii", "replace").decode().split()) for key, text in lines.items()}


def _write_ply(
    path: Path, points: Floats, colors: NDArray[np.uint8], normals: Floats | None, about: dict[str, str]
) -> None:
    names = ["x", "y", "z", *(() if normals is None else ("nx", "ny", "nz"))]
    fields = [(name, "<f4") for name in names] + [(name, "u1") for name in ("red", "green", "blue")]
    table = np.empty(len(points), fields)
    floats = points if normals is None else np.hstack([points, normals])
    for i, name in enumerate(names):
        table[name] = floats[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        table[name] = colors[:, i]
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {key}: {text}" for key, text in about.items())]
    header += [f"element vertex {len(points)}", *(f"property float {name}" for name in names)]
    header += [*(f"property uchar {name}" for name in ("red", "green", "blue")), "end_header", ""]
    with path.open("wb") as file:
        file.write("\n".join(header).encode())
        table.tofile(file)


def _write_pcd(
    path: Path, points: Floats, colors: NDArray[np.uint8], normals: Floats | None, about: dict[str, str]
) -> None:
    names = ["x", "y", "z", *(() if normals is None else ("normal_x", "normal_y", "normal_z")), "rgb"]
    red, green, blue = colors.astype("<u4").T
    packed = (red << 16 | green << 8 | blue).astype("<u4").view("<f4")[:, None]
    table = np.hstack([points, *([] if normals is None else [normals]), packed]).astype("<f4")
    count = len(names)
    header = [f"# {key}: {text}" for key, text in about.items()]
    header += ["VERSION 0.7", "FIELDS " + " ".join(names), "SIZE" + " 4" * count, "TYPE" + " F" * count]
    header += ["COUNT" + " 1" * count, f"WIDTH {len(points)}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0"]
    header += [f"POINTS {len(points)}", "DATA binary", ""]
    with path.open("wb") as file:
        file.write("\n".join(header).encode())
        table.tofile(file)


def _write_xyz(
    path: Path, points: Floats, colors: NDArray[np.uint8], normals: Floats | None, about: dict[str, str]
) -> None:
    parts: list[np.ndarray] = [points, colors, *([] if normals is None else [normals])]
    form = "%.9g %.9g %.9g %d %d %d" + ("" if normals is None else " %.9g %.9g %.9g") + "\n"
    with path.open("w", encoding="ascii") as file:
        for start in range(0, len(points), _LINES):
            rows = np.hstack([part[start : start + _LINES].astype(np.float64) for part in parts])
            file.write((form * len(rows)) % tuple(rows.ravel().tolist()))


def _write_glb(
    path: Path, points: Floats, colors: NDArray[np.uint8], normals: Floats | None, about: dict[str, str]
) -> None:
    """One mesh of points: glTF 2.0 (Khronos), sections 3.6.2 (accessors), 3.7.2.1 (POINTS, COLOR_0), 4.4 (GLB)."""
    srgb = np.arange(256) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    rgba = np.full((len(points), 4), 65535, "<u2")
    rgba[:, :3] = (linear * 65535 + 0.5).astype("<u2")[colors]
    flipped = (points * _TO_GLB).astype("<f4")
    arrays = {"POSITION": (flipped, 5126, "VEC3"), "COLOR_0": (rgba, 5123, "VEC4")}
    if normals is not None:
        arrays["NORMAL"] = ((normals * _TO_GLB).astype("<f4"), 5126, "VEC3")
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    offset = 0
    for number, (data, component, shape) in enumerate(arrays.values()):
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": data.nbytes, "target": 34962})
        accessors.append({"bufferView": number, "componentType": component, "count": len(points), "type": shape})
        offset += data.nbytes
    accessors[0] |= {"min": flipped.min(0).tolist(), "max": flipped.max(0).tolist()}
    accessors[1]["normalized"] = True
    primitive = {"attributes": {name: i for i, name in enumerate(arrays)}, "mode": 0, "material": 0}
    scene = {
        "asset": {"version": "2.0", "generator": about["made by"], "extras": about | {"axes": "x right, y up, z back"}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(scene).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + offset
    if total >= 2**32:
        raise CcdError(f"{len(points):,} points are too many for GLB (4 GB).", "Thin them with --voxel, or use ply.")
    with path.open("wb") as file:
        file.write(struct.pack("<4sIIII", b"glTF", 2, total, len(text), 0x4E4F534A) + text)
        file.write(struct.pack("<II", offset, 0x004E4942))
        for data, _, _ in arrays.values():
            data.tofile(file)
