"""Clouds from maps, and their files read back by Open3D or by the format's own rules."""

from __future__ import annotations

import errno
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.camera import camera_from_fov
from ccd_cli.geometry.depth_map import Camera, DepthMap, checked
from ccd_cli.geometry.unproject import project
from ccd_cli.pointcloud.cloud import choose_rule, cloud_from_map
from ccd_cli.pointcloud.files import FORMATS, write_cloud
from ccd_cli.pointcloud.preview import BACKGROUND, preview
from ccd_cli.pointcloud.settings import CloudSettings

RNG = np.random.default_rng(5)
SIZE = (60, 80)
CAMERA = camera_from_fov(60, *SIZE)
RGB = RNG.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
ROOM = (3 + np.linspace(0, 2, 60)[:, None] + np.zeros(SIZE)).astype(np.float32)
PLAIN = CloudSettings(edge_cut=False)


def metric(values: np.ndarray = ROOM) -> DepthMap:
    return checked(values.astype(np.float32), "metric")


def some_points(n: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = RNG.normal(size=(n, 3)).astype(np.float32) * [1, 1, 10]
    normals = RNG.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return points.astype(np.float32), RNG.integers(0, 256, (n, 3)).astype(np.uint8), normals.astype(np.float32)


def test_every_valid_pixel_is_a_point_with_its_color():
    values = ROOM.copy()
    values[5, 7], values[6, 8], values[7, 9] = np.nan, np.inf, -1
    cloud = cloud_from_map(metric(values), RGB, CAMERA, PLAIN)
    known = np.isfinite(values) & (values > 0)
    assert cloud.points.shape == (known.sum(), 3) and cloud.points.dtype == np.float32
    assert (cloud.colors == RGB[known]).all()
    pixels, depth = project(cloud.points, CAMERA)
    assert (depth.astype(np.float32) == values[known]).all()
    v, u = np.nonzero(known)
    assert np.abs(pixels - np.stack([u, v], 1) - 0.5).max() < 0.01
    assert cloud.unit == "meter" and cloud.left_out == {"invalid": 3} and cloud.notes == []


def test_an_assumed_range_is_said_and_its_tail_cut():
    values = np.linspace(1, 5, SIZE[0] * SIZE[1]).astype(np.float32).reshape(SIZE)
    values[0, :10] = -50  # a handful of pixels far behind the 1 % quantile
    cloud = cloud_from_map(DepthMap(values, "disparity"), RGB, CAMERA, PLAIN, camera_source="guess")
    assert cloud.unit == "meter, assumed range 0.5 to 20"
    assert cloud.notes == [
        "Assumed for the point cloud: depth from 0.5 to 20 m (disparity has no scale; set --near and --far, or --align-to); "
        "a view of 60 degrees across the longer side (set --fov or --intrinsics)"
    ]
    assert cloud.left_out["invalid"] == 10 and cloud.points[:, 2].max() <= 60
    assert cloud.points[:, 2].min() == pytest.approx(0.5, rel=0.02) and cloud.points[:, 2].max() > 20
    asked = cloud_from_map(DepthMap(values, "disparity"), RGB, CAMERA, CloudSettings(near=1, far=4))
    assert asked.notes == [] and asked.unit.endswith("1 to 4"), "said only where something is assumed"
    half = cloud_from_map(DepthMap(values, "disparity"), RGB, CAMERA, CloudSettings(near=1), camera_source="exif")
    assert half.notes == [
        "Assumed for the point cloud: farthest 20 m (disparity has no scale; set --far, or --align-to)"
    ]


def test_frames_of_a_clip_share_one_rule():
    first, second = (DepthMap(RNG.uniform(1, 3, SIZE).astype(np.float32) * k, "disparity") for k in (1, 2))
    rule = choose_rule(first, PLAIN, quantiles=(1.0, 6.0))
    assert 1 / (rule.to_depth.scale * 6 + rule.to_depth.shift) == pytest.approx(0.5)
    clouds = [cloud_from_map(m, RGB, CAMERA, PLAIN, rule=rule) for m in (first, second)]
    assert clouds[0].to_depth == clouds[1].to_depth
    assert np.median(clouds[0].points[:, 2]) > np.median(clouds[1].points[:, 2])


def test_a_reference_gives_meters():
    fitted = cloud_from_map(DepthMap(4 / ROOM + 1, "disparity"), RGB, CAMERA, CloudSettings(reference=ROOM))
    assert fitted.unit == "meter (fitted to a reference)" and "Fitted to the reference" in fitted.notes[0]
    assert fitted.points[:, 2].min() == pytest.approx(3, rel=1e-4)


def test_limits_voxels_outliers_and_normals():
    near = cloud_from_map(metric(), RGB, CAMERA, CloudSettings(max_depth=4, edge_cut=False))
    assert near.points[:, 2].max() <= 4 and near.left_out["beyond"] == (ROOM > 4).sum()
    thin = cloud_from_map(metric(), RGB, CAMERA, CloudSettings(voxel=0.25, normals=True))
    assert len(thin.points) < 0.2 * ROOM.size
    assert thin.normals is not None and np.linalg.norm(thin.normals, axis=1) == pytest.approx(1, abs=1e-5)
    assert ((thin.normals * thin.points).sum(1) < 0).all(), "toward the camera"
    lone = ROOM.copy()
    lone[30, 40] = 40
    clean = cloud_from_map(metric(lone), RGB, CAMERA, CloudSettings(outliers=True, edge_cut=False))
    assert clean.left_out["outliers"] > 0 and clean.points[:, 2].max() < 6
    with pytest.raises(CcdError, match="too small"):
        cloud_from_map(metric(), RGB, CAMERA, CloudSettings(voxel=1e-12))


def test_flying_pixels_are_cut_by_default():
    values = np.full(SIZE, 2, np.float32)
    values[:, 40:], values[:, 40] = 5, 3
    cloud = cloud_from_map(metric(values), RGB, CAMERA, CloudSettings())
    assert cloud.left_out["flying"] == 60
    assert set(np.unique(cloud.points[:, 2])) == {2, 5}


def test_intrinsics_of_another_size_are_noticed():
    cloud = cloud_from_map(metric(), RGB, Camera(500, 500, 320, 240), PLAIN)
    assert "far from the middle" in cloud.notes[0]


def test_what_cannot_be_a_cloud_is_an_error():
    with pytest.raises(CcdError, match="No point is left"):
        cloud_from_map(metric(), RGB, CAMERA, CloudSettings(max_depth=1))
    with pytest.raises(CcdError, match="60x80"):
        cloud_from_map(metric(), RGB[:-1], CAMERA, PLAIN)
    for bad in ({"near": 5.0, "far": 2.0}, {"near": 30.0}, {"far": 0.1}, {"voxel": 0.0}, {"max_depth": np.nan}):
        with pytest.raises(UsageProblem):
            CloudSettings(**bad)


@pytest.mark.parametrize("with_normals", [False, True])
@pytest.mark.parametrize("fmt", ["ply", "pcd"])
def test_open3d_reads_what_was_written(tmp_path, fmt, with_normals):
    import open3d as o3d

    points, colors, normals = some_points()
    path = tmp_path / f"a.{fmt}"
    write_cloud(
        path, points, colors, normals if with_normals else None, fmt, {"unit": "meter", "note": "é\nend_header"}
    )
    read = o3d.io.read_point_cloud(str(path))
    assert (np.asarray(read.points).astype(np.float32) == points).all()
    assert (np.asarray(np.asarray(read.colors) * 255 + 0.5).astype(np.uint8) == colors).all()
    assert read.has_normals() == with_normals
    if with_normals:
        assert (np.asarray(read.normals).astype(np.float32) == normals).all()
    assert len(path.read_bytes()) < 500 * (27 + 5) + 500
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name], "no temporary file stays"


