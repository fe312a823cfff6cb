"""MoGe's bundle: its depth PNG, its view, its index."""

import io
import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ccd_cli.benchmarks import open_suite
from ccd_cli.benchmarks.decode import decode_codes
from ccd_cli.benchmarks.moge.bundle import BUNDLE
from ccd_cli.benchmarks.moge.png import decode_depth_png, normalized_intrinsics
from ccd_cli.benchmarks.moge.view import masked_nearest, rectify
from ccd_cli.core.errors import CcdError, ImageError
from tests.peers import encode_depth_png
from tests.tiny_sets import photo, ramp, write_moge

PINHOLE = np.array([[0.8, 0, 0.5], [0, 0.8 * 96 / 64, 0.5], [0, 0, 1]])


def test_codes_by_hand():
    depth = np.array([[0.5, 1, 2, np.nan], [4, 8, np.inf, 16]], np.float32)
    data = encode_depth_png(depth)
    codes, text = decode_codes(data, "x")
    assert codes.tolist() == [[1, 13108, 26214, 0], [39321, 52427, 65535, 65534]]
    assert text == {"near": "0.5", "far": "16.0"}
    np.testing.assert_allclose(decode_depth_png(data, "x"), depth, rtol=3e-5)


def test_a_flat_map_and_a_huge_range_survive():
    flat = np.full((4, 4), 3.0, np.float32)
    np.testing.assert_allclose(decode_depth_png(encode_depth_png(flat), "x"), flat, rtol=1e-5)
    wide = np.array([[1e-3, 1e6]], np.float32)
    assert decode_depth_png(encode_depth_png(wide), "x")[0, 1] == pytest.approx(100, rel=1e-4), "cut at near x 100 000"


@pytest.mark.parametrize("depth", [np.full((2, 2), np.nan), np.array([[1.0, 0.0]]), np.array([[-1.0, 2.0]])])
def test_depth_that_cannot_be_written(depth):
    with pytest.raises(CcdError, match="positive"):
        encode_depth_png(depth.astype(np.float32))


@pytest.mark.parametrize(
    "chunks", [{}, {"near": "1"}, {"near": "x", "far": "2"}, {"near": "2", "far": "1"}, {"near": "nan", "far": "1"}]
)
def test_chunks_that_are_missing_or_wrong(chunks):
    info = PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    file = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.uint16)).save(file, format="PNG", pnginfo=info)
    with pytest.raises(ImageError, match=r"sample/depth\.png"):
        decode_depth_png(file.getvalue(), "sample/depth.png")


def test_the_unit_of_old_files_is_multiplied_in():
    file = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    for key, value in (("near", "1"), ("far", "2"), ("unit", "0.5")):
        info.add_text(key, value)
    Image.fromarray(np.array([[1, 65534]], np.uint16)).save(file, format="PNG", pnginfo=info)
    assert decode_depth_png(file.getvalue(), "x").tolist() == [[0.5, 1.0]]


def brute_force(values, mask, size):
    result, known = np.zeros(size, np.float32), np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            cy, cx = (y + 0.5) * values.shape[0] / size[0], (x + 0.5) * values.shape[1] / size[1]
            high, wide = max(1, values.shape[0] / size[0]), max(1, values.shape[1] / size[1])
            best = np.inf
            for r in range(int(np.round(cy - high / 2)), int(np.round(cy - high / 2)) + int(np.ceil(high))):
                for c in range(int(np.round(cx - wide / 2)), int(np.round(cx - wide / 2)) + int(np.ceil(wide))):
                    if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c]:
                        far = (r + 0.5 - cy) ** 2 + (c + 0.5 - cx) ** 2
                        if far < best:
                            best, result[y, x], known[y, x] = far, values[r, c], True
    return result, known


@pytest.mark.parametrize("size", [(7, 9), (20, 31), (26, 40), (3, 80)])
def test_masked_nearest_against_its_rule(size):
    rng = np.random.default_rng(1)
    values, mask = rng.uniform(1, 9, (26, 40)).astype(np.float32), rng.uniform(size=(26, 40)) < 0.4
    got, known = masked_nearest(values, mask, size)
    expected, expected_known = brute_force(values, mask, size)
    np.testing.assert_array_equal(known, expected_known)
    np.testing.assert_array_equal(got, expected)


def test_a_centered_view_of_the_same_shape_is_the_photo():
    rgb, depth = photo(64, 96), ramp(64, 96, 1, 6).astype(np.float32)
    view = rectify(rgb, depth, PINHOLE, (64, 96))
    np.testing.assert_array_equal(view.rgb, rgb)
    np.testing.assert_allclose(view.depth, depth, rtol=1e-5)
    assert view.mask.all() and view.focal == pytest.approx((0.8, 1.2))


def test_a_plane_stays_a_plane_seen_from_a_turned_axis():
    """With the principal point off the middle the view turns; points of a plane must stay on one plane."""
    camera = np.array([[0.9, 0, 0.42], [0, 1.4, 0.6], [0, 0, 1]])
    y, x = np.mgrid[:120, :180]
    rays = np.stack([(x + 0.5) / 180, (y + 0.5) / 120, np.ones((120, 180))], -1) @ np.linalg.inv(camera).T
    depth = (4 / (rays @ np.array([0.2, -0.1, 1.0]))).astype(np.float32)
    view = rectify(photo(120, 180), depth, camera, (80, 100))
    target = np.array([[view.focal[0], 0, 0.5], [0, view.focal[1], 0.5], [0, 0, 1]])
    y, x = np.mgrid[:80, :100]
    rays = np.stack([(x + 0.5) / 100, (y + 0.5) / 80, np.ones((80, 100))], -1) @ np.linalg.inv(target).T
    points = (rays * view.depth[..., None])[view.mask]
    middle = points - points.mean(0)
    spread = np.linalg.svd(middle, full_matrices=False)[1] / np.sqrt(len(points))
    assert spread[2] < 0.02 and spread[1] > 0.3, "nearest sampling leaves a little noise"
    assert view.focal[0] * 100 == pytest.approx(view.focal[1] * 80), "square pixels"


