"""Figure 2: the same map fitted as a whole and on the crop that is scored."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.analyze.figure2 import central, crop_scores, in_words, method_of, summarize
from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.core.errors import CcdError

SPEC = Spec("own", "own", (1e-3, 80.0), None, None, False, "")
PERFECT = {
    "disparity": lambda d: 3.0 / d + 0.5,
    "depth": lambda d: 0.2 * d,
    "affine-depth": lambda d: 0.1 * d + 0.7,
    "metric": lambda d: d,
}


@pytest.fixture
def sample() -> Sample:
    y, x = np.mgrid[:61, :83]
    depth = (2 + 5 * (1 - y / 61) + 0.4 * np.sin(x / 9)).astype(np.float32)
    depth[20:40, 30:60] = 1.5
    mask = np.random.default_rng(0).random(depth.shape) > 0.2
    return Sample("a.png", np.zeros((61, 83, 3), np.uint8), np.where(mask, depth, np.nan), mask)


def prediction(values: np.ndarray, kind: str) -> Prediction:
    values = values.astype(np.float32)
    return Prediction(values, kind, np.isfinite(values))


@pytest.mark.parametrize("kind", PERFECT)
def test_a_perfect_predictor_has_no_error_either_way(sample, kind):
    found = crop_scores(prediction(PERFECT[kind](sample.depth), kind), sample, SPEC)
    assert found["whole_abs_rel"] < 1e-5 and found["crop_abs_rel"] < 1e-5
    assert found["whole_delta1"] == 1 and found["crop_delta1"] == 1
    rows, columns = central(sample.depth.shape)
    assert found["pixels"] == sample.mask[rows, columns].sum()


@pytest.mark.parametrize("kind", PERFECT)
def test_a_crop_of_another_scale_is_mended_by_its_own_fit_alone(sample, kind):
    values = PERFECT[kind](sample.depth.copy())
    values[central(values.shape)] = 1.5 * values[central(values.shape)] + 0.3
    found = crop_scores(prediction(values, kind), sample, SPEC)
    assert found["crop_abs_rel"] < 1e-5 < 0.02 < found["whole_abs_rel"]
    assert found["whole_delta1"] < 1 == found["crop_delta1"]


def test_scores_are_those_of_fits_by_hand(sample):
    rng = np.random.default_rng(1)
    values = 1 / sample.depth + 0.05 * rng.standard_normal(sample.depth.shape) + 1
    found = crop_scores(prediction(values, "disparity"), sample, SPEC)
    rows, columns = slice(15, 45), slice(20, 61)
    assert central(sample.depth.shape) == (rows, columns)
    ground_truth = sample.depth[rows, columns]
    for name, where in (("whole", np.s_[:, :]), ("crop", (rows, columns))):
        x, y = values[where][sample.mask[where]], 1 / sample.depth[where][sample.mask[where]]
        scale, shift = np.polyfit(x, y, 1)
        depth = 1 / np.maximum(scale * values[rows, columns] + shift, 1 / 80)
        error = np.abs(depth - ground_truth)[sample.mask[rows, columns]] / ground_truth[sample.mask[rows, columns]]
        assert found[f"{name}_abs_rel"] == pytest.approx(error.mean(), rel=1e-4)


def test_a_crop_without_enough_truth_is_refused(sample):
    mask = sample.mask.copy()
    mask[central(mask.shape)] = False
    with pytest.raises(CcdError, match="0 valid pixels"):
        crop_scores(prediction(1 / sample.depth, "disparity"), Sample("a", sample.rgb, sample.depth, mask), SPEC)


def test_metric_maps_are_fitted_in_depth():
    assert method_of("metric") == "least-squares" and "in depth" in in_words("metric")
    assert method_of("disparity") == "least-squares-disparity" and "1/depth" in in_words("disparity")


def test_rows_are_means_and_count_wins():
    images = [
        {
            "model": "m",
            "dataset": name,
            "image": "x",
            "pixels": 200,
            "whole_abs_rel": w,
            "crop_abs_rel": c,
            "whole_delta1": 0.5,
            "crop_delta1": d,
        }
        for name, w, c, d in (("a", 0.2, 0.1, 1.0), ("a", 0.4, 0.5, 0.6), ("b", 0.3, 0.1, 0.7))
    ]
    first, second, both = summarize(images)
    assert (first["dataset"], second["dataset"], both["dataset"]) == ("a", "b", "all images")
    assert first["whole_abs_rel"] == pytest.approx(0.3) and first["crop_delta1"] == pytest.approx(0.8)
    assert first["gain"] == pytest.approx(0) and first["crop_better"] == 1
    assert both["n"] == 3 and both["crop_better"] == 2 and both["gain"] == pytest.approx(0.2 / 3)
    assert len(summarize(images[:2])) == 1
    two = summarize([*images, *({**image, "model": "n"} for image in images[:2])])
    assert [(row["model"], row["dataset"]) for row in two[2:]] == [("m", "all images"), ("n", "a")]