def test_a_ply_says_what_it_holds(tmp_path):
    points, colors, _ = some_points(3)
    cloud = cloud_from_map(metric(), RGB, CAMERA, PLAIN, camera_source="guess")
    write_cloud(tmp_path / "a.ply", points, colors, None, "ply", cloud.about)
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0].decode("ascii")
    assert header.startswith("ply\nformat binary_little_endian 1.0\ncomment ")
    assert "comment unit: meter\n" in header and "x right, y down, z forward" in header
    assert "fx 69.28" in header and "60 degrees" in header


@pytest.mark.parametrize("with_normals", [False, True])
def test_xyz_is_plain_numbers(tmp_path, with_normals):
    import open3d as o3d

    points, colors, normals = some_points()
    path = tmp_path / "a.xyz"
    write_cloud(path, points, colors, normals if with_normals else None, "xyz")
    read = np.loadtxt(path)
    assert read.shape == (500, 9 if with_normals else 6)
    assert (read[:, :3].astype(np.float32) == points).all() and (read[:, 3:6] == colors).all()
    assert not with_normals or (read[:, 6:].astype(np.float32) == normals).all()
    assert np.asarray(o3d.io.read_point_cloud(str(path)).points).astype(np.float32) == pytest.approx(points)


def read_glb(path):
    """Return (JSON, binary) by the container's rules: header, a JSON chunk, a BIN chunk, all lengths multiples of 4."""
    data = path.read_bytes()
    magic, version, total, length, kind = struct.unpack("<4sIIII", data[:20])
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), 0x4E4F534A)
    size, kind = struct.unpack("<II", data[20 + length : 28 + length])
    assert kind == 0x004E4942 and length % 4 == 0 and size % 4 == 0 and 28 + length + size == len(data)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


