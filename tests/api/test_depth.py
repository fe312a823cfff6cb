"""`DepthMap` and `PointCloud`: values, meters, clouds, files."""

import json
import warnings

import numpy as np
import pytest
import torch

import ccd_cli as ccd
from ccd_cli.media.map_read import read_map
from tests.api.conftest import scene


def ramp(height=48, width=64):
    return np.linspace(1.0, 5.0, height * width).reshape(height, width)


def test_what_is_not_finite_is_invalid():
    values = ramp()
    values[0, :3] = [np.nan, np.inf, -1.0]
    metric, affine = ccd.DepthMap(values, "metric"), ccd.DepthMap(values, "affine-depth")
    assert (~metric.valid).sum() == 3 and (~affine.valid).sum() == 2
    assert metric.values.dtype == np.float32 and np.isnan(metric.values[~metric.valid]).all()
    assert (metric.unit, affine.direction, metric.shape) == ("meter", "larger = farther", (48, 64))
    assert "99.9% valid" in repr(metric) and metric.intrinsics is None and metric.model == "unknown"
    assert not ccd.DepthMap(values, "metric", valid=values > 2).valid[0].any()


def test_masked_arrays_and_tensors_with_gradients_are_maps():
    masked = np.ma.masked_greater(ramp(), 4.0)
    depth = ccd.DepthMap(masked, "metric")
    assert np.array_equal(depth.valid, ~masked.mask)
    whole = ccd.DepthMap(
        torch.from_numpy(ramp()).requires_grad_(),
        "metric",
        intrinsics=(60, 60, 32, 24),
        rgb=torch.from_numpy(scene(48, 64)),
    )
    assert np.array_equal(whole.values, ramp().astype(np.float32)) and len(whole.point_cloud(edge_cut=False)) == 48 * 64
    wrong = np.where(masked.mask, 1e3, ramp())
    assert ccd.metrics(ramp(), np.ma.array(wrong, mask=masked.mask), kind="metric")["abs_rel"] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not ccd.DepthMap(np.full((4, 4), 1e300), "metric").valid.any()


def test_meters_by_a_range():
    z = ramp()
    low, high = np.quantile(1 / z, [0.01, 0.99])
    made = ccd.DepthMap(7 / z - 3, "disparity", rgb=scene(48, 64)).to_metric(near=1 / high, far=1 / low)
    assert made.kind == "metric" and made.rgb is not None and np.allclose(made.values, z, rtol=1e-4)
    assert made.to_metric() is made and "range" in made.notes[0]


@pytest.mark.parametrize(
    ("kind", "values"), [("disparity", 7 / ramp() - 3), ("affine-depth", 2 * ramp() + 9), ("depth", 3 * ramp())]
)
def test_meters_by_a_reference(kind, values):
    reference = ramp()[::2, ::2]
    reference[3] = np.nan
    coarse = np.repeat(np.repeat(values[::2, ::2], 2, 0), 2, 1)
    made = ccd.DepthMap(coarse, kind).to_metric(reference=reference)
    assert np.allclose(made.values[::2, ::2], ramp()[::2, ::2], rtol=1e-4)
    same = ccd.DepthMap(coarse, kind).to_metric(reference=ccd.DepthMap(reference, "metric"))
    assert np.array_equal(same.values, made.values)


def test_a_plane_is_a_plane(tmp_path):
    depth = ccd.DepthMap(np.full((48, 64), 2.0), "metric", intrinsics=(60, 60, 32, 24), rgb=scene(48, 64))
    cloud = depth.point_cloud(normals=True)
    assert len(cloud) == 48 * 64 and np.array_equal(cloud.colors, scene(48, 64).reshape(-1, 3))
    assert np.allclose(cloud.points[0], [(0.5 - 32) / 60 * 2, (0.5 - 24) / 60 * 2, 2.0], atol=1e-5)
    assert np.allclose(cloud.normals, [0, 0, -1], atol=1e-4) and cloud.unit == "meter"
    same = ccd.point_cloud(np.full((48, 64), 2.0), scene(48, 64), kind="metric", intrinsics=(60, 60, 32, 24))
    assert np.array_equal(same.points, cloud.points) and same.normals is None
    for suffix in ("ply", "pcd", "xyz", "glb"):
        assert cloud.save(tmp_path / f"a.{suffix}").stat().st_size > 1000
    picture = cloud.preview(width=96, height=64)
    assert picture.shape == (64, 96, 3) and picture.dtype == np.uint8 and len(np.unique(picture)) > 20
    with pytest.raises(ccd.CcdError, match="width is a whole number of pixels"):
        cloud.preview(width=0)
    with pytest.raises(ccd.CcdError, match="no format of clouds"):
        cloud.save(tmp_path / "a.obj")


