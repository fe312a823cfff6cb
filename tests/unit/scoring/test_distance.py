"""Errors by distance: the metrics of the pixels of each range, and names that are told apart from others."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.benchmarks import Sample
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.scoring.distance import bin_scores, is_of_bin
from ccd_cli.scoring.names import display_name
from ccd_cli.scoring.rows import summary_row


def sample(depth):
    mask = np.isfinite(depth)
    return Sample("a", np.zeros((*depth.shape, 3), np.uint8), depth, mask)


def test_each_range_has_the_metrics_of_its_pixels():
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.5, 20, (40, 50)).astype(np.float32)
    depth[:5] = np.nan
    depth[6, 6], depth[6, 7] = 3.0, 10.0  # an edge belongs to the farther range
    pred = depth.astype(np.float64) * np.where(depth < 3, 1.1, np.where(depth < 10, 0.7, 2.0))
    made = bin_scores(np.nan_to_num(pred, nan=1.0), sample(depth), (3.0, 10.0))
    assert list(made) == [
        *("abs_rel_under_3_m", "rmse_under_3_m", "delta1_under_3_m"),
        *("abs_rel_3_to_10_m", "rmse_3_to_10_m", "delta1_3_to_10_m"),
        *("abs_rel_over_10_m", "rmse_over_10_m", "delta1_over_10_m"),
    ]
    assert [made[f"abs_rel_{r}_m"] for r in ("under_3", "3_to_10", "over_10")] == pytest.approx([0.1, 0.3, 1.0], 1e-5)
    assert [made[f"delta1_{r}_m"] for r in ("under_3", "3_to_10", "over_10")] == [1.0, 0.0, 0.0]
    inside = (depth >= 3) & (depth < 10)
    assert made["rmse_3_to_10_m"] == pytest.approx(image_metrics(pred, depth, inside)["rmse"])


def test_ranges_without_pixels_have_no_score_and_no_part_in_the_mean():
    near = np.full((8, 8), 1.0, np.float32)
    far = np.full((8, 8), 5.0, np.float32)
    far[:1, :8] = 1.0  # 8 pixels are too few
    records = [
        {"alignment": "none", "scores": image_metrics(d * 1.1, d) | bin_scores(d * 1.1, sample(d), (3.0,))}
        for d in (near, far)
    ]
    assert "abs_rel_over_3_m" not in records[0]["scores"] and "abs_rel_under_3_m" not in records[1]["scores"]
    row = summary_row("m", "s", records, "none")
    assert (row["abs_rel_under_3_m"], row["abs_rel_over_3_m"]) == pytest.approx((0.1, 0.1), 1e-5)
    assert bin_scores(near, sample(near), ()) == {}
    assert bin_scores(np.full((8, 8), np.nan), sample(near), (3.0,)) == {}


def test_names():
    assert is_of_bin("abs_rel_0.5_to_3_m") and not is_of_bin("abs_rel") and not is_of_bin("points_metric_rel")
    assert display_name("delta1_over_10_m") == "δ1 over 10 m"
    assert display_name("abs_rel_0.5_to_3_m") == "AbsRel 0.5 to 3 m"
