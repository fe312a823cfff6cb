"""Every alignment finds what was undone, in its own space only."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.kinds import KINDS
from ccd_cli.metrics.alignment import (
    AUTO,
    METHODS,
    Limits,
    align,
    describe,
    kept_columns,
    least_squares,
    resolve,
)
from ccd_cli.metrics.depth import image_metrics

RANGE = Limits((0.1, 20.0))
IMAGE = Limits((1e-3, 1e4), floor="image")


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
    depth = np.random.default_rng(2).uniform(0.7, 8, (20, 50))
    fit = align("auto", 17.0 / depth + 4.0, depth, depth > 0, "disparity", IMAGE)
    scores = image_metrics(fit.depth, depth)
    assert scores["abs_rel"] < 1e-12
    assert scores["delta1"] == 1.0


@pytest.mark.parametrize("method", ["least-squares-disparity", "midas", "moge-disparity"])
def test_nothing_lies_beyond_the_farthest_true_pixel(method):
    """On a user's own sets, whatever the valid range is; and every pixel is fitted: zero is nothing special to a disparity."""
    depth = np.array([[1.0, 2.0, 4.0, 8.0]])
    pred = np.array([[4.0, 1.0, -3.0, -2.0]])
    fit = align(method, pred, depth, depth > 0, "disparity", IMAGE)
    assert fit.depth.max() <= 8.0 + 1e-12 and fit.fitted == 4
    line = np.polynomial.Polynomial.fit(pred[0], 1 / depth[0], 1)(pred[0])
    np.testing.assert_allclose(fit.depth[0], 1 / np.maximum(line, 1 / 8), rtol=1e-9)
    for top in (50.0, 1e4):
        other = align(method, pred, depth, depth > 0, "disparity", Limits((1e-3, top), floor="image"))
        np.testing.assert_array_equal(other.depth, fit.depth)
    steep = np.array([[9.0, 2.0, -9.0, -20.0]])
    assert align(method, steep, depth, depth > 0, "disparity", Limits((0.1, 30.0), floor="range")).depth.max() == 30.0
    assert "largest ground truth" in describe(method, IMAGE) and "1 / 10000" in describe(
        method, Limits((1e-3, 1e4), None, "range")
    )


