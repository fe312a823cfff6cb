"""Edges and planes of a sample (iBims-1), objects (MoGe), and ground truth of another size than its photo."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ccd_cli.benchmarks import Prediction, Sample, Spec
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.scoring.alignment import Alignment
from ccd_cli.scoring.geometry import geometry_scores
from ccd_cli.scoring.image import ScoringOptions, resized, score
from ccd_cli.scoring.points import point_scores
from ccd_cli.scoring.rows import summary_row

SPEC = Spec("mine", "Mine", (1e-3, 1e4), None, None, False, "all of it", points=True, floor="image")
CAMERA = Camera(80.0, 80.0, 50.0, 40.0)
AUTO = ScoringOptions(Alignment("auto", "mine.yaml", None))


@pytest.fixture
def sample():
    """[80, 100]: a floor that rises towards the camera, and a wall in front of which a box stands."""
    rows = np.arange(80)[:, None].repeat(100, 1)
    floor = 1.2 / np.maximum((rows + 0.5 - 40.0) / 80.0, 1e-3)  # a plane 1.2 m below the camera
    planes = np.where(floor < 6.0, 1, 2)
    depth = np.where(planes == 1, floor, 6.0)
    depth[10:50, 30:60] = 3.0
    planes[10:50, 30:60] = 0
    edges = np.zeros(depth.shape, bool)
    edges[10:50, (30, 60)] = edges[(10, 50), 30:60] = True
    segments = np.zeros(depth.shape, np.int64)
    segments[10:50, 30:60], segments[60:] = 7, 9
    rgb = np.zeros((80, 100, 3), np.uint8)
    depth, mask = depth.astype(np.float32), np.ones(depth.shape, bool)
    return Sample("a", rgb, depth, mask, CAMERA, edges=edges, planes=planes, segments=segments)


def test_a_perfect_map_has_flat_planes_and_edges_in_their_place(sample):
    scores = geometry_scores(sample, sample.depth.astype(np.float64))
    assert scores["pe_flat"] < 1e-3 and scores["pe_ori"] < 0.01
    assert scores["dbe_acc"] < 2.5 and scores["dbe_comp"] < 1.5


def test_a_bent_floor_and_blurred_edges_show(sample):
    good = geometry_scores(sample, sample.depth.astype(np.float64))
    bent = sample.depth * (1 + 0.2 * np.sin(np.arange(100) / 12))
    made = geometry_scores(sample, bent.astype(np.float64))
    assert made["pe_flat"] > 1 and made["pe_ori"] > 1
    moved = np.roll(sample.depth, 4, axis=1).astype(np.float64)
    assert geometry_scores(sample, moved)["dbe_acc"] > good["dbe_acc"] + 1
    tilted = 6.0 + 0.03 * np.arange(100)[None, :] + 0 * moved
    wall = replace(sample, planes=np.where(sample.planes == 2, 2, 0), edges=None)
    assert geometry_scores(wall, tilted)["pe_ori"] > 10 and "dbe_acc" not in geometry_scores(wall, tilted)


def test_small_planes_and_images_without_an_edge_have_no_score(sample):
    tiny = np.zeros_like(sample.planes)
    tiny[:10, :10] = 4
    bare = replace(sample, planes=tiny, edges=np.zeros_like(sample.edges))
    assert geometry_scores(bare, sample.depth.astype(np.float64)) == {}
    records = [
        {"alignment": "none", "scores": {"abs_rel": 1.0, "dbe_acc": 3.0}},
        {"alignment": "none", "scores": {"abs_rel": 3.0}},
    ]
    row = summary_row("m", "d", records, "none")
    assert row["abs_rel"] == 2.0 and row["dbe_acc"] == 3.0, "the mean over images that have an edge"


def test_objects_are_scored_each_on_its_own(sample):
    other = sample.depth.copy()
    other[10:50, 30:60] *= 1.4
    made = Prediction(other, "depth", np.isfinite(other))
    scores = point_scores(SPEC, sample, made, other, "set")
    assert scores["local_points_rel"] < 1e-4 < scores["points_scale_rel"] and scores["local_points_delta1"] == 1
    assert "local_points_rel" not in point_scores(SPEC, replace(sample, segments=None), made, other, "set")
    assert point_scores(SPEC, sample, replace(made, kind="disparity"), other, "set") == {}


def test_a_prediction_is_resized_to_its_ground_truth_before_the_fit(sample):
    """By hand: bilinear, then scored as a prediction of that size is; the camera scales along."""
    photo = np.zeros((160, 200, 3), np.uint8)
    big = cv2.resize(1 / sample.depth, dsize=(200, 160), interpolation=cv2.INTER_CUBIC)
    wide = replace(sample, rgb=photo, camera=Camera(160.0, 160.0, 100.0, 80.0))
    assert wide.depth_camera == CAMERA
    record, depth = score(SPEC, wide, Prediction(big, "disparity", np.isfinite(big)), AUTO)
    small = cv2.resize(big, dsize=(100, 80), interpolation=cv2.INTER_LINEAR)
    want, same = score(SPEC, sample, Prediction(small, "disparity", np.isfinite(small)), AUTO)
    assert record["scores"] == want["scores"] and depth.shape == (80, 100)
    np.testing.assert_array_equal(depth, same)
    hole = np.isfinite(big)
    hole[80:90, 100:110] = False
    made = resized(Prediction(big, "metric", hole, wide.camera), (80, 100))
    assert made.camera == CAMERA and not made.known[40:45, 50:55].any() and made.known.sum() > 7900
