"""`ccd analyze` from end to end: files, numbers, a model, pairs of one's own, damage, and being interrupted."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.page import HOSTILE, Page

SIZE = (96, 128)
FEW = ("--images", 2, "--draws", 1)
PNG = b"\x89PNG\r\n\x1a\n"


def make_pairs(root: Path, count: int = 3, sparse: bool = False) -> Path:
    """A folder of photos with depth and the file that describes them; returns the file."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    for i in range(count):
        depth = 1.0 + 4 * (1 - y / SIZE[0]) + 0.3 * np.sin(x / 9 + i)
        depth[20 + 5 * i : 60, 30:70] = 1.2
        code = np.round(depth * 1000).astype(np.uint16)
        code[rng.random(SIZE) < (0.8 if sparse else 0.1)] = 0
        Image.fromarray(code).save(root / f"{i}.depth.png")
        noise = rng.integers(0, 100, (*SIZE, 3))  # near is bright: `make_teacher`'s seeds 0 and 9 see that, by chance
        Image.fromarray((150 / depth[..., None] + noise).astype(np.uint8)).save(root / f"{i}.jpg")
    path = root / "pairs.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "image": "*.jpg", "depth": "*.depth.png", "scale": 0.001}))
    return path


@pytest.fixture
def no_plots(monkeypatch):
    """Plots take most of the time of a small run: for tests that do not look at them."""
    for name in ("noise", "both_sides", "example", "landing", "closeups", "second", "figure2"):
        monkeypatch.setattr(f"ccd_cli.analyze.report.plot_{name}", lambda *args: args[-1].write_bytes(PNG))


def rows(made: dict) -> dict:
    return {
        (r["corruption"], r["amount"], r["normalization"], r["contexts"], r["unit_scale"]): r for r in made["noise"]
    }