def test_what_a_cloud_assumes_is_a_warning():
    depth = ccd.DepthMap(1 / ramp(), "disparity")
    with pytest.warns(ccd.CcdWarning) as said:
        cloud = depth.point_cloud(edge_cut=False, max_depth=100)
    texts = [str(one.message) for one in said]
    assert any("from 0.5 to 20 m" in text for text in texts) and any("60 degrees" in text for text in texts)
    assert not any("--" in text for text in texts) and {one.filename for one in said} == {__file__}
    assert np.array_equal(cloud.colors, depth.colorize().reshape(-1, 3))


def test_the_cloud_is_the_commands(here, model, ccd_here):
    flags = ("--model", "builtin:tiny", "--pointcloud", "--no-preview", "--near", "1", "--far", "4", "--out", "o")
    assert ccd_here("predict", "room.png", *flags).exit_code == 0
    with pytest.warns(ccd.CcdWarning, match="a view of 60 degrees"):
        path = model.predict("room.png").point_cloud(near=1, far=4).save("mine.ply")
    assert path.read_bytes() == (here / "o/room.ply").read_bytes()


def test_colors_are_the_commands(here, model, ccd_here):
    from PIL import Image

    assert ccd_here("predict", "room.png", "--model", "builtin:tiny", "--save", "color", "--out", "o").exit_code == 0
    depth = model.predict("room.png")
    assert np.array_equal(depth.colorize(), np.asarray(Image.open("o/room.color.png")))
    assert not np.array_equal(depth.colorize("Spectral"), depth.colorize())


def test_files_say_what_they_are(here, model, ccd_here):
    depth = model.predict("room.png", fov=50)
    files = depth.save("out/room", "npy,npz,png16,color,side,exr")
    assert set(files) == {"npy", "npz", "png16", "color", "side", "exr", "sidecar"}
    assert all(path.is_file() for path in files.values())
    side = json.loads(files["sidecar"].read_text())
    assert (side["model"], side["kind"], side["license"]) == ("builtin:tiny", "disparity", "Apache-2.0")
    assert side["intrinsics_source"] == "fov" and side["made_with"]["input"] == "room.png"
    for item in ("npy", "npz", "png16", "exr"):
        stored = read_map(files[item])
        assert stored.depth_map.kind == "disparity"
        assert np.allclose(stored.depth_map.values, depth.values, atol=1e-4 * float(np.ptp(depth.values)))
    assert ccd_here("pointcloud", "room.png", "--out", "out", "--near", "1", "--far", "5").exit_code == 0
    made = depth.to_metric(near=1, far=5).save("out/meters", ["png16"])
    side = json.loads(made["sidecar"].read_text())
    assert side["kind"] == "metric" and "range from 1 to 5 m" in side["notes"][0]


def test_the_command_does_not_take_such_files_for_its_own(here, model, ccd_here):
    model.predict("room.png").save("out/room", "npy")
    before = (here / "out/room.npy").read_bytes()
    result = ccd_here("predict", "room.png", "--model", "builtin:tiny", "--save", "npy", "--out", "out")
    assert result.exit_code == 1 and "kept" in result.stderr and (here / "out/room.npy").read_bytes() == before


def test_nothing_of_others_is_overwritten(here, model):
    (here / "room.json").write_text('{"mine": 1}')
    depth = model.predict("room.png")
    with pytest.raises(ccd.CcdError, match="not from ccd"):
        depth.save("room", "npy")
    assert (here / "room.json").read_text() == '{"mine": 1}' and not (here / "room.npy").exists()
    depth.save("room", "npy", overwrite=True)


