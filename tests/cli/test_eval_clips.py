"""`ccd eval` on a clip of one's own: one fit for all frames, and how steady the maps are."""

from __future__ import annotations

import csv
import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.evaluate.run import run
from ccd_cli.evaluate.settings import Settings
from ccd_cli.geometry.depth_map import Camera
from ccd_cli.metrics.points import temporal_alignment_error
from tests.tiny_eval import PERFECT, document, files_of, rows
from tests.tiny_sets import photo, put_codes, put_rgb

LENS = [50.0, 50.0, 40.0, 30.0]
WALL = (6.0, 5.0, 4.0, 3.0)
"""Meters to a wall that the camera walks up to, a meter a frame."""


def pose(step: float) -> np.ndarray:
    made = np.eye(4)
    made[2, 3] = step
    return made


def wall(frame: int) -> np.ndarray:
    return np.full((60, 80), WALL[frame])


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(len(WALL)):
        put_rgb(tmp_path / f"clip/{i:03d}.jpg", photo(60, 80, i))
        put_codes(tmp_path / f"clip/{i:03d}.png", 1000 * wall(i))
        (tmp_path / f"clip/{i:03d}.txt").write_text("\n".join(" ".join(map(str, row)) for row in pose(i).tolist()))
    return tmp_path


def describe(folder: Path, **keys) -> Path:
    plain = {"image": "*.jpg", "depth": "*.png", "divisor": 1000, "max": 20.0, "intrinsics": LENS, "poses": "*.txt"}
    values = {"name": "walk", "clip": True, "root": "clip", **plain, **keys}
    path = folder / "clip.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return path


def predict(folder: Path, change, name: str = "{:03d}") -> Path:
    (folder / "maps" / "walk").mkdir(parents=True, exist_ok=True)
    for i in range(len(WALL)):
        np.save(folder / "maps" / "walk" / f"{name.format(i)}.npy", change(wall(i), i).astype(np.float32))
    return folder / "maps"


@pytest.fixture
def evaluate(ccd_here, folder):
    def score(kind: str, *args, suite: Path | None = None):
        told = ("--suite", suite or describe(folder), "--predictions", folder / "maps", "--prediction-kind", kind)
        return ccd_here("eval", *told, "--json", *args)

    return score


@pytest.mark.parametrize("kind", PERFECT)
def test_a_perfect_predictor_of_each_kind_is_right_and_steady(evaluate, folder, kind):
    predict(folder, lambda d, i: PERFECT[kind](d))
    result = evaluate(kind)
    assert result.exit_code == 0, result.output
    row = rows(result)["walk"]
    assert row["abs_rel"] < 1e-5 and row["tae"] < 1e-5 and row["n"] == 4 and row["delta1"] == 1
    assert "walk: AbsRel / δ1 / TAE" in result.stderr and "one scale and one shift for all frames" in result.stderr
    assert not list((folder / "eval-out" / "maps").rglob("*.npy")), "kept maps are gone"


