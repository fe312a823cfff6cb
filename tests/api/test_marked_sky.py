"""Sky that a model marks stays sky in whatever a map becomes: clouds, meters, the next frame of a video."""

import cv2
import numpy as np
import pytest

import ccd_cli as ccd
from ccd_cli.api import frames
from ccd_cli.api.clouds import Provenance
from ccd_cli.api.depth import DepthMap
from ccd_cli.geometry import depth_map as core
from ccd_cli.geometry.depth_map import Camera
from tests.api.conftest import write_clip

SIZE = (48, 64)


def marked(far: float, kind="depth") -> DepthMap:
    """Depth 5 to 1 whose upper quarter is sky, set to `far`."""
    values = np.tile(np.linspace(5, 1, SIZE[0], dtype=np.float32)[:, None], (1, SIZE[1]))
    sky = np.zeros(SIZE, bool)
    sky[:12] = True
    values[sky] = far
    made = core.DepthMap(values, kind, None if np.isfinite(far) else ~sky, None, sky)
    return DepthMap._of(made, (Camera(60, 60, 32, 24), "model"), Provenance(), (), rgb=np.zeros((*SIZE, 3), np.uint8))


@pytest.mark.parametrize("far", [6.0, np.inf])
def test_clouds_and_meters_leave_it_out(far):
    depth, ends = marked(far), {"near": 0.5, "far": 20.0}
    solid = 36 * 64
    assert len(depth.point_cloud(**ends, edge_cut=False)) == solid
    assert len(ccd.point_cloud(depth, **ends, edge_cut=False)) == solid
    meters = depth.to_metric(**ends)
    assert len(meters.point_cloud(edge_cut=False)) == solid
    assert np.array_equal(meters.sky, depth.sky) and np.array_equal(np.isinf(meters.values), np.isinf(depth.values))
    assert np.allclose(np.asarray(depth.point_cloud(**ends, edge_cut=False).points).max(0)[2], meters.values[12:].max())


@pytest.mark.parametrize(("kind", "far"), [("disparity", 0.0), ("depth", np.inf), ("depth", 6.0)])
def test_every_frame_of_a_video_has_it_and_it_sets_no_scale(here, monkeypatch, kind, far):
    write_clip(here / "clip.mp4", 5)
    seen = []

    def predict(teacher, rgbs, side, focals):
        made = []
        for rgb in rgbs:
            size, number = rgb.shape[:2], len(seen)
            values = np.tile(np.linspace(1, 2, size[0], dtype=np.float32)[:, None], (1, size[1])) * (1 + 0.1 * number)
            sky = np.zeros(size, bool)
            sky[: round(0.6 * size[0])] = True
            values[sky] = far * (1 + number) ** 2 if np.isfinite(far) else far
            seen.append(number)
            made.append(core.DepthMap(values, kind, None if np.isfinite(far) else ~sky, None, sky))
        return made

    monkeypatch.setattr(frames, "predict_each", predict)
    teacher = type("Teacher", (), {"kind": kind, "name": "marks"})()
    loaded = type("Loaded", (), {"teacher": teacher, "asked": None})()
    maps = list(frames.frames_of(loaded, lambda photo, path: Provenance(), here / "clip.mp4", {"batch": 1}))
    assert len(maps) == len(seen) > 3
    for depth in maps:
        assert depth.sky is not None and 0.5 < depth.sky.mean() < 0.7
        assert np.isinf(depth.values[depth.sky]).all() == np.isinf(far)
        assert depth.values[-1, 0] == pytest.approx(maps[0].values[-1, 0], rel=0.01), "the ground keeps its depth"


def test_a_map_of_another_shape_is_not_scored():
    depth = np.tile(np.linspace(1, 5, 64, dtype=np.float32), (48, 1))
    assert ccd.metrics(cv2.resize(depth, (128, 96)), depth, kind="metric")["abs_rel"] < 0.01
    with pytest.raises(ccd.CcdError, match="64x48 and gt 48x64: cropped, stretched or turned"):
        ccd.metrics(depth.T, depth, kind="metric")
    assert ccd.metrics(1 / depth, depth, kind="disparity", alignment_max_res=0)["abs_rel"] < 1e-4
