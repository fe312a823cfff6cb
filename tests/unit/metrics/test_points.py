"""L1 fits against all anchors, points against what their fit undoes, clips against themselves."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.geometry.unproject import unproject
from ccd_cli.metrics import alignment_moge as align_moge
from ccd_cli.metrics.alignment_moge import affine_l1, nearest_valid, scale_l1
from ccd_cli.metrics.points import align_points, local_point_metrics, point_metrics
from tests.peers import temporal_alignment_error


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spread", [align_moge.SPREAD, (1e-6,)])  # where it looks decides on the time only
def test_the_bounded_l1_fit_is_the_best_of_all_anchors(width, seed, spread, monkeypatch):
    monkeypatch.setattr(align_moge, "SPREAD", spread)
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(50, width))
    target = 1.7 * source * rng.choice([1, 1, -3], size=(50, 1)) + rng.normal(0, 0.3, (50, width))
    if seed % 3 == 0:
        source, target = np.round(source, 1), np.round(target, 1)
    weight = rng.random(50) * (rng.random(50) < 0.9)
    best = np.inf
    for anchor in np.flatnonzero(weight > 0):
        x, y = source - source[anchor], target - target[anchor]
        for scale in (y / np.where(x == 0, np.inf, x)).ravel():
            best = min(best, (weight[:, None] * np.abs(scale * x - y)).sum())
    scale, shift, loss = affine_l1(source, target, weight)
    assert loss == pytest.approx((weight[:, None] * np.abs(scale * source + shift - target)).sum(), rel=1e-12)
    assert loss == pytest.approx(best, rel=1e-11)


def test_l1_fits_ignore_a_third_of_outliers():
    rng = np.random.default_rng(8)
    source = rng.uniform(1, 9, 300)
    target = 2 * source + 1
    target[::3] = rng.uniform(0, 50, 100)
    scale, shift, _ = affine_l1(source[:, None], target[:, None], np.ones(300))
    assert (scale, shift[0]) == pytest.approx((2, 1))
    target = np.where(np.arange(300) % 3 == 0, target, 2 * source)
    assert scale_l1(source, target, 1 / target) == pytest.approx(2)
    assert scale_l1(np.zeros(3), np.ones(3), np.ones(3)) == 0
    with pytest.raises(ValueError, match="nothing"):
        affine_l1(np.zeros((0, 1)), np.zeros((0, 1)), np.zeros(0))


def test_the_sample_of_valid_pixels():
    mask = np.zeros((130, 200), bool)
    mask[40, 70] = True
    rows, columns, valid = nearest_valid(mask)
    assert set(zip(rows[valid].tolist(), columns[valid].tolist(), strict=True)) == {(40, 70)}
    assert 1 <= valid.sum() <= 9
    rows, columns, valid = nearest_valid(np.ones((64, 64), bool))
    assert valid.all()
    assert (rows == np.arange(64)[:, None]).all()
    assert (columns == np.arange(64)).all()
    assert not nearest_valid(np.zeros((20, 20), bool))[2].any()


@pytest.fixture
def cloud():
    """True points [60, 80, 3] of a wavy surface, and a mask that leaves a fifth out."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:60, :80]
    gt = 5 + 3 * np.sin(x / 9) + np.cos(y / 7) * 0.9 + rng.uniform(-0.05, 0.05, (60, 80))
    return np.stack([(x - 40) / 60 * gt, (y - 30) / 60 * gt, gt], -1), rng.random((60, 80)) < 0.8


def test_points_come_back_from_what_their_fit_undoes(cloud):
    gt, mask = cloud
    shift = np.array([0.3, -2, 1])
    for fit, pred in (("metric", gt + shift), ("scale", 0.2 * gt), ("affine", 0.2 * gt + shift)):
        aligned = align_points(fit, pred, gt, mask)
        scores = point_metrics(aligned, gt, mask)
        assert scores["rel_p"] < 1e-9, fit
        assert scores["delta_p"] == 1
    assert point_metrics(align_points("scale", 0.2 * gt + shift, gt, mask), gt, mask)["rel_p"] > 0.05
    holes = gt.copy()
    holes[:30] = np.nan
    scores = point_metrics(align_points("affine", holes, gt, mask), gt, mask)
    assert scores["rel_p"] < 1e-9
    assert scores["delta_p"] == pytest.approx(mask[30:].sum() / mask.sum())
    with pytest.raises(UsageProblem, match="no alignment of points"):
        align_points("rigid", gt, gt, mask)
    with pytest.raises(CcdError, match="no valid"):
        align_points("scale", gt, gt, np.zeros_like(mask))


