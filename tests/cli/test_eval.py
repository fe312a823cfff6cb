"""`ccd eval` from end to end: perfect predictors, the contract of its JSON, several models, and pairs of one's own."""

from __future__ import annotations

import csv
import json
from math import isfinite

import numpy as np
import pytest
import torch

from ccd_cli.metrics.depth import METRICS
from tests.tiny_eval import PERFECT, document, predict, rows, true_depth


@pytest.mark.parametrize("kind", PERFECT)
def test_a_perfect_predictor_of_each_kind_has_no_error(evaluate, tmp_path, kind):
    maps = predict(tmp_path / "maps", kind)
    result = evaluate("--predictions", maps, "--prediction-kind", kind, "--json")
    assert result.exit_code == 0, result.output
    row = rows(result)["nyuv2"]
    assert row["abs_rel"] < 1e-4 and row["delta1"] == 1 and row["n"] == 3 and row["model"] == "maps"
    methods = {"disparity": "least-squares-disparity", "metric": "none"}
    assert row["alignment"] == methods.get(kind, "least-squares")


def test_a_fit_in_the_wrong_space_is_refused_or_shows(evaluate, make_teacher, tmp_path):
    refused = evaluate("--model", make_teacher("first"), "--alignment", "least-squares", "--resolution", 64)
    assert refused.exit_code == 2 and "fits in depth" in refused.stderr and "rgb_" not in refused.stderr
    maps = predict(tmp_path / "maps", "disparity")
    refused = evaluate("--predictions", maps, "--prediction-kind", "disparity", "--alignment", "least-squares")
    assert refused.exit_code == 2 and "auto" in refused.stderr
    wrong = evaluate("--predictions", maps, "--prediction-kind", "affine-depth", "--json")
    assert rows(wrong)["nyuv2"]["abs_rel"] > 0.05
    unsaid = evaluate("--predictions", maps)
    assert unsaid.exit_code == 2 and "--prediction-kind" in unsaid.stderr
    for alignment in ("least-squares-disparity", "midas"):  # told by the method alone
        row = rows(evaluate("--predictions", maps, "--alignment", alignment, "--json"))["nyuv2"]
        assert row["abs_rel"] < 1e-4


def test_the_json_is_the_contract(evaluate, tmp_path):
    result = evaluate("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth", "--json")
    made = document(result)
    assert set(made) == {"protocol", "results"}
    for row in made["results"]:
        assert {"model", "dataset", "n", "alignment", *METRICS} <= set(row)
        assert all(isinstance(row[key], float) and isfinite(row[key]) for key in METRICS)
    assert set(made["protocol"]["missing"]) == {"kitti", "eth3d", "scannet", "diode"}
    assert "no " in made["protocol"]["missing"]["kitti"]
    assert "kitti is skipped" in result.stderr and "NYUv2, 3 here" in result.stderr
    assert json.loads((tmp_path / "eval-out" / "results.json").read_text()) == made
    with (tmp_path / "eval-out" / "per_image.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image"] for line in lines] == [f"test/room/rgb_{i:04d}.png" for i in range(3)]
    mean = np.mean([float(line["abs_rel"]) for line in lines])
    assert mean == pytest.approx(made["results"][0]["abs_rel"], rel=1e-12)
    assert set(lines[0]) >= {"model", "dataset", "alignment", "scale", "shift", *METRICS}


def test_models_run_here_and_are_ranked(evaluate, make_teacher, tmp_path):
    maps = predict(tmp_path / "maps", "metric", noise=0.01)
    first, second = make_teacher("first", 0), make_teacher("second", 1, kind="depth")
    flags = ("--model", first, "--model", second, "--resolution", 64, "--out", "both")
    result = evaluate(*flags, "--predictions", maps, "--prediction-kind", "metric")
    assert result.exit_code == 0, result.output
    assert "mean rank" in result.stderr and "Marigold, table 1" in result.stderr
    made = json.loads((tmp_path / "both" / "results.json").read_text())
    kinds = {row["model"]: row["alignment"] for row in made["results"]}
    assert kinds == {"maps": "none", "first": "least-squares-disparity", "second": "least-squares"}
    assert made["protocol"]["models"]["first"]["sha256"] and made["protocol"]["models"]["first"]["resolution"] == 64
    page = (tmp_path / "both" / "report.html").read_text()
    assert page.index(">maps<") < page.index(">first<") and page.count("<figure>") == 9
    assert page.count("data:image/jpeg;base64,") == 36
    again = evaluate(*flags, "--predictions", maps, "--prediction-kind", "metric")
    assert again.stderr.count("scored already") == 3


def test_two_models_of_one_name_are_told_apart(evaluate, make_teacher, tmp_path):
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.safetensors").write_bytes(make_teacher(f"net{seed}", seed).read_bytes())
    result = evaluate(
        "--model", "a/net.safetensors", "--model", "b/net.safetensors", "--resolution", 64, "--limit", 1, "--json"
    )
    assert result.exit_code == 0, result.output
    assert [row["model"] for row in document(result)["results"]] == ["a/net.safetensors", "b/net.safetensors"]
    scores = [row["abs_rel"] for row in document(result)["results"]]
    assert scores[0] != scores[1]
    files = sorted((tmp_path / "eval-out").glob("*/nyuv2.jsonl"))
    assert len(files) == 2


