"""`ccd eval` that is stopped, killed, given other settings or damaged samples."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.report import Silent
from ccd_cli.evaluate.run import run
from ccd_cli.evaluate.settings import Settings
from tests.tiny_eval import document, files_of, make_nyu, predict, rows


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
        [sys.executable, "-m", "ccd_cli", *flags, "--out", "cut"], cwd=tmp_path, stderr=subprocess.DEVNULL
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
    np.save(folder / "pred_0002.npy", np.ones((240, 300), np.float32))
    np.save(folder / "pred_0003.npy", np.array([{"a": 1}], object), allow_pickle=True)
    depth = root / "nyuv2" / "test" / "room" / "depth_0004.png"
    depth.write_bytes(depth.read_bytes()[:100])
    result = ccd_here(
        "eval", "--data-root", root, "--predictions", tmp_path / "maps", "--prediction-kind", "metric", "--json"
    )
    assert result.exit_code == 1
    assert "Traceback" not in result.output and "5 samples were skipped" in result.stderr
    made = document(result)
    assert made["results"][0]["n"] == 1 and made["results"][0]["abs_rel"] < 1e-4
    reasons = {entry["image"][-8:-4]: entry["reason"] for entry in made["protocol"]["left_out"]}
    assert "no prediction" in reasons["0000"] and "not a readable" in reasons["0001"]
    assert "300x240" in reasons["0002"] and "640x480" in reasons["0002"]
    assert "not a readable" in reasons["0003"] and set(reasons) == {"0000", "0001", "0002", "0003", "0004"}
    assert "rgb_0002.png" in (tmp_path / "eval-out" / "report.html").read_text()


def test_a_part_of_a_set_goes_into_the_whole(evaluate, tmp_path):
    flags = ("--predictions", predict(tmp_path / "maps", "depth"), "--prediction-kind", "depth")
    part = evaluate(*flags, "--limit", "2", "--json")
    assert rows(part)["nyuv2"]["n"] == 2 and "Only 2 images" in part.stderr
    lines = (tmp_path / "eval-out" / "maps" / "nyuv2.jsonl").read_bytes()
    assert rows(evaluate(*flags, "--json"))["nyuv2"]["n"] == 3
    assert (tmp_path / "eval-out" / "maps" / "nyuv2.jsonl").read_bytes().startswith(lines)
