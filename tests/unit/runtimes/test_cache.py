"""The cache of prepared networks: whole or absent, made again where it is damaged, one process at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CcdError
from ccd_cli.core.report import Silent
from ccd_cli.models.arch import timm_arch
from ccd_cli.runtimes.cache import cached_graph, graph_path, is_cached, open_cached
from ccd_cli.runtimes.facts import ExportFacts, facts_path
from ccd_cli.teachers.load import resolve_model
from ccd_cli.teachers.runtime import load_in

ABOUT = ExportFacts(timm_arch("test_vit", features=16), "tiny", "MIT", "ab" * 32)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CCD_HOME", str(tmp_path))
    return tmp_path


def test_a_graph_is_written_once_and_again_when_it_is_damaged(home):
    report, written = Silent(), []

    def write(path: Path) -> None:
        written.append(path)
        path.write_bytes(b"graph")

    path = cached_graph(ABOUT, write, report, 3)
    assert path.read_bytes() == b"graph" and path.is_relative_to(home / "runtimes") and is_cached(ABOUT)
    assert report.notes == ["Preparing tiny for other runtimes, once: this takes about 3 seconds"]
    assert cached_graph(ABOUT, write, report, 3) == path and len(written) == 1
    path.write_bytes(b"grapf")
    assert cached_graph(ABOUT, write, report, 3).read_bytes() == b"graph" and len(written) == 2
    assert "is gone, changed or damaged" in report.notes[1]
    facts_path(path).write_text(facts_path(path).read_text().replace("MIT", "BSD"))
    cached_graph(ABOUT, write, report, 3)
    assert len(written) == 3 and "was changed or damaged" in report.notes[3]


def test_a_graph_that_could_not_be_written_is_not_there(home):
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise CcdError("no")

    with pytest.raises(CcdError, match="no"):
        cached_graph(ABOUT, fail, Silent(), 3)
    assert not is_cached(ABOUT) and [p.name for p in graph_path(ABOUT).parent.iterdir()] == [".lock"]


def test_other_weights_and_other_networks_have_places_of_their_own(home):
    others = (
        ExportFacts(ABOUT.arch, "tiny", "MIT", "cd" * 32),
        ExportFacts(timm_arch("test_vit", features=8), "tiny", "MIT", "ab" * 32),
    )
    assert len({graph_path(each) for each in (ABOUT, *others)}) == 3


def test_two_processes_write_one_graph(home):
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from ccd_cli.core.report import Silent
        from ccd_cli.models.arch import timm_arch
        from ccd_cli.runtimes.cache import cached_graph
        from ccd_cli.runtimes.facts import ExportFacts
        def write(path):
            with open({str(home / "log")!r}, "a") as log:
                log.write("written ")
            time.sleep(2)
            path.write_bytes(b"graph")
        about = ExportFacts(timm_arch("test_vit", features=16), "tiny", "MIT", "ab" * 32)
        assert cached_graph(about, write, Silent(), 1).read_bytes() == b"graph"
        """
    )
    both = [subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ)) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert (home / "log").read_text() == "written "


def test_what_openvino_compiled_is_kept_and_made_again_when_it_is_damaged(prepared, tmp_path, monkeypatch):
    made = prepared[1]
    shutil.copytree(made, tmp_path / "home")
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    (graph,) = (tmp_path / "home" / "runtimes").rglob("network.onnx")
    (blob,) = graph.parent.glob("openvino-*/*.blob")
    images = np.random.default_rng(0).random((1, 3, 64, 48), np.float32)
    before, report = blob.stat().st_mtime_ns, Silent()
    first = open_cached("openvino", graph, "fp32", 1, report)(images)
    assert report.notes == [] and blob.stat().st_mtime_ns == before, "taken as it is"
    blob.write_bytes(blob.read_bytes()[:-100])
    again = open_cached("openvino", graph, "fp32", 1, report)(images)
    assert "damaged and is made again" in report.notes[0] and np.array_equal(first, again)
    open_cached("openvino", graph, "fp32", 2, report)
    assert len(list(graph.parent.glob("openvino-*.json"))) == 2, "other threads are compiled for themselves"
    left = graph.parent / ".openvino-of-a-killed-process"
    left.mkdir()
    shutil.rmtree(next(graph.parent.glob("openvino-*/")))
    open_cached("openvino", graph, "fp32", 1, report)
    open_cached("openvino", graph, "fp32", 2, report)
    assert not left.exists()


def test_where_openvino_keeps_nothing_nothing_is_recorded(home, monkeypatch):
    """On a full disk it compiles, and drops the file in silence."""
    monkeypatch.setattr("ccd_cli.runtimes.cache.open_session", lambda *_: "session")
    graph = cached_graph(ABOUT, lambda path: path.write_bytes(b"graph"), Silent(), 3)
    assert open_cached("openvino", graph, "fp32", 1, Silent()) == "session"
    assert sorted(path.name for path in graph.parent.iterdir()) == [".lock", "network.onnx", "network.onnx.json"]


def test_a_prepared_network_is_not_prepared_again(prepared, monkeypatch):
    checkpoint, home = prepared
    monkeypatch.setenv("CCD_HOME", str(home))
    monkeypatch.setattr("ccd_cli.teachers.runtime.load_network", None)  # would be called
    report = Silent()
    for runtime in ("openvino", "onnxruntime"):
        teacher = load_in(resolve_model(str(checkpoint)), runtime, Compute("cpu", "fp32", threads=1), report)
        assert teacher.runtime == runtime and teacher.license == "MIT"
    assert report.notes == []