def test_objects_are_aligned_one_by_one(cloud):
    gt, mask = cloud
    segments = np.zeros(mask.shape, int)
    segments[10:30, 10:40], segments[35:55, 40:70] = 1, 2
    pred = np.where((segments == 1)[..., None], 3 * gt + 1, gt / 2)
    scores = local_point_metrics(pred, gt, mask, segments, [1, 2])
    assert scores["rel_p"] < 1e-9
    assert scores["delta_p"] == 1
    assert np.isnan(local_point_metrics(pred, gt, mask, segments, [9])["rel_p"])


def moved(z, x=0.0):
    pose = np.eye(4)
    pose[2, 3], pose[0, 3] = z, x
    return pose


def test_a_steady_clip_has_no_temporal_error_and_flicker_has_its_size():
    """The camera goes one meter at a time toward a wall: 5 m, 4 m, 3 m."""
    camera = Camera(50.0, 50.0, 40.0, 30.0)
    walls = [np.full((60, 80), depth) for depth in (5.0, 4.0, 3.0)]
    poses = [moved(0), moved(1), moved(2)]
    assert temporal_alignment_error(walls, [camera] * 3, poses) == pytest.approx(0, abs=1e-6)
    flicker = [walls[0], 1.1 * walls[1]]
    error = temporal_alignment_error(flicker, [camera] * 2, poses[:2])
    assert error == pytest.approx((0.4 / 4.4 + 0.4 / 5) / 2, abs=1e-6)
    still = temporal_alignment_error([walls[0]] * 2, [camera] * 2, poses[:2])
    assert still == pytest.approx((1 / 5 + 1 / 5) / 2, abs=1e-6)  # the wall does not come nearer: caught


def test_what_is_hidden_or_masked_takes_no_part():
    camera = Camera(50.0, 50.0, 40.0, 30.0)
    scene = np.full((60, 80), 6.0)
    scene[20:40, 30:50] = 3.0
    beside = np.full((60, 80), 6.0)
    beside[20:40, 25:45] = 3.0  # 0.3 m to the right: 5 px at 3 m, 2.5 px at 6 m
    masks = [np.ones((60, 80), bool)] * 2
    error = temporal_alignment_error([scene, beside], [camera] * 2, [moved(0), moved(0, 0.3)], masks)
    assert error < 0.01
    wrong = beside.copy()
    wrong[:, :10] = 60
    seen = masks[0].copy()
    seen[:, :16] = False
    poses = [moved(0), moved(0, 0.3)]
    assert temporal_alignment_error([scene, wrong], [camera] * 2, poses) > 0.05
    hidden = scene.copy(), np.where(seen, wrong, np.nan)
    assert temporal_alignment_error(hidden, [camera] * 2, poses, [seen, seen]) < 0.01
    with pytest.raises(CcdError, match="common point"):
        temporal_alignment_error([scene, scene], [camera] * 2, [moved(0), moved(0, 100.0)])
    with pytest.raises(CcdError, match="two frames"):
        temporal_alignment_error([scene], [camera], [moved(0)])


def test_a_prediction_that_is_nearly_perfect_costs_no_search(monkeypatch):
    """All samples are then anchors of the same fit but for the rounding of single precision."""
    y, x = np.mgrid[:64, :64]
    gt = unproject((2 + y / 30 + np.sin(x / 9)).astype(np.float32), Camera(60.0, 60.0, 32.0, 32.0))
    pred = (gt * np.where(x < 6, 1.4, 1.0)[..., None]).astype(np.float32) * np.float32(0.3)
    tried = []
    through = align_moge._through
    monkeypatch.setattr(align_moge, "_through", lambda *args: tried.append(1) or through(*args))
    mask = np.ones((64, 64), bool)
    scores = point_metrics(align_points("affine", pred, gt, mask), gt, mask)
    assert scores["delta_p"] == pytest.approx(58 / 64, abs=1e-3) and len(tried) < 200
