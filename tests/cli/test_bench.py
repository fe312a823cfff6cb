"""`ccd bench predict` from end to end: what it tells, what it writes, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ccd_cli.bench import run as bench_run
from ccd_cli.bench.photos import photos
from ccd_cli.bench.results import BARE, DEFAULT, RAW, Row, document, markdown, ratios
from ccd_cli.bench.settings import Settings
from ccd_cli.bench.subjects import BASE, native, ways
from ccd_cli.cli.main import cli
from ccd_cli.core.errors import CcdError, UsageProblem

SMALL = ("--model", "builtin:tiny", "--resolution", "64", "--photos", "2", "--rounds", "2", "--threads", "1")
TIMED = {
    "images_per_second",
    "seconds",
    "cpu_seconds",
    "share_of_own_network",
    "share_of_own_network_cpu",
    "speed_over_torch_fp32",
    "speed_over_torch_fp32_cpu",
}


@pytest.mark.slow
def test_every_installed_runtime_is_measured(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    options = ("--runtime", "torch,onnxruntime", "--precision", "fp32", "--out", str(tmp_path), "--json")
    done = CliRunner().invoke(cli, ["bench", "predict", *SMALL, *options])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "bench.json").read_text())
    assert (found["model"], found["rounds_done"], found["photos"], found["interrupted"]) == (
        "builtin:tiny",
        2,
        2,
        False,
    )
    assert all(side % 16 == 0 or side % 14 == 0 for size in found["network_sizes"] for side in size)
    assert [row["name"] for row in found["rows"]] == ["torch fp32", "onnxruntime fp32"]
    for row in found["rows"]:
        assert set(row["timed"]) == {BARE, RAW, DEFAULT}
        for timed in row["timed"].values():
            assert set(timed) == TIMED
            assert len(timed["seconds"]) == len(timed["cpu_seconds"]) == 2
            assert timed["images_per_second"] > 0
        assert row["timed"][BARE]["share_of_own_network"] == {"median": 1, "min": 1, "max": 1}
        assert row["timed"][DEFAULT]["share_of_own_network"]["median"] < 1  # two PNGs are not free
        assert row["load_s"] > 0 and row["first_result_s"] > row["load_s"] / 10
        assert row["peak_bytes"] > 50e6
    first, other = found["rows"]
    assert first["error_max"] is None and first["export_s"] is None
    assert 0 < other["error_mean"] <= other["error_max"] < 1e-3
    assert other["export_s"] > 0
    page = (tmp_path / "bench.md").read_text()
    assert "2 interleaved rounds of 2 photos" in page and "| onnxruntime fp32 |" in page


def test_what_is_there_after_an_interruption(monkeypatch, tmp_path):
    """Ctrl-C in the second round: the first one is told, the exit code is that of a stop."""
    import os
    import signal

    rounds = bench_run._rounds

    def stopped(tasks, rows, *rest):
        calls = []

        def counted(work):
            def call():
                calls.append(1)
                if len(calls) == len(tasks) + 2:
                    os.kill(os.getpid(), signal.SIGINT)
                work()

            return call

        rounds([(name, what, counted(work)) for name, what, work in tasks], rows, *rest)

    monkeypatch.setattr(bench_run, "_rounds", stopped)
    done = CliRunner().invoke(
        cli, ["bench", "predict", *SMALL, "--runtime", "torch", "--precision", "fp32", "--out", str(tmp_path)]
    )
    assert done.exit_code == 130
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["interrupted"] and found["rounds_done"] == 1
    assert len(found["rows"][0]["timed"][DEFAULT]["seconds"]) == 1


def test_ratios_are_those_of_rounds():
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}
    assert ratios([], [1.0]) is None
    base, other = Row("torch fp32", "torch", "fp32"), Row("openvino bf16", "openvino", "bf16")
    for slow, fast in ((1.0, 0.25), (2.0, 0.5)):
        base.add(BARE, slow, 2 * slow)
        other.add(BARE, fast, 2 * fast)
        other.add(DEFAULT, 2 * fast, 2 * fast)
    about = {"model": "m", "photos": 1, "rounds_done": 2, "network_sizes": [(518, 770)], "machine": {"versions": {}}}
    about["machine"] |= {"processor": "p", "threads": 2}
    found = document([base, other], about)
    fast = found["rows"][1]["timed"]
    assert fast[BARE]["speed_over_torch_fp32"]["median"] == 4
    assert fast[DEFAULT]["share_of_own_network"]["median"] == 0.5
    assert fast[DEFAULT]["share_of_own_network_cpu"]["median"] == 1
    assert "770x518" in markdown(found) and "4.00 (4.00 to 4.00)" in markdown(found)


def test_what_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageProblem, match="--runtime tvm"):
        Settings(runtime=("tvm",))
    with pytest.raises(UsageProblem, match="--precision int4"):
        Settings(precision=("int4",))
    with pytest.raises(CcdError, match="holds no photos"):
        photos(tmp_path, 2, tmp_path)
    for place in ("bench.subjects", "runtimes.sessions"):
        monkeypatch.setattr(f"ccd_cli.{place}.is_installed", lambda name: name == "torch")
    with pytest.raises(CcdError, match="openvino is not installed"):
        ways(Settings(runtime=("openvino",)))
    assert ways(Settings(precision=("fp32",))) == [BASE]


def test_what_a_processor_or_runtime_does_not_compute_in_is_not_left_out_in_silence(monkeypatch):
    monkeypatch.setattr("ccd_cli.core.compute.cpu_has_bf16", lambda: False)
    with pytest.raises(UsageProblem, match="--precision bf16: this processor"):
        ways(Settings(precision=("bf16",)))
    monkeypatch.setattr("ccd_cli.core.compute.cpu_has_bf16", lambda: True)
    monkeypatch.setattr("ccd_cli.runtimes.sessions.is_installed", lambda _: True)
    with pytest.raises(UsageProblem, match="onnxruntime on a CPU does not compute in bf16"):
        ways(Settings(runtime=("torch", "onnxruntime"), precision=("bf16",)))
    with pytest.raises(CcdError, match=r"student\.onnx is an exported network"):
        native("student.onnx", None, "fp32")


def test_photos_of_a_folder_repeat_under_names_of_their_own(tmp_path):
    source, folder = tmp_path / "in", tmp_path / "work"
    source.mkdir()
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((20, 30, 3), 40 * i, np.uint8)).save(source / f"p{i}.png")
    found = photos(source, 3, folder)
    assert [path.name for path in found] == ["0000.png", "0001.png", "0002.png"]
    assert found[2].read_bytes() == (source / "p0.png").read_bytes()
    assert len({path.read_bytes() for path in photos(None, 2, folder)}) == 2