def test_the_middle_of_the_photo_becomes_the_middle_of_the_view():
    camera = np.array([[0.9, 0, 0.42], [0, 1.4, 0.6], [0, 0, 1]])
    rgb = np.zeros((120, 180, 3), np.uint8)
    rgb[56:64, 86:94] = 255
    view = rectify(rgb, np.full((120, 180), 3.0, np.float32), camera, (80, 100))
    rows, columns = np.nonzero(view.rgb[..., 0] > 128)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((40, 50), abs=0.5)
    middle = np.linalg.norm(np.linalg.inv(camera) @ np.array([0.5, 0.5, 1.0]))
    assert view.depth[40, 50] == pytest.approx(3 * middle, rel=2e-3), "depth is measured along the new axis"


def test_far_outliers_and_unknown_pixels_are_dropped():
    depth = ramp(64, 96, 1, 6).astype(np.float32)
    depth[0, 0], depth[1], depth[2] = 5000, np.nan, np.inf
    view = rectify(photo(64, 96), depth, PINHOLE, (64, 96))
    assert not view.mask[0, 0] and not view.mask[1:3].any() and view.mask[3:].all()
    with pytest.raises(ImageError, match="no pixel"):
        rectify(photo(64, 96), np.full((64, 96), np.nan, np.float32), PINHOLE, (64, 96))


def test_the_ten_sets():
    assert len(BUNDLE) == 10
    assert {name for name, entry in BUNDLE.items() if entry.spec.boundary} == {
        "moge-ibims1",
        "moge-sintel",
        "moge-spring",
        "moge-hammer",
    }
    assert {name for name, entry in BUNDLE.items() if not entry.metric} == {"moge-gso", "moge-sintel", "moge-spring"}
    assert BUNDLE["moge-eth3d"].size == (1365, 2048)


@pytest.mark.parametrize("place", ["moge", "eval", "monocular-geometry-evaluation", "."])
def test_a_set_is_found_and_read(tmp_path, place):
    write_moge(tmp_path / place / "iBims-1")
    (found,), missing = open_suite("moge-ibims1", tmp_path)
    sample = found.read(0)
    assert missing == [] and found.names() == ["a/b/image.jpg"]
    assert sample.rgb.shape == (480, 640, 3) and sample.depth.shape == sample.mask.shape == (480, 640)
    assert sample.camera is not None and sample.camera.cx == 320 and sample.camera.fx == pytest.approx(sample.camera.fy)
    assert 0.5 < sample.mask.mean() < 0.9 and np.isfinite(sample.depth[sample.mask]).all()
    assert found.prediction_names(0) == ["a/b/pred_image.npy", "a/b/image.npy", "a/b.npy"]


def test_missing_and_packed_sets_have_reasons(tmp_path):
    write_moge(tmp_path / "moge/GSO")
    (tmp_path / "moge/Sintel.zip").write_bytes(b"x")
    found, missing = open_suite("moge", tmp_path)
    assert [one.spec.name for one in found] == ["moge-gso"] and len(missing) == 9
    assert "unzip" in dict(missing)["moge-sintel"]


@pytest.mark.parametrize("index", ["../../etc\n", "", "/abs\n"])
def test_an_index_that_is_none(tmp_path, index):
    write_moge(tmp_path / "moge/GSO")
    (tmp_path / "moge/GSO/.index.txt").write_text(index)
    with pytest.raises(CcdError, match=r"\.index\.txt"):
        open_suite("moge-gso", tmp_path)


@pytest.mark.parametrize("meta", ["{", "[]", "{}", json.dumps({"intrinsics": [[1, 2], [3]]}), "[" * 100_000])
def test_a_damaged_meta_file_is_named(tmp_path, meta):
    write_moge(tmp_path / "moge/GSO")
    (tmp_path / "moge/GSO/a/b/meta.json").write_text(meta)
    (found,), _ = open_suite("moge-gso", tmp_path)
    with pytest.raises(ImageError, match=r"a/b/meta\.json"):
        found.read(0)


@pytest.mark.parametrize(
    "matrix", [None, [[0, 0, 0]] * 3, [[-1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], np.eye(4).tolist(), np.ones((3, 3))]
)
def test_intrinsics_that_are_none(matrix):
    with pytest.raises(ImageError, match="intrinsics"):
        normalized_intrinsics(matrix, "m")


@pytest.mark.parametrize("middle", [0.5 + 1e6, 40.0, -7.0])
def test_a_camera_that_looks_past_its_picture_leaves_no_view_and_takes_no_time(middle):
    camera = np.array([[0.8, 0, middle], [0, 1.2, 0.5], [0, 0, 1]])
    with pytest.raises(ImageError, match="no view"):
        rectify(photo(64, 96, 0), ramp(64, 96, 1, 2), camera, (1365, 2048))
