"""Scoring in tensors: the same numbers as in arrays, whatever the device."""

import numpy as np
import pytest
import torch

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.metrics import depth_gpu
from ccd_cli.metrics.alignment import Limits, align
from ccd_cli.metrics.depth import image_metrics
from ccd_cli.metrics.depth_gpu import PORTED, SUMS, score_on, scores_on
from tests.no_values import DEVICE, LeftBehind, NoValues, Waited

CPU = torch.device("cpu")
RANGE = (1e-3, 10.0)
LIMITS = Limits(RANGE)


def scene(height=48, width=64):
    rng = np.random.default_rng(0)
    gt = rng.uniform(1, 12, (height, width)).astype(np.float32)
    gt[:4] = np.nan
    mask = (gt < 10) & (rng.random(gt.shape) < 0.9)
    return gt, mask, rng


def maps(kind):
    gt, mask, rng = scene()
    shape = {
        "disparity": lambda d: 3 / d - 0.4,
        "depth": lambda d: 0.2 * d,
        "affine-depth": lambda d: 0.2 * d - 1,
        "metric": lambda d: d,
    }
    pred = (shape[kind](np.nan_to_num(gt, nan=5.0)) * np.exp(rng.normal(0, 0.2, gt.shape))).astype(np.float32)
    pred[10, :9], pred[11, :5], pred[12, :3] = np.nan, np.inf, 0
    return pred, gt, mask


def agree(device, method, kind, max_res=None, limit=RANGE, floor="published"):
    pred, gt, mask = maps(kind)
    limits = Limits(limit, max_res, floor)
    there, scores = score_on(device, method, pred, gt, mask, kind, limits)
    here = align(method, pred, gt, mask, kind, limits)
    wanted = image_metrics(here.depth, gt, mask)
    assert (there.method, there.space, there.fitted) == (here.method, here.space, here.fitted)
    assert (there.scale, there.shift) == pytest.approx((here.scale, here.shift), rel=1e-10)
    np.testing.assert_allclose(there.depth, here.depth, rtol=1e-9)
    assert list(scores) == list(wanted)
    for key, value in wanted.items():
        assert scores[key] == pytest.approx(value, rel=1e-10, abs=1e-13), key


CASES = [
    ("auto", "disparity", None, RANGE),
    ("auto", "disparity", None, RANGE, "image"),
    ("least-squares-disparity", "depth", 32, (1e-3, 5.0), "range"),
    ("auto", "disparity", 32, RANGE),
    ("least-squares-disparity", "metric", None, (0.0, float("inf"))),
    ("auto", "depth", None, RANGE),
    ("auto", "affine-depth", 40, RANGE),
    ("least-squares", "depth", None, (1e-3, float("inf"))),
    ("least-squares-disparity", "metric", None, (1e-3, float("inf"))),
    ("auto", "metric", None, RANGE),
]


@pytest.mark.parametrize("case", CASES)
def test_tensors_score_as_arrays_do(case):
    agree(CPU, *case)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_gpu_scores_as_the_cpu_does(case):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    agree(torch.device("cuda"), *case)


@pytest.mark.parametrize("case", CASES)
def test_everything_comes_back_in_one_copy(case):
    """Scoring on a device without values: it asks for none before, and nothing is left on the CPU."""
    method, kind, *rest = case
    pred, gt, mask = maps(kind)
    limits = Limits(rest[1], rest[0], *rest[2:])
    with (
        NoValues(wide=True) as device,
        pytest.raises(CcdError, match="not positive"),
    ):  # one pixel, as it counts everything
        score_on(torch.device(DEVICE), method, pred, gt, mask, kind, limits)
    assert device.transfers == [((5 + 2 + SUMS + gt.size,), torch.float64)]
    assert device.uploads[:3] == [gt.shape] * 3 and len(device.uploads) <= 4
    assert device.blocking == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda values: values * float(values.sum() > 0), Waited),
        (lambda values: values[values > 0], NotImplementedError),
        (lambda values: values + torch.ones(values.shape), LeftBehind),
    ],
)
def test_a_wait_in_scoring_is_found(monkeypatch, wrong, error):
    real = depth_gpu._sums
    monkeypatch.setattr(depth_gpu, "_sums", lambda p, g, told: real(wrong(p), g, told))
    pred, gt, mask = maps("depth")
    with NoValues(wide=True), pytest.raises(error):
        score_on(torch.device(DEVICE), "auto", pred, gt, mask, "depth", LIMITS)


def test_flat_and_negative_predictions():
    gt, mask, _ = scene()
    for values, kind in ((np.ones_like(gt), "depth"), (-np.ones_like(gt), "disparity")):
        there, scores = score_on(CPU, "auto", values, gt, mask, kind, LIMITS)
        here = align("auto", values, gt, mask, kind, LIMITS)
        assert (there.scale, there.shift, there.fitted) == pytest.approx((here.scale, here.shift, here.fitted))
        assert scores == pytest.approx(image_metrics(here.depth, gt, mask))


def test_the_same_is_refused():
    gt, mask, _ = scene()
    for pred, valid, kind, word in (
        (gt, np.zeros_like(mask), "depth", "no valid pixel"),
        (np.full_like(gt, np.nan), mask, "depth", "no finite value"),
        (gt[:-1], mask, "depth", "one size"),
        (gt, mask | np.isnan(gt), "depth", "not positive"),
    ):
        with pytest.raises(CcdError, match=word):
            score_on(CPU, "auto", pred, gt, valid, kind, LIMITS)
    with pytest.raises(UsageProblem, match="unknown shift"):
        score_on(CPU, "least-squares", gt, gt, mask, "disparity", LIMITS)


def test_only_what_has_float64_and_is_ported_runs_there():
    assert {"least-squares", "least-squares-disparity", "none"} == PORTED
    assert scores_on(torch.device("cuda"), "none") and not scores_on(torch.device("cuda"), "midas")
    assert not scores_on(torch.device("mps"), "none") and not scores_on(CPU, "none")
