"""Scores on the disk: what is kept, what is not, and which pictures stay."""

import json
from itertools import permutations

import numpy as np
import pytest

from ccd_cli.benchmarks import Sample
from ccd_cli.core.paths import folder_name
from ccd_cli.evaluate.figures import BEST, PANELS, WIDTH, WORST, Gallery, draw, extremes
from ccd_cli.evaluate.store import ScoreBook, fingerprint

MARKS = ["a", "b", "c", "d"]


def record(index, error=0.1):
    return {"index": index, "image": f"{index}.png", "scores": {"abs_rel": error, "delta1": 1.0}}


def fill(path, indices, fingerprints=MARKS):
    with ScoreBook(path, fingerprints, False) as book:
        for index in indices:
            book.add(record(index))


def test_every_image_is_on_the_disk_when_it_is_added(tmp_path):
    path = tmp_path / "deep" / "scores.jsonl"
    with ScoreBook(path, MARKS, False) as book:
        for count, index in enumerate((2, 0), 1):
            book.add(record(index))
            assert path.read_bytes().count(b"\n") == count
    again = ScoreBook(path, MARKS, False)
    assert [r["index"] for r in again.of([0, 1, 2])] == [0, 2]
    assert again.records[2]["mark"] == "c"


def test_lines_of_other_settings_are_dropped_and_the_others_stay(tmp_path):
    path = tmp_path / "scores.jsonl"
    fill(path, (0, 1, 2))
    kept = ScoreBook(path, ["a", "CHANGED", "c", "d"], False)
    assert sorted(kept.records) == [0, 2]
    assert path.read_bytes().count(b"\n") == 2, "the file is cleaned"
    assert ScoreBook(path, MARKS, True).records == {} and path.read_bytes() == b""


@pytest.mark.parametrize(
    "line",
    [
        b'{"index": 1, "ima',
        b"\xff\xfe",
        b"[1, 2]",
        b'{"index": 99, "mark": "b", "scores": {}}',
        b'{"index": -1, "mark": "d", "scores": {}}',
        b'{"index": true, "mark": "b", "scores": {}}',
        b'{"index": 1, "mark": "b"}',
        b'{"index": 1, "mark": "b", "scores": {"abs_rel": "low"}}',
    ],
)
def test_a_line_that_is_no_record_is_no_record(tmp_path, line):
    path = tmp_path / "scores.jsonl"
    fill(path, (0,))
    with path.open("ab") as file:
        file.write(line)
    assert sorted(ScoreBook(path, MARKS, False).records) == [0]
    assert path.read_bytes().endswith(b"}\n")
    fill(path, (1,))
    assert sorted(ScoreBook(path, MARKS, False).records) == [0, 1]


def test_nan_goes_to_the_disk_as_null_and_comes_back(tmp_path):
    path = tmp_path / "scores.jsonl"
    with ScoreBook(path, MARKS, False) as book:
        book.add(record(0, float("nan")))
    assert json.loads(path.read_text())["scores"]["abs_rel"] is None
    assert np.isnan(ScoreBook(path, MARKS, False).records[0]["scores"]["abs_rel"])


def test_marks_tell_settings_apart():
    assert fingerprint("a", 1) == fingerprint("a", 1) != fingerprint("a", 2)
    assert fingerprint(["a", "b"]) != fingerprint(["ab"]) != fingerprint("a", "b")


@pytest.mark.parametrize(
    "label", ["builtin:tiny", "../../etc/passwd", "..", "", "a/b\\c", "näme", "x" * 300, ".hidden"]
)
def test_labels_become_folders_that_stay_inside(tmp_path, label):
    name = folder_name(label)
    assert name and (tmp_path / name).resolve().parent == tmp_path.resolve() and not name.startswith(".")
    other = folder_name(label, {name})
    assert other != name and (tmp_path / other).resolve().parent == tmp_path.resolve()
    assert folder_name("depth-anything-v2-small") == "depth-anything-v2-small"


def test_extremes_are_worst_and_best_and_never_both():
    errors = [0.3, float("nan"), 0.1, 0.5, 0.2, 0.4, 0.6]
    worst, best = extremes([record(i, e) for i, e in enumerate(errors)])
    assert [r["index"] for r in worst] == [1, 6, 3] and [r["index"] for r in best] == [2, 4]
    for count in range(6):
        worst, best = extremes([record(i, i) for i in range(count)])
        assert len({r["index"] for r in (*worst, *best)}) == len(worst) + len(best) == min(count, WORST + BEST)


def test_the_gallery_ends_with_the_extremes_whatever_the_order(tmp_path):
    errors = [0.3, 0.1, 0.5, 0.2, 0.4, 0.6, 0.25]
    records = [record(i, e) for i, e in enumerate(errors)]
    wanted = {r["index"] for group in extremes(records) for r in group}
    for number, order in enumerate(list(permutations(range(7)))[::500]):
        folder = tmp_path / str(number)
        gallery = Gallery(folder, [])
        for position, i in enumerate(order):
            if position == 4:  # as after a kill
                gallery = Gallery(folder, [records[j] for j in order[:4]])
            panels = {name: f"{i} {name}".encode() for name in PANELS} if gallery.wants(records[i]) else None
            gallery.add(records[i], panels)
        assert {p.name for p in folder.iterdir()} == {f"{i:05d}-{name}.jpg" for i in wanted for name in PANELS}
        for i in wanted:
            assert gallery.path(i, "error").read_text() == f"{i} error"


def test_a_new_gallery_removes_its_own_pictures_only(tmp_path):
    for name in ("00003-image.jpg", "00004-error.jpg", "holiday.jpg", "00004-notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    Gallery(tmp_path, [record(3)])
    assert {p.name for p in tmp_path.iterdir()} == {"00003-image.jpg", "holiday.jpg", "00004-notes.txt"}


def decoded(content):
    import cv2

    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_panels_show_errors_where_they_are():
    depth = np.full((100, 1000), 4.0, np.float32)
    depth[:50] = 2.0
    mask = np.ones(depth.shape, bool)
    mask[:, :200] = False
    depth[::2, :200] = np.nan
    sample = Sample("x", np.full((100, 1000, 3), 200, np.uint8), depth, mask)
    aligned = np.where(np.isfinite(depth), depth, 2.0).astype(np.float64)
    aligned[:, 600:] *= 2
    panels = {name: decoded(content) for name, content in draw(sample, aligned, mask).items()}
    assert set(panels) == set(PANELS) and {p.shape for p in panels.values()} == {(48, WIDTH, 3)}
    error = panels["error"].astype(int)
    assert abs(error[20, 40] - 128).max() < 12, "not scored is gray"
    assert error[20, 200].max() < 30 and error[20, 400].sum() > 550, "none is black, 100 % is bright"
    ground_truth = panels["ground-truth"].astype(int)
    assert ground_truth[10, 240].sum() > ground_truth[40, 240].sum(), "near is bright"
    assert abs(panels["prediction"].astype(int)[10, 240] - ground_truth[10, 240]).max() < 12
    assert abs(ground_truth[10, 40] - ground_truth[10, 240]).max() < 12, "sparse truth is filled from what is known"


def test_panels_of_a_truth_without_a_known_pixel_nearby():
    depth = np.full((40, 40), np.nan, np.float32)
    depth[5, 5] = 3.0
    sample = Sample("x", np.zeros((40, 40, 3), np.uint8), depth, np.isfinite(depth))
    panels = draw(sample, np.full((40, 40), np.nan), np.isfinite(depth))
    assert all(content[:2] == b"\xff\xd8" for content in panels.values())
