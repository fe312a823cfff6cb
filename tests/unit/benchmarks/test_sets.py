"""The five sets of the zero-shot suite: the same samples from folders and tars, masks by their protocols."""

import shutil
from math import inf

import numpy as np
import pytest

from ccd_cli.benchmarks import open_suite
from ccd_cli.benchmarks.layouts import LAYOUTS, ZERO_SHOT
from ccd_cli.benchmarks.regions import eigen, garg, kb_crop, nyu
from ccd_cli.core.errors import CcdError, ImageError, UsageProblem
from tests.tiny_sets import DRIVE, KITTI_NAMES, WRITERS, pack, photo, put_codes, put_rgb, ramp, write_kitti

TABLE = [  # frame; Eigen rows and columns; Garg rows; both share columns
    ((352, 1216), (117, 321, 43, 1172), (143, 349)),
    ((375, 1242), (124, 342, 44, 1197), (153, 371)),
    ((370, 1226), (122, 337, 44, 1181), (151, 366)),
    ((374, 1238), (124, 341, 44, 1193), (152, 370)),
    ((370, 1224), (122, 337, 43, 1180), (151, 366)),
    ((376, 1241), (124, 343, 44, 1196), (153, 372)),
]
CORNERS = {
    (375, 1242): (23, 13),
    (370, 1226): (18, 5),
    (374, 1238): (22, 11),
    (370, 1224): (18, 4),
    (376, 1241): (24, 12),
}


def numbers(region):
    rows, columns = region
    return rows.start, rows.stop, columns.start, columns.stop


def one(name, root):
    (found,), missing = open_suite(name, root)
    assert missing == []
    return found


@pytest.mark.parametrize(("size", "by_eigen", "by_garg"), TABLE)
def test_kitti_crops(size, by_eigen, by_garg):
    assert numbers(eigen(size)) == by_eigen
    assert numbers(garg(size)) == (*by_garg, *by_eigen[2:])


@pytest.mark.parametrize(("size", "corner"), CORNERS.items())
def test_kitti_benchmark_crop(size, corner):
    assert numbers(kb_crop(size)) == (corner[0], corner[0] + 352, corner[1], corner[1] + 1216)


def test_crops_of_frames_that_do_not_fit_are_errors():
    for rule, size in ((kb_crop, (351, 1216)), (kb_crop, (352, 1215)), (nyu, (481, 640))):
        with pytest.raises(ImageError):
            rule(size)


def test_pixels_of_the_crops():
    inside = np.zeros((352, 1216), bool)
    inside[eigen((352, 1216))] = True
    assert inside.sum() == 230316
    inside = np.zeros((352, 1216), bool)
    inside[garg((352, 1216))] = True
    assert inside.sum() == 232574
    rows, columns = nyu((480, 640))
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == 238560


@pytest.mark.parametrize("name", ZERO_SHOT)
@pytest.mark.parametrize("start", ["./", ""])
def test_a_tar_is_the_folder(tmp_path, name, start):
    folder = tmp_path / "a" / name
    WRITERS[name](folder)
    inside = pack(folder, tmp_path / "b" / name / LAYOUTS[name].tar, start)
    pack(folder, tmp_path / "c" / f"{name}.tar", start)
    unpacked = one(name, tmp_path / "a")
    for root in ("b", "c"):
        packed = one(name, tmp_path / root)
        assert packed.names() == unpacked.names() and len(packed) == len(unpacked)
        for index in range(len(packed)):
            left, right = unpacked.read(index), packed.read(index)
            assert left.name == right.name
            np.testing.assert_array_equal(left.rgb, right.rgb)
            np.testing.assert_array_equal(left.depth, right.depth)
            np.testing.assert_array_equal(left.mask, right.mask)
    assert inside.parent.is_dir()


@pytest.mark.parametrize("name", ZERO_SHOT)
def test_samples_keep_their_promises(tmp_path, name):
    WRITERS[name](tmp_path / name)
    found = one(name, tmp_path)
    assert len(found) == (1 if name == "eth3d" else 2)
    for index in range(len(found)):
        sample = found.read(index)
        assert (sample.rgb.dtype, sample.depth.dtype, sample.mask.dtype) == (np.uint8, np.float32, np.bool_)
        assert sample.rgb.shape == (*sample.depth.shape, 3) and sample.mask.shape == sample.depth.shape
        assert sample.mask.any() and np.isfinite(sample.depth[sample.mask]).all()
        assert not (sample.depth <= 0).any(), "unknown depth is NaN"
        assert sample.name == found.names()[index]