def test_flicker_by_hand_and_as_the_library_counts_it(evaluate, folder):
    maps = predict(folder, lambda d, i: d * (1.1 if i % 2 else 1.0))
    row = rows(evaluate("metric"))["walk"]
    assert row["abs_rel"] == pytest.approx(0.05, abs=1e-6)
    # 6 -> 5 meets 5.5, 5.5 + 1 meets 6; 5.5 -> 4.5 meets 4, 4 + 1 meets 5.5; 4 -> 3 meets 3.3, 3.3 + 1 meets 4
    by_hand = np.mean([0.5 / 5.5, 0.5 / 6, 0.5 / 4, 0.5 / 5.5, 0.3 / 3.3, 0.3 / 4])
    assert row["tae"] == pytest.approx(by_hand, abs=1e-6)
    depths = [np.load(maps / "walk" / f"{i:03d}.npy") for i in range(4)]
    assert row["tae"] == pytest.approx(
        temporal_alignment_error(depths, [Camera(*LENS)] * 4, [pose(i) for i in range(4)]), abs=1e-9
    )
    with (folder / "eval-out" / "per_image.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["tae"] == "" and float(lines[1]["tae"]) == pytest.approx((0.5 / 5.5 + 0.5 / 6) / 2, abs=1e-6)
    page = (folder / "eval-out" / "report.html").read_text()
    assert "TAE 0." in page and "temporal alignment error, lower is better" in page


def test_the_fit_is_the_clips_and_not_the_frames(evaluate, folder):
    """Each frame alone could be fitted; scales that drift apart cannot."""
    slope = 1 + np.arange(80)[None] / 80
    for i in range(4):
        put_codes(folder / f"clip/{i:03d}.png", 1000 * wall(i) * slope)
    predict(folder, lambda d, i: (1 + 0.3 * i) / (d * slope))
    row = rows(evaluate("disparity"))["walk"]
    assert row["abs_rel"] > 0.05
    with (folder / "eval-out" / "per_image.csv").open(newline="") as file:
        assert len({(line["scale"], line["shift"]) for line in csv.DictReader(file)}) == 1
    refused = evaluate("depth", "--alignment", "median")
    assert refused.exit_code == 2 and "not for clips" in refused.stderr


def test_a_wrong_pose_shows(evaluate, folder):
    predict(folder, lambda d, i: d)
    assert rows(evaluate("metric"))["walk"]["tae"] < 1e-6
    still = " ".join(map(str, np.eye(4).ravel()))
    (folder / "clip/001.txt").write_text(still)
    row = rows(evaluate("metric"))["walk"]  # 6 -> 6 meets 5 and back; 5 -> 3 meets 4, and 4 + 2 meets 5
    assert row["tae"] == pytest.approx(np.mean([1 / 5, 1 / 6, 1 / 4, 1 / 5, 0, 0]), abs=1e-6), "scored anew"
    assert row["abs_rel"] < 1e-6


def test_poses_in_one_file_and_the_other_way_round(evaluate, folder):
    predict(folder, lambda d, i: d)
    lines = [" ".join(map(str, np.linalg.inv(pose(i))[:3].ravel())) for i in range(4)]
    (folder / "clip/all.poses").write_text("# one line a frame\n" + "\n".join(lines))
    right = describe(folder, poses="all.poses", pose="world-to-camera")
    assert rows(evaluate("metric", suite=right))["walk"]["tae"] < 1e-6
    assert rows(evaluate("metric", suite=describe(folder, poses="all.poses")))["walk"]["tae"] > 0.1


def test_frames_go_by_their_numbers(evaluate, folder):
    """0, 1, ..., 9, 10, 11: sorted as texts, 10 would follow 1."""
    for path in (folder / "clip").iterdir():
        path.unlink()
    (folder / "maps/walk").mkdir(parents=True)
    for i in range(12):
        put_rgb(folder / f"clip/{i}.jpg", photo(60, 80, i))
        put_codes(folder / f"clip/{i}.png", np.full((60, 80), 1000 * (14 - i)))
        np.save(folder / f"maps/walk/{i}.npy", np.full((60, 80), 14 - i, np.float32))
    lines = [" ".join(map(str, pose(i)[:3].ravel())) for i in range(12)]
    (folder / "clip/all.poses").write_text("\n".join(lines))
    row = rows(evaluate("metric", suite=describe(folder, poses="all.poses")))["walk"]
    assert row["n"] == 12 and row["abs_rel"] < 1e-6 and row["tae"] < 1e-6


@pytest.mark.parametrize("with_depth", [True, False])
def test_mask_and_crop_say_where_frames_are_compared(evaluate, folder, with_depth):
    """A thing that moves is wrong in every second map."""
    values = np.ones((60, 80))
    values[20:40, 30:50] = 1.5
    predict(folder, lambda d, i: d * (values if i % 2 else 1))
    keys = {} if with_depth else {"depth": None, "divisor": None}
    assert rows(evaluate("metric", suite=describe(folder, **keys)))["walk"]["tae"] > 0.01
    still = np.full((60, 80), 255, np.uint8)
    still[10:50, 15:65] = 0
    for i in range(4):
        put_rgb(folder / f"clip/{i:03d}.mask", still)
    crop = {"crop": {"columns": [0, 15]}}
    for more in ({"mask": "*.mask"}, crop):
        assert rows(evaluate("metric", suite=describe(folder, **keys, **more)))["walk"]["tae"] < 1e-6


def test_poses_that_meet_nowhere_are_said(evaluate, folder):
    predict(folder, lambda d, i: d)
    for i in range(4):
        aside = pose(0)
        aside[0, 3] = 1000 * i
        (folder / f"clip/{i:03d}.txt").write_text(" ".join(map(str, aside.ravel())))
    result = evaluate("metric")
    assert result.exit_code == 0 and rows(result)["walk"]["tae"] is None
    assert "no two following frames see a common point" in result.stderr


def test_a_frame_that_was_repaired_changes_the_fit_of_all(evaluate, folder):
    predict(folder, lambda d, i: PERFECT["disparity"](d))
    right = (folder / "clip/001.png").read_bytes()
    (folder / "clip/001.png").write_bytes(b"nothing")
    put_codes(folder / "clip/003.png", 1000 * wall(1))  # wrong truth: the fit without 001 is another one
    assert rows(evaluate("disparity"))["walk"]["n"] == 3
    (folder / "clip/001.png").write_bytes(right)
    row = rows(evaluate("disparity"))["walk"]
    with (folder / "eval-out" / "per_image.csv").open(newline="") as file:
        assert len({line["scale"] for line in csv.DictReader(file)}) == 1
    fresh = rows(evaluate("disparity", "--overwrite"))["walk"]
    assert row["n"] == 4 and row == fresh


def test_a_name_that_is_not_utf8_is_refused(evaluate, folder):
    predict(folder, lambda d, i: d)
    try:
        (folder / "clip/003.jpg").rename(os.fsdecode(os.fsencode(folder / "clip") + b"/00\xff.jpg"))
    except OSError:
        pytest.skip("a disk that takes UTF-8 names alone")
    result = evaluate("metric")
    assert result.exit_code == 1 and "not UTF-8" in result.stderr and "Traceback" not in result.output


def test_without_poses_depth_alone_and_without_depth_steadiness_alone(evaluate, folder):
    predict(folder, lambda d, i: d)
    row = rows(evaluate("metric", suite=describe(folder, poses=None, intrinsics=None)))["walk"]
    assert "tae" not in row and row["abs_rel"] < 1e-6
    blind = describe(folder, depth=None, divisor=None)
    row = rows(evaluate("metric", suite=blind))["walk"]
    assert row["abs_rel"] is None and row["tae"] < 1e-6 and row["n"] == 4
    assert (folder / "eval-out" / "report.html").read_text().count("data:image/jpeg") == 8, "photo and prediction"
    lost = evaluate("depth", suite=blind)
    assert lost.exit_code == 1 and "no ground truth to fit to" in lost.stderr and "Traceback" not in lost.output


def test_a_video_is_a_clip(evaluate, folder, ccd_here, make_teacher):
    with av.open(str(folder / "clip/walk.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 80, 60, "yuv420p"
        for i in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(photo(60, 80, i), format="rgb24")))
        out.mux(stream.encode())
    suite = describe(folder, image=None, video="walk.mp4")
    (folder / "maps/walk/walk").mkdir(parents=True)  # as `ccd predict walk.mp4 --save npy --out maps/walk` writes
    predict(folder, lambda d, i: d, "walk/{:06d}")
    row = rows(evaluate("metric", suite=suite))["walk"]
    assert row["n"] == 4 and row["tae"] < 1e-6
    result = ccd_here("eval", "--suite", suite, "--model", make_teacher("net"), "--resolution", 64, "--json")
    assert result.exit_code == 0, result.output
    assert rows(result)["walk"]["tae"] >= 0 and rows(result)["walk"]["alignment"] == "least-squares-disparity"
    checked = ccd_here("data", "check", suite, "--read")
    assert checked.exit_code == 0 and "walk: 4 samples, complete" in checked.output


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1 0 0", "3 numbers"),
        ("1 0 0 x " * 4, "no number"),
        ("nan " * 16, "no rigid motion"),
        ("2 0 0 0 0 2 0 0 0 0 2 0", "no rigid motion"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0", "no rigid motion"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 7", "no rigid motion"),
    ],
)
def test_what_is_no_pose_is_named(evaluate, folder, text, word):
    predict(folder, lambda d, i: d)
    (folder / "clip/002.txt").write_text(text)
    result = evaluate("metric")
    assert result.exit_code == 1 and word in result.stderr and "002.txt" in result.stderr
    assert "Traceback" not in result.output


