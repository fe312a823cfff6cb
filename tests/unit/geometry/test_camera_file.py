"""Cameras from files: every form gives the numbers that stand in it, and what is no pinhole camera is refused by name."""

import json

import numpy as np
import pytest

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.camera_file import read_camera_file
from ccd_cli.geometry.depth_map import Camera

K = [[150.0, 0, 80], [0, 160, 60], [0, 0, 1]]
CAMERA, SIZE = Camera(150, 160, 80, 60), (120, 160)
FLAT = [value for row in K for value in row]
COLUMNS = [value for column in zip(*K, strict=True) for value in column]
K4 = [[150.0, 0, 80, 0], [0, 160, 60, 0], [0, 0, 1, 0], [0, 0, 0, 1]]

TEXTS = {
    "matrix": ("150 0 80\n0 160 60\n0 0 1\n", None),
    "as numpy saves it": ("1.500e+02 0.0e+00 8.0e+01\n0 1.6e+02 6e+01\n0 0 1e+00", None),
    "as numpy prints it": ("[[150.   0.  80.]\n [  0. 160.  60.]\n [  0.   0.   1.]]", None),
    "commas": ("# K\n150,0,80\n0,160,60\n0,0,1", None),
    "four": ("150 160 80 60", None),
    "ScanNet": ("150 0 80 0\n0 160 60 0\n0 0 1 0\n0 0 0 1", None),
    "KITTI": ("150 0 80 -44\n0 160 60 0.2\n0 0 1 0", None),
    "UTF-16": ("150 160 80 60".encode("utf-16"), None),
    "BOM": ("\ufeff150 160 80 60", None),
    "COLMAP": ("# Camera list\n# CAMERA_ID, MODEL, WIDTH\n1 PINHOLE 160 120 150 160 80 60\n", SIZE),
    "COLMAP twice the same": ("1 PINHOLE 160 120 150 160 80 60\n2 PINHOLE 160 120 150 160 80 60\n", SIZE),
    "COLMAP without distortion": ("1 OPENCV 160 120 150 160 80 60 0 0 0.0 0\n", SIZE),
}
JSONS = {
    "3D Scanner App": ({"intrinsics": FLAT, "cameraPoseARFrame": [0] * 16, "time": 1.0}, None),
    "ARKit in columns": ({"intrinsics": COLUMNS, "width": 160, "height": 120}, SIZE),
    "rows": ({"intrinsics": K, "w": 160, "h": 120}, SIZE),
    "4x4": ({"K": K4}, None),
    "K": ({"K": COLUMNS, "w": 160, "h": 120}, SIZE),
    "nerfstudio": (
        {"fl_x": 150, "fl_y": 160, "cx": 80, "cy": 60, "w": 160, "h": 120, "k1": 0.0, "camera_model": "OPENCV"},
        SIZE,
    ),
    "Polycam": ({"fx": 150, "fy": 160, "cx": 80, "cy": 60, "width": 160, "height": 120, "t_00": 1}, SIZE),
    "a list of one": ([{"fx": 150, "fy": 160, "cx": 80, "cy": 60}], None),
}


