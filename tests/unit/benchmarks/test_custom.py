"""A user's own pairs as a suite file."""

import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from ccd_cli.benchmarks import open_suite
from ccd_cli.benchmarks.own.schema import CustomSet, read_suite
from ccd_cli.core.checksums import checksum, seal
from ccd_cli.core.errors import CcdError, ImageError, RecipeError
from ccd_cli.core.paths import shipped_folder
from tests.tiny_sets import photo, put_codes, put_rgb, ramp


@pytest.fixture
def folder(tmp_path):
    for name, far in (("b", 4.0), ("a", 9.0)):
        put_rgb(tmp_path / f"set/rgb/{name}-color.png", photo(30, 40, ord(name)))
        put_codes(tmp_path / f"set/depth/{name}-depth.png", 1000 * ramp(30, 40, 0, far))
        mask = np.full((30, 40), 255, np.uint8)
        mask[:10] = 0
        put_rgb(tmp_path / f"set/mask/{name}.png", mask)
    return tmp_path


def write(folder, **keys):
    values = {"name": "mine", "root": "set", "image": "rgb/*-color.png", "depth": "depth/*-depth.png", **keys}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return str(path)


def one(folder, **keys):
    (found,), missing = open_suite(write(folder, **keys), folder / "unused")
    assert missing == []
    return found


@pytest.mark.parametrize("unit", [{"divisor": 1000}, {"scale": 0.001}])
def test_depth_is_the_value_by_the_scale(folder, unit):
    found = one(folder, min=0.5, max=8.0, **unit)
    sample = found.read(0)
    expected = np.round(1000 * ramp(30, 40, 0, 9)) / 1000
    assert found.names() == ["rgb/a-color.png", "rgb/b-color.png"] and found.spec.depth_range == (0.5, 8.0)
    np.testing.assert_allclose(sample.depth[:, 1:], expected[:, 1:], rtol=1e-6)
    assert np.isnan(sample.depth[:, 0]).all()
    np.testing.assert_array_equal(sample.mask, (expected > 0.5) & (expected < 8))
    np.testing.assert_array_equal(sample.rgb, photo(30, 40, ord("a")))
    assert found.prediction_names(0) == ["rgb/pred_a-color.npy", "rgb/a-color.npy"]


def test_crop_mask_and_unknown_values(folder):
    found = one(
        folder,
        divisor=1000,
        mask="mask/*.png",
        crop={"rows": [5, 20], "columns": [10, 30]},
        unknown=[round(1000 * 9 / 39 * 12)],
        intrinsics=[50.0, 50.0, 20.0, 15.0],
        boundary=True,
        resolution=518,
    )
    sample = found.read(0)
    expected = np.zeros((30, 40), bool)
    expected[10:20, 10:30] = True
    expected[:, 12] = False
    np.testing.assert_array_equal(sample.mask, expected)
    assert np.isnan(sample.depth[:, 12]).all() and sample.rgb.shape == (30, 40, 3), "the photo stays whole"
    assert sample.camera is not None and sample.camera.cy == 15.0
    assert found.spec.boundary and found.spec.resolution == 518


def test_a_damaged_map_of_predict_is_no_ground_truth(folder):
    path, side = folder / "set/d.npy", folder / "set/d.json"
    np.save(path, ramp(30, 40, 2, 20).astype(np.float32))
    content = {"ccd_sidecar": 1, "kind": "disparity", "files": {"npy": "d.npy"}, "checksums": {"d.npy": checksum(path)}}
    side.write_text(json.dumps(seal(content)))
    found = one(folder, image="rgb/a-color.png", depth="d.npy", kind="disparity", min=1, max=30)
    assert np.isfinite(found.read(0).depth).all()
    path.write_bytes(path.read_bytes()[:-1] + b"\x42")
    with pytest.raises(ImageError, match=r"d\.npy was changed or damaged"):
        found.read(0)


def test_disparity_becomes_depth(folder):
    np.save(folder / "set/d.npy", ramp(30, 40, 2, 20).astype(np.float32))
    keys = {"image": "rgb/a-color.png", "depth": "d.npy", "kind": "disparity", "min": 1, "max": 30}
    relative = one(folder, **keys)
    np.testing.assert_allclose(relative.read(0).depth, 1 / ramp(30, 40, 2, 20), rtol=1e-6)
    assert relative.spec.depth_range == pytest.approx((1 / 30, 1.0)) and "unknown scale" in relative.spec.about
    metric = one(folder, **keys, baseline=0.1, focal=700.0)
    np.testing.assert_allclose(metric.read(0).depth, 70 / ramp(30, 40, 2, 20), rtol=1e-6)
    assert metric.spec.depth_range == pytest.approx((70 / 30, 70.0))
    by_camera = one(folder, **keys, baseline=0.1, intrinsics=[700.0, 700.0, 20.0, 15.0])
    np.testing.assert_array_equal(by_camera.read(0).depth, metric.read(0).depth)