def test_numbers_that_differ_are_named(evaluate, folder):
    predict(folder, lambda d, i: d)
    for name, word in (("003.txt", "3 files of poses"), ("003.png", "3 files match '*.png'")):
        content = (folder / "clip" / name).read_bytes()
        (folder / "clip" / name).unlink()
        result = evaluate("metric")
        assert result.exit_code == 1 and word in result.stderr, result.stderr
        (folder / "clip" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"video": "a.mp4"}, "image, video"),
        ({"image": None}, "image, video"),
        ({"intrinsics": None}, "useless without intrinsics"),
        ({"depth": None, "poses": None}, "nothing to score"),
        ({"pair": "match"}, "by order"),
        ({"poses": "../*.txt"}, "root"),
        ({"clip": False}, "clip"),
        ({"pose": "sideways"}, "pose"),
    ],
)
def test_contradictions_of_a_clip(evaluate, folder, keys, word):
    predict(folder, lambda d, i: d)
    result = evaluate("metric", suite=describe(folder, **keys))
    assert result.exit_code == 2 and word in result.stderr, result.stderr


def test_a_frame_that_cannot_be_read_is_left_out(evaluate, folder):
    predict(folder, lambda d, i: d)
    (folder / "clip/001.jpg").write_bytes(b"nothing")
    result = evaluate("metric")
    assert result.exit_code == 1 and "001.jpg" in result.stderr and "1 samples were skipped" in result.stderr
    row = rows(result)["walk"]
    assert row["n"] == 3 and row["tae"] < 1e-6, "frames that follow each other are compared"
    again = evaluate("metric")
    assert again.exit_code == 1 and document(again) == document(result)


