"""Every protocol on six pixels: a table that can be checked by hand."""

import numpy as np
import pytest

from ccd_cli.metrics.alignment import Limits, align
from ccd_cli.metrics.boundary import depth_pro_f1
from ccd_cli.metrics.depth import image_metrics, moge_depth_metrics
from tests.peers import error_percent

GT = np.array([[1.0, 2, 4], [5, 8, 10]])
ALL = np.ones((2, 3), bool)
PLAIN = np.array([[1.1, 1.8, 5.2], [5, 7, 12]])
NOISY = np.array([[0.3, 0.5, 0.6], [0.9, 1, 1.4]])
DISPARITY = np.array([[2.2, 0.9, 0.7], [0.1, -0.3, 0.35]])
FAR = (1e-3, 100.0)


def scored(method, pred, kind, depth_range=FAR, gt=GT, mask=ALL):
    fit = align(method, pred, gt, mask, kind, Limits(depth_range))
    return fit, image_metrics(fit.depth, gt, mask)


def test_an_exact_affine_prediction():
    fit, scores = scored("least-squares", 2 * GT + 1, "affine-depth")
    assert (fit.scale, fit.shift) == pytest.approx((0.5, -0.5), abs=1e-12)
    assert scores["abs_rel"] == pytest.approx(0, abs=1e-12)
    assert scores["delta1"] == 1


def test_every_metric_without_alignment():
    _, scores = scored("none", PLAIN, "metric")
    want = {
        "abs_rel": 0.137500,
        "sq_rel": 0.152500,
        "rmse": 1.040032,
        "rmse_log": 0.152802,
        "log10": 0.056378,
        "delta1": 0.833333,
        "irmse": 0.050458,
        "silog": 14.432657,
    }
    assert {k: scores[k] for k in want} == pytest.approx(want, abs=6e-6)


def test_noisy_by_least_squares():
    fit, scores = scored("least-squares", NOISY, "depth")
    assert (fit.scale, fit.shift) == pytest.approx((8.498943, -1.657506), abs=1e-6)
    want = {"abs_rel": 0.151762, "sq_rel": 0.105824, "rmse": 0.713802, "rmse_log": 0.163601, "log10": 0.064045}
    assert {k: scores[k] for k in want} == pytest.approx(want, abs=1e-6)
    assert scores["delta1"] == pytest.approx(5 / 6)
    assert scores["silog"] == pytest.approx(16.344305, abs=6e-6)


def test_noisy_by_moge():
    fit = align("moge-scale", NOISY, GT, ALL, "depth")
    assert np.abs(fit.scale * NOISY / GT - 1).sum() == pytest.approx(1.75)  # the optimum may be an interval
    assert fit.scale == pytest.approx(5.555556, abs=1e-6)
    scores = moge_depth_metrics(fit.depth, GT)
    assert (scores["rel"], scores["delta1"]) == pytest.approx((0.291667, 0.333333), abs=1e-6)
    fit = align("moge-affine", NOISY, GT, ALL, "depth")
    assert (fit.scale, fit.shift) == pytest.approx((8.181818, -1.454546), abs=1e-6)
    scores = moge_depth_metrics(fit.depth, GT)
    assert (scores["rel"], scores["delta1"]) == pytest.approx((0.132576, 0.833333), abs=1e-6)


