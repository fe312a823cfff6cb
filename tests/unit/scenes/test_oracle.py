"""Depth of generated scenes against Open3D's ray caster on the same geometry as triangles."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from ccd_cli.scenes.render import camera, tiles, trace
from ccd_cli.scenes.render.draft import PRIM, SHAPES, Draft
from ccd_cli.scenes.render.packing import pack
from ccd_cli.scenes.render.terrain import FAR
from ccd_cli.scenes.world.compose import compose

HEIGHT, WIDTH = 60, 80
HULL = [
    (0, 1, 3),
    (0, 3, 2),
    (4, 7, 5),
    (4, 6, 7),
    (0, 4, 5),
    (0, 5, 1),
    (2, 3, 7),
    (2, 7, 6),
    (0, 2, 6),
    (0, 6, 4),
    (1, 5, 7),
    (1, 7, 3),
]


def local_mesh(row, around):
    """Vertices in the primitive's own axes, and triangles; round shapes get `around` facets."""
    hx, hy, hz = row[3:6]
    shape, taper = SHAPES[int(row[PRIM.index("shape")])], row[PRIM.index("taper")]
    if shape in ("box", "wedge"):
        corners = itertools.product((-1, 1), repeat=3)
        return np.array([(i * (hx + taper * j * hy), j * hy, k * hz) for i, j, k in corners]), np.array(HULL)
    angle = np.arange(around) * 2 * math.pi / around
    ring = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
    if shape == "ball":
        tilt = np.linspace(-math.pi / 2, math.pi / 2, around // 2 + 1)[1:-1]
        rings = [ring * math.cos(t) + (0, math.sin(t), 0) for t in tilt]
        ends, scale = [(0, -1, 0), (0, 1, 0)], (hx, hy, hz)
    else:
        rings = [ring * (hx + taper * y) + (0, y, 0) for y in (-hy, hy)]
        ends, scale = [(0, -hy, 0), (0, hy, 0)], (1, 1, 1)
    here, after = np.arange(around), np.roll(np.arange(around), -1)
    faces = []
    for n in range(len(rings) - 1):
        a, b, c, d = (n * around + here, n * around + after, (n + 1) * around + here, (n + 1) * around + after)
        faces += [np.stack([a, b, d], 1), np.stack([a, d, c], 1)]
    low, high = len(rings) * around, len(rings) * around + 1
    last = (len(rings) - 1) * around
    faces += [np.stack([here, after, here * 0 + low], 1), np.stack([last + here, last + after, here * 0 + high], 1)]
    return np.concatenate([*rings, ends]) * scale, np.concatenate(faces)


def ground_mesh(draft, reach, step):
    if draft.base == "plane":
        reach, step = 3000.0, 6000.0
    side = np.arange(-reach, reach + step / 2, step)
    x, z = np.meshgrid(side, side, indexing="ij")
    y = np.vectorize(draft.height)(x, z) if draft.waves else draft.tilt[0] * x + draft.tilt[1] * z
    number = np.arange(x.size).reshape(x.shape)
    a, b, c, d = (number[i, j].ravel() for i, j in itertools.product((slice(None, -1), slice(1, None)), repeat=2))
    return np.stack([x, y, z], -1).reshape(-1, 3), np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def add(o3d, caster, vertices, faces):
    mesh = o3d.t.geometry.TriangleMesh()
    mesh.vertex.positions = o3d.core.Tensor(vertices.astype(np.float32))
    mesh.triangle.indices = o3d.core.Tensor(faces.astype(np.int32))
    caster.add_triangles(mesh)


def compare(draft, reach=40.0, step=0.1, around=360):
    """Relative differences of depth [H,W] and whether flat, round or ground was hit there by both; edges are 1 or more."""
    o3d = pytest.importorskip("open3d", reason="Open3D casts the rays to compare with", exc_type=ImportError)
    scenes = pack([draft], torch.device("cpu"))
    lens = camera.intrinsics(scenes.fov, HEIGHT, WIDTH)
    grid = tiles.grid(HEIGHT, WIDTH, torch.device("cpu"))
    origin, direction = camera.rays(scenes, lens, grid)
    depth, index = (grid.image(v, HEIGHT, WIDTH)[0] for v in trace.nearest(scenes, origin, direction, lens, grid))
    rays = torch.stack(
        [*(o.expand(1, HEIGHT, WIDTH)[0] for o in origin), *(grid.image(d, HEIGHT, WIDTH)[0] for d in direction)], -1
    )
    caster = o3d.t.geometry.RaycastingScene()
    for number, row in enumerate(draft.prims):
        if number == 0 and draft.base != "room":
            add(o3d, caster, *ground_mesh(draft, reach, step))
            continue
        vertices, faces = local_mesh(row, around)
        add(o3d, caster, vertices @ np.array(row[6:15]).reshape(3, 3) + row[:3], faces)
    cast = caster.cast_rays(o3d.core.Tensor(rays.numpy()))
    expected, which = (torch.from_numpy(cast[name].numpy()) for name in ("t_hit", "geometry_ids"))
    expected = torch.where(expected < FAR, expected, torch.inf)
    kinds = torch.tensor([row[PRIM.index("shape")] >= 2 for row in draft.prims])
    hit = torch.isfinite(depth) & torch.isfinite(expected)
    both = hit & (which.long() == index.long())
    error = torch.where(both, (depth - expected).abs() / expected, 1.0)
    error = torch.where(torch.isinf(depth) & torch.isinf(expected), 0.0, error)
    return error, both & ~kinds[index.long()], both & kinds[index.long()], hit


def scene(base, number):
    drafts = (compose(seed, "room" if base == "room" else "ground") for seed in itertools.count())
    return next(itertools.islice((d for d in drafts if d.base == base), number, None))


@pytest.mark.parametrize("base", ["room", "plane"])
@pytest.mark.parametrize("number", range(3))
def test_scenes_agree_with_triangles(base, number):
    error, flat, curved, _ = compare(scene(base, number))
    assert (error >= 1).float().mean() < 0.004  # pixels on an edge, where another thing may be hit
    assert error[flat].max() < 1e-4
    if curved.any():
        assert error[curved].quantile(0.99) < 5e-4  # 360 facets around
        assert error[curved].median() < 5e-5


@pytest.mark.parametrize("family", ["table", "close", "yard"])
def test_other_families_agree_with_triangles(family):
    for seed in range(4):
        error, flat, curved, _ = compare(compose(seed, family))
        assert (error >= 1).float().mean() < 0.01  # more and thinner edges than in rooms and streets
        assert not flat.any() or error[flat].max() < 2e-4
        assert not curved.any() or error[curved].median() < 1e-4


@pytest.mark.parametrize("number", range(2))
def test_hills_agree_with_triangles(number):
    draft = scene("terrain", number)
    draft.prims = draft.prims[:1]
    reach = 40.0
    error, ground, _, _ = compare(draft, reach)
    assert ground.float().mean() > 0.1
    assert error[ground].quantile(0.999) < 1e-4


def test_single_shapes_agree_with_triangles():
    """Every shape, tilted and tapered, seen from near."""
    worst = {}
    for name in SHAPES:
        draft = scene("plane", 0)
        fresh = Draft(
            draft.rng,
            base="plane",
            camera={**draft.camera, "x": 0, "y": 1.5, "z": 0, "yaw": 0, "pitch": -0.1, "roll": 0.05},
        )
        fresh.prims = draft.prims[:1]
        fresh.materials = draft.materials
        place = fresh.at(0.2, 4.0, 0.6)
        if name == "box":
            place.box((0, 1, 0), (0.7, 0.9, 0.4), 0)
        elif name == "wedge":
            place.wedge((0, 1, 0), (0.9, 0.8, 0.6), 0.2, 0)
        elif name == "cone":
            place.cone((0, 1.2, 0), 0.9, 1.1, 0, top=0.05)
            place.cone((1.4, 0.4, 0), 0.3, 0.4, 0, top=1.5)
        elif name == "rod":
            place.rod((-1, 0.2, 0.3), (0.8, 2.0, -0.5), 0.25, 0)
        else:
            place.ball((0, 1, 0), (1.1, 0.6, 0.8), 0)
        error, _, _, hit = compare(fresh)
        assert (error >= 1).float().mean() < 0.004
        both = hit & (error < 1)
        worst[name] = float(error[both].max())
        if name in ("cone", "rod", "ball"):  # the difference is the facets': it falls with the square of their size
            coarse, _, curved, _ = compare(fresh, around=90)
            curved &= both
            assert error[curved].mean() < 0.1 * coarse[curved].mean(), name
    assert worst["box"] < 1e-5 and worst["wedge"] < 1e-5, worst
    assert max(worst.values()) < 1e-3, worst
