"""Maps from files: which file, what its numbers mean, and what is no map."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError, ImageError
from ccd_cli.geometry.depth_map import Camera, DepthMap
from ccd_cli.media.exif import read_focal_35mm
from ccd_cli.media.map_read import Meaning, StoredMap, find_map, read_map, read_reference
from ccd_cli.media.map_sidecar import SIDECAR_KEY, sidecar_of
from ccd_cli.media.map_write import Origin, write_maps

VALUES = np.linspace(0.5, 30, 20 * 30).astype(np.float32).reshape(20, 30)


def test_the_most_exact_file_is_taken(tmp_path):
    for ending in (".png", ".depth.png", ".exr", ".npy", ".npz"):
        (tmp_path / f"a.b{ending}").touch()
        assert find_map(tmp_path, [Path("a.b")]).name == f"a.b{ending}"
    assert find_map(tmp_path, [Path("none"), Path("a.b")]).name == "a.b.npz"
    with pytest.raises(ImageError, match="none: no depth map of this name"):
        find_map(tmp_path, [Path("none")])


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.exr", "a.depth.png", "a.png"])
def test_every_map_shares_the_sidecar_of_its_photo(name):
    assert sidecar_of(Path("x") / name) == Path("x") / "a.json"
    assert sidecar_of(Path("a.jpg.npy")) == Path("a.jpg.json")


def test_codes_become_values_by_scale_and_offset(tmp_path):
    low, step = float(VALUES.min()), float(np.ptp(VALUES)) / 65534
    codes = (np.round((VALUES - low) / step) + 1).astype(np.uint16)
    codes[3, 4] = 0
    Image.fromarray(codes).save(tmp_path / "a.depth.png")
    side = {SIDECAR_KEY: 1, "kind": "affine-depth", "scale": step, "offset": low - step, "intrinsics": [20, 21, 15, 10]}
    (tmp_path / "a.json").write_text(json.dumps(side | {"intrinsics_source": "model", "resolution": 10}))
    stored = read_map(tmp_path / "a.depth.png")
    made = stored.depth_map
    assert made.kind == "affine-depth" and made.camera == Camera(20, 21, 15, 10) and stored.camera_source == "model"
    assert made.valid is not None and not made.valid[3, 4] and made.valid.sum() == 599
    assert np.abs(made.values - VALUES)[made.valid].max() <= step * 0.501
    assert stored.upsampling == 2


@pytest.mark.parametrize(
    ("resolution", "grain"), [(None, 1), (5, 4), (40, 1), ([30, 10], 2), ("x", 1), ([], 1), ([0], 1), ({}, 1)]
)
def test_the_grain_of_a_map(resolution, grain):
    assert StoredMap(Path("a"), DepthMap(VALUES, "depth"), "file", {"resolution": resolution}).upsampling == grain


@pytest.mark.parametrize("kind", ["disparity", "metric"])
@pytest.mark.parametrize("item", ["npy", "npz", "png16", "exr"])
def test_what_predict_writes_is_read_back(tmp_path, kind, item):
    if item == "exr":
        pytest.importorskip("OpenEXR", reason="the package OpenEXR is not installed")
    valid = np.ones(VALUES.shape, bool)
    valid[2:4, 5:9] = False
    made = DepthMap(VALUES, kind, valid, Camera(40, 41, 15, 10))
    origin = Origin("some-model", "0" * 64, "MIT", "0.1.0", 10, "exif", "f")
    write_maps(tmp_path / "a.b", made, np.zeros((20, 30, 3), np.uint8), [item], origin)
    stored = read_map(find_map(tmp_path, [Path("a.b")]))
    assert (stored.depth_map.kind, stored.camera_source, stored.upsampling) == (kind, "exif", 2)
    assert stored.depth_map.camera == made.camera
    assert stored.depth_map.valid is not None and (stored.depth_map.valid == valid).all()
    error = np.abs(stored.depth_map.values - VALUES)[valid].max()
    assert error <= {"png16": 0.000501 if kind == "metric" else 29.5 / 65534 / 1.9}.get(item, 0)


def test_an_extra_axis_of_one_is_no_matter(tmp_path):
    for number, values in enumerate((VALUES[None], VALUES[..., None], VALUES[None, None], VALUES.astype(np.float64))):
        np.save(tmp_path / f"{number}.npy", values)
        assert (read_map(tmp_path / f"{number}.npy", Meaning("metric")).depth_map.values == VALUES).all()


def test_a_matrix_of_intrinsics_is_understood(tmp_path):
    np.savez(tmp_path / "a.npz", depth=VALUES, intrinsics=np.array([[50, 0, 15], [0, 60, 10], [0, 0, 1.0]]))
    assert read_map(tmp_path / "a.npz", Meaning("metric")).depth_map.camera == Camera(50, 60, 15, 10)


@pytest.mark.parametrize(
    ("side", "text"),
    [
        ({"kind": "meters"}, "no kind of map"),
        ({"kind": "metric", "intrinsics": [1, 2, 3]}, "Camera"),
        ({"kind": "metric", "intrinsics": [0, 2, 3, 4]}, "positive focal"),
        ({"kind": "metric", "intrinsics": "abcd"}, "could not convert"),
    ],
)
def test_bad_sidecars_are_named(tmp_path, side, text):
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / "a.json").write_text(json.dumps({SIDECAR_KEY: 1} | side))
    with pytest.raises(ImageError, match=text) as caught:
        read_map(tmp_path / "a.npy")
    assert str(tmp_path) in str(caught.value)


def test_pngs_need_one_scale(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray((VALUES * 256).astype(np.uint16)).save(path)
    with pytest.raises(ImageError, match="no scale"):
        read_map(path, Meaning("metric"))
    assert read_map(path, Meaning(depth_scale=256)).depth_map.kind == "metric"
    assert read_map(path, Meaning("disparity", 256)).depth_map.kind == "disparity"
    (tmp_path / "a.json").write_text(json.dumps({SIDECAR_KEY: 1, "kind": "metric", "scale": None, "offset": None}))
    assert read_map(path, Meaning(depth_scale=256)).depth_map.values == pytest.approx(VALUES, abs=0.004)
    (tmp_path / "a.json").write_text(json.dumps({SIDECAR_KEY: 1, "kind": "metric", "scale": 0.001, "offset": 0}))
    with pytest.raises(ImageError, match="contradicts --depth-scale"):
        read_map(path, Meaning(depth_scale=256))
    (tmp_path / "a.json").write_text('{"ccd_sidecar": 1, "kind": "metric", "scale": NaN}')
    with pytest.raises(ImageError, match="finite"):
        read_map(path)


def test_references(tmp_path):
    codes = (VALUES * 1000).astype(np.uint16)
    codes[0, 0] = 0
    Image.fromarray(codes).save(tmp_path / "a.png")
    read = read_reference(tmp_path / "a.png", 1000)
    assert np.isnan(read[0, 0]) and read.flat[1:] == pytest.approx(VALUES.flat[1:], abs=1e-3)
    np.save(tmp_path / "a.npy", np.where(VALUES > 20, -np.inf, VALUES))
    read = read_reference(tmp_path / "a.npy", None)
    assert (np.isnan(read) == (VALUES > 20)).all()
    with pytest.raises(ImageError, match="--ref-scale"):
        read_reference(tmp_path / "a.png", None)


def test_exr_channels(tmp_path):
    exr = pytest.importorskip("OpenEXR", reason="the package OpenEXR is not installed")
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    for names in ("Y", "Z", "RGB"):
        exr.File(header, dict.fromkeys(names, VALUES)).write(str(tmp_path / f"{names}.exr"))
        assert (read_map(tmp_path / f"{names}.exr", Meaning("metric")).depth_map.values == VALUES).all()
    exr.File(header, {"R": VALUES, "G": VALUES * 2, "B": VALUES}).write(str(tmp_path / "color.exr"))
    with pytest.raises(ImageError, match="color image"):
        read_map(tmp_path / "color.exr", Meaning("metric"))
    (tmp_path / "text.exr").write_text("text")
    with pytest.raises(ImageError, match=r"not a readable \.exr"):
        read_map(tmp_path / "text.exr", Meaning("metric"))


def test_without_its_package_exr_says_what_to_install(tmp_path):
    if importlib.util.find_spec("OpenEXR"):
        pytest.skip("the package OpenEXR is installed")
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with pytest.raises(CcdError, match="pip install OpenEXR"):
        read_map(tmp_path / "a.exr", Meaning("metric"))


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x89PNG\r\n\x1a\n broken", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM"]
)
def test_damaged_exif_is_no_exif(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_focal_35mm(tmp_path / "a.jpg") is None
    assert read_focal_35mm(tmp_path / "gone.jpg") is None


@pytest.mark.parametrize(
    ("changes", "focal"),
    [
        ({}, 50 * 43.2666 / np.hypot(22.3, 14.9)),  # an APS-C sensor of 22.3 x 14.9 mm
        ({0xA405: 80}, 80.0),  # the equivalent itself wins
        ({0xA210: 3, 0xA20E: 300 / 2.23, 0xA20F: 200 / 1.49}, 50 * 43.2666 / np.hypot(22.3, 14.9)),  # a centimeter
        ({0xA210: 1}, None),  # no unit
        ({0xA20E: 0}, None),
        ({0x920A: 0}, None),
        ({0xA002: 300, 0xA003: 300}, None),  # cropped since
    ],
)
def test_the_focal_length_follows_from_the_sensor(tmp_path, changes, focal):
    image = Image.new("RGB", (300, 200))
    exif = image.getexif()
    inch = {0x920A: 50.0, 0xA20E: 300 / 22.3 * 25.4, 0xA20F: 200 / 14.9 * 25.4, 0xA210: 2, 0xA002: 300, 0xA003: 200}
    exif.get_ifd(0x8769).update({**inch, **changes})
    image.save(tmp_path / "a.jpg", exif=exif)
    found = read_focal_35mm(tmp_path / "a.jpg")
    assert found == (None if focal is None else pytest.approx(focal, rel=1e-3))