@pytest.fixture
def scene():
    """True depth [60, 80] of 1 to 9 m, and a mask that leaves a fifth out."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:60, :80]
    gt = 5 + 3 * np.sin(x / 9) + np.cos(y / 7) * 0.9 + rng.uniform(-0.05, 0.05, (60, 80))
    return gt.astype(np.float32), rng.random((60, 80)) < 0.8


def perfect(kind, gt):
    """Return what a perfect model of a kind predicts."""
    ground_truth = gt.astype(np.float64)
    return {
        "metric": ground_truth,
        "depth": 0.37 * ground_truth,
        "affine-depth": 0.37 * ground_truth - 2.5,
        "disparity": 800 / ground_truth + 150,
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_model_of_every_kind_scores_zero_after_its_own_alignment(scene, kind):
    gt, mask = scene
    fit = align("auto", perfect(kind, gt), gt, mask, kind, RANGE)
    scores = image_metrics(fit.depth, gt, mask)
    assert fit.method == AUTO[kind]
    assert fit.fitted == mask.sum()
    assert scores["abs_rel"] < 1e-6
    assert scores["irmse"] < 1e-6
    assert [scores[f"delta{k}"] for k in (1, 2, 3)] == [1, 1, 1]


FITTING = {
    "disparity": {"least-squares-disparity", "midas", "moge-disparity"},
    "affine-depth": {"least-squares", "moge-affine"},
    "depth": set(METHODS) - {"none"},
    "metric": set(METHODS),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_kind(scene, method, kind):
    """Zero where the protocol undoes what the kind leaves open, worse or refused where it does not."""
    gt, mask = scene
    pred = perfect(kind, gt)
    if kind in ("disparity", "affine-depth") and (method in FITTING["disparity"]) != (kind == "disparity"):
        with pytest.raises(UsageProblem, match="unknown shift"):
            align(method, pred, gt, mask, kind, RANGE)
        return
    error = image_metrics(align(method, pred, gt, mask, kind, RANGE).depth, gt, mask)["abs_rel"]
    assert (error < 1e-6) == (method in FITTING[kind]), error


def test_a_disparity_that_is_forced_into_depth_space_is_caught(scene):
    gt, mask = scene
    pred = perfect("disparity", gt)
    own = image_metrics(align("auto", pred, gt, mask, "disparity", RANGE).depth, gt, mask)
    wrong = image_metrics(align("least-squares", pred, gt, mask, "disparity", RANGE, force=True).depth, gt, mask)
    assert own["abs_rel"] < 1e-6
    assert wrong["abs_rel"] > 0.1
    assert wrong["delta1"] < 0.95


@pytest.mark.parametrize(
    "method", ["least-squares", "moge-affine", "least-squares-disparity", "midas", "moge-disparity"]
)
def test_scale_and_shift_of_the_prediction_do_not_matter(scene, method):
    gt, mask = scene
    kind = "disparity" if method in FITTING["disparity"] else "depth"
    noise = np.random.default_rng(4).normal(0, 0.05, gt.shape)
    pred = (1 / gt if kind == "disparity" else gt) + (noise / 20 if kind == "disparity" else noise) + 1
    one = align(method, pred, gt, mask, kind, RANGE)
    for scale, shift in ((1e-9, 0.0), (1e6, 2e5), (3.0, 0.5)):
        two = align(method, scale * pred + shift, gt, mask, kind, RANGE)
        assert two.depth == pytest.approx(one.depth, rel=1e-6)
        assert two.scale * scale == pytest.approx(one.scale, rel=1e-6)


@pytest.mark.parametrize("method", ["scale", "median", "moge-scale"])
def test_the_scale_of_the_prediction_does_not_matter_but_its_shift_does(scene, method):
    gt, mask = scene
    pred = gt * np.random.default_rng(5).uniform(0.9, 1.1, gt.shape)
    one = align(method, pred, gt, mask, "depth", RANGE)
    assert align(method, 1e-7 * pred, gt, mask, "depth", RANGE).depth == pytest.approx(one.depth, rel=1e-9)
    assert np.abs(align(method, pred + 3, gt, mask, "depth", RANGE).depth - one.depth).max() > 0.1


def test_what_is_clipped(scene):
    gt, mask = scene
    wild = np.where(np.arange(80) % 7 == 0, -40.0, gt.astype(np.float64))
    for method in ("least-squares", "scale", "median", "none"):
        depth = align(method, wild, gt, mask, "depth", Limits((0.5, 6.0))).depth
        assert depth.min() >= 0.5
        assert depth.max() <= 6.0
    hidden = np.where(mask, gt, np.float32(-40))
    assert align("moge-affine", hidden, gt, mask, "depth", Limits((0.5, 6.0))).depth.min() < 0
    assert align("none", -gt, gt, mask, "depth").depth.max() == 1e-6
    steep = np.where(mask, 1 / gt, np.float32(-5))
    assert align("midas", steep, gt, mask, "disparity", Limits((0.5, 12.0))).depth.max() == pytest.approx(12)
    assert align("midas", steep, gt, mask, "disparity").depth.max() == pytest.approx(gt[mask].max())
    assert align("least-squares-disparity", steep, gt, mask, "disparity").depth.max() == 1000
    assert align("moge-disparity", steep, gt, mask, "disparity").depth.max() == pytest.approx(gt[mask].max())


def test_pixels_outside_the_mask_and_unknown_predictions_do_not_move_the_fit(scene):
    gt, mask = scene
    pred = perfect("affine-depth", gt)
    for method in ("least-squares", "moge-affine"):
        wrong = np.where(mask, pred, 1e9)
        assert align(method, wrong, gt, mask, "affine-depth").scale == pytest.approx(1 / 0.37)
        wrong[10:20] = np.nan
        fit = align(method, wrong, gt, mask, "affine-depth", RANGE)
        scores = image_metrics(fit.depth, gt, mask)
        assert fit.scale == pytest.approx(1 / 0.37)
        assert scores["abs_rel"] < 1e-6
        assert scores["missing"] == pytest.approx(mask[10:20].sum() / mask.sum())
        assert scores["delta1"] == pytest.approx(1 - scores["missing"])


def test_true_depth_that_is_not_positive_is_left_out(scene):
    gt, mask = scene
    gt, full = gt.copy(), np.ones_like(mask)
    gt[5:9], gt[9, 0], gt[9, 1] = 0, np.nan, np.inf
    fit = align("least-squares", 0.37 * gt, gt, full, "depth", RANGE)
    assert fit.fitted == 60 * 80 - 4 * 80 - 2
    assert fit.scale == pytest.approx(1 / 0.37)


def test_nothing_predicted_above_zero_lies_at_the_floor(scene):
    gt, mask = scene
    fit = align("least-squares-disparity", -np.ones_like(gt), gt, mask, "disparity", RANGE)
    assert (fit.scale, fit.shift, fit.fitted) == (0, 0, 0)
    assert (fit.depth == RANGE.depth_range[1]).all()


def test_the_frames_of_a_clip_share_one_fit(scene):
    gt, mask = scene
    clip, masks = np.concatenate([gt, 2 * gt]), np.concatenate([mask, mask])
    fit = align("auto", perfect("disparity", clip), clip, masks, "disparity", Limits((0.1, 40.0)))
    assert image_metrics(fit.depth, clip, masks)["abs_rel"] < 1e-6


def test_max_res_keeps_all_rows_and_some_columns(scene):
    gt, mask = scene
    assert kept_columns(60, 80, 80).tolist() == list(range(80))
    assert kept_columns(60, 80, 40).tolist() == list(range(0, 80, 2))
    noisy = gt + np.random.default_rng(6).normal(0, 0.3, gt.shape)
    odd = noisy.copy()
    odd[:, 1::2] = 1000
    want = align("least-squares", noisy[:, ::2], gt[:, ::2], mask[:, ::2], "depth", RANGE)
    got = align("least-squares", odd, gt, mask, "depth", Limits(RANGE.depth_range, 40))
    assert (got.scale, got.shift, got.fitted) == (want.scale, want.shift, want.fitted)
    assert got.depth.shape == gt.shape


def test_what_align_refuses(scene):
    gt, mask = scene
    pred = perfect("depth", gt)
    with pytest.raises(UsageProblem, match="no alignment 'least_square'"):
        align("least_square", pred, gt, mask, "depth")
    with pytest.raises(UsageProblem, match="no kind of prediction 'inverse'"):
        align("auto", pred, gt, mask, "inverse")
    with pytest.raises(UsageProblem, match="max_res 64"):
        align("midas", pred, gt, mask, "depth", Limits(RANGE.depth_range, 64))
    with pytest.raises(UsageProblem, match="range"):
        align("auto", pred, gt, mask, "depth", Limits((10.0, 0.1)))
    with pytest.raises(CcdError, match="one size"):
        align("auto", pred[1:], gt, mask, "depth")
    with pytest.raises(CcdError, match="bool"):
        align("auto", pred, gt, mask.astype(np.uint8), "depth")
    with pytest.raises(CcdError, match="no valid pixel"):
        align("auto", pred, gt, np.zeros_like(mask), "depth")
    with pytest.raises(CcdError, match="no finite value"):
        align("auto", np.full_like(pred, np.nan), gt, mask, "depth")


def test_every_protocol_has_words():
    words = {m: describe(resolve(m, "depth"), Limits((1e-3, 10.0))) for m in METHODS}
    assert len(set(words.values())) == len(METHODS)
    assert words["least-squares"] == (
        "scale and shift by least squares in depth (Marigold), per image, clipped to [0.001, 10]"
    )
    assert words["midas"] == "scale and shift by least squares in 1/depth (MiDaS), floor 1/10, per image"
    assert "not clipped" in words["moge-affine"]
    assert "forced" in describe("least-squares", forced=True)
    assert "columns subsampled to 1024" in describe("least-squares", Limits((1e-5, float("inf")), 1024))
