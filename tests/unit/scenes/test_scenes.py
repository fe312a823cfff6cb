"""Generated scenes: the same bytes for the same seed, whatever else is rendered, and sound geometry."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch

from ccd_cli.core.errors import UsageProblem
from ccd_cli.scenes import render
from ccd_cli.scenes.render.draft import LIMIT
from ccd_cli.scenes.render.packing import pack
from ccd_cli.scenes.renderer import render_scenes
from ccd_cli.scenes.world.compose import FAMILIES, compose

SIZE = (48, 64)


def same(a, b):
    return torch.equal(a.rgb, b.rgb) and torch.equal(a.depth, b.depth) and torch.equal(a.intrinsics, b.intrinsics)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_and_values(family):
    made = render(range(6), *SIZE, family=family)
    assert made.rgb.shape == (6, 3, *SIZE) and made.rgb.dtype == torch.uint8
    assert made.depth.shape == (6, *SIZE) and made.depth.dtype == torch.float32
    assert made.intrinsics.shape == (6, 4)
    assert (made.depth > 0.02).all() and not made.depth.isnan().any()
    assert made.rgb.float().std(dim=(1, 2, 3)).min() > 4
    if family in ("room", "table"):
        assert made.depth.isfinite().all() and made.depth.max() < 20
    if family == "ground":
        assert made.depth.isinf().any() and made.depth[made.depth.isfinite()].max() <= 1000


def test_a_scene_depends_on_its_own_seed_alone():
    seeds = [11, 4, 2**40 + 5, 7, 0]
    together = render(seeds, *SIZE)
    again = render(seeds, *SIZE)
    assert same(together, again)
    backwards = render(seeds[::-1], *SIZE)
    for number, seed in enumerate(seeds):
        alone = render([seed], *SIZE)
        for made, at in ((together, number), (backwards, len(seeds) - 1 - number)):
            assert torch.equal(alone.rgb[0], made.rgb[at]) and torch.equal(alone.depth[0], made.depth[at])


@pytest.mark.parametrize("family", ["room", "ground"])
def test_threads_change_nothing(family):
    one = render(range(4), 150, 231, family=family)
    torch.set_num_threads(3)
    assert same(one, render(range(4), 150, 231, family=family))


def test_another_process_gives_the_same_bytes():
    code = (
        "import hashlib; from ccd_cli.scenes import render; r = render([3, 8], 24, 40);"
        "print(hashlib.sha256(r.rgb.numpy().tobytes() + r.depth.numpy().tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    made = render([8, 3], 24, 40)
    made_bytes = made.rgb.flip(0).numpy().tobytes() + made.depth.flip(0).numpy().tobytes()
    assert there == hashlib.sha256(made_bytes).hexdigest()


def test_different_seeds_differ():
    made = render(range(8), *SIZE)
    for a in range(8):
        for b in range(a):
            assert (made.rgb[a] != made.rgb[b]).float().mean() > 0.5


@pytest.mark.parametrize("base", ["room", "plane", "terrain"])
def test_scenes_rendered_at_once_are_the_same_to_the_byte(base):
    """GPUs, and CPUs at small sizes, render many scenes in one go."""
    drafts = [
        d for d in (compose(seed, "room" if base == "room" else "ground") for seed in range(40)) if d.base == base
    ]
    cpu = torch.device("cpu")
    together = render_scenes(pack(drafts[:5], cpu), 37, 53)
    for number, draft in enumerate(drafts[:5]):
        alone = render_scenes(pack([draft], cpu), 37, 53)
        assert torch.equal(alone.rgb[0], together.rgb[number])
        assert torch.equal(alone.depth[0], together.depth[number])


@pytest.mark.parametrize("size", [(2, 2), (33, 17), (7, 120), (65, 8)])
def test_odd_sizes(size):
    made = render([1, 2], *size, family="ground")
    assert made.depth.shape == (2, *size)
    assert torch.allclose(made.intrinsics[:, 2:], torch.tensor([size[1] / 2, size[0] / 2]))


def test_a_pixel_is_the_same_ray_at_any_size():
    """Depth belongs to pixel centers: a third of the size hits the middle of every 3 by 3 block."""
    fine, coarse = render([5], 72, 96, family="room"), render([5], 24, 32, family="room")
    assert torch.allclose(fine.intrinsics, coarse.intrinsics * 3)
    assert torch.isclose(fine.depth[:, 1::3, 1::3], coarse.depth, rtol=1e-4).float().mean() > 0.995


def test_back_projected_floor_lies_on_the_floor():
    fractions = []
    for seed in range(4):
        draft = compose(seed, "room")
        made = render([seed], *SIZE, family="room")
        fx, fy, cx, cy = made.intrinsics[0].tolist()
        x = (torch.arange(SIZE[1]) + 0.5 - cx) / fx
        y = (torch.arange(SIZE[0])[:, None] + 0.5 - cy) / fy
        frame = pack([draft], torch.device("cpu")).frame[0]
        height = draft.camera["y"] + made.depth[0] * (x * frame[0, 1] - y * frame[1, 1] + frame[2, 1])
        assert height.min() > -1e-4
        fractions.append((height.abs() < 1e-4).float().mean())
        assert height.max() < 3.2
    assert sum(fractions) / len(fractions) > 0.1


@pytest.mark.parametrize("family", ["mixed", "table", "close", "yard", "varied"])
def test_every_scene_stays_within_its_limits(family):
    for seed in range(60):
        draft = compose(seed, family)
        assert (5 if family == "mixed" else 2) < len(draft.prims) <= LIMIT
        camera = draft.camera
        high = camera["y"] - (0 if draft.base == "room" else draft.height(camera["x"], camera["z"]))
        assert (0.3 if family == "mixed" else 0.15) < high < 2.9
        assert (0.69 if family == "mixed" else 0.48) < camera["fov"] < 1.75
        assert -1.57 < camera["pitch"] < 0.75


def test_the_scenes_of_published_tables_stay_what_they_are():
    """Recipes and their tables name seeds of `mixed`: new families leave its drafts, to six digits, as they were."""
    rows = [
        [[round(value, 6) + 0.0 for value in row] for row in (*draft.prims, *draft.materials)]
        + sorted((name, round(value, 6) + 0.0) for name, value in (draft.camera | draft.appearance).items())
        for draft in (compose(seed) for seed in (0, 1, 2, 3, 5_000_000, 2**40))
    ]
    assert (
        hashlib.sha256(repr(rows).encode()).hexdigest()
        == "c5a5e1f48509b32fc80ed206f5b8e428e67918a1950419f4189ce66b04e912a4"
    )


@pytest.mark.parametrize("family", ["table", "close", "yard"])
def test_new_families_show_what_they_are_named_for(family):
    """Something near fills a part of most pictures, and something much farther another; the camera looks down on tables."""
    made = render(range(40), *SIZE, family=family)
    disparity = (1 / made.depth).flatten(1)
    near, far = disparity.quantile(0.9, dim=1), disparity.quantile(0.1, dim=1)
    assert near.median() > {"table": 1 / 1.2, "close": 1 / 2.0, "yard": 1 / 4.0}[family]
    assert (near > 1.6 * far).float().mean() > 0.7
    pitch = torch.tensor([compose(seed, family).camera["pitch"] for seed in range(40)])
    assert (pitch.median() < -0.25) == (family == "table")


def test_wrong_requests_are_named():
    with pytest.raises(UsageProblem, match="family"):
        render([1], 8, 8, family="space")  # type: ignore[arg-type]
    with pytest.raises(UsageProblem):
        render([], 8, 8)
    with pytest.raises(UsageProblem):
        render([1], 0, 8)


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["room", "ground"])
def test_a_gpu_agrees_with_the_cpu(family):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    there, here = render(range(8), 96, 128, family=family, device="cuda"), render(range(8), 96, 128, family=family)
    assert torch.isclose(there.depth.cpu(), here.depth, rtol=1e-4).float().mean() > 0.995
    assert ((there.rgb.cpu().int() - here.rgb.int()).abs() <= 2).float().mean() > 0.98
