"""Depth in files that hold several arrays: .npz, MATLAB's .mat, HDF5. Shapes are checked before memory is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ccd_cli.core.errors import CcdError, ImageError, first_line
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.media.depth_files.plane import RawMap, check_size, choose, is_plane, plane
from ccd_cli.media.photos import MAX_PIXELS

MOST_ITEMS = 1000
"""Arrays of an HDF5 file that are looked at."""
_BESIDE = ("valid", "mask", "intrinsics")
"""Arrays of an .npz beside its map."""


def read_npz(path: Path, key: str | None = None) -> RawMap:
    """Return `depth`, `key` or the only map of an .npz, with its `valid` or `mask` [H, W], true where depth is known, and
    `intrinsics`. Raises ImageError.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if max((part.file_size for part in file.zip.infolist()), default=0) > 8 * MAX_PIXELS + 1000:
                raise ImageError(f"{path}: over {MAX_PIXELS // 1_000_000} megapixels")
            maps: list[str] = []
            if key is None and "depth" not in file:
                others = [name for name in file.files if name.lower() not in _BESIDE]
                maps = [name for name in others if is_plane(*_header(file, name))]
            name = "depth" if key is None and "depth" in file else choose(file.files, maps, key, path)
            made = plane(file[name], path, name)
            beside = next((each for each in ("valid", "mask") if each in file and each != name), None)
            valid = None if beside is None else file[beside].astype(bool).squeeze()
            camera_choice = [float(v) for v in file["intrinsics"].ravel()] if "intrinsics" in file else []
    except ImageError:
        raise
    except Exception as error:  # zip, zlib and numpy each have errors of their own
        raise ImageError(f"{path}: not a readable .npz ({first_line(error)})") from error
    if valid is not None and valid.shape != made.values.shape:
        raise ImageError(f"{path}: its mask '{beside}' is not of the size of its map")
    if len(camera_choice) == 9:  # a 3 x 3 matrix
        camera_choice = [camera_choice[0], camera_choice[4], camera_choice[2], camera_choice[5]]
    try:
        camera = Camera(*camera_choice) if camera_choice else None
    except (CcdError, TypeError) as error:
        raise ImageError(f"{path}: intrinsics are not four numbers with positive focal lengths") from error
    return replace(made, valid=valid, camera=camera)


def _header(file: Any, name: str) -> tuple[tuple[int, ...], str]:
    """Return (shape, kind letter) of an array of an .npz without reading it."""
    with file.zip.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = reader(member)
        return shape, kind.kind


def read_mat(path: Path, key: str | None = None) -> RawMap:
    """Return `depth`, `key` or the only map of a MATLAB file of any version. Raises ImageError."""
    if _starts_with(path, b"MATLAB 7.3") or _starts_with(path, b"\x89HDF"):
        return read_hdf5(path, key)
    try:
        from scipy.io import loadmat, whosmat
    except ImportError:
        raise CcdError(f"{path}: reading .mat needs the package scipy.", "pip install scipy") from None
    try:
        shapes = {name: shape for name, shape, kind in whosmat(str(path)) if kind not in ("char", "cell", "struct")}
        name = choose(list(shapes), [name for name, shape in shapes.items() if is_plane(shape)], key, path)
        check_size(shapes[name], path)
        return plane(np.asarray(loadmat(str(path), variable_names=[name])[name]), path, name)
    except ImageError:
        raise
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise ImageError(f"{path}: not a readable .mat ({first_line(error)})") from error


def read_hdf5(path: Path, key: str | None = None) -> RawMap:
    """Return `depth`, `key` or the only map of an HDF5 file; what MATLAB wrote is turned, as it stores columns.

    Links and storage outside the file are not followed. Raises ImageError.
    """
    try:
        import h5py
    except ImportError:
        raise CcdError(f"{path}: reading HDF5 needs the package h5py.", "pip install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, Any] = {}

            def keep(name: str, item: Any) -> bool | None:
                if isinstance(item, h5py.Dataset) and not item.is_virtual and not item.external:
                    found[name] = item
                return True if len(found) >= MOST_ITEMS else None

            file.visititems(keep)  # follows neither soft nor external links
            maps = [name for name, item in found.items() if is_plane(item.shape, item.dtype.kind)]
            name = choose(list(found), maps, key, path)
            check_size(found[name].shape, path)
            values = np.asarray(found[name][()])
            return plane(values.T if "MATLAB_class" in found[name].attrs else values, path, name)
    except ImageError:
        raise
    except Exception as error:  # h5py raises OSError, KeyError, RuntimeError and others
        raise ImageError(f"{path}: not a readable HDF5 file ({first_line(error)})") from error


def _starts_with(path: Path, text: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(text)) == text
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