@pytest.mark.parametrize("suffix", [".tiff", ".pfm", ".npy"])
def test_float_maps(folder, suffix):
    depth = ramp(30, 40, 0.5, 7).astype(np.float32) + np.arange(30, dtype=np.float32)[:, None] / 100
    path = folder / f"set/float{suffix}"
    if suffix == ".tiff":
        Image.fromarray(depth).save(path)
    elif suffix == ".pfm":  # rows from the bottom, a negative scale means little-endian
        path.write_bytes(b"Pf\n40 30\n-1.0\n" + depth[::-1].astype("<f4").tobytes())
    else:
        np.save(path, depth[..., None])
    np.testing.assert_array_equal(one(folder, image="rgb/a*", depth=path.name).read(0).depth, depth)


def test_pairs_by_name(folder):
    (folder / "set/depth/c-depth.png").write_bytes((folder / "set/depth/a-depth.png").read_bytes())
    with pytest.raises(CcdError, match="same number"):
        one(folder, divisor=1000)
    found = one(folder, divisor=1000, pair="match", mask="mask/*.png")
    assert found.files == [(f"rgb/{n}-color.png", f"depth/{n}-depth.png", f"mask/{n}.png") for n in "ab"]
    (folder / "set/depth/b-depth.png").rename(folder / "set/depth/d-depth.png")
    with pytest.raises(CcdError, match=r"b-color\.png"):
        one(folder, divisor=1000, pair="match")


def test_numbers_in_names_count_as_numbers(tmp_path):
    for i in range(12):
        put_rgb(tmp_path / f"set/rgb/{i}.png", photo(18, 24, i))
        put_codes(tmp_path / f"set/depth/{i:04d}.png", np.full((18, 24), 1000 * (i + 1)))
    found = one(tmp_path, image="rgb/*.png", depth="depth/*.png", divisor=1000)
    assert found.names() == [f"rgb/{i}.png" for i in range(12)]
    for i in range(12):
        assert found.read(i).depth[0, 0] == pytest.approx(i + 1)


def test_by_order_no_file_of_one_folder_belongs_to_one_of_another(tmp_path):
    """One missing here and one there leave the totals equal, and everything between them wrong."""
    for place in "ab":
        for i in range(3):
            put_rgb(tmp_path / f"set/{place}/rgb/{i}.png", photo(18, 24, i))
            put_codes(tmp_path / f"set/{place}/depth/{i}.png", np.full((18, 24), 1000))
    globs = {"image": "*/rgb/*.png", "depth": "*/depth/*.png", "divisor": 1000}
    assert len(one(tmp_path, **globs)) == 6
    (tmp_path / "set/a/depth/1.png").unlink()
    (tmp_path / "set/b/rgb/2.png").unlink()
    with pytest.raises(
        CcdError, match=r"a/rgb holds 3 that match '\*/rgb/\*\.png', and a/depth 2 that match '\*/depth/\*\.png'"
    ):
        one(tmp_path, **globs)
    (tmp_path / "set/a/rgb/1.png").unlink()
    (tmp_path / "set/b/depth/0.png").unlink()
    (tmp_path / "set/b/depth").rename(tmp_path / "set/b/elsewhere")
    (tmp_path / "set/z").mkdir()
    (tmp_path / "set/b/elsewhere").rename(tmp_path / "set/z/depth")
    assert len(one(tmp_path, **globs)) == 4, "folders of other names may belong together"


def test_pairs_by_name_through_folders(folder):
    for scene in "xy":
        put_rgb(folder / f"set/{scene}/rgb/1.jpg", photo(30, 40))
        put_codes(folder / f"set/{scene}/depth/1.png", 1000 * ramp(30, 40, 1, 4))
    found = one(folder, image="**/rgb/*.jpg", depth="**/depth/*.png", pair="match", divisor=1000)
    assert found.files[1] == ("y/rgb/1.jpg", "y/depth/1.png", "")


