"""`ccd eval` from end to end: perfect predictors, resuming, damage, several models, and names that want to break out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.metrics import METRICS
from ccd_cli.core.report import Silent
from ccd_cli.pipelines.evaluate import Settings, run

SIZE = (480, 640)
PERFECT = {  # values of a predictor of each kind that makes no mistake, from depth in metres
    "disparity": lambda d: 3.0 / d + 0.5,
    "depth": lambda d: 0.2 * d,
    "affine-depth": lambda d: 0.1 * d + 0.7,
    "metric": lambda d: d,
}


def true_depth(i: int) -> np.ndarray:
    """Metres [480, 640]: a slope with a box, each image another one."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    depth = 1.0 + 6.0 * (1 - y / SIZE[0]) + 0.3 * np.sin(x / 40 + i)
    depth[200 + 30 * i : 330, 100:300] = 1.5 + 0.2 * i
    return np.round(depth * 1000) / 1000


def make_nyu(root: Path, scene: str = "room", count: int = 3) -> Path:
    """A folder with NYUv2's layout and `count` photos; returns the data root."""
    folder = root / "nyuv2" / "test" / scene
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (*SIZE, 3), np.uint8)).save(folder / f"rgb_{i:04d}.png")
        code = np.round(true_depth(i) * 1000).astype(np.uint16)
        code[:60] = 0
        Image.fromarray(code).save(folder / f"depth_{i:04d}.png")
    return root


def predict(root: Path, kind: str, scene: str = "room", count: int = 3, noise: float = 0.0) -> Path:
    folder = root / "nyuv2" / "test" / scene
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        made = PERFECT[kind](true_depth(i)) * np.exp(noise * np.random.default_rng(i).normal(size=SIZE))
        np.save(folder / f"pred_{i:04d}.npy", made.astype(np.float32))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return make_nyu(tmp_path_factory.mktemp("data"))


@pytest.fixture
def evaluate(ccd_here, data):
    return lambda *args: ccd_here("eval", "--data-root", data, *args)


def document(result) -> dict:
    return json.loads(result.stdout)


def rows(result) -> dict:
    return {row["dataset"]: row for row in document(result)["results"]}


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
    assert "kitti is left out" in result.stderr and "NYUv2, 3 here" in result.stderr
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


def files_of(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("results.json", "per_image.csv")}


def test_it_goes_on_after_a_cut_line_and_redoes_what_changed(evaluate, tmp_path):
    maps = predict(tmp_path / "maps", "disparity", noise=0.05)
    flags = ("--predictions", maps, "--prediction-kind", "disparity")
    evaluate(*flags)
    out = tmp_path / "eval-out"
    whole, lines = files_of(out), (out / "maps" / "nyuv2.jsonl").read_bytes()
    first, rest = lines.split(b"\n", 1)
    (out / "maps" / "nyuv2.jsonl").write_bytes(first + b"\n" + rest[:40])
    result = evaluate(*flags)
    assert result.exit_code == 0 and "scored already" not in result.stderr
    assert (out / "maps" / "nyuv2.jsonl").read_bytes() == lines and files_of(out) == whole

    marked = lines.replace(
        b'"abs_rel": ', b'"abs_rel": 9'
    )  # a score that nothing would make: kept as long as it is valid
    (out / "maps" / "nyuv2.jsonl").write_bytes(marked)
    assert json.loads(evaluate(*flags, "--json").stdout)["results"][0]["abs_rel"] > 9
    assert rows(evaluate(*flags, "--alignment", "midas", "--json"))["nyuv2"]["abs_rel"] < 1  # other settings
    (out / "maps" / "nyuv2.jsonl").write_bytes(marked)
    assert rows(evaluate(*flags, "--overwrite", "--json"))["nyuv2"]["abs_rel"] < 1
    (out / "maps" / "nyuv2.jsonl").write_bytes(marked)
    time.sleep(0.01)
    predict(tmp_path / "maps", "disparity", noise=0.05)  # the same values in new files
    assert rows(evaluate(*flags, "--json"))["nyuv2"]["abs_rel"] < 1
    assert files_of(out) == whole


class Impatient(Silent):
    """Presses Ctrl-C after the first image."""

    def advance(self, done: int, **figures: float | str) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_finished_images(tmp_path):
    maps = predict(tmp_path / "maps", "metric", count=8, noise=0.1)
    common = {"data_root": make_nyu(tmp_path / "data", count=8), "predictions": maps, "prediction_kind": "metric"}
    run(Settings(**common, out=tmp_path / "whole"), Silent())
    with pytest.raises(Interrupted) as stopped:
        run(Settings(**common, out=tmp_path / "cut"), Impatient())
    assert stopped.value.exit_code == 130
    assert not (tmp_path / "cut" / "results.json").exists()
    kept = (tmp_path / "cut" / "maps" / "nyuv2.jsonl").read_bytes()
    assert 1 <= kept.count(b"\n") < 8
    run(Settings(**common, out=tmp_path / "cut"), Silent())
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    assert (tmp_path / "cut" / "maps" / "nyuv2.jsonl").read_bytes().startswith(kept)
    pictures = [sorted((tmp_path / name).rglob("*.jpg")) for name in ("cut", "whole")]
    assert [p.read_bytes() for p in pictures[0]] == [p.read_bytes() for p in pictures[1]]
    assert len(pictures[0]) == 20


