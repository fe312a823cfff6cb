"""Depth in every format that people have, for tests of readers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


def write_depth(path: Path, values: np.ndarray) -> None:
    """Write a float32 map [H, W] by the ending of its name; skips the test where a package is missing."""
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        with path.open("wb") as file:  # a name would get its ending once more
            np.save(file, values) if suffix == ".npy" else np.savez(file, depth=values)
    elif suffix in (".tiff", ".tif"):
        assert cv2.imwrite(str(path), values)
    elif suffix == ".pfm":
        head = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode()
        path.write_bytes(head + values[::-1].astype("<f4").tobytes())
    elif suffix == ".exr":
        write_exr(path, {"Z": values})
    elif suffix == ".mat":
        pytest.importorskip("scipy.io").savemat(path, {"depth": values}, appendmat=False)
    elif suffix == ".h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file["depth"] = values
    else:
        raise ValueError(suffix)


def write_exr(path: Path, channels: dict[str, np.ndarray], **header) -> None:
    """Write an .exr of these channels."""
    exr = pytest.importorskip("OpenEXR", reason="the package OpenEXR is not installed")
    base = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File({**base, **header}, dict(channels)).write(str(path))
