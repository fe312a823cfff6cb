"""`ccd eval --baselines`: trivial baselines beside models, against arithmetic written out."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import yaml

import ccd_cli as ccd
from ccd_cli.benchmarks.suites import open_set
from ccd_cli.core.errors import Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.evaluate.run import run
from ccd_cli.evaluate.settings import Settings
from tests.tiny_eval import document, files_of, make_nyu, predict
from tests.tiny_sets import photo, put_codes, put_rgb

NAMES = ["mean map", "vertical gradient", "constant"]
SIDE = 64


def overlaps(size: int) -> np.ndarray:
    """[64, size]: which fraction of each of 64 equal cells each of `size` pixels covers."""
    width = size / SIDE
    made = np.zeros((SIDE, size))
    for cell in range(SIDE):
        for pixel in range(size):
            made[cell, pixel] = max(0.0, min(pixel + 1, (cell + 1) * width) - max(pixel, cell * width)) / width
    return made


def stretched(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, pixel centers at one half, the outermost values held."""
    rows = (np.arange(height) + 0.5) * SIDE / height - 0.5
    columns = (np.arange(width) + 0.5) * SIDE / width - 0.5
    tall = np.stack([np.interp(rows, np.arange(SIDE), values[:, i]) for i in range(SIDE)], 1)
    return np.stack([np.interp(columns, np.arange(SIDE), tall[i]) for i in range(height)])


def scored(values: np.ndarray, depth: np.ndarray, mask: np.ndarray, space: str) -> tuple[float, float]:
    """(AbsRel, delta1) after least squares for scale and shift in 1 / depth (floor 0.001) or depth, clipped to NYUv2's range."""
    x, true = values[mask].astype(np.float64), depth[mask].astype(np.float64)
    target = 1 / true if space == "disparity" else true
    fit = np.linalg.lstsq(np.stack([x, np.ones_like(x)], 1), target, rcond=None)[0] if np.ptp(x) else [0, target.mean()]
    made = fit[0] * x + fit[1]
    made = np.clip(1 / np.maximum(made, 1e-3) if space == "disparity" else made, 1e-3, 10)
    return float(np.mean(np.abs(made - true) / true)), float(np.mean(np.maximum(made / true, true / made) < 1.25))


