"""Which camera puts points into space."""

from dataclasses import replace

import numpy as np
import pytest

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.scoring.points import point_scores

SPEC = Spec("own", "Own", (1e-3, 10.0), None, None, False, "all of it", points=True)
LENS = Camera(50.0, 50.0, 25.0, 20.0)


def scene():
    depth = np.random.default_rng(0).uniform(1, 9, (40, 50)).astype(np.float32)
    return Sample("a.png", np.zeros((40, 50, 3), np.uint8), depth, np.ones(depth.shape, bool), LENS)


def said(values, kind, camera=None):
    return Prediction(values, kind, np.isfinite(values), camera)


def test_a_wrong_focal_length_is_an_error_of_ones_own_camera():
    sample = scene()
    longer = replace(LENS, fx=100.0, fy=100.0)
    right, wrong = (said(sample.depth, "metric", camera) for camera in (LENS, longer))
    assert point_scores(SPEC, sample, right, sample.depth, "own")["points_scale_rel"] < 1e-6
    assert point_scores(SPEC, sample, wrong, sample.depth, "set")["points_scale_rel"] < 1e-6
    assert point_scores(SPEC, sample, wrong, sample.depth, "own")["points_scale_rel"] > 0.05


@pytest.mark.parametrize("kind", ["disparity", "affine-depth", None])
def test_maps_known_up_to_a_shift_have_no_points(kind):
    sample = scene()
    assert point_scores(SPEC, sample, said(sample.depth, kind, LENS), sample.depth, "set") == {}
    assert point_scores(SPEC, sample, said(sample.depth, kind, LENS), sample.depth, "own") == {}


def test_sets_without_cameras_and_depth_without_scale():
    sample = scene()
    made = said(sample.depth, "metric")
    assert point_scores(replace(SPEC, points=False), sample, made, sample.depth, "set") == {}
    assert point_scores(SPEC, replace(sample, camera=None), made, sample.depth, "set") == {}
    assert point_scores(SPEC, sample, made, sample.depth, "own") == {}, "no camera was predicted"
    scores = point_scores(replace(SPEC, metric=False), sample, made, sample.depth, "set")
    assert set(scores) == {f"points_{fit}_{score}" for fit in ("scale", "affine") for score in ("rel", "delta1")}


def test_unknown_pixels_are_wrong_points():
    sample = scene()
    holes = sample.depth.copy()
    holes[:, 25:] = np.nan
    scores = point_scores(SPEC, sample, said(holes, "depth"), holes, "set")
    assert scores["points_scale_delta1"] == pytest.approx(0.5) and scores["points_scale_rel"] < 1e-6
