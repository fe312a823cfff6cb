"""Chamfer distance and F-score: by hand, against all pairs of points, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.metrics.clouds import cloud_metrics


def all_pairs(pred, true, threshold):
    """The definitions, from the distances of all pairs."""
    distances = np.linalg.norm(pred[:, None] - true[None], axis=2)
    precision, recall = (distances.min(1) < threshold).mean(), (distances.min(0) < threshold).mean()
    chamfer = distances.min(1).mean() + distances.min(0).mean()
    return chamfer, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_by_hand():
    true = np.array([[0.0, 0, 1], [1, 0, 1], [5, 0, 1]])
    pred = np.array([[0.05, 0, 1], [1, 0, 1.2]])
    made = cloud_metrics(pred, true)
    assert made["chamfer"] == pytest.approx((0.05 + 0.2) / 2 + (0.05 + 0.2 + np.hypot(4, 0.2)) / 3)
    assert made["f_score"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)), "precision 1/2, recall 1/3"
    assert cloud_metrics(true, true) == {"chamfer": 0.0, "f_score": 1.0}
    assert cloud_metrics(true + 9, true)["f_score"] == 0.0


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.5])
def test_against_all_pairs(threshold):
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 2, (400, 3))
    pred = true[:300] + rng.normal(0, 0.08, (300, 3))
    made = cloud_metrics(pred, true, threshold)
    assert (made["chamfer"], made["f_score"]) == pytest.approx(all_pairs(pred, true, threshold), abs=1e-9)
    other = cloud_metrics(true, pred, threshold)
    assert other == pytest.approx(made), "neither cloud is the first"
    shuffled = cloud_metrics(rng.permutation(pred), rng.permutation(true), threshold)
    assert shuffled == pytest.approx(made), "whichever pixel a point comes from"


def test_holes():
    true = np.random.default_rng(1).uniform(0, 2, (8, 8, 3))
    holes = true.copy()
    holes[:4] = np.nan
    made = cloud_metrics(holes, true, 1e-6)
    assert made["f_score"] == pytest.approx(2 * 1 * 0.5 / 1.5), "all that is predicted is right, half is found"
    with pytest.raises(CcdError, match="predicted cloud has no finite point"):
        cloud_metrics(np.full((4, 3), np.nan), true)
