"""Scores against the outputs of the published protocols' own code (`tests/golden/metrics`)."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ccd_cli.metrics.alignment import Limits, align, kept_columns
from ccd_cli.metrics.alignment_moge import affine_l1, nearest_valid, scale_l1
from ccd_cli.metrics.boundary import depth_pro_f1, moge_f1
from ccd_cli.metrics.depth import image_metrics, moge_depth_metrics, pair_accuracy
from ccd_cli.metrics.ibims import boundary_errors, planarity
from ccd_cli.metrics.points import align_points, local_point_metrics, point_metrics
from tests.peers import depth_pro_recall, error_percent

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "metrics"
NAMES = {
    "abs_rel": "abs_relative_difference",
    "sq_rel": "squared_relative_difference",
    "rmse": "rmse_linear",
    "rmse_log": "rmse_log",
    "log10": "log10",
    "silog": "silog_rmse",
    "irmse": "i_rmse",
    "delta1": "delta1_acc",
    "delta2": "delta2_acc",
    "delta3": "delta3_acc",
}
MARIGOLD = 1e-5  # relative, float64 against the peer's float32
MOGE = 1e-6  # relative, in the objective of a fit
EDGES = 2e-8  # absolute, in a boundary F1


GT = np.array([[1.0, 2, 4], [5, 8, 10]])
ALL = np.ones((2, 3), bool)
NOISY = np.array([[0.3, 0.5, 0.6], [0.9, 1, 1.4]])


@cache
def material():
    vectors = json.loads((FOLDER / "vectors.json").read_text())
    arrays = [dict(np.load(FOLDER / f"{name}.npz")) for name in ("inputs", "outputs", "ibims_plane")]
    return vectors, *arrays


def mask_of(case, arrays, gt):
    if case["mask"] == "all":
        return np.ones(gt.shape, bool)
    low, high = case["range"]
    return arrays[case["mask"]] if case["mask"] in arrays else (gt > low) & (gt < high)


def test_every_marigold_vector():
    vectors, arrays, _, _ = material()
    cases = {k: v for k, v in vectors["marigold"].items() if "metrics" in v}
    assert len(cases) == 19
    for name, case in cases.items():
        gt, pred = arrays[case["gt"]], arrays[case["pred"]]
        mask = mask_of(case, arrays, gt)
        mode, _, option = case["mode"].partition(", alignment_max_res=")
        methods = {"none": "none", "depth LS": "least-squares", "disparity LS": "least-squares-disparity"}
        kind = "disparity" if mode == "disparity LS" else "depth"
        max_res = int(option) if option.isdigit() else None
        fit = align(methods[mode], pred, gt, mask, kind, Limits(tuple(case["range"]), max_res))
        if "scale" in case:
            assert (fit.scale, fit.shift) == pytest.approx((case["scale"], case["shift"]), rel=MARIGOLD), name
        assert mask.sum() == case["n_valid"], name
        if "n_fit" in case:
            assert fit.fitted == case["n_fit"], name
        if "aligned_clipped" in case:
            assert fit.depth == pytest.approx(np.array(case["aligned_clipped"]), rel=MARIGOLD), name
        scores = image_metrics(fit.depth, gt, mask)
        got = {NAMES[k]: scores[k] for k in NAMES}
        zero = (
            1e-6 if name in ("hand_affine_exact", "hand_disp_exact") else 0
        )  # nothing but the peer's rounding is left
        assert got == pytest.approx(case["metrics"], rel=MARIGOLD, abs=zero), name


def test_the_columns_of_alignment_max_res():
    vectors, *_ = material()
    case = vectors["marigold"]["max_res_sampling_96x160_to_64"]
    assert kept_columns(96, 160, 64).tolist() == case["first_row_columns"]
    case = vectors["marigold"]["max_res_sampling_4032x6048_to_1024"]
    columns = kept_columns(4032, 6048, 1024).tolist()
    assert len(columns) == case["out_width"]
    assert columns[:12] == case["first_columns"]
    assert columns[-6:] == case["last_columns"]


def test_the_sample_of_moge():
    vectors, arrays, outputs, _ = material()
    rows, columns, valid = nearest_valid(arrays["b_mask"])
    assert (valid == outputs["moge_lr_mask"]).all()
    assert valid.sum() == vectors["moge"]["lowres_grid"]["n"]
    assert (rows == outputs["moge_lr_rows"])[valid].all()
    assert (columns == outputs["moge_lr_cols"])[valid].all()
    rows, columns, valid = nearest_valid(np.ones((96, 160), bool))
    full = vectors["moge"]["lowres_grid_full_mask"]
    assert columns[0].tolist() == full["first_row_cols"]
    assert rows[:, 0].tolist() == full["first_col_rows"]
    larger = vectors["moge"]["lowres_grid_upsample_2x3_to_4x6"]
    rows, columns, valid = nearest_valid(np.ones((2, 3), bool), 4, 6)
    assert (rows.tolist(), columns.tolist(), bool(valid.all())) == (larger["rows"], larger["cols"], True)


def test_moge_fits_reach_the_peers_objective():
    vectors, arrays, _, _ = material()
    moge, lp = vectors["moge"], vectors["selfcheck"]
    gt, pred = (arrays[k][arrays["r_mask"]].astype(np.float64) for k in ("r_gt", "r_pred_depth"))
    scale = scale_l1(pred, gt, 1 / gt)
    want = moge["random_r_scale_all_pixels"]
    assert (1 / gt) @ np.abs(scale * pred - gt) == pytest.approx(want["objective"], rel=MOGE)
    assert scale == pytest.approx(want["scale"], rel=MOGE)
    scale, shift, loss = affine_l1(pred[:, None], gt[:, None], 1 / gt)
    want = moge["random_r_affine_all_pixels"]
    assert loss == pytest.approx((1 / gt) @ np.abs(scale * pred + shift - gt), rel=1e-12)
    assert loss == pytest.approx(want["objective"], rel=MOGE)
    assert loss <= want["objective"] * (1 + 1e-9)
    want = lp["moge|random_r every 4th valid pixel"]
    scale, shift, loss = affine_l1(pred[::4, None], gt[::4, None], 1 / gt[::4])
    assert loss == pytest.approx(want["LP_objective"], rel=1e-9)
    assert [scale, *shift] == pytest.approx(want["LP"], rel=1e-6)
    noisy, ground_truth = arrays["h_pred_ls"].ravel().astype(np.float64), arrays["h_gt"].ravel().astype(np.float64)
    assert scale_l1(noisy, ground_truth, np.ones(6)) == pytest.approx(moge["hand_scale_w=1"]["scale"], rel=MOGE)


@pytest.mark.parametrize(
    ("method", "pred", "kind", "case", "part"),
    [
        ("none", "b_pred_depth", "metric", "metric_depth_and_points", "depth_metric"),
        ("moge-scale", "b_pred_depth", "metric", "metric_depth_and_points", "depth_scale_invariant"),
        ("moge-affine", "b_pred_depth", "metric", "metric_depth_and_points", "depth_affine_invariant"),
        ("moge-disparity", "b_pred_depth", "metric", "metric_depth_and_points", "disparity_affine_invariant"),
        ("moge-scale", "b_pred_depth", "depth", "depth_scale_invariant", "depth_scale_invariant"),
        ("moge-affine", "b_pred_depth", "affine-depth", "depth_affine_invariant", "depth_affine_invariant"),
        ("moge-disparity", "b_pred_disp", "disparity", "disparity_affine_invariant", "disparity_affine_invariant"),
    ],
)
def test_moge_depth_scores(method, pred, kind, case, part):
    vectors, arrays, _, _ = material()
    want = vectors["moge"][f"compute_metrics_{case}"][part]
    gt, mask = arrays["b_gt"], arrays["b_mask"]
    scores = moge_depth_metrics(align(method, arrays[pred], gt, mask, kind).depth, gt, mask)
    assert scores == pytest.approx(want, rel=5e-6)  # the optimum of an L1 fit has a width


def test_moge_counts_a_negative_depth_as_correct_and_nobody_else_does():
    vectors, *_ = material()
    case = vectors["moge"]["delta1_counts_negative_depth"]
    pred, gt = np.array(case["pred"]), np.array(case["gt"])
    scores = moge_depth_metrics(pred, gt)
    assert (scores["delta1"], scores["rel"]) == pytest.approx((case["delta1"], case["rel"]), rel=1e-6)
    assert image_metrics(pred, gt)["delta1"] == pytest.approx(1 / 3)


def test_moge_point_scores():
    vectors, arrays, _, _ = material()
    want = vectors["moge"]["compute_metrics_metric_depth_and_points"]
    pred, gt, mask = arrays["b_pred_points"], arrays["b_gt_points"], arrays["b_mask"]
    for fit, part in (
        ("metric", "points_metric"),
        ("scale", "points_scale_invariant"),
        ("affine", "points_affine_invariant"),
    ):
        scores = point_metrics(align_points(fit, pred, gt, mask), gt, mask)
        assert (scores["rel_p"], scores["delta_p"]) == pytest.approx(
            (want[part]["rel"], want[part]["delta1"]), rel=MOGE
        )
    local = local_point_metrics(pred, gt, mask, arrays["b_seg"], [1, 2, 3])
    part = want["local_points"]
    assert (local["rel_p"], local["delta_p"]) == pytest.approx((part["rel"], part["delta1"]), rel=MOGE)


def test_boundary_f1_of_moge():
    vectors, arrays, _, _ = material()
    gt = arrays["e_gt"]
    rows = np.ones(gt.shape, bool)
    rows[6:9] = False
    cases = {
        "e_gt": (gt, None),
        "e_pred_shift1": (arrays["e_pred_shift1"], None),
        "e_pred_blur": (arrays["e_pred_blur"], None),
        "e_pred_shift1|rows 6..8 masked out": (arrays["e_pred_shift1"], rows),
        "flat prediction": (np.full_like(gt, 3), None),
    }
    for name, (pred, mask) in cases.items():
        known = np.ones(gt.shape, bool) if mask is None else mask
        for radius, want in vectors["moge"][f"boundary_f1|{name}"].items():
            assert moge_f1(pred, gt, known, int(radius[-1])) == pytest.approx(want, abs=EDGES), (name, radius)
    gt, mask = arrays["b_gt"], arrays["b_mask"]
    raw = vectors["moge"]["compute_metrics_metric_depth_and_points"]["boundary"]
    fitted = vectors["moge"]["compute_metrics_depth_affine_invariant"]["boundary"]
    for radius in (1, 2, 3):
        key = f"radius{radius}_f1"
        scaled = align("moge-scale", arrays["b_pred_depth"], gt, mask, "depth").depth
        affine = align("moge-affine", arrays["b_pred_depth"], gt, mask, "depth").depth
        assert moge_f1(arrays["b_pred_depth"], gt, mask, radius) == pytest.approx(raw[key], abs=EDGES)
        assert moge_f1(scaled, gt, mask, radius) == pytest.approx(raw[key], abs=1e-4)  # a pair or two on a threshold
        assert moge_f1(affine, gt, mask, radius) == pytest.approx(fitted[key], abs=1e-4)


def test_boundary_scores_of_depth_pro():
    vectors, arrays, _, _ = material()
    want = vectors["depthpro"]
    gt, alpha = arrays["e_gt"], arrays["e_alpha"]
    flat = np.full_like(gt, 3)
    for name in ("e_gt", "e_pred_shift1", "e_pred_blur"):
        assert depth_pro_f1(arrays[name], gt) == pytest.approx(want[f"SI_boundary_F1|{name}"], abs=1e-12)
        assert depth_pro_recall(arrays[name], alpha) == pytest.approx(want[f"SI_boundary_Recall|{name}"], abs=1e-12)
    assert depth_pro_f1(flat, gt) == want["SI_boundary_F1|flat prediction"]
    assert depth_pro_f1(flat, flat) == want["SI_boundary_F1|both flat"]
    assert depth_pro_f1(arrays["b_pred_depth"], arrays["b_gt"]) == pytest.approx(want["random_b"]["f1"], abs=1e-12)


def test_ibims():
    vectors, arrays, _, plane = material()
    want = vectors["ibims"]
    for name in ("i_pred", "i_gt", "i_pred_flat"):
        accuracy, completeness = boundary_errors(arrays[name], arrays["i_edges"] > 0)
        score = want[f"DBE|{name}"]
        assert (accuracy, completeness) == pytest.approx((score["acc"], score["comp"]), abs=1e-12), name
    for name, pred in (("gt itself", plane["gt"]), ("scaled by 0.5, 1 % noise, 5 % tilt", plane["pred"])):
        mask = plane["mask"] == 1
        assert mask.sum() == want["planarity|n_pixels"]
        got = planarity(pred, plane["gt"], mask, plane["paras"][0, 4:7], plane["calib"])
        score = want[f"planarity|{name}"]
        assert got == pytest.approx((score["fla_cm"], score["ori_deg"]), abs=1e-9), name


def test_the_other_lines():
    vectors, arrays, _, _ = material()
    misc = vectors["misc"]
    cases = {
        "hand_disp cap10": ("h_pred_disp", "h_gt_disp", None, 10.0),
        "hand_disp cap80": ("h_pred_disp", "h_gt_disp", None, 80.0),
        "random_r cap10": ("r_pred_disp", "r_gt", "r_mask", 10.0),
        "random_b cap80": ("b_pred_disp", "b_gt", "b_mask", 80.0),
    }
    for name, (pred, gt, mask, cap) in cases.items():
        want, ground_truth = misc[f"midas_style|{name}"], arrays[gt]
        known = np.ones(ground_truth.shape, bool) if mask is None else arrays[mask]
        fit = align("midas", arrays[pred], ground_truth, known, "disparity", Limits((1e-3, cap)))
        scores = image_metrics(fit.depth, ground_truth, known)
        assert (fit.scale, fit.shift) == pytest.approx((want["scale"], want["shift"]), rel=2e-5), name
        assert (scores["abs_rel"], scores["delta1"]) == pytest.approx((want["abs_rel"], want["delta1"]), rel=2e-5), name
        assert error_percent(fit.depth, ground_truth, known) == pytest.approx(want["midas_error_percent"], rel=1e-6), (
            name
        )
        assert np.count_nonzero(fit.depth[known] >= cap * (1 - 1e-6)) == want["n_at_cap"], name
    constant = misc["midas_style|constant prediction (det<=0)"]
    fit = align("midas", np.full((2, 3), 0.1), GT, ALL, "disparity", Limits((1e-3, 10.0)))
    assert fit.depth.tolist() == constant["depth"]
    assert image_metrics(fit.depth, GT)["abs_rel"] == pytest.approx(constant["abs_rel"])

    one = misc["plumbline|hand_ls"]
    assert align("median", NOISY, GT, ALL, "depth").scale == pytest.approx(one["ratio_of_medians"])
    assert align("scale", NOISY, GT, ALL, "depth").scale == pytest.approx(one["lstsq_scale"], rel=1e-6)
    zoe = misc["zoe|hand_plain"]
    scores = image_metrics(arrays["h_pred_plain"], arrays["h_gt"])
    names = {"a1": "delta1", "a2": "delta2", "a3": "delta3", "log_10": "log10"}
    assert {k: scores[names.get(k, k)] for k in zoe} == pytest.approx(zoe, rel=1e-6)
    pairs = misc["da2k_pairs"]
    right = [pair_accuracy(arrays["b_pred_disp"], [p], "disparity") == 1 for p in pairs["point1_point2"]]
    assert right == pairs["point1_predicted_closer"]
    assert pair_accuracy(arrays["b_pred_disp"], pairs["point1_point2"], "disparity") == 0.75
