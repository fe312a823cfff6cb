"""`ccd eval --suite da-2k`: which of two points is closer."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.tiny_eval import PERFECT, document, rows
from tests.tiny_sets import photo, put_rgb

SIZE = (60, 80)
PHOTOS = {"images/indoor/a.jpg": 3, "images/indoor/b.jpg": 1, "images/underwater/c.png": 4}


def depth(name: str) -> np.ndarray:
    """Meters [60, 80], nearer to the bottom and a little nearer to the right; each photo another slope."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return 10.0 - y / 10 - x / 1000 - len(name) / 100


def pairs(count: int) -> list[dict[str, object]]:
    """The lower point is closer; every second pair names it as point2."""
    made = []
    for i in range(count):
        near, far = [50 - i, 10 + 5 * i], [5 + i, 70 - i]
        points = {"point1": near, "point2": far, "closer_point": "point1"}
        made.append(points if i % 2 == 0 else {"point1": far, "point2": near, "closer_point": "point2"})
    return made


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "data" / "DA-2K"
    for i, name in enumerate(PHOTOS):
        put_rgb(folder / name, photo(*SIZE, i))
    (folder / "annotations.json").write_text(json.dumps({name: pairs(n) for name, n in PHOTOS.items()}))
    return folder


def predict(folder: Path, kind: str, wrong: tuple[str, ...] = ()) -> Path:
    for name in PHOTOS:
        values = PERFECT[kind](depth(name))
        path = (folder / "da-2k" / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, (values[::-1] if name in wrong else values).astype(np.float32))
    return folder


@pytest.fixture
def evaluate(ccd_here, root):
    return lambda *args: ccd_here("eval", "--suite", "da-2k", "--data-root", root.parent, "--json", *args)


@pytest.mark.parametrize("kind", PERFECT)
def test_a_perfect_predictor_of_each_kind_is_always_right_and_its_opposite_never(evaluate, tmp_path, kind):
    result = evaluate("--predictions", predict(tmp_path / "maps", kind), "--prediction-kind", kind)
    assert result.exit_code == 0, result.output
    row = rows(result)["da-2k"]
    assert row["pair_accuracy"] == 1 and row["pairs"] == 8 and row["n"] == 3 and row["alignment"] == "none"
    assert row["pair_accuracy_indoor"] == row["pair_accuracy_underwater"] == 1 and row["abs_rel"] is None
    other = "depth" if kind == "disparity" else "disparity"
    flipped = evaluate("--predictions", tmp_path / "maps", "--prediction-kind", other)
    assert rows(flipped)["da-2k"]["pair_accuracy"] == 0
    unsaid = evaluate("--predictions", tmp_path / "maps")
    assert unsaid.exit_code == 2 and "--prediction-kind" in unsaid.stderr


def test_pairs_count_one_by_one_overall_and_by_scene(evaluate, tmp_path):
    maps = predict(tmp_path / "maps", "disparity", wrong=("images/indoor/a.jpg",))
    result = evaluate("--predictions", maps, "--prediction-kind", "disparity")
    row = rows(result)["da-2k"]
    assert row["pair_accuracy"] == 5 / 8 and row["pair_accuracy_indoor"] == 1 / 4
    assert row["pair_accuracy_underwater"] == 1
    assert "Published, pairs right: Depth Anything V2" in " ".join(result.stderr.split()) and "0.953" in result.stderr
    assert "0.6250 (8 pairs)" in result.stderr and "larger = nearer" in result.stderr
    assert "least-squares" not in result.stderr, "pairs need no alignment"
    with (tmp_path / "eval-out" / "per_image.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["group"], line["pairs"], line["pair_accuracy"]) for line in lines] == [
        ("indoor", "3", "0.0"),
        ("indoor", "1", "1.0"),
        ("underwater", "4", "1.0"),
    ]
    page = (tmp_path / "eval-out" / "report.html").read_text()
    assert "0 of 3, indoor" in page and ">underwater<" in page and page.count("data:image/jpeg") == 6
    assert page.index("images/indoor/a.jpg") < page.index("images/indoor/b.jpg"), "the worst comes first"
    again = evaluate("--predictions", maps, "--prediction-kind", "disparity")
    assert "scored already" in again.stderr and document(again) == document(result)