def test_several_sets_and_what_is_missing(folder):
    base = {"image": "*.png", "depth": "*.png", "divisor": 1000}
    sets = [{"name": "one", "root": "set/depth", **base}, {"name": "two", "root": "nowhere", **base}]
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"sets": sets}))
    found, missing = open_suite(str(path), folder)
    assert [one.spec.name for one in found] == ["one"]
    assert missing[0][0] == "two" and "no folder" in missing[0][1]


def test_all_problems_are_listed(folder):
    with pytest.raises(RecipeError) as error:
        read_suite(folder / write(folder, image=None, kind="inverse", scale=-1, nonsense=3, min="near"))
    assert {key for key, _ in error.value.problems} == {"image", "kind", "scale", "nonsense", "min"}


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"divisor": 10, "scale": 0.1}, "divisor"),
        ({"min": 5, "max": 2}, "below"),
        ({"baseline": 0.1, "focal": 3}, "disparity"),
        ({"kind": "disparity", "baseline": 0.1}, "focal"),
        ({"kind": "disparity", "focal": 3}, "baseline"),
        ({"intrinsics": [0.0, 1.0, 1.0, 1.0]}, "intrinsics"),
        ({"intrinsics": [0.8, 1.1, 0.5, 0.5]}, "in pixels"),
        ({"image": "../x/*.png"}, "root"),
        ({"depth": "/x/*.png"}, "root"),
        ({"name": "kitti"}, "published"),
        ({"crop": {"rows": [5, 5]}}, "rows"),
        ({"intrinsics": [1.0, 2.0]}, "items"),
    ],
)
def test_contradictions(folder, keys, word):
    with pytest.raises(RecipeError) as error:
        open_suite(write(folder, **keys), folder)
    assert any(word in problem for _, problem in error.value.problems), error.value.problems


def test_a_name_used_twice(folder):
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"sets": [{"name": "x", "image": "*", "depth": "*"} for _ in range(2)]}))
    with pytest.raises(RecipeError) as error:
        read_suite(path)
    assert "twice" in error.value.problems[0][1]


def test_pairs_files_of_distillation_are_suites_too(folder):
    path = folder / "pairs.yaml"
    path.write_text(
        'name: p\nroot: set\nimage: "rgb/*.png"\ndepth: "depth/*.png"\nkind: depth\nscale: 0.001\nmin: 0.1\nmax: 10.0\n'
    )
    (found,), _ = open_suite(str(path), folder)
    assert len(found) == 2 and found.read(0).mask.any()


def test_damaged_files_are_named(folder):
    (folder / "set/depth/a-depth.png").write_bytes(b"x" * 50)
    Image.fromarray(np.zeros((30, 41), np.uint16)).save(folder / "set/depth/b-depth.png")
    found = one(folder, divisor=1000)
    with pytest.raises(ImageError, match=r"a-depth\.png"):
        found.read(0)
    with pytest.raises(ImageError, match="41x30"):
        found.read(1)
    with pytest.raises(ImageError, match="left to score"):
        one(folder, image="rgb/a*", depth="mask/a*", min=1e5, max=1e6, scale=1.0).read(0)


def test_ground_truth_of_another_size_must_have_the_photos_shape(folder):
    """Half and twice the size pass, crops do not; masks and crops are those of the ground truth, intrinsics of the photo."""
    put_rgb(folder / "set/big.png", photo(120, 161))
    for name, size in {"half": (60, 81), "twice": (240, 322), "cropped": (119, 160), "wide": (60, 100)}.items():
        np.save(folder / f"set/{name}.npy", ramp(*size, 1, 5).astype(np.float32))
        np.save(folder / f"set/{name}-mask.npy", np.ones(size, np.float32))
    keys = {"image": "big.png", "intrinsics": [100.0, 100.0, 80.0, 60.0]}
    for name, size in {"half": (60, 81), "twice": (240, 322)}.items():
        sample = one(folder, **keys, depth=f"{name}.npy", mask=f"{name}-mask.npy", crop={"rows": [0, 50]}).read(0)
        assert sample.rgb.shape[:2] == (120, 161) and sample.depth.shape == size and sample.mask.sum() == 50 * size[1]
        assert sample.camera.fx == 100.0 and sample.depth_camera.fx == pytest.approx(100 * size[1] / 161)
    for name in ("cropped", "wide"):
        with pytest.raises(ImageError, match=f"{name}.*its photo has 161x120"):
            one(folder, **keys, depth=f"{name}.npy").read(0)
    stereo = {"kind": "disparity", "baseline": 0.1, "min": 0.5}
    with pytest.raises(ImageError, match="focal"):
        one(folder, **keys, **stereo, depth="half.npy").read(0)
    assert one(folder, **keys, **stereo, depth="half.npy", focal=50.0).read(0).depth.max() == pytest.approx(5.0)