class Impatient(Silent):
    """Presses Ctrl-C after so many advances."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def advance(self, done: int, **figures: float | str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("after", [2, 6])  # while predicting, while scoring
def test_a_stopped_clip_goes_on_and_ends_the_same(folder, make_teacher, after):
    model = str(make_teacher("net"))
    common = {"suite": str(describe(folder)), "models": (model,), "resolution": 64, "device": "cpu"}
    run(Settings(**common, out=folder / "whole"), Silent())
    with pytest.raises(Interrupted):
        run(Settings(**common, out=folder / "cut"), Impatient(after))
    kept = list((folder / "cut").rglob("*.npy"))
    assert 1 <= len(kept) <= 4 and not (folder / "cut" / "results.json").exists()
    run(Settings(**common, out=folder / "cut"), Silent())
    assert files_of(folder / "cut") == files_of(folder / "whole")
    assert not list((folder / "cut").rglob("*.npy"))


def test_the_first_frames_of_a_clip(evaluate, folder):
    predict(folder, lambda d, i: d)
    result = evaluate("metric", "--limit", 2)
    assert rows(result)["walk"]["n"] == 2 and "of a clip the first ones" in result.stderr
    assert rows(evaluate("metric"))["walk"]["n"] == 4


def test_a_model_that_cannot_be_scored_stands_beside_one_that_can(ccd_here, folder, make_teacher):
    blind = describe(folder, depth=None, divisor=None)
    flags = ("--predictions", predict(folder, lambda d, i: d), "--prediction-kind", "metric")
    result = ccd_here("eval", "--suite", blind, *flags, "--model", make_teacher("net"), "--resolution", 64, "--json")
    assert result.exit_code == 1 and "no ground truth to fit to" in result.stderr and "Traceback" not in result.output
    found = {row["model"]: row["n"] for row in document(result)["results"]}
    assert found == {"maps": 4, "net": 0} and "– (0)" in result.stderr
    assert ">0.0000</td>" in (folder / "eval-out" / "report.html").read_text().split("All metrics")[1], "a score of 0"