@pytest.mark.parametrize("with_normals", [False, True])
def test_glb_holds_points_with_y_up_and_linear_colors(tmp_path, with_normals):
    points, colors, normals = some_points()
    colors[0] = [0, 128, 255]
    path = tmp_path / "a.glb"
    write_cloud(path, points, colors, normals if with_normals else None, "glb", {"unit": "meter"})
    scene, data = read_glb(path)
    primitive = scene["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0 and scene["asset"]["extras"]["unit"] == "meter"
    types = {5126: "<f4", 5123: "<u2"}
    read = {}
    for name, number in primitive["attributes"].items():
        accessor = scene["accessors"][number]
        view = scene["bufferViews"][accessor["bufferView"]]
        part = data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        assert view["byteOffset"] % 4 == 0
        read[name] = np.frombuffer(part, types[accessor["componentType"]]).reshape(accessor["count"], -1)
    assert (read["POSITION"] == points * [1, -1, -1]).all()
    assert scene["accessors"][0]["min"] == pytest.approx((points * [1, -1, -1]).min(0))
    assert scene["accessors"][0]["max"] == pytest.approx((points * [1, -1, -1]).max(0))
    assert read["COLOR_0"][0] / 65535 == pytest.approx([0, 0.21586, 1, 1], abs=1e-4)
    assert ("NORMAL" in read) == with_normals
    if with_normals:
        assert (read["NORMAL"] == normals * [1, -1, -1]).all()


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    """A process that may not write files over 4 kB: the kernel stops it in the middle of the cloud."""
    points, colors, _ = some_points(20)
    path = tmp_path / "a.ply"
    write_cloud(path, points, colors)
    before = path.read_bytes()
    code = f"""
import resource
import numpy as np
from pathlib import Path
from ccd_cli.core.errors import CcdError
from ccd_cli.pointcloud.files import write_cloud
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_cloud(Path({str(path)!r}), np.ones((5000, 3), np.float32), np.zeros((5000, 3), np.uint8))
except CcdError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert str(path) in done.stdout, done.stdout + done.stderr
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ply"]


def test_a_full_disk_is_said_plainly():
    """A device that is always full, as the kernel has it."""
    from pathlib import Path

    from ccd_cli.core.files import disk_error
    from ccd_cli.pointcloud.files import _write_xyz

    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    points, colors, _ = some_points()
    with pytest.raises(OSError) as caught:
        _write_xyz(full, points, colors, None, {})
    assert caught.value.errno == errno.ENOSPC
    assert "No space left" in disk_error(caught.value, full).message


def test_what_cannot_be_written_is_refused(tmp_path):
    points, colors, _ = some_points(4)
    for bad in (
        (points[:, :2], colors),
        (points, colors[:3]),
        (points * np.float32(np.nan), colors),
        (points[:0], colors[:0]),
        (points, colors.astype(np.float32)),
    ):
        with pytest.raises(CcdError):
            write_cloud(tmp_path / "a.ply", *bad)
    with pytest.raises(UsageProblem):
        write_cloud(tmp_path / "a.obj", points, colors, None, "obj")
    assert list(tmp_path.iterdir()) == []
    assert FORMATS == ("ply", "pcd", "xyz", "glb")


def test_the_nearest_point_is_seen_whatever_the_order():
    front = np.stack([*np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 200)), np.full((200, 200), 2.0)], -1)
    back = front * [2.2, 2.2, 1] + [0, 0, 2]
    points = np.concatenate([front.reshape(-1, 3), back.reshape(-1, 3)]).astype(np.float32)
    colors = np.repeat([[255, 0, 0], [0, 0, 255]], 40_000, axis=0).astype(np.uint8)
    picture = preview(points, colors, (240, 320))
    assert picture.shape == (240, 320, 3) and picture.dtype == np.uint8
    assert (picture == preview(points[::-1], colors[::-1], (240, 320))).all()
    red, blue = ((picture == c).all(-1).sum() for c in ([255, 0, 0], [0, 0, 255]))
    assert red > 5000 and blue > 2000
    middle = picture[100:140, 140:180].reshape(-1, 3)
    assert (middle == [255, 0, 0]).all(-1).mean() > 0.4
    assert not ((middle == BACKGROUND).all(-1)).any()


@pytest.mark.parametrize("size", [(50, 400), (400, 50), (300, 300), (2, 800)])
def test_a_preview_of_any_shape_cuts_nothing_and_fills_the_picture(size):
    """A wall whose four sides are colored: all four are seen, and it reaches near two opposite sides of the picture."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    scale = 2 / max(size)
    points = np.stack([(x - width / 2) * scale, (y - height / 2) * scale, 2 + 0.3 * x / width], -1).reshape(-1, 3)
    colors = np.full((height, width, 3), 90, np.uint8)
    edges = {"left": [255, 0, 0], "right": [0, 255, 0], "top": [0, 0, 255], "bottom": [255, 255, 0]}
    down, across = height // 5, width // 5
    colors[:, :across], colors[:, -across:] = edges["left"], edges["right"]
    if down:
        colors[:down, across:-across], colors[-down:, across:-across] = edges["top"], edges["bottom"]
    picture = preview(points.astype(np.float32), colors.reshape(-1, 3), (240, 320))
    for name, color in edges.items():
        if down or name in ("left", "right"):
            assert (picture == color).all(-1).sum() > 3, name
    rows, columns = np.nonzero((picture != BACKGROUND).any(-1))
    assert max(np.ptp(rows) / 240, np.ptp(columns) / 320) > 0.85
    for side in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert (side == BACKGROUND).all(), "a margin all around"


def test_a_preview_of_odd_clouds_is_a_picture():
    for points in (np.zeros((1, 3)), np.ones((50, 3)), np.array([[0, 0, 1], [0, 0, 1e6]]), np.full((5, 3), -3)):
        colors = np.full((len(points), 3), 200, np.uint8)
        picture = preview(points.astype(np.float32), colors, (72, 96))
        assert (picture == 200).any()


WITHOUT_OPEN3D = """
import sys
sys.modules["open3d"] = None  # as where it, or a system library of it, is missing
from ccd_cli.cli.main import main
main()
"""


def test_without_open3d_only_what_needs_it_fails_and_says_so_once(tmp_path):
    for name in "ab":
        Image.fromarray(RGB).save(tmp_path / f"{name}.png")
        np.save(tmp_path / f"{name}.npy", ROOM)

    def ccd(*flags):
        words = ["pointcloud", "a.png", "b.png", "--depth", ".", "--kind", "metric", "--format", "ply", *flags]
        command = [sys.executable, "-c", WITHOUT_OPEN3D, *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    done = ccd("--normals", "--out", "good")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "good").glob("*.ply")} == {"a.ply", "b.ply"}
    for flags in (["--voxel", "0.1"], ["--outliers"]):
        done = ccd(*flags, "--out", "bad")
        assert done.returncode == 1
        assert done.stderr.count("Open3D, which --voxel and --outliers need, cannot be loaded") == 1
        assert "pip install" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "bad").exists()
