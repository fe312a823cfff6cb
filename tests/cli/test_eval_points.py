"""Point scores of `ccd eval`: MoGe's bundle, and one's own pairs with a camera."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from ccd_cli.benchmarks import open_suite
from tests.tiny_eval import document, rows
from tests.tiny_sets import photo, put_codes, put_rgb, write_moge

LENS = [60.0, 60.0, 40.0, 30.0]
FITS = {
    "metric": {"metric", "scale", "affine"},
    "depth": {"scale", "affine"},
    "affine-depth": set(),
    "disparity": set(),
}


def depth(i: int = 0) -> np.ndarray:
    """Meters [60, 80] in whole millimeters: a slope with a box."""
    y, x = np.mgrid[:60, :80]
    made = 2.0 + y / 20 + np.sin(x / 9 + i) / 4
    made[20:40, 30:50] = 1.5
    return np.round(made * 1000) / 1000


@pytest.fixture
def own(tmp_path) -> Path:
    for i in range(2):
        put_rgb(tmp_path / f"own/{i}.jpg", photo(60, 80, i))
        put_codes(tmp_path / f"own/{i}.png", 1000 * depth(i))
    return describe(tmp_path, intrinsics=LENS)


def describe(folder: Path, **keys) -> Path:
    path = folder / "own.yaml"
    path.write_text(
        yaml.safe_dump({"name": "own", "root": "own", "image": "*.jpg", "depth": "*.png", "divisor": 1000, **keys})
    )
    return path


def predict(folder: Path, name: str, change) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(2):
        np.save(folder / name / f"{i}.npy", change(depth(i)).astype(np.float32))
    return folder


def points_of(row: dict) -> set[str]:
    return {
        key.removeprefix("points_").removesuffix("_rel") for key in row if key.startswith("points") and "_rel" in key
    }


@pytest.mark.parametrize("kind", FITS)
def test_each_kind_is_scored_as_far_as_it_says_where_points_are(ccd_here, own, tmp_path, kind):
    shape = {
        "metric": lambda d: d,
        "depth": lambda d: 0.3 * d,
        "affine-depth": lambda d: 2 * d + 1,
        "disparity": lambda d: 1 / d,
    }
    maps = predict(tmp_path / "maps", "own", shape[kind])
    result = ccd_here("eval", "--suite", own, "--predictions", maps, "--prediction-kind", kind, "--json")
    assert result.exit_code == 0, result.output
    row = rows(result)["own"]
    assert points_of(row) == FITS[kind] and row["abs_rel"] < 1e-3
    for fit in FITS[kind]:
        assert row[f"points_{fit}_rel"] < 1e-6 and row[f"points_{fit}_delta1"] == 1
    said = "Points, on sets with cameras" in result.stderr and "the set's camera" in result.stderr
    assert said == bool(FITS[kind]), "nothing is said of scores that no model has"


def test_scores_by_hand(ccd_here, own, tmp_path):
    """Depth 10 % too large is wrong by 10 % of every point's distance before a scale, and right after it."""
    maps = predict(tmp_path / "maps", "own", lambda d: 1.1 * d)
    result = ccd_here("eval", "--suite", own, "--predictions", maps, "--prediction-kind", "metric", "--json")
    row = rows(result)["own"]
    assert row["abs_rel"] == pytest.approx(0.1, abs=1e-6)
    assert row["points_scale_rel"] == pytest.approx(0, abs=1e-6)
    assert 0.005 < row["points_metric_rel"] < 0.1, "a shift takes a part of it away"
    wide = predict(tmp_path / "maps", "own", lambda d: np.where(np.arange(80) < 8, 1.4, 1.0) * d)
    row = rows(ccd_here("eval", "--suite", own, "--predictions", wide, "--prediction-kind", "depth", "--json"))["own"]
    assert row["points_scale_rel"] == pytest.approx(0.04, abs=1e-3), "a tenth of the points is 40 % too far"
    assert row["points_scale_delta1"] == pytest.approx(0.9, abs=1e-6)
    with (tmp_path / "eval-out" / "per_image.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert np.mean([float(line["points_scale_rel"]) for line in lines]) == pytest.approx(row["points_scale_rel"])
    page = (tmp_path / "eval-out" / "report.html").read_text()
    assert "<h2>Points</h2>" in page and "after a scale and a shift" in page and ">0.9000<" in page


def test_without_a_camera_there_are_no_points(ccd_here, own, tmp_path):
    maps = predict(tmp_path / "maps", "own", lambda d: d)
    flags = ("--predictions", maps, "--prediction-kind", "metric", "--json")
    result = ccd_here("eval", "--suite", describe(tmp_path), *flags)
    assert points_of(rows(result)["own"]) == set() and "Points" not in result.stderr
    relative = describe(tmp_path, intrinsics=LENS, kind="disparity", min=0.5)
    (found,), _ = open_suite(str(relative), tmp_path)
    assert found.spec.points and not found.spec.metric
    result = ccd_here("eval", "--suite", relative, *flags)
    assert points_of(rows(result)["own"]) == {"scale", "affine"}, (
        "meters cannot be compared with depth of unknown scale"
    )
    assert "the ground truth has no meters" in result.stderr
    assert "no meters" not in ccd_here("eval", "--suite", relative, *flags, "--alignment", "scale").stderr


def test_the_bundle_of_moge(ccd_here, tmp_path):
    write_moge(tmp_path / "data/moge/NYUv2")
    write_moge(tmp_path / "data/moge/GSO")
    for name, (height, width) in {"moge-nyuv2": (480, 640), "moge-gso": (512, 512)}.items():
        (found,), _ = open_suite(name, tmp_path / "data")
        sample = found.read(0)
        assert sample.rgb.shape[:2] == (height, width)
        path = tmp_path / "maps" / name / "a/b/image.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.where(sample.mask, sample.depth, 1.0).astype(np.float32))
    flags = ("--predictions", tmp_path / "maps", "--json")
    result = ccd_here("eval", "--suite", "moge", *flags, "--prediction-kind", "metric")
    assert result.exit_code == 0, result.output
    made = rows(result)
    assert points_of(made["moge-nyuv2"]) == FITS["metric"] and points_of(made["moge-gso"]) == FITS["depth"]
    assert made["moge-nyuv2"]["points_affine_rel"] < 1e-5
    relative = rows(ccd_here("eval", "--suite", "moge", *flags, "--prediction-kind", "disparity"))
    assert points_of(relative["moge-nyuv2"]) == set(), "a disparity model gets only the disparity score"


def test_the_camera_is_the_sets_or_the_models_own(ccd_here, own, make_teacher, tmp_path):
    model = ("--model", make_teacher("net", kind="depth"), "--resolution", 64, "--json")
    told = ccd_here("eval", "--suite", own, *model)
    assert points_of(rows(told)["own"]) == FITS["depth"], told.output
    alone = ccd_here("eval", "--suite", own, *model, "--camera", "own")
    assert points_of(rows(alone)["own"]) == set(), "this network predicts no camera"
    assert "no points. --camera own is for models" in alone.stderr and "own: no points" not in told.stderr
    assert "scored already" not in alone.stderr and "told no focal length" in alone.stderr
    facts = document(alone)["protocol"]
    assert facts["camera"] == "own" and facts["models"]["net"]["focal lengths"] == "not told"
    maps = predict(tmp_path / "maps", "own", lambda d: d)
    refused = ccd_here("eval", "--suite", own, "--predictions", maps, "--prediction-kind", "metric", "--camera", "own")
    assert refused.exit_code == 2 and "--camera own" in refused.stderr


def test_errors_by_distance_and_of_clouds(own, ccd_here, tmp_path):
    """A map in meters that is 10 % too far from 3 m on: near is perfect, far is not; points are as far off."""
    suite = describe(tmp_path, intrinsics=LENS, bins=[3.0, 4.0], clouds=True)
    predict(tmp_path / "maps", "own", lambda d: np.where(d < 3, d, 1.1 * d))
    done = ccd_here(
        *("eval", "--suite", suite, "--predictions", tmp_path / "maps", "--prediction-kind", "metric", "--json")
    )
    assert done.exit_code == 0, done.output
    row = rows(done)["own"]
    assert row["abs_rel_under_3_m"] == pytest.approx(0, abs=1e-6) and row["delta1_under_3_m"] == 1
    assert row["abs_rel_3_to_4_m"] == pytest.approx(0.1, rel=1e-4)
    assert row["abs_rel_over_4_m"] == pytest.approx(0.1, rel=1e-4) and row["rmse_over_4_m"] > row["rmse_3_to_4_m"] > 0.3
    y, x = np.mgrid[:60, :80]
    rays = np.stack([(x + 0.5 - 40) / 60, (y + 0.5 - 30) / 60, np.ones((60, 80))], -1)
    expected = []
    for i in range(2):
        true = (rays * depth(i)[..., None]).reshape(-1, 3)
        made = (rays * np.where(depth(i) < 3, 1, 1.1)[..., None] * depth(i)[..., None]).reshape(-1, 3)
        near = [[np.linalg.norm(b - p, axis=1).min() for p in a[::7]] for a, b in ((made, true), (true, made))]
        expected.append(sum(np.mean(each) for each in near))
    assert row["chamfer"] == pytest.approx(np.mean(expected), rel=0.05) and 0 < row["f_score"] < 1
    assert row["coverage"] == 1
    words = " ".join(document(done)["protocol"]["in_words"])
    assert "divided at 3, 4 m" in words and "Chamfer" in words
    page = (tmp_path / "eval-out/report.html").read_text()
    assert "AbsRel 3 to 4 m" in page and "F-score (0.1 m)" in page
    perfect = predict(tmp_path / "right", "own", lambda d: d)
    row = rows(
        ccd_here(*("eval", "--suite", suite, "--predictions", perfect, "--prediction-kind", "metric", "--json"))
    )["own"]
    assert row["f_score"] == 1 and row["chamfer"] < 1e-5
    holes = predict(tmp_path / "holes", "own", lambda d: np.where(np.arange(80) % 4 > 0, d, np.nan))
    row = rows(
        ccd_here(
            *(
                "eval",
                "--suite",
                suite,
                "--predictions",
                holes,
                "--prediction-kind",
                "metric",
                "--json",
                "--out",
                "holed",
            )
        )
    )["own"]
    assert row["coverage"] == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"bins": [4.0, 3.0]}, "each must be above the one before"),
        ({"bins": [3.0], "kind": "disparity"}, "need depth in meters"),
        ({"clouds": True}, "need intrinsics and depth in meters"),
    ],
)
def test_ranges_and_clouds_that_cannot_be(own, ccd_here, tmp_path, keys, word):
    done = ccd_here("eval", "--suite", describe(tmp_path, **keys), "--predictions", tmp_path)
    assert done.exit_code == 2 and word in done.stderr, done.output
