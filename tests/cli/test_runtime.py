"""`--runtime` of predict, eval and label: what is said, what counts as finished, and that torch stays out where it may."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ccd_cli.runtimes.facts import read_facts, write_facts

FREE = """
import sys
from ccd_cli.cli.main import main
sys.argv = ["ccd", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    heavy = sorted({"torch", "timm", "torchvision", "openvino", "onnxruntime"} & set(sys.modules))
    print("exit", end.code, *heavy)
"""


@pytest.fixture
def home(prepared, tmp_path):
    shutil.copytree(prepared[1], tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def modules(home, tmp_path):
    """Run ccd in a process of its own and return (exit code, heavy packages that it imported)."""

    def run(*args):
        env = {**os.environ, "CCD_HOME": str(home), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", FREE, *map(str, args)],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        last = done.stdout.strip().splitlines()[-1].split()
        return int(last[1]), set(last[2:]), done.stderr

    return run


def test_a_prepared_network_and_finished_photos_need_no_torch(prepared, photos, home, modules, tmp_path):
    inputs, model = [photos / "0.jpg", photos / "1.png"], prepared[0]
    assert modules("predict", *inputs, "--model", model, "--threads", 1, "--resolution", 64)[:2] == (0, {"openvino"})
    assert modules("predict", *inputs, "--model", model, "--resolution", 64, "--runtime", "torch")[:2] == (0, set())
    (graph,) = (home / "runtimes").rglob("network.onnx")
    for name in ("network.onnx", "network.onnx.json"):
        shutil.copy(graph.with_name(name), tmp_path / name)
    free = modules("predict", inputs[0], "--model", "network.onnx", "--runtime", "onnxruntime", "--out", "file")
    assert free[:2] == (0, {"onnxruntime"})
    side = json.loads((tmp_path / "file" / "0.json").read_text())
    assert (side["model"], side["runtime"], side["made_with"]["precision"]) == ("network", "onnxruntime", "fp32")


def test_what_one_exact_runtime_has_finished_another_does_not_do_again(prepared, photos, home, ccd_here, tmp_path):
    model = ["--model", prepared[0], "--resolution", 64, "--save", "npy", "--json"]
    assert ccd_here("predict", photos / "0.jpg", *model, "--runtime", "torch").exit_code == 0
    result = ccd_here("predict", photos / "0.jpg", photos / "1.png", *model)
    assert [each["skipped"] for each in json.loads(result.stdout)["done"]] == [True, False]
    sides = [json.loads((tmp_path / "ccd-out" / f"{i}.json").read_text()) for i in (0, 1)]
    assert [side["runtime"] for side in sides] == ["torch", "openvino"]
    assert ccd_here("predict", photos / "1.png", *model, "--runtime", "torch", "--out", "torch").exit_code == 0
    a, b = (np.load(tmp_path / folder / "1.npy") for folder in ("ccd-out", "torch"))
    assert 0 < np.abs(a - b).max() <= 1e-5 * np.ptp(a)


def test_bf16_is_another_map_in_every_runtime(prepared, photos, home, ccd_here, monkeypatch, tmp_path):
    monkeypatch.setattr("ccd_cli.core.compute.cpu_has_bf16", lambda: True)
    asked = ["predict", photos / "0.jpg", "--model", prepared[0], "--resolution", 64]
    assert ccd_here(*asked, "--runtime", "openvino", "--precision", "bf16").exit_code == 0
    side = json.loads((tmp_path / "ccd-out" / "0.json").read_text())
    assert (side["runtime"], side["made_with"]["precision"]) == ("openvino", "bf16 (openvino)")
    refused = ccd_here(*asked, "--precision", "bf16")
    assert refused.exit_code == 1 and "made with precision bf16 (openvino) (now bf16), which are kept" in refused.stderr


def test_a_damaged_prepared_network_is_made_again_with_a_note(prepared, photos, home, ccd_here, monkeypatch):
    (graph,) = (home / "runtimes").rglob("network.onnx")
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    monkeypatch.setattr("ccd_cli.runtimes.onnx_graph.write_onnx", lambda network, path: path.write_bytes(whole))
    result = ccd_here(
        "predict", photos / "0.jpg", "--model", prepared[0], "--resolution", 64, "--runtime", "onnxruntime"
    )
    assert result.exit_code == 0 and "cannot be used and is made again" in result.stderr and graph.read_bytes() == whole


def test_what_cannot_be_is_one_line_and_nothing_is_written(prepared, photos, home, ccd_here, tmp_path):
    for args, words in (
        (["--runtime", "onnxruntime", "--precision", "bf16"], "onnxruntime on a CPU computes in fp32"),
        (["--runtime", "openvino", "--compile"], "--compile: openvino compiles every network itself"),
        (["--model", "gone.onnx"], "There is no file or folder gone.onnx"),
    ):
        result = ccd_here("predict", photos / "0.jpg", "--model", prepared[0], *args)
        said = words in result.stderr or ("bf16" in args and "neither AVX512-BF16 nor AMX" in result.stderr)
        assert result.exit_code != 0 and said and "Traceback" not in result.stderr
    assert not (tmp_path / "ccd-out").exists()


def test_eval_says_what_ran_and_keeps_scores_of_other_exact_runtimes(prepared, home, ccd_here, tmp_path):
    asked = ["eval", "--suite", "builtin", "--model", prepared[0], "--resolution", 64, "--limit", 2, "--json"]
    first = json.loads(ccd_here(*asked, "--runtime", "torch").stdout)
    assert first["protocol"]["models"]["portable"]["runtime"] == "torch"
    again = json.loads(ccd_here(*asked, "--runtime", "openvino").stdout)
    assert again["protocol"]["models"]["portable"]["runtime"] == "torch", "they are the scores of before"
    other = json.loads(ccd_here(*asked, "--overwrite").stdout)
    assert other["protocol"]["models"]["portable"]["runtime"] == "openvino"
    scores = [[row["abs_rel"] for row in made["results"]] for made in (first, other)]
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.slow
def test_labels_go_on_in_the_runtime_that_they_were_begun_in(prepared, photos, home, ccd_here, tmp_path, monkeypatch):
    recipe = tmp_path / "label.yaml"
    recipe.write_text(
        f"task: label\nname: mine\nimages: {photos}\nteachers: [{prepared[0]}]\nshard: 4\nthreads: 1\n"
        "crops: {size: 64, min_side: 70, patches: 1}\n"
    )
    assert ccd_here("label", recipe, "--out", "torch").exit_code == 0
    assert ccd_here("label", recipe, "--out", "whole", "--runtime", "openvino").exit_code == 0
    about = [json.loads((tmp_path / name / "index.json").read_text())["teachers"][0] for name in ("torch", "whole")]
    assert [each["precision"] for each in about] == ["fp32", "fp32 (openvino)"]
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    lost = sorted((tmp_path / "part").glob("*.tar"))[-1]
    for gone in (lost, tmp_path / "part" / "index.json", tmp_path / "part" / "quality.jsonl"):
        gone.unlink()
    refused = ccd_here("label", recipe, "--out", "part", "--runtime", "torch")
    assert refused.exit_code != 0 and "The runtime is ['torch'] and was ['openvino']" in refused.stderr
    result = ccd_here("label", recipe, "--out", "part")
    assert result.exit_code == 0, result.stderr
    assert lost.read_bytes() == (tmp_path / "whole" / lost.name).read_bytes()


def test_labels_say_how_an_exported_network_is_stored(prepared, photos, home, ccd_here, tmp_path):
    (graph,) = (home / "runtimes").rglob("network.onnx")
    half = tmp_path / "half.onnx"
    shutil.copy(graph, half)
    write_facts(half, replace(read_facts(graph), precision="fp16"))
    recipe = tmp_path / "label.yaml"
    recipe.write_text(
        f"task: label\nname: mine\nimages: {photos}\nteachers: [{half}]\nthreads: 1\n"
        "crops: {size: 64, min_side: 70, patches: 1}\n"
    )
    assert ccd_here("label", recipe, "--out", "labels", "--runtime", "onnxruntime").exit_code == 0
    (teacher,) = json.loads((tmp_path / "labels" / "index.json").read_text())["teachers"]
    assert teacher["precision"] == "fp16 (onnxruntime)"
