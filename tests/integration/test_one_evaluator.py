"""A run's own scores, `ccd eval` and the script on index files: one file of pairs, one number."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.tiny_eval import document

COMPARED = ("abs_rel", "rmse", "delta1")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def depth_of(height: int, width: int, seed: int) -> np.ndarray:
    """Meters: a floor with a box in front of a far wall."""
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    depth = np.where(y < 0.3, 40.0, 2.0 + 6.0 * (1 - y) + 0.5 * np.sin(9 * x + seed))
    depth[int(0.4 * height) : int(0.7 * height), int(0.2 * width) : int(0.5 * width)] = 1.2 + 0.2 * seed
    return depth


@pytest.fixture
def pairs(photos, tmp_path) -> Path:
    """Three photos: ground truth in millimeters, one map of half the photo's size, a mask, a narrowed range, intrinsics."""
    for folder in ("rgb", "gt", "use"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for i, photo in enumerate(sorted(photos.glob("*.png"))[:3]):
        image = cv2.imread(str(photo))
        height, width = image.shape[:2]
        cv2.imwrite(str(tmp_path / f"set/rgb/a{i}.png"), image)
        size = (height, width) if i else (height // 2, width // 2)
        code = np.round(1000 * depth_of(*size, i)).astype(np.uint16)
        code[:, -5:] = 0
        cv2.imwrite(str(tmp_path / f"set/gt/a{i}.png"), code)
        mask = np.full(size, 255, np.uint8)
        mask[-4:] = 0
        cv2.imwrite(str(tmp_path / f"set/use/a{i}.png"), mask)
    rule = {
        "name": "mine",
        "root": "set",
        "image": "rgb/*.png",
        "depth": "gt/*.png",
        "mask": "use/*.png",
        "pair": "match",
    }
    path = tmp_path / "pairs.yaml"
    path.write_text(
        yaml.safe_dump({**rule, "divisor": 1000, "min": 0.3, "max": 60.0, "intrinsics": [100.0, 100.0, 70.0, 50.0]})
    )
    return path


def test_a_run_and_ccd_eval_give_one_number(pairs, tiny_recipe, write_recipe, ccd_here, tmp_path):
    tiny_recipe["eval"] = {"pairs": str(pairs), "every": 100}
    done = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "run/eval.json").read_text())
    teacher = Path(tiny_recipe["teachers"][0]["model"])
    size = str(tiny_recipe["crops"]["size"])
    models = ("--model", "run", "--model", teacher, "--baselines")
    result = ccd_here("eval", "--suite", pairs, *models, "--resolution", size, "--json")
    assert result.exit_code == 0, result.output
    made = document(result)
    student, other, *baselines = made["results"]
    for key in COMPARED:
        assert kept["best"][key] == pytest.approx(student[key], rel=1e-6), key
    compared = {row["model"]: row for row in kept["comparison"]}
    for key in COMPARED:
        assert compared[f"teacher {teacher.stem}"][key] == pytest.approx(other[key], rel=1e-6), key
    assert [row["model"] for row in baselines] == ["mean map", "vertical gradient", "constant"]
    for row in baselines:
        for key in COMPARED:
            assert compared[row["model"]][key] == pytest.approx(row[key], rel=1e-6), (row["model"], key)
    assert kept["best"]["images"] == student["n"] == 3
    assert kept["alignment"] == student["alignment"] == "least-squares-disparity"
    assert kept["protocol"]["datasets"] == made["protocol"]["datasets"]
    ours, theirs = (one["protocol"]["in_words"] for one in (kept, made))
    assert theirs[1].startswith("Trivial baselines")
    assert ours[1:] == theirs[2:] and ours[0].split(": ")[1] == theirs[0].split(": ")[1]
    text = " ".join(ours)
    assert (
        "fitted disparity not below 1 / largest ground truth of the image" in text
        and "resized to it bilinearly" in text
    )
    assert "0.001" not in text, "no floor of another protocol"


def test_the_script_on_index_files_gives_the_number_of_ccd_eval(
    pairs, make_teacher, ccd_here, tmp_path, capsys, monkeypatch
):
    """Depth and disparity, a set for each pair."""
    rows = [
        {"id": f"p{i}", "rgb": f"set/rgb/a{i}.png", "gt": f"set/gt/a{i}.png", "gt_kind": kind, "gt_scale": scale}
        for i, (kind, scale) in enumerate([("depth", 1000), ("disparity", 256), ("depth", 500)])
    ]
    (tmp_path / "index.json").write_text(json.dumps({"pairs": rows}))
    teacher = make_teacher("first")
    command = [
        "score_index.py",
        "index.json",
        "--model",
        str(teacher),
        "--resolution",
        "64",
        "--write-suite",
        "suite.yaml",
    ]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(BENCHMARKS / "score_index.py"), run_name="__main__")
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(str(teacher)))
    result = ccd_here("eval", "--suite", "suite.yaml", "--model", teacher, "--resolution", "64", "--json")
    assert result.exit_code == 0, result.output
    mean = float(np.mean([row["abs_rel"] for row in document(result)["results"]]))
    assert float(line.split("AbsRel ")[1].split()[0]) == pytest.approx(mean, abs=1e-6)


def test_a_file_of_several_sets_is_pooled_and_a_clip_is_refused(pairs, tiny_recipe, write_recipe, ccd_here, tmp_path):
    rule = yaml.safe_load(pairs.read_text())
    each = [{"image": f"rgb/a{i}.png", "depth": f"gt/a{i}.png", "mask": f"use/a{i}.png"} for i in range(3)]
    sets = [{**rule, **one, "name": f"s{i}", "pair": "order"} for i, one in enumerate(each)]
    pairs.write_text(json.dumps({"sets": sets}))
    tiny_recipe["eval"] = {"pairs": str(pairs), "every": 100, "compare": False, "max_images": 2}
    done = ccd_here("distill", write_recipe(tiny_recipe), "--out", "run")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "run/eval.json").read_text())
    assert kept["best"]["images"] == 2 and kept["pairs"] == "pairs" and len(kept["protocol"]["datasets"]) == 3
    assert "Only 2 images of all sets together" in " ".join(kept["protocol"]["in_words"])
    pairs.write_text(
        yaml.safe_dump({"name": "c", "clip": True, "root": "set", "image": "rgb/*.png", "depth": "gt/*.png"})
    )
    refused = ccd_here("distill", write_recipe(tiny_recipe), "--out", "other")
    assert refused.exit_code == 2 and "clip" in refused.stderr and "ccd eval" in refused.stderr