def test_maps_in_npz_count_and_unknown_pixels_are_wrong(evaluate, tmp_path):
    folder = tmp_path / "maps" / "nyuv2" / "test" / "room"
    folder.mkdir(parents=True)
    for i in range(3):
        depth = true_depth(i).astype(np.float32)
        depth[:, 320:] = np.nan
        np.savez(folder / f"pred_{i:04d}.npz", depth=depth[None])
    result = evaluate("--predictions", tmp_path / "maps", "--prediction-kind", "metric", "--json")
    row = rows(result)["nyuv2"]
    assert row["abs_rel"] < 1e-4 and row["missing"] == pytest.approx(0.5, abs=0.02)
    assert row["delta1"] == pytest.approx(0.5, abs=0.02) and "predicts nothing at" in result.stderr


def test_nothing_found_says_where_sets_come_from(ccd_here, evaluate, tmp_path):
    result = ccd_here("eval", "--data-root", tmp_path / "empty")
    assert result.exit_code == 1 and "ccd data list" in result.stderr and "nyuv2" in result.stderr
    (tmp_path / "maps" / "somewhere").mkdir(parents=True)
    result = evaluate("--predictions", tmp_path / "maps", "--prediction-kind", "metric")
    assert result.exit_code == 1 and "no folder of a set" in result.stderr
    assert evaluate("--predictions", tmp_path / "no", "--prediction-kind", "metric").exit_code == 1
    assert ccd_here("eval", "--suite", "nonsense", "--model", "builtin:tiny").exit_code == 2


@pytest.mark.parametrize(
    "flags",
    [
        ("--prediction-kind", "metric"),
        ("--arch", "depth-anything-v2-small"),
        ("--alignment", "median", "--alignment-max-res", "512", "--predictions", "."),
        ("--alignment", "best"),
        ("--limit", "0"),
    ],
)
def test_contradictions_are_wrong_usage(evaluate, flags):
    assert evaluate(*flags).exit_code == 2


def test_the_fit_on_fewer_columns_is_another_score(evaluate, tmp_path):
    flags = ("--predictions", predict(tmp_path / "maps", "depth", noise=0.2), "--prediction-kind", "depth", "--json")
    every, some = (rows(evaluate(*flags, *more))["nyuv2"] for more in ((), ("--alignment-max-res", "64")))
    assert every["abs_rel"] != some["abs_rel"]
    assert every["abs_rel"] == pytest.approx(some["abs_rel"], rel=0.01)


def test_the_generated_suite_needs_no_data(ccd_here, make_teacher, tmp_path):
    model = make_teacher("first")
    result = ccd_here("eval", "--suite", "builtin", "--model", model, "--resolution", 64, "--limit", 2, "--json")
    assert result.exit_code == 0, result.output
    (row,) = document(result)["results"]
    assert row["dataset"] == "builtin" and row["n"] == 2 and 0 <= row["boundary_f1"] <= 1
    assert "Published" not in result.stderr


@pytest.mark.gpu
def test_scores_of_a_gpu_are_those_of_the_cpu(evaluate, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    maps = predict(tmp_path / "maps", "disparity", noise=0.1)
    flags = ("--predictions", maps, "--prediction-kind", "disparity", "--json")
    here, there = (rows(evaluate(*flags, "--device", name, "--out", name))["nyuv2"] for name in ("cpu", "cuda"))
    assert {key: there[key] for key in METRICS} == pytest.approx({key: here[key] for key in METRICS}, rel=1e-9)


def test_pairs_of_ones_own(ccd_here, data, tmp_path):
    rules = "name: mine\nroot: {root}\nimage: test/*/rgb_*.png\ndepth: test/*/depth_*.png\nscale: {scale}\nmax: 20\n"
    suite, maps = tmp_path / "mine.yaml", tmp_path / "maps"
    suite.write_text(rules.format(root=data / "nyuv2", scale=0.001))
    (predict(maps, "metric") / "nyuv2").rename(maps / "mine")
    for path in list((maps / "mine").rglob("pred_*.npy")):
        path.rename(path.with_name(path.name.replace("pred_", "rgb_")))
    flags = ("eval", "--suite", suite, "--predictions", maps, "--prediction-kind", "metric", "--json")
    result = ccd_here(*flags)
    assert result.exit_code == 0, result.output
    row = rows(result)["mine"]
    assert row["abs_rel"] < 1e-4 and row["n"] == 3 and "Published" not in result.stderr
    suite.write_text(rules.format(root=data / "nyuv2", scale=0.002))
    assert rows(ccd_here(*flags))["mine"]["abs_rel"] == pytest.approx(0.5, abs=1e-4), "another scale, scored anew"


@pytest.mark.shared
def test_the_scores_of_the_authors_script(ccd_here, shared, tmp_path):
    if not (shared / "parity" / "eval" / "vectors.json").is_file():
        pytest.skip(f"no reference scores in {shared}")
    wanted = json.loads((shared / "parity" / "eval" / "vectors.json").read_text())["marigold_e2e"]
    names = {
        "abs_rel": "abs_relative_difference",
        "sq_rel": "squared_relative_difference",
        "rmse": "rmse_linear",
        "rmse_log": "rmse_log",
        "log10": "log10",
        "silog": "silog_rmse",
        "irmse": "i_rmse",
        **{f"delta{k}": f"delta{k}_acc" for k in (1, 2, 3)},
    }
    for alignment, theirs in (("least-squares", "least_square"), ("least-squares-disparity", "least_square_disparity")):
        root = shared / "data" / "eval"
        result = ccd_here(
            "eval", "--data-root", root, "--predictions", root / "predictions", "--alignment", alignment, "--json"
        )
        assert result.exit_code == 0, result.output
        made = rows(result)
        for dataset, key in (("nyuv2", "nyu"), ("kitti", "kitti")):
            if (mean := wanted.get(f"{key}|{theirs}|None", {}).get("mean")) is None:
                continue
            for ours, name in names.items():
                assert made[dataset][ours] == pytest.approx(mean[name], rel=1e-4), (dataset, alignment, ours)
