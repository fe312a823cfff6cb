"""Crops of ground truth keep every value as it is, lose no sparse point that falls between samples, and stay in place."""

from __future__ import annotations

import numpy as np
import pytest

from ccd_cli.data.crops import Region
from ccd_cli.data.truth import crop_truth

NAN = np.float32(np.nan)


def plain(truth, shape, region, size):
    """The rule, pixel by pixel."""
    height, width = truth.shape
    made = np.full((size, size), NAN, np.float32)
    best = np.full((size, size), np.inf)
    for y in range(height):
        for x in range(width):
            v = ((y + 0.5) / (height / shape[0]) - region.top) * (size / region.side)
            u = ((x + 0.5) / (width / shape[1]) - region.left) * (size / region.side)
            if not np.isfinite(truth[y, x]) or not (0 <= v < size and 0 <= u < size):
                continue
            distance = (v - int(v) - 0.5) ** 2 + (u - int(u) - 0.5) ** 2
            if distance <= best[int(v), int(u)]:
                best[int(v), int(u)], made[int(v), int(u)] = distance, truth[y, x]
    return made


@pytest.mark.parametrize(
    ("shape", "own", "region", "size"),
    [
        ((60, 80), (60, 80), Region(5, 11, 48), 16),
        ((60, 80), (60, 80), Region(0, 0, 60), 17),
        ((60, 80), (30, 40), Region(7, 3, 41), 13),
        ((60, 80), (120, 160), Region(10, 20, 30), 30),
    ],
)
@pytest.mark.parametrize("share", [1.0, 0.05])
def test_smaller_crops_are_the_plain_rule(shape, own, region, size, share):
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 9, own).astype(np.float32)
    truth[rng.uniform(size=own) > share] = NAN
    made = crop_truth(truth, shape, region, size)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(plain(truth, shape, region, size)))
    assert set(made[~np.isnan(made)].tolist()) <= set(truth[~np.isnan(truth)].tolist()), "no value is mixed"
    distinct = np.isnan(made) | (made == plain(truth, shape, region, size))
    assert distinct.mean() > 0.9, "but for ties"


def test_every_sparse_point_survives_a_crop_of_its_own_size_and_a_smaller_one():
    truth = np.full((64, 64), NAN, np.float32)
    truth[3::8, 5::8] = np.arange(64, dtype=np.float32).reshape(8, 8) + 1
    whole = Region(0, 0, 64)
    assert np.array_equal(crop_truth(truth, (64, 64), whole, 64), truth, equal_nan=True)
    half = crop_truth(truth, (64, 64), whole, 32)
    assert sorted(half[~np.isnan(half)].tolist()) == list(range(1, 65)), "sampling every second pixel would lose them"


def test_a_larger_crop_repeats_values():
    truth = np.arange(16, dtype=np.float32).reshape(4, 4) + 1
    made = crop_truth(truth, (4, 4), Region(1, 1, 2), 6)
    assert np.array_equal(made, np.kron(truth[1:3, 1:3], np.ones((3, 3), np.float32)))


def test_edges_stay_where_the_image_has_them():
    image = np.zeros((40, 40), np.float32)
    image[:, 23:] = 1
    truth = np.where(image[::2, ::2] > 0, np.float32(8), np.float32(2))  # at half the size
    made = crop_truth(truth, (40, 40), Region(10, 10, 30), 15)
    columns = np.flatnonzero(made[0] == 8)
    assert columns[0] == 7 and (made[:, :7] == 2).all() and (made[:, 7:] == 8).all()


def test_sky_is_known_and_behind_everything():
    truth = np.full((32, 32), np.inf, np.float32)
    truth[16:] = 5
    truth[3, 3] = 7
    made = crop_truth(truth, (32, 32), Region(0, 0, 32), 8)
    assert np.isposinf(made[1, 1]) and made[0, 0] == 7 and (made[4:] == 5).all()
    assert not np.isnan(made).any()
