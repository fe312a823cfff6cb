"""What is left out of measured depth."""

import numpy as np

from ccd_cli.data.sensor import without_edges, without_seen_past


def test_both_sides_of_an_edge_are_left_out():
    depth = np.full((6, 10), 2.0, np.float32)
    depth[:, 5:] = 4.0
    depth[0, 0] = np.inf
    assert without_edges(depth, 0) is depth
    for pixels in (1, 2, 3):
        made = without_edges(depth, pixels)
        assert np.isnan(made[:, 5 - pixels : 5 + pixels]).all()
        assert np.isfinite(made[1:, : 5 - pixels]).all() and np.isfinite(made[:, 5 + pixels :]).all()
    assert np.isinf(without_edges(depth, 1)[0, 0])
    slope = np.geomspace(1, 2, 20, dtype=np.float32)[None].repeat(4, 0)  # 4 % from pixel to pixel
    assert np.array_equal(without_edges(slope, 2), slope)


def test_far_points_between_near_ones_are_left_out():
    depth = np.full((9, 9), np.nan, np.float32)
    depth[4, 1], depth[4, 3], depth[4, 8] = 10.0, 2.0, 10.0
    depth[0, 0] = np.inf
    made = without_seen_past(depth, 2)
    assert np.isnan(made[4, 1]), "2 m are two pixels away"
    assert made[4, 3] == 2.0 and made[4, 8] == 10.0 and np.isinf(made[0, 0])
    assert without_seen_past(depth, 0) is depth
    close = depth.copy()
    close[4, 3] = 9.5
    assert np.array_equal(without_seen_past(close, 2), close, equal_nan=True), "within 10 %"
