"""Metrics of one image by hand and by their formulas, and what counts as wrong."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.metrics.depth import (
    METRICS,
    image_metrics,
    moge_depth_metrics,
    pair_accuracy,
)
from tests.peers import error_percent


def test_metrics_by_hand():
    got = image_metrics(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    want = {"abs_rel": 0.5, "rmse": 1.0, "delta1": 0.0, "delta2": 0.5, "delta3": 0.5}
    assert {key: got[key] for key in want} == want


def test_image_metrics_agree_with_their_formulas():
    rng = np.random.default_rng(9)
    g, p = rng.uniform(1, 9, 500), rng.uniform(1, 9, 500)
    got = image_metrics(p, g)
    d = np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    want = {
        "abs_rel": np.mean(np.abs(p - g) / g),
        "sq_rel": np.mean((p - g) ** 2 / g),
        "rmse": np.sqrt(np.mean((p - g) ** 2)),
        "rmse_log": np.sqrt(np.mean(d**2)),
        "log10": np.mean(np.abs(np.log10(p) - np.log10(g))),
        "silog": 100 * np.std(d),
        "irmse": np.sqrt(np.mean((1 / p - 1 / g) ** 2)),
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.5625),
        "delta3": np.mean(ratio < 1.953125),
        "missing": 0,
    }
    assert got == pytest.approx(want, rel=1e-12)
    assert (*METRICS, "missing") == tuple(got)


def test_the_scale_of_the_world_does_not_matter_to_ratios():
    rng = np.random.default_rng(10)
    g = rng.uniform(1, 9, 500)
    p = g * rng.uniform(0.7, 1.4, 500)
    one, two = image_metrics(p, g), image_metrics(100 * p, 100 * g)
    for name in ("abs_rel", "rmse_log", "log10", "silog", "delta1", "delta2", "delta3"):
        assert two[name] == pytest.approx(one[name], rel=1e-9), name
    assert two["rmse"] == pytest.approx(100 * one["rmse"])
    assert image_metrics(3 * p, g)["silog"] == pytest.approx(one["silog"], rel=1e-9)


def test_a_negative_or_missing_depth_is_wrong():
    g = np.array([1.0, 2, 4, 8])
    scores = image_metrics(np.array([-1.0, 2, 0, 8]), g)
    assert scores["delta3"] == 0.5
    assert all(np.isfinite(v) for v in scores.values())
    scores = image_metrics(np.array([np.nan, 2, np.inf, 8]), g)
    assert (scores["delta1"], scores["abs_rel"], scores["missing"]) == (0.5, 0, 0.5)
    assert error_percent(np.array([-1.0, 2, np.nan, 8]), g) == 50
    assert image_metrics(np.array([-1.0, 2, 4, 8]), g)["delta1"] == 0.75
    assert moge_depth_metrics(np.array([-1.0, 2, 4, 8]), g)["delta1"] == 1


def test_what_the_metrics_refuse():
    one = np.ones((3, 4))
    with pytest.raises(CcdError, match="no valid pixel"):
        image_metrics(one, one, np.zeros((3, 4), bool))
    with pytest.raises(CcdError, match="one size"):
        image_metrics(one[1:], one)
    with pytest.raises(CcdError, match="not positive"):
        image_metrics(one, 0 * one)
    with pytest.raises(CcdError, match="no finite"):
        image_metrics(np.nan * one, one)


def test_pairs_follow_the_direction_of_the_kind():
    near_left = np.tile(np.arange(4.0), (3, 1))
    pairs = [((0, 0), (2, 3)), ((1, 3), (1, 0)), ((1, 1), (2, 1)), ((0, 1), (0, 2))]
    assert pair_accuracy(near_left, pairs, "metric") == 0.5  # a tie is wrong
    assert pair_accuracy(near_left, pairs, "disparity") == 0.25
    with pytest.raises(CcdError, match="outside"):
        pair_accuracy(near_left, [((0, 4), (0, 0))], "metric")
    with pytest.raises(CcdError, match="no pairs"):
        pair_accuracy(near_left, [], "metric")


def test_what_is_not_predicted_is_wrong_in_delta1_of_moge_too():
    gt = np.tile(np.linspace(1.0, 5.0, 64), (48, 1))
    pred = gt.copy()
    pred[:, 32:] = np.nan
    made = moge_depth_metrics(pred, gt)
    assert (made["rel"], made["delta1"]) == (0.0, 0.5) and image_metrics(pred, gt)["delta1"] == 0.5
