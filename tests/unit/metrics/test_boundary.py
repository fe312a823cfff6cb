"""Properties of the boundary scores that need no reference."""

import numpy as np
import pytest

from ccd_cli.core.errors import CcdError
from ccd_cli.metrics.boundary import depth_pro_f1, moge_f1
from ccd_cli.metrics.ibims import boundary_errors, canny, planarity
from tests.peers import depth_pro_recall, thinned


@pytest.fixture
def scene():
    """A box 2 m away before a wall at 4 m."""
    depth = np.full((40, 50), 4.0)
    depth[12:28, 15:35] = 2.0
    return depth


def test_the_truth_scores_one_at_any_scale_and_a_blunted_edge_less(scene):
    known = np.ones(scene.shape, bool)
    assert depth_pro_f1(7 * scene, scene) == pytest.approx(1)
    assert moge_f1(7 * scene, scene, known) == pytest.approx(1)
    blunt = scene.copy()
    blunt[:, 1:-1] = (scene[:, :-2] + scene[:, 1:-1] + scene[:, 2:]) / 3
    assert 0.2 < depth_pro_f1(blunt, scene) < 0.9
    assert 0.2 < moge_f1(blunt, scene, known) < 0.9
    assert depth_pro_f1(np.ones_like(scene), scene) == moge_f1(np.ones_like(scene), scene, known) == 0


def test_a_wider_disc_forgives_an_edge_that_is_one_pixel_off(scene):
    known = np.ones(scene.shape, bool)
    off = np.roll(scene, 1, axis=1)
    one, two, three = (moge_f1(off, scene, known, radius) for radius in (1, 2, 3))
    assert one < two < three < 1


def test_invalid_pixels_take_no_part(scene):
    known = np.ones(scene.shape, bool)
    known[12:20, 34:37] = False  # a direction without any true edge would count as 0
    wrong = scene.copy()
    wrong[~known] = 1e-9
    holes = np.where(known, scene, np.nan)
    assert depth_pro_f1(wrong, scene, known) == pytest.approx(1)
    assert depth_pro_f1(wrong, scene) < 0.99
    assert moge_f1(wrong, scene, known) == pytest.approx(1)
    assert moge_f1(scene, holes, known) == pytest.approx(1)


def test_recall_of_a_matte(scene):
    matte = (scene < 3).astype(np.float32)
    assert depth_pro_recall(scene, matte) == pytest.approx(1)
    assert depth_pro_recall(np.roll(scene, 2, axis=1), matte) < 0.7
    assert depth_pro_recall(np.ones_like(scene), matte) == 0


def test_thinning_keeps_the_first_largest_of_every_run():
    ratio = np.array([[1.3, 1.2, 1.0, 1.4], [1.5, 1.1, 1.6, 1.6]])
    assert thinned(ratio, 1.15).tolist() == [[True, False, False, True], [True, False, True, False]]
    assert not thinned(ratio, 2.0).any()


def test_canny_finds_a_step_once_and_nothing_on_a_flat_map(scene):
    edges = canny((scene - 2) / 2, np.sqrt(2), 0.1, 0.2)
    rows = edges[20]
    assert np.flatnonzero(rows).tolist() in ([14, 34], [14, 35], [15, 34], [15, 35])
    assert not canny(np.full((30, 30), 0.7), np.sqrt(2), 0.1, 0.2).any()


def test_ibims_distances(scene):
    edges = np.zeros(scene.shape, bool)
    edges[12:28, [15, 34]] = True
    edges[[12, 27], 15:35] = True
    accuracy, completeness = boundary_errors(scene, edges)
    assert accuracy < 0.8
    assert completeness < 0.8
    farther = boundary_errors(np.roll(scene, 4, axis=1), edges)
    assert accuracy + 1 < farther[0]
    assert boundary_errors(np.ones_like(scene), edges) == (10.0, 10.0)
    assert np.isnan(boundary_errors(scene, np.zeros_like(edges))).all()
    unknown = scene.copy()
    unknown[0:3, 0:3] = 0
    assert boundary_errors(unknown, edges)[0] < 0.8


def test_a_tilted_plane():
    height, width, focal = 480, 640, 550.0
    calib = np.array([[focal, 0, 0], [0, focal, 0], [320.5, 240.5, 1]])
    x = (np.arange(width) + 1 - 320.5) / focal
    z = -(np.arange(height) + 1 - 240.5) / focal
    true = np.array([0.0, np.cos(0.3), np.sin(0.3)])
    rays = np.stack(np.broadcast_arrays(x[None, :], 1.0, z[:, None]), -1)
    gt = 3.0 / np.abs(rays @ true)
    mask = np.zeros((height, width), bool)
    mask[300:, 100:500] = True
    flat, angle = planarity(4 * gt, gt, mask, true, calib)
    assert flat == pytest.approx(0, abs=1e-9)
    assert angle == pytest.approx(0, abs=1e-6)
    other = np.array([0.0, np.cos(0.3 + np.radians(5)), np.sin(0.3 + np.radians(5))])
    assert planarity(gt, gt, mask, other, calib)[1] == pytest.approx(5, abs=1e-6)
    rough = gt * (1 + 0.02 * np.sin(np.arange(width) / 3))
    assert 1 < planarity(rough, gt, mask, true, calib)[0] < 20
    mask[:] = False
    mask[:40, :100] = True
    assert np.isnan(planarity(gt, gt, mask, true, calib)).all()


def test_other_sizes_are_refused(scene):
    known = np.ones(scene.shape, bool)
    for score in (
        lambda: depth_pro_f1(scene[1:], scene),
        lambda: depth_pro_recall(scene[1:], scene),
        lambda: moge_f1(scene, scene, known[1:]),
        lambda: boundary_errors(scene[1:], known),
    ):
        with pytest.raises(CcdError, match="one size"):
            score()