def test_noisy_by_one_number():
    assert align("median", NOISY, GT, ALL, "depth").scale == pytest.approx(6.0)
    assert align("scale", NOISY, GT, ALL, "depth").scale == pytest.approx(6.756152, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_ratio_of_exactly_one_and_a_quarter_is_outside_delta1_and_no_error_either(dtype):
    pred = np.array([[1.25, 2.5, 5], [4, 6.4, 8]], dtype)
    scores = image_metrics(pred, GT.astype(dtype))
    assert (scores["delta1"], scores["delta2"]) == (0, 1)
    assert scores["abs_rel"] == pytest.approx(0.225, abs=1e-6)
    assert error_percent(pred, GT.astype(dtype)) == 0


def test_pixels_outside_the_range_are_left_out():
    gt = np.array([[0.0, 2, 4], [5, 80, 10]])
    mask = (gt > 1e-3) & (gt < 10)
    pred = np.array([[9, 2.2, 3.6], [5.5, 1, 11]])
    fit, scores = scored("none", pred, "metric", (1e-3, 10.0), gt, mask)
    assert mask.sum() == fit.fitted == 3
    assert (scores["abs_rel"], scores["rmse"]) == pytest.approx((0.1, 0.387298), abs=1e-6)


def test_an_exact_disparity():
    fit, scores = scored("least-squares-disparity", 4 / GT + 3, "disparity")
    assert (fit.scale, fit.shift) == pytest.approx((0.25, -0.75), abs=1e-12)
    assert scores["abs_rel"] < 1e-7


@pytest.mark.parametrize(("far", "abs_rel", "rmse"), [(10.0, 0.364893, 3.010187), (100.0, 2.279932, 37.700181)])
def test_a_disparity_that_is_not_positive_leaves_the_fit_but_not_the_score(far, abs_rel, rmse):
    fit, scores = scored("least-squares-disparity", DISPARITY, "disparity", (1e-3, far))
    assert fit.fitted == 5
    assert (fit.scale, fit.shift) == pytest.approx((0.427632, 0.046513), abs=1e-6)
    assert (scores["abs_rel"], scores["rmse"]) == pytest.approx((abs_rel, rmse), abs=1e-6)
    assert scores["delta1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("cap", "abs_rel", "error"), [(10.0, 0.276065, 50.0), (80.0, 1.734398, 66.7)])
def test_midas_floors_at_the_cap(cap, abs_rel, error):
    fit, scores = scored("midas", DISPARITY, "disparity", (1e-3, cap))
    assert (fit.scale, fit.shift) == pytest.approx((0.374958, 0.115652), abs=1e-6)
    assert scores["abs_rel"] == pytest.approx(abs_rel, abs=1e-6)
    assert error_percent(fit.depth, GT) == pytest.approx(error, abs=0.05)


@pytest.mark.parametrize(
    ("depth_range", "far"), [((1e-3, 80.0), 80.0), ((1e-3, 8.0), 8.0), ((1e-3, np.inf), 12.0), (None, 12.0)]
)
def test_infinite_depth_leaves_the_fit_and_scores_as_the_farthest(depth_range, far):
    """Of a prediction without the pixel of 2 m, which is called sky."""
    pred = PLAIN.copy()
    pred[0, 1] = np.inf
    fit, scores = scored("none", pred, "metric", depth_range or (0.0, np.inf))
    ends = np.clip(pred, None, 8.0) if far == 8.0 else pred
    wanted = np.where(np.isinf(pred), far, ends)
    assert fit.fitted == 5 and fit.depth == pytest.approx(wanted)
    assert scores["abs_rel"] == pytest.approx(np.mean(np.abs(wanted - GT) / GT)) and scores["missing"] == 0
    fitted, _ = scored("least-squares", pred, "depth", (1e-3, 80.0))
    without, _ = scored("least-squares", np.where(np.isinf(pred), np.nan, pred), "depth", (1e-3, 80.0))
    assert (fitted.scale, fitted.shift) == (without.scale, without.shift) and fitted.depth[0, 1] == 80.0


def test_moge_floors_at_the_farthest_true_pixel():
    fit = align("moge-disparity", DISPARITY, GT, ALL, "disparity")
    assert (fit.scale, fit.shift) == pytest.approx((0.374958, 0.115652), abs=1e-6)
    scores = moge_depth_metrics(fit.depth, GT)
    assert (scores["rel"], scores["delta1"]) == pytest.approx((0.276065, 0.333333), abs=1e-6)


def test_depth_pro_by_hand():
    gt = np.array([[1.0, 1, 2], [1, 1, 2]])
    pred = np.array([[1.0, 1, 1.2], [1, 1.1, 2]])
    assert depth_pro_f1(pred, gt) == pytest.approx(0.209324, abs=1e-6)
