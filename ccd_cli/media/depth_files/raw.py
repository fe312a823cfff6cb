"""The one reader of depth files: the numbers of a map by the ending of its name, in capitals or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ccd_cli.core.errors import ImageError, first_line
from ccd_cli.media.depth_files.archives import read_hdf5, read_mat, read_npz
from ccd_cli.media.depth_files.exr import read_exr
from ccd_cli.media.depth_files.images import IMAGES, read_image, read_pfm
from ccd_cli.media.depth_files.plane import RawMap, plane

MAP_SUFFIXES = (
    *(".npz", ".npy", ".exr", ".depth.png", ".png"),
    *(".tiff", ".tif", ".pfm", ".mat", ".h5", ".hdf5"),
)
"""Endings behind an image's stem, in the order in which they are looked for; `.npz` knows its own invalid pixels."""


def read_raw(path: Path, key: str | None = None) -> RawMap:
    """Return the map of a file by the ending of its name, else by its first bytes.

    `key` names the array or channel where it holds several.

    Raises ImageError for what is no map or damaged, CcdError where a package is missing that reads such files.
    """
    suffix = path.suffix.lower()
    several = _SEVERAL.get(suffix)
    one = _ONE.get(suffix)
    if several is None and one is None and _is_image(path):
        one = read_image
    if several is None and one is None:
        raise ImageError(f"{path}: not a depth map by its name ({', '.join([*MAP_SUFFIXES, *IMAGES[3:]])})")
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: not a readable {suffix} (empty file)")
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    if several is not None:
        return several(path, key)
    assert one is not None
    return one(path)


def _is_image(path: Path) -> bool:
    """Tell by its first bytes whether a file of another ending is an image of a common format."""
    try:
        with path.open("rb") as file:
            return file.read(8).startswith((b"\x89PNG", b"II*\0", b"MM\0*", b"\xff\xd8\xff"))
    except OSError:
        return False


def read_npy(path: Path) -> RawMap:
    """Return the map of an .npy file; nothing in it is executed. Raises ImageError."""
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")  # the shape first, then the memory
        return plane(values, path)
    except ImageError:
        raise
    except Exception as error:  # numpy raises SyntaxError, OverflowError and others for a header that lies
        raise ImageError(f"{path}: not a readable .npy ({first_line(error)})") from error


_SEVERAL: dict[str, Callable[[Path, str | None], RawMap]] = {
    ".npz": read_npz,
    ".exr": read_exr,
    ".mat": read_mat,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}
_ONE: dict[str, Callable[[Path], RawMap]] = {
    ".npy": read_npy,
    ".pfm": read_pfm,
    **dict.fromkeys(IMAGES, read_image),
}
