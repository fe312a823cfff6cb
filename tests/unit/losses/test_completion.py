"""Holes of ground truth, filled by a fitted network."""

import numpy as np
import pytest
import torch

from ccd_cli.losses.completion import complete, notes_of

GIVEN = {  # what a network of each kind says of true disparity d, up to what its kind leaves open
    "disparity": lambda d: 3.0 * d - 0.2,
    "depth": lambda d: 0.25 / d,
    "metric": lambda d: 1.1 / d,
    "affine-depth": lambda d: 0.5 / d - 2.0,
}


@pytest.fixture
def truth():
    """Disparity [2,40,50] of slopes from 1 to 10 m, and the 5 % of pixels where it was measured."""
    rng = np.random.default_rng(0)
    depth = torch.linspace(1, 10, 40)[None, :, None] + torch.from_numpy(rng.uniform(0, 0.5, (2, 40, 50))).float()
    return 1.0 / depth, torch.from_numpy(rng.random((2, 40, 50)) < 0.05)


@pytest.mark.parametrize("kind", GIVEN)
def test_a_map_that_is_right_up_to_its_unknowns_fills_every_hole_exactly(truth, kind):
    disparity, measured = truth
    known = torch.where(measured, disparity, torch.nan)
    made = complete(known, measured, GIVEN[kind](disparity), kind)
    assert made.valid.all() and not made.refused.any()
    assert torch.allclose(made.values, disparity, rtol=1e-4)
    assert torch.equal(made.values[measured], disparity[measured]), "truth stays bit for bit"
    assert made.error.max() < 1e-4


def test_outliers_among_the_points_do_not_move_the_fit(truth):
    disparity, measured = truth
    wrong = disparity.clone()
    spots = measured.nonzero()[::5]  # a fifth of them
    wrong[tuple(spots.T)] = 2.0
    made = complete(wrong, measured, GIVEN["disparity"](disparity), "disparity")
    assert torch.allclose(made.values[~measured], disparity[~measured], rtol=2e-2)
    assert (made.values[measured] == wrong[measured]).all(), "what was measured wins, right or wrong"


def test_views_are_refused_each_by_itself(truth):
    disparity, measured = truth
    few = measured.clone()
    few[0] = False
    few[0, 0, :20] = True
    filler = GIVEN["disparity"](disparity)
    made = complete(disparity, few, filler, "disparity", min_points=50)
    assert made.refused.tolist() == [True, False] and torch.isnan(made.error[0])
    assert torch.equal(made.valid[0], few[0]) and made.valid[1].all()
    backwards = torch.stack([filler[0], -filler[1]])  # nearer is farther: no positive scale
    assert complete(disparity, measured, backwards, "disparity").refused.tolist() == [False, True]
    noise = torch.stack([filler[0], torch.rand(40, 50)])
    assert complete(disparity, measured, noise, "disparity", max_error=0.05).refused.tolist() == [False, True]
    assert notes_of(made)["fit_refused"] == 0.5
    assert notes_of(made)["filled"] == pytest.approx((~few[1]).float().mean().item() / 2)


def test_sky_is_measured_and_kept_and_what_the_network_does_not_know_stays_unknown(truth):
    disparity, measured = truth
    disparity, measured = disparity.clone(), measured.clone()
    disparity[:, :5], measured[:, :5] = 0.0, True
    filler = GIVEN["disparity"](disparity)
    filler[:, 20, 10:20] = torch.nan
    made = complete(disparity, measured, filler, "disparity")
    assert (made.values[:, :5] == 0).all() and made.valid[:, :5].all()
    assert torch.equal(made.valid[:, 20, 10:20], measured[:, 20, 10:20])


def test_beyond_twice_the_farthest_measured_depth_a_fill_is_disparity_and_no_depth(truth):
    disparity, _ = truth
    far = disparity.clone()
    far[0, :, 25:] *= 0.2  # the right half is five times as far, and was not measured
    measured = torch.zeros(far.shape, dtype=torch.bool)
    measured[:, ::3, :25] = True
    made = complete(torch.where(measured, far, torch.nan), measured, GIVEN["disparity"](far), "disparity")
    assert made.valid.all() and torch.allclose(made.values, far, rtol=1e-4)
    farthest = (1 / far[0])[measured[0]].max()
    assert torch.equal(made.in_reach[0], 1 / far[0] <= 2 * farthest) and not made.in_reach[0].all()
    assert made.in_reach[1].all()
    assert notes_of(made)["filled_far"] == pytest.approx((~made.in_reach).float().mean().item())
