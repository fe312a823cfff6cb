"""Files that state a camera, for `--intrinsics`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import as_json, saved

MATRIX = [[30.0, 0.0, 16.0], [0.0, 31.0, 12.0], [0.0, 0.0, 1.0]]


def camera_readers() -> list[Reader]:
    """Return the reader of camera files, whose camera is then asked for at other image sizes; and of numbers as words."""
    from ccd_cli.geometry.camera import parse_intrinsics
    from ccd_cli.geometry.camera_file import read_camera_file

    def read(place: Path, name: str) -> None:
        found = read_camera_file(place / name)
        for size in ((24, 32), (48, 64)):
            camera = found.at(*size)
            assert all(np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy])) and camera.fx > 0 and camera.fy > 0

    size = {"width": 32, "height": 24}
    columns = np.array(MATRIX).T.ravel().tolist()
    documents = {
        "open3d.json": {**size, "intrinsic_matrix": columns},
        "trajectory.json": {"extrinsic": [1.0], "intrinsic": {**size, "intrinsic_matrix": columns}},
        "arkit.json": {"intrinsics": columns, "cameraPoseARFrame": [1.0]},
        "ros.json": {**size, "K": MATRIX},
        "nerfstudio.json": {"w": 32, "h": 24, "fl_x": 30.0, "fl_y": 31.0, "cx": 16.0, "cy": 12.0, "k1": 0.0},
        "plain.json": {"fx": 30.0, "fy": 31.0, "cx": 16.0, "cy": 12.0},
    }
    texts = {
        "cameras.txt": b"# Camera list\n#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n1 PINHOLE 32 24 30 31 16 12\n",
        "radial.txt": b"1 SIMPLE_RADIAL 32 24 30 16 12 0\n2 SIMPLE_RADIAL 32 24 30 16 12 0\n",
        "matrix.txt": b"30 0 16\n0 31 12\n0 0 1\n",
        "four.txt": b"30, 31, 16, 12\n",
        "utf16.txt": "30 31 16 12\n".encode("utf-16"),
    }
    arrays = {
        "k.npy": np.array(MATRIX),
        "four.npy": np.array([30, 31, 16, 12]),
        "p.npy": np.diag([30, 31, 1, 1.0]),
    }
    binary = {name: saved(lambda b, array=array: np.save(b, array)) for name, array in arrays.items()}
    styles = dict.fromkeys(documents, "json") | dict.fromkeys(texts, "text") | dict.fromkeys(binary, "bytes")
    files = {name: as_json(value) for name, value in documents.items()} | texts | binary
    return [
        Reader("camera files", read, files, styles, weight=5),
        Reader(
            "--intrinsics",
            lambda _, word: parse_intrinsics(word).at(24, 32),
            words=("30,31,16,12", "30 0 16 0 31 12 0 0 1"),
            weight=1,
        ),
    ]