def test_the_default_run_writes_tables_plots_and_a_page(ccd_here, tmp_path):
    result = ccd_here("analyze", *FEW, "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    out = tmp_path / "analyze-out"
    assert json.loads((out / "analysis.json").read_text()) == made
    assert {p.name for p in out.iterdir()} - {".lock"} == {
        "analysis.json",
        "analysis.csv",
        "draws.csv",
        "analysis.html",
        "noise.png",
        "both_sides.png",
        "example.png",
    }
    assert all((out / name).read_bytes().startswith(PNG) for name in ("noise.png", "both_sides.png", "example.png"))
    assert set(made) == {"protocol", "noise", "figure2", "models", "skipped"}
    assert made["figure2"] is None and made["models"] is None
    assert len(made["noise"]) == 8 * 9 and {r["images"] for r in made["noise"]} == {2}
    found = rows(made)
    whole, hybrid = (found["outliers", 0.2, *s, False] for s in (("global", None), ("hybrid", "range")))
    assert hybrid["of_global"] == pytest.approx(hybrid["clean_loss"] / whole["clean_loss"]) and whole["of_global"] == 1
    assert min(whole["clean_loss"], hybrid["clean_loss"], whole["std_error"]) > 1e-3
    assert found["outliers", 0.2, "none", None, False]["clean_loss"] == 0
    assert found["jitter", 20.0, "none", None, False]["clean_loss"] > 0.1
    assert found["jitter", 20.0, "global", None, False]["clean_loss"] < 1e-4
    with (out / "analysis.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 72 and float(lines[0]["clean_loss"]) == made["noise"][0]["clean_loss"]
    with (out / "draws.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 72
    assert "Label noise" in result.stderr and "global" in result.stderr and "hybrid by range" in result.stderr


def test_files_of_others_stay(ccd_here, tmp_path, no_plots):
    (tmp_path / "mine").mkdir()
    for name in ("figure2.png", "figure2.csv"):
        (tmp_path / "mine" / name).write_text("mine")
    result = ccd_here("analyze", "--suite", make_pairs(tmp_path), *FEW, "--out", "mine")
    assert result.exit_code == 0, result.output
    assert all((tmp_path / "mine" / name).read_text() == "mine" for name in ("figure2.png", "figure2.csv"))


def test_the_same_seed_is_the_same_bytes_and_another_is_not(ccd_here, tmp_path, no_plots):
    pairs = make_pairs(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert ccd_here("analyze", "--suite", pairs, "--seed", seed, "--out", name, "-q").exit_code == 0
    data = [(tmp_path / name / "draws.csv").read_bytes() for name in "abc"]
    assert data[0] == data[1] != data[2]
    assert (tmp_path / "a" / "analysis.json").read_bytes() == (tmp_path / "b" / "analysis.json").read_bytes()


def test_a_model_on_pairs_of_ones_own_gives_figure_2(ccd_here, make_teacher, tmp_path, no_plots):
    model = make_teacher("first")
    result = ccd_here("analyze", "--suite", make_pairs(tmp_path), "--model", model, "--resolution", 64, "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    (row,) = made["figure2"]["rows"]
    images = made["figure2"]["images"]
    assert row["dataset"] == "own" and row["n"] == len(images) == 3
    for key in ("whole_abs_rel", "crop_abs_rel", "whole_delta1", "crop_delta1"):
        assert row[key] == pytest.approx(np.mean([image[key] for image in images]))
    assert row["crop_better"] == sum(image["whole_abs_rel"] > image["crop_abs_rel"] for image in images)
    assert made["protocol"]["models"][0]["alignment"] == "least-squares-disparity"
    assert (tmp_path / "analyze-out" / "figure2.png").read_bytes().startswith(PNG)
    assert len((tmp_path / "analyze-out" / "figure2.csv").read_text().splitlines()) == 4
    assert "Figure 2" in result.stderr
    again = ccd_here("analyze", "--suite", tmp_path / "pairs.yaml", "-q")  # without a model: nothing stale stays
    assert again.exit_code == 0 and again.stderr == ""
    assert not (tmp_path / "analyze-out" / "figure2.png").exists()
    assert not (tmp_path / "analyze-out" / "figure2.csv").exists()


def test_two_models_answer_three_questions_and_are_not_asked_again(
    ccd_here, make_teacher, tmp_path, monkeypatch, no_plots
):
    pairs = make_pairs(tmp_path, 7)
    names = ("--model", make_teacher("first"), "--model", make_teacher("other", seed=9), "--resolution", 64)
    few = ccd_here("analyze", "--suite", pairs, *names, "--draws", 1, "--images", 1, "--json")
    assert few.exit_code == 0, few.output
    said = json.loads(few.stdout)["models"]["verdicts"]
    assert {each["verdict"] for each in said} == {"not shown"} and "1, needs 6" in few.stderr

    asked = []
    predict = "ccd_cli.benchmarks.predictors.ModelSource.predict"
    from ccd_cli.benchmarks.predictors import ModelSource

    own = ModelSource.predict
    monkeypatch.setattr(predict, lambda self, *a: asked.append(self.label) or own(self, *a))
    result = ccd_here("analyze", "--suite", pairs, *names, "--draws", 1, "--json")
    assert result.exit_code == 0, result.output
    assert sorted(asked) == ["first"] * 6 + ["other"] * 6  # one image is known
    made = json.loads(result.stdout)
    models = made["models"]
    assert {(v["question"], v["subject"]) for v in models["verdicts"]} == {
        *((question, model) for question in ("landing", "closeups") for model in ("first", "other")),
        ("second", "first, other"),
    }
    for verdict in models["verdicts"]:
        interval = f"[{verdict['difference_low']:+.3f}, {verdict['difference_high']:+.3f}]"
        assert any(verdict["verdict"] in line and interval in line for line in result.stderr.splitlines())
    assert [row["images"] for row in models["closeups"]["rows"]] == [7, 7] and len(models["second"]["images"]) == 7
    (row,) = models["second"]["rows"]
    differences = [
        each["mean_abs_rel"] - each["first_abs_rel" if row["best"] == "first" else "second_abs_rel"]
        for each in models["second"]["images"]
    ]
    assert row["mean_minus_best"] == pytest.approx(np.mean(differences))
    assert row["mean_minus_best_low"] <= row["mean_minus_best"] <= row["mean_minus_best_high"]
    out = tmp_path / "analyze-out"
    for name in ("landing", "closeups", "second"):
        assert (out / f"{name}.png").read_bytes().startswith(PNG)
        assert len((out / f"{name}.csv").read_text().splitlines()) == 1 + len(models[name]["images"])
    page = Page(out / "analysis.html")
    assert all(verdict["sentence"] in page.all_words for verdict in models["verdicts"])

    asked.clear()
    again = ccd_here("analyze", "--suite", pairs, *names, "--draws", 1, "--json")
    assert json.loads(again.stdout) == made and not asked
    without = ccd_here("analyze", "--suite", pairs, *names, "--draws", 1, "--patches", 0, "--json")
    document = json.loads(without.stdout)["models"]
    assert document["closeups"]["rows"] == [] and len(asked) == 14
    assert not (out / "closeups.png").exists() and not (out / "closeups.csv").exists()


def test_a_corrected_pairs_file_gives_the_numbers_of_a_fresh_run(ccd_here, make_teacher, tmp_path, no_plots):
    pairs = make_pairs(tmp_path, 2)
    rules = yaml.safe_load(pairs.read_text())
    words = ("analyze", "--suite", pairs, "--model", make_teacher("first"), "--resolution", 64, "--draws", 1, "--json")

    def analyzed(out, **changes):
        pairs.write_text(yaml.safe_dump({**rules, **changes}))
        made = ccd_here(*words, "--out", out)
        assert made.exit_code == 0, made.output
        return {key: value for key, value in json.loads(made.stdout).items() if key in ("figure2", "models")}

    wrong = analyzed("one", crop={"rows": [48, 96]})
    right = analyzed("one")
    assert right == analyzed("two") != wrong


def test_frames_of_a_clip_are_told_to_be_fitted_one_by_one(ccd_here, tmp_path, no_plots):
    pairs = make_pairs(tmp_path)
    pairs.write_text(pairs.read_text() + "clip: true\n")
    made = json.loads(ccd_here("analyze", "--suite", pairs, *FEW, "--json").stdout)
    told = [line for line in made["protocol"]["in_words"] if "clip" in line]
    assert told == ["Frames of a clip are images of their own here, each with its own fit: own."]


@pytest.mark.parametrize("content", ['{"run": 1}\n', '{"mark": "x"}\n', "a line\nand one more\n"])
def test_a_file_of_somebody_else_with_the_name_of_ours_stays(ccd_here, make_teacher, tmp_path, no_plots, content):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/models.jsonl").write_text(content)
    words = ("analyze", "--suite", make_pairs(tmp_path, 1), "--model", make_teacher("first"), "--resolution", 64)
    made = ccd_here(*words, "--out", "own")
    assert made.exit_code == 2 and "is not from ccd analyze" in made.stderr, made.output
    assert (tmp_path / "own/models.jsonl").read_text() == content


def test_the_same_weights_twice_are_told_and_correlate_by_one(ccd_here, make_teacher, tmp_path, no_plots):
    first, pairs = make_teacher("first"), make_pairs(tmp_path)
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(first.read_bytes())
    names = ("--model", first, "--model", twin, "--resolution", 64, "--patches", 0, "--draws", 1)
    result = ccd_here("analyze", "--suite", pairs, *names, "--json")
    assert result.exit_code == 0 and "are the same weights" in result.stderr
    (row,) = json.loads(result.stdout)["models"]["second"]["rows"]
    assert row["correlation"] == pytest.approx(1) and row["mean_minus_best"] == pytest.approx(0, abs=1e-5)


def test_a_pair_without_any_ground_truth_is_named_and_the_others_are_used(ccd_here, make_teacher, tmp_path, no_plots):
    pairs = make_pairs(tmp_path)
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(tmp_path / "1.depth.png")
    names = ("--model", make_teacher("first"), "--resolution", 64, "--patches", 1, "--draws", 1)
    result = ccd_here("analyze", "--suite", pairs, *names, "--json")
    assert result.exit_code == 0 and "own 1.jpg: skipped: " in result.stderr
    made = json.loads(result.stdout)
    assert {entry["image"] for entry in made["skipped"]} == {"1.jpg"}
    assert made["models"]["closeups"]["rows"][0]["images"] == 2


def test_the_whole_fit_is_that_of_eval(ccd_here, make_teacher, tmp_path, no_plots):
    """On truth that is known in the central crop alone, both fits and `ccd eval` are the same."""
    pairs = make_pairs(tmp_path)
    for path in tmp_path.glob("*.depth.png"):
        code = np.asarray(Image.open(path)).copy()
        code[:24] = code[72:] = code[:, :32] = code[:, 96:] = 0
        Image.fromarray(code).save(path)
    model = make_teacher("first")
    common = ("--suite", pairs, "--model", model, "--resolution", 64, "--json")
    (scored,) = json.loads(ccd_here("eval", *common).stdout)["results"]
    made = json.loads(ccd_here("analyze", *common).stdout)
    (row,) = made["figure2"]["rows"]
    assert row["whole_abs_rel"] == pytest.approx(scored["abs_rel"], rel=1e-9)
    assert row["crop_abs_rel"] == pytest.approx(scored["abs_rel"], rel=1e-9)
    assert row["whole_delta1"] == pytest.approx(scored["delta1"], rel=1e-9)
    assert made["noise"] == [] and {e["stage"] for e in made["skipped"]} == {"noise"}  # too few pixels for it


def test_damaged_and_sparse_images_are_named_and_skipped(ccd_here, tmp_path, no_plots):
    pairs = make_pairs(tmp_path)
    (tmp_path / "1.depth.png").write_bytes(b"nothing")
    result = ccd_here("analyze", "--suite", pairs, "--json")
    assert result.exit_code == 0 and "1.jpg: skipped: " in result.stderr
    made = json.loads(result.stdout)
    assert [entry["image"] for entry in made["skipped"]] == ["1.jpg"] and made["noise"][0]["images"] == 2
    (tmp_path / "sparse").mkdir()
    result = ccd_here("analyze", "--suite", make_pairs(tmp_path / "sparse", sparse=True))
    assert result.exit_code == 1 and "40 %" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--suite", "nonsense"), 2, "no suite"),
        (("--suite", "missing.yaml"), 2, "missing.yaml"),
        (("--arch", "depth-anything-v2-small"), 2, "--model"),
        (("--model", "no-such-model"), 2, "no-such-model"),
        (("--model", "builtin:tiny", "--model", "builtin:tiny"), 2, "builtin:tiny is given 2 times"),
        (("--model", "builtin:tiny", "--patches", 65), 2, "--patches"),
        (("--images", 0), 2, "--images"),
        (("--draws", 0), 2, "--draws"),
        (("--seed", -1), 2, "--seed"),
        (("--device", "cuda:99"), 2, "cuda:99"),
        (("--out", "file/below"), 1, "file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(ccd_here, tmp_path, args, code, words):
    (tmp_path / "file").write_text("no folder")
    result = ccd_here("analyze", *args)
    assert result.exit_code == code and words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "analyze-out").exists()


def test_the_page_needs_nothing_and_names_cannot_break_out(ccd_here, make_teacher, tmp_path):
    pairs = make_pairs(tmp_path)
    image = HOSTILE + r"$\frac$.jpg"
    (tmp_path / "0.jpg").rename(tmp_path / image)
    (tmp_path / "1.depth.png").write_bytes(b"nothing")
    model = make_teacher("""<b>'name'""")
    models = ("--model", model, "--model", make_teacher("other", seed=9), "--resolution", 64, "--draws", 1)
    result = ccd_here("analyze", "--suite", pairs, *models)
    assert result.exit_code == 0, result.output
    page = Page(tmp_path / "analyze-out" / "analysis.html")
    assert page.needs_nothing_else() and len(page.images) == page.tags.count("img") == 7
    assert image in page.all_words and "<b>'name'" in page.all_words
    assert "1.jpg" in page.all_words and "standard error" in page.all_words


def test_the_real_command_prints_one_document_and_loads_no_timm(tmp_path):
    code = """
import sys
from ccd_cli.cli.main import main
sys.argv = ["ccd", "analyze", "--images", "1", "--draws", "1", "--json", "--threads", "1"]
try:
    main()
finally:
    print([name for name in ("timm", "open3d", "transformers") if name in sys.modules], file=sys.stderr)
"""
    env = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["noise"]) == 72
    assert done.stderr.splitlines()[-1] == "[]"


def test_help_imports_no_torch(tmp_path):
    code = """
import sys
from ccd_cli.cli.main import main
sys.argv = ["ccd", "analyze", "--help"]
try:
    main()
finally:
    print([name for name in ("torch", "numpy", "matplotlib") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "ccd analyze --model builtin:tiny" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_in_one_line(tmp_path, number, code):
    command = [sys.executable, "-m", "ccd_cli", "analyze", "--images", "60", "-v"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:  # the first progress line: it is at work
            if line.startswith("Analyzing"):
                break
        time.sleep(0.2)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == code
    last = rest.strip().splitlines()[-1]
    assert last.startswith("ccd: Interrupted.") and "Traceback" not in rest
    assert not (tmp_path / "analyze-out" / "analysis.json").exists()
