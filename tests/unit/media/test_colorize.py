"""Near is warm for every kind; colors are fast, never jump, and gray where nothing is known."""

import time

import numpy as np
import pytest

from ccd_cli.core.errors import UsageProblem
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.media.colorize import STEP, ClipRange, color_range, color_table, colorize, nearness, side_by_side

LIGHT = np.array([0.299, 0.587, 0.114])


def ramp(kind):
    """A map whose left side is near."""
    depth = np.linspace(1, 10, 64, dtype=np.float32)[None].repeat(32, 0)
    return 1 / depth if kind == "disparity" else depth


@pytest.mark.parametrize("kind", KINDS)
def test_near_is_warm_for_every_kind(kind):
    picture = colorize(ramp(kind), None, kind).astype(float)
    light = (picture @ LIGHT)[16]
    assert light[0] > light[-1] + 100 and (np.diff(light) <= 1).all()
    for name in ("Spectral", "RdYlBu", "turbo", "jet", "magma"):
        near, far = colorize(ramp(kind), None, kind, cmap=name)[16, [0, -1]].astype(float)
        assert near[0] - near[2] > far[0] - far[2], name  # redder than blue


def test_depth_and_its_disparity_look_the_same():
    assert (colorize(ramp("metric"), None, "metric") == colorize(ramp("disparity"), None, "disparity")).mean() > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_pixels_are_gray_and_do_not_count(kind):
    values, valid = ramp(kind), np.ones((32, 64), bool)
    plain = colorize(values, None, kind)
    values[5, 5], values[6, 6], valid[7, 7] = np.nan, np.inf, False
    values[7, 7] = -1e30
    picture = colorize(values, valid, kind)
    assert (picture[[5, 6, 7], [5, 6, 7]] == 128).all()
    assert np.abs(picture[10:].astype(int) - plain[10:]).max() <= 4
    assert (colorize(values, np.zeros_like(valid), kind) == 128).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_any_range_works(kind, size):
    values = (ramp(kind).astype(np.float64) * size).astype(np.float32)
    with np.errstate(all="raise", under="ignore", over="ignore"):
        picture = colorize(values, None, kind)
        assert picture.shape == (32, 64, 3) and picture.dtype == np.uint8
        assert len(np.unique(picture[16], axis=0)) > 30
        colorize(values[:1, :1], None, kind)
        colorize(np.full((3, 3), size, np.float32), None, kind)


def test_given_range_is_kept():
    near = ramp("disparity")
    low, high = color_range(nearness(near, None, "disparity"))
    assert (colorize(near, None, "disparity", low, high) == colorize(near, None, "disparity")).all()
    assert (colorize(near, None, "disparity", 5.0, 6.0) == color_table("inferno")[0]).all()


def test_unknown_color_maps_get_near_names():
    with pytest.raises(UsageProblem, match="inferno"):
        color_table("infreno")
    with pytest.raises(UsageProblem, match="Spectral"):
        color_table("spectral")
    with pytest.raises(UsageProblem, match="viridis"):
        color_table("qqqqq")


def test_default_is_perceptually_uniform():
    light = color_table("inferno").astype(float) @ LIGHT
    assert (np.diff(light) > -1).all()


def test_strip_holds_both_pictures():
    rgb, color = np.full((10, 20, 3), 7, np.uint8), np.full((10, 20, 3), 9, np.uint8)
    strip = side_by_side(rgb, color)
    assert (strip[:, :20] == 7).all() and (strip[:, -20:] == 9).all() and (strip[:, 20:22] == 255).all()
    with pytest.raises(UsageProblem, match="20x10"):
        side_by_side(rgb, color[:5])


def test_a_megapixel_takes_milliseconds():
    values = np.random.default_rng(0).random((1000, 1000), dtype=np.float32)
    spent = []
    for _ in range(7):
        start = time.thread_time()
        colorize(values, None, "metric", 0.5, 5.0)
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.02  # 0.005 on an idle machine


def test_clip_range_never_jumps_but_at_cuts():
    rng, seen, ranges = np.random.default_rng(0), ClipRange(), []
    for t in range(400):
        jump = 3.0 if 150 <= t < 170 else 1.0  # something near passes
        ranges.append(seen.update(rng.normal(2, 0.5, (20, 30)).astype(np.float32) * np.float32(jump)))
        if t == 100:
            seen = ClipRange.from_state(seen.state())
    low, high = np.array(ranges).T
    width = (high - low)[:-1]
    assert (np.abs(np.diff(low)) <= STEP * width * 1.0001).all() and (
        np.abs(np.diff(high)) <= STEP * width * 1.0001
    ).all()
    assert high[-1] == pytest.approx(high[0], rel=0.1) and low[-1] == pytest.approx(low[0], rel=0.2)
    cut = seen.update(np.linspace(50, 60, 600, dtype=np.float32).reshape(20, 30), cut=True)
    assert cut == pytest.approx((50.2, 59.8), abs=0.01)
    assert seen.update(np.full((5, 5), np.nan, np.float32)) == cut