@pytest.mark.slow
def test_a_kill_between_images_costs_nothing(ccd, make_teacher, tmp_path):
    model = str(make_teacher("first"))
    flags = ["eval", "--suite", "builtin", "--model", model, "--resolution", "64", "--limit", "12", "--threads", "1"]
    assert ccd(*flags, "--out", "whole").returncode == 0
    scores = tmp_path / "cut" / "first" / "builtin.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "ccd_cli.cli.main", *flags, "--out", "cut"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (scores.exists() and scores.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = scores.read_bytes()
    assert 3 <= kept.count(b"\n") < 12
    assert ccd(*flags, "--out", "cut").returncode == 0
    assert scores.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")


def test_damaged_samples_are_named_and_left_out(ccd_here, tmp_path):
    root = make_nyu(tmp_path / "data", count=6)
    folder = predict(tmp_path / "maps", "metric", count=6) / "nyuv2" / "test" / "room"
    (folder / "pred_0000.npy").unlink()
    content = (folder / "pred_0001.npy").read_bytes()
    (folder / "pred_0001.npy").write_bytes(content[: len(content) // 2])
    np.save(folder / "pred_0002.npy", np.ones((240, 320), np.float32))
    np.save(folder / "pred_0003.npy", np.array([{"a": 1}], object), allow_pickle=True)
    depth = root / "nyuv2" / "test" / "room" / "depth_0004.png"
    depth.write_bytes(depth.read_bytes()[:100])
    result = ccd_here(
        "eval", "--data-root", root, "--predictions", tmp_path / "maps", "--prediction-kind", "metric", "--json"
    )
    assert result.exit_code == 1
    assert "Traceback" not in result.output and "5 samples were left out" in result.stderr
    made = document(result)
    assert made["results"][0]["n"] == 1 and made["results"][0]["abs_rel"] < 1e-4
    reasons = {entry["image"][-8:-4]: entry["reason"] for entry in made["protocol"]["left_out"]}
    assert "no prediction" in reasons["0000"] and "cannot be read" in reasons["0001"]
    assert "320x240" in reasons["0002"] and "640x480" in reasons["0002"]
    assert "cannot be read" in reasons["0003"] and set(reasons) == {"0000", "0001", "0002", "0003", "0004"}
    assert "rgb_0002.png" in (tmp_path / "eval-out" / "report.html").read_text()


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


def test_a_part_of_a_set_goes_into_the_whole(evaluate, tmp_path):
    flags = ("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    part = evaluate(*flags, "--limit", "2", "--json")
    assert rows(part)["nyuv2"]["n"] == 2 and "Only 2 images" in part.stderr
    lines = (tmp_path / "eval-out" / "maps" / "nyuv2.jsonl").read_bytes()
    assert rows(evaluate(*flags, "--json"))["nyuv2"]["n"] == 3
    assert (tmp_path / "eval-out" / "maps" / "nyuv2.jsonl").read_bytes().startswith(lines)


class Page(HTMLParser):
    """Collects tags, attributes that could run or load something, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risky: list[tuple[str, str | None]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            outside = name in ("src", "href") and not str(value).startswith("data:image/jpeg;base64,")
            if name.startswith("on") or outside:
                self.risky.append((name, value))

    def handle_data(self, data):
        self.words.append(data)


def test_names_cannot_break_out_of_the_page_or_the_terminal(ccd_here, tmp_path):
    scene, model = 'x"><script>alert(1)<', "[/b]<img src=x onerror=alert(2)>"
    root = make_nyu(tmp_path / "data", scene)
    maps = predict(tmp_path / model, "metric", scene)
    (maps / "nyuv2" / "test" / scene / "pred_0001.npy").write_bytes(b"nothing")
    result = ccd_here("eval", "--data-root", root, "--predictions", maps, "--prediction-kind", "metric")
    assert result.exit_code == 1 and model in result.stderr and "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    page = Page()
    page.feed((tmp_path / "eval-out" / "report.html").read_text())
    assert page.tags.count("script") == 1 and page.risky == []
    assert page.tags.count("img") == 8
    assert any(model in word for word in page.words) and any(scene in word for word in page.words)
    assert [p.name for p in (tmp_path / "eval-out").iterdir() if p.is_dir()] == ["b-img-src-x-onerror-alert-2"]


def test_the_page_needs_nothing_else(evaluate, tmp_path):
    evaluate("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    page = (tmp_path / "eval-out" / "report.html").read_text()
    assert "http://" not in page and "https://" not in page and "Content-Security-Policy" in page
    for word in ("NYUv2", "How it was scored", "Worst and best", "ccd", "Python", "CPUs", "DiverseDepth"):
        assert word in page
    assert len(list((tmp_path / "eval-out" / "maps" / "pictures" / "nyuv2").glob("*.jpg"))) == 12


def test_the_generated_suite_needs_no_data(ccd_here, make_teacher, tmp_path):
    model = make_teacher("first")
    result = ccd_here("eval", "--suite", "builtin", "--model", model, "--resolution", 64, "--limit", 2, "--json")
    assert result.exit_code == 0, result.output
    (row,) = document(result)["results"]
    assert row["dataset"] == "builtin" and row["n"] == 2 and 0 <= row["boundary_f1"] <= 1
    assert "Published" not in result.stderr


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