def test_nyuv2_takes_the_test_photos_and_the_raw_depth(tmp_path):
    WRITERS["nyuv2"](tmp_path / "nyuv2")
    found = one("nyuv2", tmp_path)
    assert found.names() == ["test/kitchen_0004/rgb_0001.png", "test/office_0001/rgb_0002.png"]
    sample = found.read(0)
    expected = (np.round(1000 * ramp(480, 640, 0, 12)).astype(np.uint16) / 1000).astype(np.float32)
    inside = np.zeros((480, 640), bool)
    inside[45:471, 41:601] = True
    np.testing.assert_array_equal(sample.mask, inside & (expected > np.float32(1e-3)) & (expected < 10))
    np.testing.assert_array_equal(sample.depth, np.where(expected > 0, expected, np.nan))
    assert found.prediction_names(0) == ["test/kitchen_0004/pred_0001.npy", "test/kitchen_0004/rgb_0001.npy"]
    assert found.spec.depth_range == (1e-3, 10.0)


def test_a_depth_of_exactly_the_range_is_not_scored(tmp_path):
    """Codes 1 and 10000 are 0.001 and 10 m, the ends of ScanNet's open range."""
    codes = np.full((48, 64), 5000)
    codes[0, :3] = 1, 10000, 0
    put_rgb(tmp_path / "scannet/scene0011_00/color/000000.jpg", photo(48, 64))
    put_codes(tmp_path / "scannet/scene0011_00/depth/000000.png", codes)
    sample = one("scannet", tmp_path).read(0)
    assert not sample.mask[0, :3].any() and sample.mask.sum() == 48 * 64 - 3
    assert sample.depth[0, 1] == 10 and np.isnan(sample.depth[0, 2])


@pytest.mark.parametrize(("name", "rows"), [("kitti", (117, 321)), ("kitti-garg", (143, 349))])
def test_kitti_is_cut_first_and_scored_in_that_frame(tmp_path, name, rows):
    write_kitti(tmp_path / "kitti")
    found = one(name, tmp_path)
    assert found.names() == sorted(KITTI_NAMES), "the photo without depth drops out"
    sample = found.read(0)
    assert sample.rgb.shape == (352, 1216, 3)
    np.testing.assert_array_equal(sample.rgb, photo(375, 1242)[23:375, 13:1229])
    meters = (np.round(256 * ramp(375, 1242, 0, 100)) / 256)[23:375, 13:1229]
    np.testing.assert_array_equal(sample.depth, np.where(meters > 0, meters, np.nan).astype(np.float32))
    scored = np.nonzero(sample.mask)[0]
    assert (scored.min(), scored.max() + 1) == rows
    assert sample.depth[sample.mask].max() < 80 < np.nanmax(sample.depth)
    assert found.spec.name == name and found.prediction_names(0)[0].endswith("/data/pred_0000000054.npy")


def test_eth3d_is_bare_floats_of_the_photos_size(tmp_path):
    depth = WRITERS["eth3d"](tmp_path / "eth3d")
    found = one("eth3d", tmp_path)
    sample = found.read(0)
    np.testing.assert_array_equal(sample.mask, np.isfinite(depth) & (depth > 1e-5))
    np.testing.assert_array_equal(sample.depth[sample.mask], depth[sample.mask])
    assert (found.spec.depth_range, found.spec.resolution, found.spec.max_res) == ((1e-5, inf), 756, 1024)


def test_eth3d_with_undistorted_photos_is_refused(tmp_path):
    WRITERS["eth3d"](tmp_path / "eth3d")
    put_rgb(tmp_path / "eth3d/rgb/office/images/dslr_images/DSC_0001.JPG", photo(41, 62))
    with pytest.raises(ImageError, match="undistorted"):
        one("eth3d", tmp_path).read(0)


def test_diode_is_masked_by_its_mask_alone(tmp_path):
    """Depth of 0.2 m and 400 m lies outside 0.6 - 350 m, the range of predictions, and is scored all the same."""
    WRITERS["diode"](tmp_path / "diode")
    found = one("diode", tmp_path)
    sample = found.read(0)
    assert sample.mask[4:].all() and not sample.mask[:4].any()
    assert sample.depth[4, 0] == pytest.approx(0.2) and sample.depth[4, -1] == pytest.approx(400)
    assert (found.spec.depth_range, found.spec.resolution) == ((0.6, 350.0), 640)


def test_a_list_file_decides_samples_and_order(tmp_path):
    write_kitti(tmp_path / "kitti")
    lines = [f"{name} {DRIVE}/proj_depth/groundtruth/image_02/{name[-14:]} 721.5377" for name in KITTI_NAMES]
    lines.insert(1, KITTI_NAMES[0].replace("69", "75") + " None 721.5377")
    (tmp_path / "kitti.txt").write_text("\n".join(lines))
    found = one("kitti", tmp_path)
    assert found.names() == KITTI_NAMES
    assert found.unpaired == (KITTI_NAMES[0].replace("69", "75"),)
    (tmp_path / "kitti.txt").rename(tmp_path / "kitti/eigen_test_files_with_gt.txt")
    assert one("kitti", tmp_path).names() == KITTI_NAMES