def expected(root, space: str) -> dict[str, tuple[float, float]]:
    """Scores of the three baselines on the tiny NYUv2, each image by itself, then the mean."""
    nyu = open_set("nyuv2", root)
    samples = [nyu.read(i) for i in range(len(nyu))]
    sums, weights = [], []
    for sample in samples:
        values = 1 / sample.depth if space == "disparity" else sample.depth
        known = np.sort(values[sample.mask].astype(np.float64))
        median = known[(len(known) - 1) // 2]
        mad = np.abs(known - median).sum() / (len(known) + 1)
        normal = np.where(sample.mask, (np.nan_to_num(values) - median) / mad, 0)
        down, across = overlaps(sample.depth.shape[0]), overlaps(sample.depth.shape[1])
        sums.append(down @ normal @ across.T)
        weights.append(down @ sample.mask @ across.T)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for i, sample in enumerate(samples):
        others = [j for j in range(len(samples)) if j != i]
        total, weight = sum(sums[j] for j in others), sum(weights[j] for j in others)
        there = weight > 1e-6
        mean = np.where(there, total / np.where(there, weight, 1), 0)
        mean[~there] = mean[there].mean()
        ramp = np.linspace(0, 1, SIDE)[:, None].repeat(SIDE, 1)
        for name, values in zip(NAMES, (mean, ramp, np.zeros((SIDE, SIDE))), strict=True):
            wide = stretched(values, *sample.depth.shape)
            found[name].append(scored(wide, sample.depth, sample.mask, space))
    return {name: tuple(np.mean(scores, axis=0)) for name, scores in found.items()}


@pytest.mark.parametrize(("alignment", "space"), [("auto", "disparity"), ("least-squares", "depth")])
def test_the_numbers_are_those_of_plain_arithmetic(evaluate, data, tmp_path, alignment, space):
    maps = predict(tmp_path / "maps", "depth", noise=0.05)
    flags = ("--predictions", maps, "--prediction-kind", "depth", "--alignment", alignment)
    made = document(evaluate(*flags, "--baselines", "--json"))
    found = {row["model"]: (row["abs_rel"], row["delta1"]) for row in made["results"]}
    assert list(found) == ["maps", *NAMES]
    for name, wanted in expected(data, space).items():
        assert found[name] == pytest.approx(wanted, rel=2e-4), name
    assert found["maps"][0] < found["mean map"][0] < found["constant"][0]
    assert {row["n"] for row in made["results"]} == {3}
    kinds = {name: facts["kind"] for name, facts in made["protocol"]["models"].items()}
    assert kinds == {"maps": "depth"} | dict.fromkeys(NAMES, "disparity" if space == "disparity" else "affine-depth")
    assert "other images" in made["protocol"]["models"]["mean map"]["baseline"]
    alone = document(evaluate(*flags, "--json", "--out", "alone"))
    assert alone["results"] == made["results"][:1], "models are scored as without baselines"


def test_they_are_in_every_output_and_a_second_run_scores_nothing(evaluate, tmp_path):
    flags = ("--predictions", predict(tmp_path / "maps", "metric", noise=0.05), "--prediction-kind", "metric")
    first = evaluate(*flags, "--baselines")
    assert first.exit_code == 0, first.output
    out = tmp_path / "eval-out"
    page, table = (out / "report.html").read_text(), (out / "per_image.csv").read_text()
    for name in NAMES:
        assert name in first.stderr and name in page and table.count(f"{name},nyuv2") == 3
    assert (
        "never of the image that is scored" in first.stderr and "models without an alignment must know" in first.stderr
    )
    before = files_of(out)
    again = evaluate(*flags, "--baselines")
    assert again.stderr.count("scored already") == 4 and files_of(out) == before
    assert "Trivial" not in evaluate(*flags).stderr, "none without the option"


class Impatient(Silent):
    """Presses Ctrl-C while the ground truth of the mean map is read, or after the first image of a baseline."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.now = what, ""

    def begin(self, what, total, done=0) -> None:
        self.now = what

    def advance(self, done: int, **_) -> None:
        if self.now == self.what and done == 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    "where", ["mean map of nyuv2, ground truth", pytest.param("mean map on nyuv2", marks=pytest.mark.slow)]
)
def test_a_stopped_run_goes_on_with_the_same_scores(tmp_path, where):
    common = {
        "data_root": make_nyu(tmp_path / "data", count=6),
        "predictions": predict(tmp_path / "maps", "metric", count=6),
        "prediction_kind": "metric",
        "suite": "nyuv2",
        "baselines": True,
    }
    run(Settings(**common, out=tmp_path / "whole"), Silent())
    with pytest.raises(Interrupted):
        run(Settings(**common, out=tmp_path / "cut"), Impatient(where))
    run(Settings(**common, out=tmp_path / "cut"), Silent())
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def pairs_file(root, count: int = 3, **keys):
    for i in range(count):
        put_rgb(root / f"set/{i}.jpg", photo(48, 64, i))
        depth = np.linspace(9, 1 + i, 48)[:, None].repeat(64, 1)
        put_codes(root / f"set/{i}.png", 1000 * depth)
    path = root / "mine.yaml"
    path.write_text(
        yaml.safe_dump({"name": "mine", "root": "set", "image": "*.jpg", "depth": "*.png", "divisor": 1000, **keys})
    )
    return path


def scores(made) -> dict[str, float]:
    return {row["model"]: row["abs_rel"] for row in made["results"]}


def test_other_images_or_another_truth_change_the_mean_map_alone(ccd_here, make_teacher, tmp_path):
    suite, model = pairs_file(tmp_path), make_teacher("first")

    def score(*args):
        flags = ("--suite", suite, "--model", model, "--resolution", "64", "--baselines", "--json", *args)
        done = ccd_here("eval", *flags)
        assert done.exit_code == 0, done.output
        return scores(document(done)), done.stderr

    first, _ = score()
    put_codes(tmp_path / "set/2.png", 1000 * np.linspace(1, 9, 48)[:, None].repeat(64, 1))
    other, said = score()
    assert "mean map on mine: scored already" not in said
    assert other["mean map"] > first["mean map"] * 2, "two slopes up and one down know little of each other"
    fewer, _ = score("--limit", "2")
    assert fewer["mean map"] != other["mean map"]
    single, said = score("--limit", "1")
    assert "mean map" not in single and set(single) == {"first", "vertical gradient", "constant"}
    assert "mean map on mine is skipped: a single image is scored" in said


def test_what_is_not_defined_is_said(ccd_here, evaluate, make_teacher, tmp_path):
    for alignment in ("none", "median", "scale"):
        refused = evaluate("--baselines", "--alignment", alignment)
        assert refused.exit_code == 2 and f"not defined under --alignment {alignment}" in refused.stderr
    folder = tmp_path / "points" / "DA-2K"
    put_rgb(folder / "images/indoor/a.jpg", photo(60, 80, 0))
    put_rgb(folder / "images/indoor/b.jpg", photo(60, 80, 1))
    pair = {"point1": [50, 10], "point2": [5, 70], "closer_point": "point1"}
    turned = {**pair, "closer_point": "point2"}
    note = {"images/indoor/a.jpg": [pair, pair], "images/indoor/b.jpg": [pair, turned]}
    (folder / "annotations.json").write_text(json.dumps(note))
    flags = ("--suite", "da-2k", "--data-root", tmp_path / "points", "--model", make_teacher("first"))
    done = ccd_here("eval", *flags, "--resolution", "64", "--baselines", "--json")
    assert done.exit_code == 0, done.output
    rows = {row["model"]: row for row in document(done)["results"]}
    assert set(rows) == {"first", "vertical gradient"} and rows["vertical gradient"]["pair_accuracy"] == 0.75
    assert "mean map on da-2k is skipped: the set has no ground-truth depth" in done.stderr
    assert "constant on da-2k is skipped: it calls no point closer" in done.stderr


def test_a_clip_gets_one_fit_and_a_clip_without_truth_none(ccd_here, make_teacher, tmp_path):
    suite = pairs_file(tmp_path, clip=True)
    flags = ("--suite", suite, "--model", make_teacher("first"), "--resolution", "64", "--baselines", "--json")
    done = ccd_here("eval", *flags)
    assert done.exit_code == 0, done.output
    made = document(done)
    assert list(scores(made)) == ["first", *NAMES] and "which favors their mean" in " ".join(
        made["protocol"]["in_words"]
    )
    true = np.concatenate([np.round(1000 * np.linspace(9, 1 + i, 48)) / 1000 for i in range(3)])
    constant = 1 / np.mean(1 / true)
    assert scores(made)["constant"] == pytest.approx(np.mean(np.abs(constant - true) / true), rel=1e-5)


def test_a_damaged_sample_is_named_and_in_no_mean(ccd_here, make_teacher, tmp_path):
    suite = pairs_file(tmp_path)
    (tmp_path / "set/1.png").write_bytes(b"x")
    flags = ("--suite", suite, "--model", make_teacher("first"), "--resolution", "64", "--baselines", "--json")
    done = ccd_here("eval", *flags)
    made = document(done)
    assert done.exit_code == 1 and {row["n"] for row in made["results"]} == {2}
    assert [entry["model"] for entry in made["protocol"]["left_out"]] == ["first", *NAMES]


def test_from_python_and_a_model_of_the_same_name(make_teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = ccd.evaluate(str(make_teacher("constant")), suite=pairs_file(tmp_path), resolution=64, baselines=True)
    assert [row["model"] for row in made.rows] == ["constant", "mean map", "vertical gradient", "constant (baseline)"]
    assert made.rows[0]["abs_rel"] != made.rows[3]["abs_rel"]
