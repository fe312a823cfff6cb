"""Geometry: there and back on generated and real depth, flying pixels, normals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.unproject import flying_pixels, normals_from_depth, project, unproject

CAMERA = Camera(120, 125, 83, 57)
SIZE = (120, 160)


@pytest.fixture(scope="module")
def scenes():
    from ccd_cli.scenes import render

    made = render(range(4), *SIZE, family="mixed")
    depth = np.where(np.isfinite(made.depth.numpy()), made.depth.numpy(), np.nan).astype(np.float32)
    return [(z, Camera(*camera_choice)) for z, camera_choice in zip(depth, made.intrinsics.tolist(), strict=True)]


def centers(height: int, width: int) -> np.ndarray:
    v, u = np.mgrid[:height, :width] + 0.5
    return np.stack([u, v], axis=-1)


def assert_round_trip(depth: np.ndarray, camera: Camera) -> None:
    points = unproject(depth, camera)
    valid = ~np.isnan(depth)
    assert points.dtype == np.float32
    assert (np.isnan(points).any(-1) == ~valid).all()
    pixels, z = project(points[valid], camera)
    assert np.abs(pixels - centers(*depth.shape)[valid]).max() < 0.01
    assert (z.astype(np.float32) == depth[valid]).all()


def plane(normal: tuple[float, float, float], distance: float, camera: Camera = CAMERA, size=SIZE) -> np.ndarray:
    """Depth of the plane normal . X = distance."""
    u, v = np.moveaxis(centers(*size), -1, 0)
    along = normal[0] * (u - camera.cx) / camera.fx + normal[1] * (v - camera.cy) / camera.fy + normal[2]
    z = distance / np.where(along > 0, along, 1e-9)
    return np.where((z > 0) & (z < 100), z, np.nan).astype(np.float32)


def test_points_of_single_pixels():
    points = unproject(np.full((2, 3), 2, np.float32), Camera(10, 20, 1.5, 1))
    assert points[0, 1] == pytest.approx([0, 2 * -0.5 / 20, 2])  # the middle column, half a pixel above the center
    assert points[1, 2] == pytest.approx([2 * 1 / 10, 2 * 0.5 / 20, 2])
    assert points[0, 0, 0] < 0 < points[0, 2, 0], "x right"
    assert points[0, 0, 1] < 0 < points[1, 0, 1], "y down"


def test_generated_scenes_come_back(scenes):
    for depth, camera in scenes:
        assert_round_trip(depth, camera)


@pytest.mark.shared
def test_real_pairs_come_back(shared):
    from PIL import Image

    root = shared / "data" / "real"
    pairs = [p for p in json.loads((root / "index.json").read_text())["pairs"] if p["gt_kind"] == "depth"]
    checked = 0
    for pair in pairs:
        camera_choice = pair.get("intrinsics_fx_fy_cx_cy")
        if not camera_choice or not pair["gt"].endswith(".png"):
            continue
        codes = np.asarray(Image.open(root / pair["gt"])).astype(np.float32)
        depth = np.where(codes > 0, codes / np.float32(pair["gt_scale"]), np.nan).astype(np.float32)
        assert_round_trip(depth, Camera(*camera_choice))
        checked += 1
    assert checked >= 10


def test_points_are_where_rays_hit():
    """Open3D's ray caster as the judge: the same camera, a sphere and a box, hit points against unprojected depth."""
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    for mesh, move in (
        (o3d.geometry.TriangleMesh.create_sphere(1, 60), (0.3, -0.2, 4)),
        (o3d.geometry.TriangleMesh.create_box(2, 1, 1), (-2, 0.5, 5)),
    ):
        scene.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh.translate(move)))
    camera_choice = [[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]]
    rays = scene.create_rays_pinhole(np.array(camera_choice), np.eye(4), SIZE[1], SIZE[0])
    rays, hit = rays.numpy(), scene.cast_rays(rays)["t_hit"].numpy()
    seen = np.isfinite(hit)
    ground_truth = rays[..., :3] + np.where(seen, hit, 0)[..., None] * rays[..., 3:]
    points = unproject(np.where(seen, ground_truth[..., 2], np.nan).astype(np.float32), CAMERA)
    assert seen.sum() > 1000
    assert np.abs(points[seen] - ground_truth[seen]).max() < 1e-5


def smeared_step(width: int = 60, ramp: int = 1) -> np.ndarray:
    """Two walls, 2 m and 5 m away, with `ramp` columns between them whose inverse depth is interpolated."""
    inverse = np.full((40, width), 1 / 2, np.float32)
    inverse[:, 30:] = 1 / 5
    for i in range(ramp):
        fraction = (i + 1) / (ramp + 1)
        inverse[:, 30 + i] = (1 - fraction) / 2 + fraction / 5
    return 1 / inverse


@pytest.mark.parametrize("ramp", [1, 2, 3, 5])
@pytest.mark.parametrize("turned", [False, True])
def test_flying_columns_are_cut_and_nothing_else(ramp, turned):
    depth = smeared_step(ramp=ramp)
    flying = flying_pixels(depth.T).T if turned else flying_pixels(depth)
    assert flying[:, 30 : 30 + ramp].all()
    assert not flying[:, :30].any() and not flying[:, 30 + ramp :].any()


