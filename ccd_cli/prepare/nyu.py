"""NYUv2's labeled images from `nyu_depth_v2_labeled.mat`, named as in the published split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ccd_cli.core.errors import CcdError
from ccd_cli.core.files import atomic_write
from ccd_cli.core.report import Report

LABELED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
WIDTH, HEIGHT = 640, 480
BYTES = WIDTH * HEIGHT * 7  # an image and two maps, uncompressed: an upper bound for the PNGs
INSTALL = 'pip install -e ".[data]"'


@dataclass(frozen=True)
class Frame:
    """One labeled image: its row in the file and its folder in the set; files are numbered from 1."""

    row: int
    scene: str

    def path(self, kind: str) -> str:
        """Return the path of `rgb`, `depth` (as measured) or `filled` inside the set."""
        return f"test/{self.scene}/{kind}_{self.row + 1:04d}.png"


def find(source: Path, name: str) -> Path:
    """Return the file `name` in a folder or below it; raises CcdError where there is none."""
    found = sorted(source.rglob(name)) if source.is_dir() else []
    if not found:
        raise CcdError(f"{source} holds no {name}.", "`ccd data list` says where it comes from.")
    return found[0]


@contextmanager
def labeled(source: Path) -> Iterator[Any]:
    """Open the labeled file; raises CcdError where h5py is missing or the file has other arrays."""
    try:
        import h5py
    except ImportError as error:
        raise CcdError("NYUv2's file is HDF5, and h5py is not installed.", f"Run: {INSTALL}") from error
    path = find(source, LABELED)
    try:
        with h5py.File(path, "r") as file:
            for name, shape in (
                ("images", (3, WIDTH, HEIGHT)),
                ("rawDepths", (WIDTH, HEIGHT)),
                ("depths", (WIDTH, HEIGHT)),
            ):
                if not isinstance(file.get(name, getlink=True), h5py.HardLink) or file[name].shape[1:] != shape:
                    raise CcdError(f"{path}: no array '{name}' of N x {' x '.join(map(str, shape))}.")
            yield file
    except (OSError, KeyError) as error:
        raise CcdError(
            f"{path}: not a complete {LABELED}.", "Download it again; finished files are retained."
        ) from error


def split_frames(source: Path, file: Any) -> list[Frame]:
    """Return the frames of the test split in `splits.mat`; raises CcdError where it is missing or not that file."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise CcdError("splits.mat is a MATLAB file, and scipy is not installed.", f"Run: {INSTALL}") from error
    path = find(source, SPLITS)
    try:
        rows = loadmat(path, variable_names=["testNdxs"])["testNdxs"].ravel().astype(np.int64) - 1
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise CcdError(f"{path}: holds no 'testNdxs': not NYUv2's split.", "Download it again.") from error
    count = file["images"].shape[0]
    if not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise CcdError(f"{path}: its rows do not fit the {count} images of {LABELED}.")
    return [Frame(int(row), _scene(file, int(row))) for row in sorted(rows)]


def write_frames(file: Any, frames: list[Frame], target_folder: Path, report: Report) -> int:
    """Write the missing files of all frames below `target_folder`; return how many were written."""
    written = 0
    report.begin("preparing nyuv2", len(frames))
    try:
        for done, frame in enumerate(frames, 1):
            for kind in ("rgb", "depth", "filled"):
                target = target_folder / frame.path(kind)
                if not target.exists():
                    with atomic_write(target) as temporary:
                        Image.fromarray(_pixels(file, frame.row, kind)).save(temporary, format="PNG")
                    written += 1
            report.advance(done)
    finally:
        report.end()
    return written


def _pixels(file: Any, row: int, kind: str) -> np.ndarray:
    """Return uint8 [H, W, 3], or uint16 millimeters [H, W] where 0 is invalid; MATLAB stores columns first."""
    if kind == "rgb":
        return np.ascontiguousarray(file["images"][row].transpose(2, 1, 0).astype(np.uint8))
    meters = file["rawDepths" if kind == "depth" else "depths"][row].T
    valid = np.isfinite(meters) & (meters > 0)
    return np.where(valid, np.round(np.where(valid, meters, 0) * 1000.0).clip(0, 65535), 0).astype(np.uint16)


def _scene(file: Any, row: int) -> str:
    codes = file[file["scenes"][0, row]][()].ravel()
    name = "".join(chr(int(code)) for code in codes)
    if not re.fullmatch(r"[A-Za-z0-9_]{1,64}", name):
        raise CcdError(f"{LABELED}: image {row + 1} has the scene name {name!r}, refused.")
    return name