def test_a_listed_file_that_is_missing_is_an_error_of_its_sample(tmp_path):
    WRITERS["scannet"](tmp_path / "scannet")
    lines = [f"scene0011_00/color/{n:06d}.jpg scene0011_00/depth/{n:06d}.png" for n in (0, 200)]
    (tmp_path / "scannet.txt").write_text("\n".join(lines))
    found = one("scannet", tmp_path)
    assert found.read(0).mask.any()
    with pytest.raises(ImageError, match=r"000200\.jpg"):
        found.read(1)


@pytest.mark.parametrize("line", ["../a.jpg b.png", "a.jpg /etc/passwd", "a.jpg", "", "a.jpg ..\\b.png"])
def test_lists_that_are_none(tmp_path, line):
    WRITERS["scannet"](tmp_path / "scannet")
    (tmp_path / "scannet.txt").write_text(line)
    with pytest.raises(CcdError, match=r"scannet\.txt"):
        open_suite("scannet", tmp_path)


def test_damaged_members_are_named(tmp_path):
    WRITERS["scannet"](tmp_path / "scannet")
    scene = tmp_path / "scannet/scene0011_00"
    whole = (scene / "depth/000000.png").read_bytes()
    (scene / "depth/000000.png").write_bytes(whole[: len(whole) // 2])
    (scene / "color/000100.jpg").write_bytes(b"")
    found = one("scannet", tmp_path)
    with pytest.raises(ImageError, match=r"depth/000000\.png"):
        found.read(0)
    with pytest.raises(ImageError, match=r"color/000100\.jpg"):
        found.read(1)


def test_depth_of_another_size_or_depth_is_an_error(tmp_path):
    for name, depth in (("000000", np.zeros((47, 64), np.uint16)), ("000100", np.zeros((48, 64), np.uint8))):
        put_rgb(tmp_path / f"scannet/scene0011_00/color/{name}.jpg", photo(48, 64))
        path = tmp_path / f"scannet/scene0011_00/depth/{name}.png"
        path.parent.mkdir(exist_ok=True)
        put_rgb(path, depth) if depth.dtype == np.uint8 else put_codes(path, depth)
    found = one("scannet", tmp_path)
    with pytest.raises(ImageError, match="64x47"):
        found.read(0)
    with pytest.raises(ImageError, match="16-bit"):
        found.read(1)


@pytest.mark.parametrize(
    ("descr", "shape"), [("<f4", (240_000, 320_000, 1)), ("<f4", (24, 31, 1)), ("|O", (24, 32, 1))]
)
def test_an_npy_that_lies_about_its_size_takes_no_memory(tmp_path, descr, shape):
    WRITERS["diode"](tmp_path / "diode")
    path = next((tmp_path / "diode/indoors").rglob("*_depth.npy"))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        file.write(bytes(4 * 24 * 32))
    with pytest.raises(ImageError, match=r"_depth\.npy: its header claims"):
        one("diode", tmp_path).read(0)


def test_several_tars_need_the_published_name(tmp_path):
    WRITERS["scannet"](tmp_path / "x")
    for name in ("a.tar", "b.tar"):
        pack(tmp_path / "x", tmp_path / "scannet" / name)
    with pytest.raises(CcdError, match="2 tars"):
        open_suite("scannet", tmp_path)
    shutil.copy(tmp_path / "scannet/a.tar", tmp_path / "scannet" / LAYOUTS["scannet"].tar)
    assert len(one("scannet", tmp_path)) == 2


def test_a_stray_picture_does_not_hide_the_tar(tmp_path):
    WRITERS["diode"](tmp_path / "x")
    pack(tmp_path / "x", tmp_path / "diode" / LAYOUTS["diode"].tar)
    put_rgb(tmp_path / "diode/preview.png", photo(20, 20))
    assert len(one("diode", tmp_path)) == 2


def test_reasons_and_errors(tmp_path):
    WRITERS["diode"](tmp_path / "diode")
    (tmp_path / "scannet").mkdir()
    found, missing = open_suite("zero-shot", tmp_path)
    assert [one.spec.name for one in found] == ["diode"]
    reasons = dict(missing)
    assert set(reasons) == {"nyuv2", "kitti", "eth3d", "scannet"}
    assert "neither" in reasons["scannet"] and str(tmp_path / "nyuv2") in reasons["nyuv2"]
    with pytest.raises(CcdError, match=r"nyuv2.*scannet") as nothing:
        open_suite("zero-shot", tmp_path / "elsewhere")
    assert nothing.value.exit_code == 1 and "ccd data list" in nothing.value.hint and "\n" not in str(nothing.value)
    with pytest.raises(UsageProblem, match="zero-shot"):
        open_suite("nyu", tmp_path)
