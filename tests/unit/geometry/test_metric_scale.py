"""Meters from maps of every kind: exact ends of an assumed range, and fits that outliers do not move."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.depth_map import DepthMap, checked
from ccd_cli.geometry.metric_scale import robust_line, to_depth_by_range, to_depth_by_reference, value_quantiles

RNG = np.random.default_rng(3)
DEPTH = np.exp(RNG.uniform(np.log(0.8), np.log(15), (60, 80))).astype(np.float32)


def as_kind(kind: str, depth: np.ndarray = DEPTH) -> DepthMap:
    """The same scene in the values of a kind."""
    values = {"disparity": 7 / depth + 2, "depth": 0.05 * depth, "affine-depth": 0.3 * depth - 4, "metric": depth}
    return checked(values[kind].astype(np.float32), kind)


@pytest.mark.parametrize(("near", "far"), [(0.5, 20), (1.25, 3), (0.01, 1000)])
def test_quantiles_land_exactly_on_near_and_far(near, far):
    values = RNG.normal(size=(101, 100)).astype(np.float32)
    low, high = value_quantiles(DepthMap(values, "disparity"))
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.01, 0.99])))
    to_depth = to_depth_by_range("disparity", (low, high), near, far)
    assert (1 / (to_depth.scale * low + to_depth.shift), 1 / (to_depth.scale * high + to_depth.shift)) == pytest.approx(
        (far, near)
    )
    to_depth = to_depth_by_range("affine-depth", (low, high), near, far)
    assert (to_depth.scale * low + to_depth.shift, to_depth.scale * high + to_depth.shift) == pytest.approx((near, far))


def test_quantiles_of_the_depth_made_are_near_and_far():
    depth_map = DepthMap(RNG.normal(size=(101, 101)).astype(np.float32), "disparity")
    made = to_depth_by_range("disparity", value_quantiles(depth_map), 0.5, 20)(depth_map)
    ordered = np.sort(np.where(np.isnan(made), np.inf, made), axis=None)
    assert (ordered[102], ordered[-103]) == pytest.approx((0.5, 20), rel=1e-4)


def test_disparity_follows_the_stated_formula():
    made = to_depth_by_range("disparity", (2.0, 6.0), 0.5, 20)
    a = (1 / 0.5 - 1 / 20) / 4
    assert (made.scale, made.shift) == pytest.approx((a, 1 / 20 - 2 * a))
    values = np.array([[2, 3, 4, 6, 9]], np.float32)
    assert made(DepthMap(values, "disparity"))[0] == pytest.approx(1 / (a * values[0] + 1 / 20 - 2 * a), rel=1e-6)


def test_depth_keeps_its_zero_and_meets_the_range_in_the_middle():
    to_depth = to_depth_by_range("depth", (0.1, 4.0), 0.5, 20)
    assert to_depth.shift == 0
    assert (to_depth.scale * 0.1, to_depth.scale * 4) == pytest.approx((0.5, 20))
    other = to_depth_by_range("depth", (1.0, 2.0), 0.5, 20)
    assert other.scale**2 * 2 == pytest.approx(0.5 * 20)


def test_metric_passes_through_and_invalid_is_nan():
    to_depth = to_depth_by_range("metric", (1, 2))
    made = to_depth(checked(np.array([[1.5, np.nan, -1, np.inf, 0]], np.float32), "metric"))
    assert made.dtype == np.float32
    assert made[0, 0] == 1.5 and np.isnan(made[0, 1:]).all()


def test_what_lies_behind_infinity_is_left_out():
    to_depth = to_depth_by_range("disparity", (1.0, 2.0), 0.5, 20)
    at_infinity = -to_depth.shift / to_depth.scale
    made = to_depth(DepthMap(np.array([[at_infinity - 0.5, 0.99, 1.0]], np.float32), "disparity"))
    assert np.isnan(made[0, 0]) and made[0, 1] > 20 and made[0, 2] == pytest.approx(20)


@pytest.mark.parametrize(("near", "far"), [(0, 5), (5, 5), (6, 5), (-1, 5), (1, np.inf), (np.nan, 3)])
def test_impossible_ranges(near, far):
    with pytest.raises(UsageProblem, match="--near"):
        to_depth_by_range("disparity", (0, 1), near, far)


def test_flat_and_empty_maps_are_errors():
    with pytest.raises(CcdError, match="flat"):
        to_depth_by_range("disparity", (3.0, 3.0))
    with pytest.raises(CcdError, match="no valid value"):
        value_quantiles(checked(np.full((4, 4), np.nan, np.float32), "disparity"))
    with pytest.raises(CcdError, match="no valid value"):
        value_quantiles(DepthMap(np.full((4, 4), -1, np.float32), "depth"))


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth", "metric"])
def test_a_fit_recovers_meters_exactly_with_a_fifth_of_outliers(kind):
    reference = DEPTH.copy()
    wrong = RNG.random(DEPTH.shape) < 0.2
    reference[wrong] = RNG.uniform(0.3, 80, wrong.sum())
    fit = to_depth_by_reference(as_kind(kind), reference)
    assert fit.to_depth(as_kind(kind)) == pytest.approx(DEPTH, rel=2e-4)
    assert fit.pixels == DEPTH.size
    assert 0.78 < fit.inliers < 0.86


@pytest.mark.parametrize("kind", ["disparity", "depth", "affine-depth"])
def test_one_sided_outliers_move_a_noisy_fit_by_less_than_a_percent(kind):
    noisy = DEPTH * np.exp(RNG.normal(0, 0.02, DEPTH.shape)).astype(np.float32)
    clean = to_depth_by_reference(as_kind(kind), noisy).to_depth
    corrupted = noisy.copy()
    corrupted[RNG.random(DEPTH.shape) < 0.2] = 0.4
    moved = to_depth_by_reference(as_kind(kind), corrupted).to_depth
    change = moved(as_kind(kind)) / clean(as_kind(kind)) - 1
    assert np.abs(change).max() < 0.01


def test_half_the_points_on_another_line_do_not_win():
    x = RNG.uniform(0, 1, 1000)
    y = np.where(np.arange(1000) < 450, 9 - 20 * x, 3 * x + 1)
    assert robust_line(x, y)[:2] == pytest.approx((3, 1))


@pytest.mark.parametrize("size", [(30, 40), (120, 160), (59, 80)])
def test_a_reference_of_another_size_meets_the_pixel_under_its_center(size):
    rows = ((np.arange(size[0]) + 0.5) * 60 / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * 80 / size[1]).astype(int)
    fit = to_depth_by_reference(as_kind("disparity"), DEPTH[np.ix_(rows, columns)])
    assert fit.pixels == size[0] * size[1]
    assert fit.to_depth(as_kind("disparity")) == pytest.approx(DEPTH, rel=1e-4)


def test_a_sparse_reference_is_enough_down_to_sixteen_pixels():
    reference = np.full(DEPTH.shape, np.nan, np.float32)
    reference.flat[:1600:100] = DEPTH.flat[:1600:100]
    assert to_depth_by_reference(as_kind("disparity"), reference).pixels == 16
    reference.flat[0] = 0
    with pytest.raises(CcdError, match="share 15 valid pixels"):
        to_depth_by_reference(as_kind("disparity"), reference)


def test_opposite_directions_flat_maps_and_other_shapes_are_errors():
    with pytest.raises(CcdError, match="opposite"):
        to_depth_by_reference(DepthMap(DEPTH, "disparity"), DEPTH)
    with pytest.raises(CcdError, match="flat"):
        to_depth_by_reference(DepthMap(np.ones_like(DEPTH), "affine-depth"), DEPTH)
    with pytest.raises(CcdError, match="80x30, which is not the aspect ratio"):
        to_depth_by_reference(as_kind("depth"), DEPTH[:30])


def test_a_fit_is_the_same_every_time():
    noisy = DEPTH * np.exp(RNG.normal(0, 0.05, DEPTH.shape)).astype(np.float32)
    one, two = (to_depth_by_reference(as_kind("disparity"), noisy) for _ in range(2))
    assert one == two