@pytest.mark.parametrize("factor", [2, 3.5, 7])
def test_an_enlarged_map_is_cut_at_the_size_of_its_network(factor):
    """Disparity of a network at 48 x 60, enlarged: the ramp is as many times wider, and goes all the same."""
    import cv2

    small = 1 / smeared_step(ramp=2)
    width, height = round(60 * factor), round(40 * factor)
    large = 1 / cv2.resize(small, dsize=(width, height), interpolation=cv2.INTER_LINEAR)
    hanging = (large > 2.2) & (large < 4.5)
    assert hanging.sum() > 2 * factor * height * 0.8
    cut = flying_pixels(large, upsampling=factor)
    assert (cut & hanging).sum() > 0.75 * hanging.sum()
    assert (cut & ~hanging).sum() < 1.6 * factor * height
    if factor == 7:
        assert (flying_pixels(large) & hanging).sum() < 0.1 * hanging.sum(), (
            "as wide as a surface for one who does not know"
        )
    assert flying_pixels(plane((0, 1, 0.02), 1.2), upsampling=3).sum() <= 0.01 * SIZE[0] * SIZE[1]


def test_maps_too_small_for_edges_are_left_alone():
    for size in ((1, 1), (2, 2), (1, 50), (3, 3)):
        assert not flying_pixels(np.ones(size, np.float32), upsampling=8).any()


def test_clean_steps_thin_poles_and_noise_stay():
    assert not flying_pixels(smeared_step(ramp=0)).any()
    pole = np.full((40, 60), 5, np.float32)
    pole[:, 20] = 2
    assert not flying_pixels(pole).any()
    noisy = (3 * (1 + np.random.default_rng(0).normal(0, 0.005, (100, 100)))).astype(np.float32)
    assert not flying_pixels(noisy).any()


@pytest.mark.parametrize("normal", [(0, 1, 0.02), (0, 1, 0), (0.96, 0.0, 0.28), (-0.7, 0.7, 0.14)])
def test_slopes_stay_however_steep(normal):
    depth = plane(normal, 1.2)
    assert (~np.isnan(depth)).sum() > 3000
    valid = depth[~np.isnan(depth)]
    assert valid.max() / valid.min() > 10, "a slope worth the name"
    assert flying_pixels(depth).sum() <= 0.005 * valid.size


def test_a_column_that_flies_beside_a_hole_is_cut():
    depth = smeared_step(ramp=1)
    depth[:, 31:] = np.nan
    assert flying_pixels(depth)[:, 30].all()
    assert flying_pixels(depth).sum() == 40


def test_true_depth_keeps_its_pixels(scenes):
    for depth, _ in scenes:
        assert flying_pixels(depth).mean() < 0.02


def test_smeared_scenes_lose_their_flying_pixels(scenes):
    """Blurred inverse depth, as a network's: most pixels that lie on no true surface nearby go, few others do."""
    import cv2

    bad_total = found = cut_good = 0
    for depth, _ in scenes:
        inverse = np.nan_to_num(1 / depth, nan=0.0)
        blurred = cv2.GaussianBlur(inverse, (0, 0), 1.0)
        smeared = np.where(blurred > 1 / 50, 1 / np.maximum(blurred, 1e-6), np.nan).astype(np.float32)
        true = np.where(np.isnan(depth), 1e3, depth)
        off = np.full(depth.shape, np.inf)
        for dv in range(-4, 5):
            for du in range(-4, 5):
                off = np.minimum(off, np.abs(np.roll(true, (dv, du), (0, 1)) / smeared - 1))
        flying = flying_pixels(smeared)
        bad = (off > 0.05) & ~np.isnan(smeared)
        bad_total, found = bad_total + bad.sum(), found + (flying & bad).sum()
        cut_good += (flying & (off < 0.01)).sum()
    assert bad_total > 300
    assert found > 0.9 * bad_total
    assert cut_good < 0.02 * 4 * depth.size


@pytest.mark.parametrize("normal", [(0, 0, 1), (0, 1, 0.1), (0.6, 0, 0.8), (-0.36, 0.48, 0.8)])
def test_normals_of_planes_are_exact_and_face_the_camera(normal):
    depth = plane(normal, 2)
    normals = normals_from_depth(depth, CAMERA)
    valid = ~np.isnan(depth) & (depth < 20)
    wanted = -np.array(normal) / np.linalg.norm(normal)
    assert np.abs(normals[valid] @ wanted - 1).max() < 1e-3
    assert (np.isnan(normals).any(-1) == np.isnan(depth)).all()


def test_normals_stay_unit_and_facing_on_scenes_and_do_not_bend_over_edges(scenes):
    for depth, camera in scenes:
        valid = ~np.isnan(depth)
        normals, points = normals_from_depth(depth, camera)[valid], unproject(depth, camera)[valid]
        assert np.linalg.norm(normals, axis=1) == pytest.approx(1, abs=1e-5)
        assert ((normals * points).sum(1) < 0).all()
    step = normals_from_depth(smeared_step(ramp=0), CAMERA)
    assert step == pytest.approx(np.broadcast_to([0, 0, -1], step.shape), abs=1e-4)


def test_a_lone_pixel_has_a_normal():
    depth = np.full((20, 20), np.nan, np.float32)
    depth[10, 10] = 3
    assert normals_from_depth(depth, CAMERA)[10, 10] == pytest.approx([0, 0, -1])