def test_where_an_aligned_prediction_ends(folder):
    assert one(folder, divisor=1000).spec.floor == "image"
    capped = one(folder, divisor=1000, cap=6.0).spec
    assert capped.floor == "range" and capped.limits().depth_range == (1e-3, 6.0)
    with pytest.raises(RecipeError) as error:
        read_suite(folder / write(folder, min=2.0, cap=1.5))
    assert "cap: 1.5 is not beyond" in error.value.problems[0][1]


def test_edges_planes_and_segments_are_read_with_their_photo(folder):
    for name in "ab":
        edges = np.zeros((30, 40), np.uint8)
        edges[:, 20] = 255
        put_rgb(folder / f"set/edges/{name}.png", edges)
        put_codes(folder / f"set/labels/{name}.png", np.full((30, 40), 3 if name == "a" else 300))
    keys = {"divisor": 1000, "edges": "edges/*.png", "planes": "labels/*.png", "segments": "labels/*.png"}
    found = one(folder, **keys, intrinsics=[50.0, 50.0, 20.0, 15.0])
    sample = found.read(1)
    assert found.spec.extras == ("edges", "planes", "segments")
    assert sample.edges.sum() == 30 and (sample.planes == 300).all() and (sample.segments == 300).all()
    before = found.fingerprint(0)
    put_codes(folder / "set/labels/a.png", np.full((30, 40), 77))
    assert found.fingerprint(0) != before, "another label map is another sample"
    for wrong, words in (
        (keys, "planes: needs intrinsics"),
        ({"clip": True, "edges": "edges/*.png"}, "not for clips"),
        ({"kind": "disparity", "planes": "x", "intrinsics": [50.0, 50.0, 20.0, 15.0]}, "planes: needs depth in meters"),
        ({"edges": "../x"}, "edges: a glob below root"),
    ):
        with pytest.raises(RecipeError) as error:
            read_suite(folder / write(folder, **wrong))
        assert words in error.value.problems[0][1]


SHIPPED = sorted((shipped_folder() / "suites").rglob("*.yaml"))


def test_suites_ship():
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_suite_that_ships_is_valid_and_says_how_to_use_it(path):
    about, launch = path.read_text().splitlines()[:2]
    assert about.startswith("# ") and about.endswith(".") and f"ccd eval --suite recipes/suites/{path.name}" in launch
    assert read_suite(path)


def test_the_shipped_example_has_every_key_with_a_comment():
    lines = (shipped_folder() / "suites/own-pairs.yaml").read_text().splitlines()
    for key in CustomSet.model_fields:
        assert any(re.search(rf"\b{key}: .*#", line.lstrip(" #-")) for line in lines), key


def test_the_shipped_example_reads_what_it_describes(tmp_path):
    path = tmp_path / "own-pairs.yaml"
    path.write_bytes((shipped_folder() / "suites/own-pairs.yaml").read_bytes())
    put_rgb(tmp_path / "living-room/rgb/a.jpg", photo(480, 640))
    put_codes(tmp_path / "living-room/depth/a.png", 1000 * ramp(480, 640, 1, 5))
    put_rgb(tmp_path / "stereo/s1/left.png", photo(450, 1200))
    put_codes(tmp_path / "stereo/s1/disparity.png", 256 * ramp(450, 1200, 1, 90))
    put_rgb(tmp_path / "stereo/s1/seen-by-both.png", np.full((450, 1200), 255, np.uint8))
    (room, stereo), missing = open_suite(str(path), tmp_path)
    assert missing == [] and room.read(0).mask.all()
    sample = stereo.read(0)
    assert sample.mask.sum() == 400 * 1120
    assert sample.depth[100, 600] == pytest.approx(0.12 * 718.856 / ramp(450, 1200, 1, 90)[100, 600], rel=3e-4)


def test_what_a_mask_does_not_know_is_not_scored(folder):
    values = np.ones((30, 40), np.float32)
    values[:, :20] = np.nan
    for name in "ab":
        np.save(folder / f"set/{name}-mask.npy", values)
    sample = one(folder, divisor=1000, mask="*-mask.npy").read(0)
    assert not sample.mask[:, :20].any() and sample.mask[:, 20:].any()