@pytest.mark.parametrize("form", TEXTS)
def test_text(tmp_path, form):
    text, size = TEXTS[form]
    (tmp_path / "k.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = read_camera_file(tmp_path / "k.txt")
    assert (found.camera, found.size) == (CAMERA, size)
    assert found.file.endswith("k.txt") and "k.txt" not in repr(found), "results do not depend on the name"


@pytest.mark.parametrize("form", JSONS)
def test_json(tmp_path, form):
    value, size = JSONS[form]
    (tmp_path / "k.json").write_text(json.dumps(value))
    found = read_camera_file(tmp_path / "k.json")
    assert (found.camera, found.size) == (CAMERA, size)


@pytest.mark.parametrize("values", [K, FLAT, [K], K4, [150, 160, 80, 60]])
def test_arrays(tmp_path, values):
    np.save(tmp_path / "k.npy", np.array(values, np.float64))
    assert read_camera_file(tmp_path / "k.npy").camera == CAMERA


def test_open3d_puts_the_first_pixel_at_zero(tmp_path):
    """Its own PrimeSense default, 640x480 with (319.5, 239.5), is centered."""
    matrix = [525.0, 0, 0, 0, 525, 0, 319.5, 239.5, 1]
    plain = {"width": 640, "height": 480, "intrinsic_matrix": matrix}
    for value in (plain, {"class_name": "PinholeCameraParameters", "extrinsic": [1], "intrinsic": plain}):
        (tmp_path / "o3d.json").write_text(json.dumps(value))
        found = read_camera_file(tmp_path / "o3d.json")
        assert (found.camera, found.size) == (Camera(525, 525, 320, 240), (480, 640))


def test_simple_pinhole_has_one_focal_length(tmp_path):
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_PINHOLE 160 120 150 80 60\n")
    assert read_camera_file(tmp_path / "cameras.txt").camera == Camera(150, 150, 80, 60)


BAD = {
    "1 SIMPLE_RADIAL 160 120 150 80 60 0.1": "SIMPLE_RADIAL has lens distortion",
    "1 OPENCV 160 120 150 160 80 60 0.1 0 0 0": "OPENCV has lens distortion",
    "1 OPENCV_FISHEYE 160 120 150 160 80 60 0 0 0 0": "OPENCV_FISHEYE is not a pinhole",
    "1 PINHOLE 160 120 150 160 80": "needs width, height and 4",
    "1 PINHOLE 160 120 150 160 80 60\n2 PINHOLE 160 120 170 160 80 60": "2 different cameras",
    "1 PINHOLE 160.5 120 150 160 80 60": "no image size",
    "150 0 0\n0 160 0\n80 60 1": "not a camera matrix",
    "150 3 80\n0 160 60\n0 0 1": "skew",
    "1 0 0 0\n0 1 0 0\n0 0 1 2\n0 0 0 1": "not a camera matrix",
    "150 160 80": "3 numbers",
    "": "0 numbers",
    "150 160 80 sixty": "not understood",
    "-150 160 80 60": "positive focal",
    "nan 160 80 60": "finite",
    "0.9 1.2 0.5 0.5": "units of the image's size",
    "{": "not readable JSON",
    "{}": "states no camera",
    '{"intrinsic_matrix": "abc"}': "something else than numbers",
    '{"intrinsics": [1, 2]}': "2 numbers",
    '{"intrinsics": {"fx": 1}}': "something else than numbers",
    '{"fx": 150, "fy": 160, "cx": 80, "cy": 60, "k1": 0.1}': "lens distortion",
    '{"fx": 1e999, "fy": 160, "cx": 80, "cy": 60}': "finite",
    '{"fx": 150, "fy": 160, "cx": 80, "cy": 60, "camera_model": "EQUIRECTANGULAR"}': "not a pinhole camera",
    '{"fx": 150, "fy": 160, "cx": 80, "cy": 60, "w": 0, "h": 120}': "no image size",
    '{"fx": null, "fy": 160, "cx": 80, "cy": 60}': "something else than numbers",
    '{"a":' * 100_000: "not readable JSON",
}


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:30])
def test_what_is_no_pinhole_camera_is_refused_by_name(tmp_path, text):
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(UsageProblem, match=BAD[text]) as error:
        read_camera_file(tmp_path / "bad.txt")
    assert "bad.txt" in error.value.message


def test_files_that_are_none(tmp_path):
    (tmp_path / "cameras.bin").write_bytes(b"\x01\0\0\0\0\0")
    with pytest.raises(UsageProblem, match="binary"):
        read_camera_file(tmp_path / "cameras.bin")
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_camera_file(tmp_path / "gone.txt")
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_camera_file(tmp_path)
    np.save(tmp_path / "many.npy", np.zeros((20, 3, 3)))
    with pytest.raises(UsageProblem, match="one camera"):
        read_camera_file(tmp_path / "many.npy")
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(UsageProblem, match="not an array of numbers"):
        read_camera_file(tmp_path / "objects.npy")
    (tmp_path / "large.txt").write_bytes(b" " * 4_000_001)
    with pytest.raises(UsageProblem, match="too large"):
        read_camera_file(tmp_path / "large.txt")
