"""Alignment in disparity and the metrics."""

import numpy as np
import pytest

from ccd_cli.core.align import align_disparity, least_squares
from ccd_cli.core.metrics import depth_metrics


def test_least_squares_against_numpy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=500), rng.normal(size=500)
    scale, shift = least_squares(x, y)
    want = np.polyfit(x, y, 1)
    assert [scale, shift] == pytest.approx(want.tolist(), abs=1e-10)
    assert least_squares(np.full(9, 3.0), np.arange(9.0)) == (0.0, 4.0)
    with pytest.raises(ValueError, match="nothing"):
        least_squares(np.array([]), np.array([]))


def test_a_perfect_disparity_model_scores_zero_and_scale_and_shift_do_not_matter():
    depth = np.random.default_rng(2).uniform(0.7, 8, 1000)
    pred = 17.0 / depth + 4.0
    scores = depth_metrics(align_disparity(pred, depth), depth)
    assert scores["abs_rel"] < 1e-12
    assert scores["delta1"] == 1.0


def test_nothing_lies_beyond_the_farthest_true_pixel():
    depth = np.array([1.0, 2.0, 4.0, 8.0])
    fitted = align_disparity(np.array([4.0, 1.0, -3.0, -2.0]), depth)
    assert fitted.max() <= 8.0 + 1e-12


def test_metrics_by_hand():
    got = depth_metrics(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert got == {"abs_rel": 0.5, "rmse": 1.0, "delta1": 0.0, "delta2": 0.5, "delta3": 0.5}
