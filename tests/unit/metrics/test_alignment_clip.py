"""One fit for a clip: the arithmetic of `align` on stacked frames, without stacking them."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.metrics.alignment import METHODS, Limits, align
from ccd_cli.metrics.alignment_clip import CLIP_METHODS, ClipFit

RANGE = (1e-3, 10.0)


def clip(count=4):
    rng = np.random.default_rng(0)
    gt = rng.uniform(1, 9, (count, 6, 7)) * np.arange(1, count + 1)[:, None, None] / count
    mask = rng.random(gt.shape) < 0.8
    mask[2] = False
    pred = 1 / gt + rng.normal(0, 0.1, gt.shape)
    pred[0, 0, :3] = -0.2, np.nan, np.inf
    return pred, gt, mask


@pytest.mark.parametrize("limit", [Limits(RANGE), Limits(), Limits(RANGE, floor="image")])
@pytest.mark.parametrize("method", CLIP_METHODS)
def test_as_if_stacked(method, limit):
    disparity, gt, mask = clip()
    kind = "disparity" if method in ("least-squares-disparity", "midas") else "affine-depth"
    pred = disparity if kind == "disparity" else 1 / np.abs(disparity) + 0.3
    fit = ClipFit(method, kind, limit)
    for frame in range(len(gt)):
        fit.add(pred[frame], gt[frame], mask[frame])
    stacked = [part.reshape(-1, 7) for part in (pred, gt, mask)]
    whole = align(method, *stacked, kind, limit)
    assert fit.fit() == pytest.approx((whole.scale, whole.shift), rel=1e-11)
    depth = np.concatenate([fit.depth(frame) for frame in pred])
    np.testing.assert_allclose(depth, whole.depth, rtol=1e-9)


def test_by_hand():
    """Two frames of one line: each alone has another best line than both together."""
    gt = np.array([[[1.0, 2.0]], [[4.0, 5.0]]])
    pred = np.array([[[0.0, 1.0]], [[2.0, 3.0]]])  # 4 points: mean 1.5 and 3, Sxx 5, Sxy 7
    fit = ClipFit("least-squares", "affine-depth")
    for frame in range(2):
        fit.add(pred[frame], gt[frame], np.ones((1, 2), bool))
    assert fit.fit() == pytest.approx((1.4, 0.9))
    np.testing.assert_allclose(fit.depth(pred[1]), [[3.7, 5.1]])


def test_a_large_offset_loses_no_digits():
    _, gt, mask = clip()
    fit = ClipFit("least-squares", "affine-depth")
    for frame in range(len(gt)):
        fit.add(1e7 + gt[frame], gt[frame], mask[frame])
    assert fit.fit()[0] == pytest.approx(1.0, rel=1e-6)


def test_what_a_clip_cannot_have():
    for method in set(METHODS) - set(CLIP_METHODS):
        with pytest.raises(UsageProblem, match="not for clips"):
            ClipFit(method, "depth")
    fit = ClipFit("least-squares", "depth")
    with pytest.raises(CcdError, match="no valid pixel"):
        fit.fit()
    with pytest.raises(CcdError, match="one size"):
        fit.add(np.ones((2, 3)), np.ones((2, 2)), np.ones((2, 2), bool))
    flat = ClipFit("least-squares", "depth")
    flat.add(np.ones((2, 2)), np.array([[1.0, 2.0], [3.0, 4.0]]), np.ones((2, 2), bool))
    assert flat.fit() == (0.0, 2.5)
    with pytest.raises(UsageProblem, match="unknown shift"):
        ClipFit("least-squares", "disparity").add(np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2), bool))