def test_pairs_that_were_corrected_are_scored_anew(evaluate, root, tmp_path):
    flags = ("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    assert rows(evaluate(*flags))["da-2k"]["pair_accuracy"] == 1
    content = json.loads((root / "annotations.json").read_text())
    content["images/indoor/b.jpg"][0]["closer_point"] = "point2"
    (root / "annotations.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    assert rows(evaluate(*flags))["da-2k"]["pair_accuracy"] == 7 / 8


def test_equal_and_unknown_values_are_wrong(evaluate, tmp_path):
    for name in PHOTOS:
        path = (tmp_path / "maps" / "da-2k" / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full(SIZE, 3.0, np.float32)
        values[0, 0] = np.nan if "c" in path.stem else 4.0
        np.save(path, values)
    for kind in ("disparity", "depth"):
        row = rows(evaluate("--predictions", tmp_path / "maps", "--prediction-kind", kind))["da-2k"]
        assert row["pair_accuracy"] == 0


def test_networks_are_ranked_by_it(evaluate, make_teacher, tmp_path):
    maps = predict(tmp_path / "maps", "metric")
    flags = ("--predictions", maps, "--prediction-kind", "metric")
    result = evaluate("--model", make_teacher("first"), "--resolution", 64, *flags)
    assert result.exit_code == 0, result.output
    table = {row["model"]: row["pair_accuracy"] for row in document(result)["results"]}
    assert table["maps"] == 1 and 0 <= table["first"] < 1
    assert "mean rank" in result.stderr and "larger = farther" in result.stderr


def test_a_point_outside_its_photo_leaves_it_out(evaluate, root, tmp_path):
    content = json.loads((root / "annotations.json").read_text())
    content["images/indoor/b.jpg"][0]["point2"] = [60, 0]
    (root / "annotations.json").write_text(json.dumps(content))
    result = evaluate("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    assert result.exit_code == 1 and "outside its 80x60 pixels" in result.stderr
    assert rows(result)["da-2k"]["pairs"] == 7


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "not readable JSON"),
        ("[]", "no table"),
        ('{"a.jpg": [], "a.jpg": []}', "'a.jpg' is there twice"),
        ({"\ud800.jpg": pairs(1)}, "is no file name"),
        ({"../x.jpg": pairs(1)}, "leads out"),
        ({"a.jpg": []}, "a list of pairs"),
        ({"a.jpg": [3]}, "pair 1"),
        ({"a.jpg": [{"point1": [1, 2], "point2": [1, 2.5], "closer_point": "point1"}]}, "point2 is not"),
        ({"a.jpg": [{"point1": [True, 2], "point2": [1, 2], "closer_point": "point1"}]}, "point1 is not"),
        ({"a.jpg": [{"point1": [-1, 2], "point2": [1, 2], "closer_point": "point1"}]}, "point1 is not"),
        ({"a.jpg": [*pairs(1), {"point1": [1, 2], "point2": [1, 2], "closer_point": "left"}]}, "pair 2: closer_point"),
    ],
)
def test_annotations_that_are_broken_are_one_line(evaluate, root, content, word):
    (root / "annotations.json").write_text(content if isinstance(content, str) else json.dumps(content))
    result = evaluate("--model", "builtin:tiny")
    assert result.exit_code == 1 and word in result.stderr and "Traceback" not in result.output


def test_data_knows_the_set(ccd_here, root):
    checked = ccd_here("data", "check", "da-2k", "--read")
    assert checked.exit_code == 1 and "3 photos with 8 pairs, 1029 with 2068 are published" in checked.output
    assert "no photo of outdoor" in checked.output and "underwater 1 photos, 4 pairs" in checked.output
    assert "cannot be scored" not in checked.output
    listed = ccd_here("data", "list")
    assert "da-2k (suite da-2k): 1029 samples; installed, 3 of 1029 samples" in listed.output
    (root / "images/indoor/a.jpg").unlink()
    assert "1 photos are missing: images/indoor/a.jpg" in ccd_here("data", "check", "da-2k").output
    (root / "annotations.json").rename(root.parent / "DA-2K.zip")
    assert "still packed" in ccd_here("data", "check", "da-2k").output
