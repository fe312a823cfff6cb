"""Synthetic label noise: the mask marks exactly the corrupted pixels, and all others keep their value."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.core.errors import UsageProblem
from ccd_cli.data.corruptions import CORRUPTIONS, boundaries, corrupt, rectangle

AMOUNT = {"outliers": 0.2, "affine": 0.2, "blur": 0.05, "jitter": 20.0}


@pytest.fixture
def true_map() -> tuple[np.ndarray, np.ndarray]:
    """A slope with two boxes on it, and holes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:60, :80]
    disparity = (0.5 + y / 60 + 0.002 * x).astype(np.float32)
    disparity[10:30, 20:50] = 3.0
    disparity[35:50, 5:25] = 2.4
    return disparity, rng.random((60, 80)) > 0.1


@pytest.mark.parametrize("kind", [k for k in CORRUPTIONS if k != "jitter"])
def test_pixels_that_are_not_corrupted_keep_their_value_bit_for_bit(true_map, kind):
    disparity, mask = true_map
    made = corrupt(kind, disparity, mask, AMOUNT[kind], np.random.default_rng(0))
    assert made.label.dtype == np.float32 and made.noisy.any() and not made.noisy.all()
    np.testing.assert_array_equal(made.label[~made.noisy], disparity[~made.noisy])
    assert (made.label[made.noisy] != disparity[made.noisy]).all()
    assert not (made.noisy & ~mask).any()


def test_outliers_and_wrong_affine_are_what_they_say(true_map):
    disparity, mask = true_map
    everywhere = np.ones_like(mask)
    made = corrupt("outliers", disparity, everywhere, 0.2, np.random.default_rng(1))
    factor = (made.label / disparity)[made.noisy]
    assert 0.2 <= factor.min() < 0.3 and 3.8 < factor.max() <= 4.001
    assert abs(factor.mean() - 2.1) < 0.15 and abs(made.noisy.mean() - 0.2) < 0.01
    made = corrupt("affine", disparity, mask, 0.05, np.random.default_rng(1))
    np.testing.assert_allclose(made.label[made.noisy], 1.6 * disparity[made.noisy] + 0.5, rtol=1e-6)


def test_rectangles_have_the_share_and_move(true_map):
    rng = np.random.default_rng(0)
    found = [rectangle((60, 80), 0.05, rng) for _ in range(20)]
    assert all(abs(region.mean() - 0.05) < 0.01 for region in found)
    rows, columns = np.nonzero(found[0])
    assert found[0].sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert len({tuple(np.argwhere(region)[0]) for region in found}) > 10
    assert rectangle((60, 80), 1.0, rng).all()


def test_blur_lies_at_boundaries_and_nowhere_else(true_map):
    disparity, mask = np.ones((40, 60), np.float32), np.ones((40, 60), bool)
    disparity[:, 30:] = 2.0
    np.testing.assert_array_equal(np.flatnonzero(boundaries(disparity, mask)[0]), [29, 30])
    made = corrupt("blur", disparity, mask, 0.1, np.random.default_rng(0))  # 4 pixels
    np.testing.assert_array_equal(np.flatnonzero(made.noisy[7]), np.arange(26, 34))
    np.testing.assert_allclose(made.label[7, 26:34], 1 + np.arange(1, 9) / 9, rtol=1e-6)
    hole = mask.copy()
    hole[:, 29:31] = False  # the jump lies where nothing is known
    assert not boundaries(disparity, hole).any()
    assert not corrupt("blur", np.ones_like(disparity), mask, 0.1, np.random.default_rng(0)).noisy.any()


def test_jitter_is_one_factor_and_corrupts_no_pixel(true_map):
    disparity, mask = true_map
    factors = []
    for seed in range(200):
        made = corrupt("jitter", disparity, mask, 20.0, np.random.default_rng(seed))
        ratio = made.label / disparity
        assert np.ptp(ratio) < 1e-5 * ratio.max() and not made.noisy.any()
        factors.append(float(ratio[0, 0]))
    assert 20**-0.5 <= min(factors) < 0.3 and 3.5 < max(factors) <= 20**0.5 * 1.0001
    assert abs(np.log(factors).mean()) < 0.2
    assert np.array_equal(corrupt("jitter", disparity, mask, 1.0, np.random.default_rng(0)).label, disparity)


def test_the_same_seed_is_the_same_label(true_map):
    for kind in CORRUPTIONS:
        first, second, other = (
            corrupt(kind, *true_map, AMOUNT[kind], np.random.default_rng(seed)).label for seed in (5, 5, 6)
        )
        assert np.array_equal(first, second)
        assert np.array_equal(first, other) == (kind == "blur")


def test_what_makes_no_sense_is_refused(true_map):
    for kind, amount in (
        ("outliers", 0.0),
        ("affine", 1.1),
        ("blur", -1),
        ("jitter", 0.5),
        ("jitter", float("inf")),
        ("fog", 1),
    ):
        with pytest.raises(UsageProblem):
            corrupt(kind, *true_map, amount, np.random.default_rng(0))