FLAT = ccd.DepthMap(np.ones((20, 20)), "disparity")
RAMP = ccd.DepthMap(ramp(), "disparity")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ccd.DepthMap(ramp(), "inverse"), "no kind of map"),
        (lambda: ccd.DepthMap(ramp()[None], "depth"), "map HxW of numbers, not float64 1x48x64"),
        (lambda: ccd.DepthMap(np.zeros((0, 3)), "depth"), "HxW"),
        (lambda: ccd.DepthMap(np.array([["a"]]), "depth"), "HxW"),
        (lambda: ccd.DepthMap(ramp(), "depth", valid=np.ones((48, 64))), "mask"),
        (lambda: ccd.DepthMap(ramp(), "depth", rgb=scene(10, 10)), "photo"),
        (lambda: ccd.DepthMap(ramp(), "depth", intrinsics=(0, 1, 2, 3)), "intrinsics"),
        (lambda: RAMP.to_metric(), "Give near and far"),
        (lambda: RAMP.to_metric(near=1), "Give near and far"),
        (lambda: RAMP.to_metric(near=5, far=1), "near and far must be 0 < near < far"),
        (lambda: RAMP.to_metric(near="1", far=5), "near is a finite number"),
        (lambda: RAMP.to_metric(near=1, far=5, reference=ramp()), "contradict"),
        (lambda: RAMP.to_metric(reference=RAMP), "not a disparity map"),
        (lambda: RAMP.to_metric(reference=np.ones((48, 64, 1))), "A reference, in meters, is a map HxW"),
        (lambda: RAMP.to_metric(reference=np.ones((10, 50))), "aspect ratio"),
        (lambda: FLAT.to_metric(near=1, far=5), "flat"),
        (lambda: ccd.DepthMap(ramp(), "metric").to_metric(near=1, far=5), "in meters"),
        (lambda: RAMP.point_cloud(voxl=1), "Did you mean voxel"),
        (lambda: RAMP.point_cloud(max_depth=-1), "max_depth is more than 0"),
        (lambda: RAMP.point_cloud(normals=1), "normals is True or False"),
        (lambda: RAMP.point_cloud(near=5, far=2), "near .5 m. must be less than far"),
        (lambda: ccd.point_cloud(ramp()), "Give kind"),
        (lambda: ccd.point_cloud(RAMP, kind="depth"), "of kind disparity"),
        (lambda: RAMP.colorize("infrno"), "Did you mean inferno"),
        (lambda: RAMP.save("a", "npy,jpeg"), "unknown output"),
        (lambda: RAMP.save("a", "side"), "needs the photo"),
        (lambda: RAMP.save("a.png"), "without a suffix"),
        (lambda: RAMP.save(5), "text or a path"),
        (lambda: RAMP.save("a\0b"), "null byte"),
        (lambda: RAMP.save("a", None), "save is a list"),
        (lambda: RAMP.save("a", ()), "nothing to write"),
        (lambda: RAMP.save(""), "folder and name"),
        (lambda: RAMP.save("."), "folder and name"),
        (lambda: RAMP.save("out/"), "out/: give folder and name, not a folder. For instance out/room"),
        (lambda: RAMP.colorize(5), "cmap is a text"),
        (lambda: ccd.DepthMap([[1.0, 2.0], [3.0]], "metric"), "A depth map is a map HxW of numbers"),
        (lambda: ccd.point_cloud(ramp(), kind="metric", fov="60"), "fov is a finite number"),
        (lambda: ccd.point_cloud(ramp(), kind="metric", fov=60, intrinsics=(9, 9, 4, 4)), "contradict"),
        (lambda: ccd.metrics(ramp(), ramp(), kind="depth", min_depth="a"), "min_depth is a finite number"),
        (lambda: ccd.metrics(ramp(), ramp(), kind="depth", max_depth=None), "max_depth is a finite number"),
        (lambda: ccd.metrics(ramp(), ramp(), kind="depth", cap="a"), "cap is a finite number"),
        (lambda: ccd.metrics(ramp(), ramp(), kind="depth", alignment_max_res=-1), "alignment_max_res is at least 0"),
        (
            lambda: ccd.metrics(ramp(), ramp(), kind="depth", alignment_max_res="x"),
            "alignment_max_res is a whole number",
        ),
    ],
)
def test_mistakes_are_one_plain_error(here, call, words):
    with pytest.raises(ccd.CcdError, match=words) as error:
        call()
    assert "--" not in str(error.value) and "\n" not in str(error.value)
