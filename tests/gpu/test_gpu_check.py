"""The GPU check: what it finds wrong, what it keeps when time ends, and that it runs from end to end."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests/benchmarks/gpu_check.py"


@pytest.fixture(scope="module")
def check():
    about = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    module = importlib.util.module_from_spec(about)
    sys.modules["gpu_check"] = module  # dataclasses look their module up
    about.loader.exec_module(module)
    yield module
    del sys.modules["gpu_check"]


def step(speed=20.0, share=0.5, loss=0.01):
    row = {"name": "ccd", "images_per_second": speed, "share_of_matmul_peak": share, "shares": {"loss": loss}}
    row |= {"peak_bytes": 40e9, "speed_over_plain": {"median": 7.0}}
    found = {"rows": [row], "model_flops_per_image": 1.2e13, "matmul_peak_flops": 7e14}
    return {"part": "step", "state": "done", "seconds": 100.0, "found": found}


def predict(ratio=6.0, arch="depth-anything-v2-small"):
    found = {"arch": arch, "ours": 60.0, "naive": 60.0 / ratio, "ratio": ratio}
    return {"part": "predict S", "state": "done", "seconds": 40.0, "found": found}


def checks(passed=9, failed=()):
    return {
        "part": "tests",
        "state": "done",
        "seconds": 9.0,
        "found": {"passed": passed, "failed": [*failed], "skipped": 1},
    }


def test_good_numbers_are_no_problem(check):
    done = [step(), predict(), checks()]
    assert check.problems(done, judged=True) == []
    rows = {row["what"]: row for row in check.rows(done, judged=True)}
    assert rows["20,000 steps, hours"]["value"] == pytest.approx(20_000 * 8 / 20 / 3600)
    assert {row["of"] for row in rows.values() if row["met"]} == set(check.BARS)
    assert "| training, images/s | 20.00 |" in check.markdown(done, "here", True)


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ([step(share=0.39), predict(), checks()], "share of the largest bf16 matrix product: 39.0%"),
        ([step(loss=0.031), predict(), checks()], "loss, share of the step: 3.1%"),
        ([step(speed=14.0), predict(), checks()], "20,000 steps, hours: 3.17"),
        ([step(), predict(4.9), checks()], "over the naive loop: 4.90"),
        ([step(), predict(), checks(failed=["a::b"])], "failed: a::b"),
        ([step(), predict(), checks(passed=0)], "no test ran"),
        ([step(), checks()], "ccd predict over the naive loop: not measured"),
        ([step(), predict(), checks() | {"state": "out of time"}], "tests: out of time"),
    ],
)
def test_each_missed_bar_and_failed_check_is_said(check, done, said):
    (line,) = check.problems(done, judged=True)
    assert said in line
    assert line in check.markdown(done, "here", True)


def test_at_the_end_of_its_time_a_part_writes_what_there_is(check, tmp_path):
    """Ctrl-C comes first: the part may still write; one that does not listen is killed."""
    result = tmp_path / "found.json"
    code = f"""
import json, pathlib, time
try:
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path({str(result)!r}).write_text(json.dumps({{"kept": 1}}))
"""
    made = check.run(check.Part("slow", [sys.executable, "-c", code], 1.5, result), 100)
    assert (made["state"], made["found"]) == ("out of time", {"kept": 1})
    failing = [sys.executable, "-c", "import sys; print('why'); sys.exit(3)"]
    made = check.run(check.Part("failing", failing, 30, tmp_path / "none.json"), 100)
    assert made["state"] == "failed with 3" and "why" in made["said"] and "found" not in made
    silent = check.run(check.Part("silent", [sys.executable, "-c", ""], 30, tmp_path / "none.json"), 100)
    assert silent["state"] == "left no result"


@pytest.mark.slow
def test_the_whole_check_runs_on_a_cpu(tmp_path):
    out = tmp_path / "check"
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((out / "gpu_check.json").read_text())
    assert [part["state"] for part in found["parts"]] == ["done"] * 3 and found["wrong"] == []
    rows = {row["what"]: row["value"] for row in found["rows"]}
    assert rows["training, images/s"] > 0 and 0 < rows["loss, share of the step"] < 1
    assert (
        rows["training over the plain loop"] > 0
        and any("ccd predict" in name for name in rows)
        and rows["tests passed"] == 6
    )
    assert (out / "gpu_check.md").read_text() == done.stdout.removesuffix("\n")
