"""`ccd predict --engine ray`: the files of one process, whoever dies on the way; nothing is left behind.

The cluster is a real one of two workers, started by the command itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time

import pytest

from tests.cli.test_predict import photo, video
from tests.cli.test_shards import tree
from tests.on_ray import gone, on_a_cluster, titles, traces
from tests.tiny_labels import wait_for


@pytest.fixture
def inputs(tmp_path):
    """Photos, one of which is damaged and one in a folder below, and a clip."""
    for i in range(6):
        photo(tmp_path / "in" / f"{i:02d}.png", (90 + i, 60), seed=i)
    photo(tmp_path / "in/deep/x.png", seed=20)
    damaged = tmp_path / "in/03.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    video(tmp_path / "in/clip.mp4", count=40)
    return tmp_path / "in"


@pytest.fixture
def begin_predict(begin, model):
    """Return a function that starts `ccd predict` on the inputs, in a process group of its own."""
    usual = ("--device", "cpu", "--threads", "1", "--resolution", "320", "--save", "color,npy,png16")

    def start(*args, ray=True):
        engine = ("--engine", "ray", "--workers", "2") if ray else ()
        return begin("predict", "in", "--model", model, *usual, *args, *engine, start_new_session=True)

    return start


def kill_the_worker_of(name: str) -> bool:
    """Kill the process that is at work on an input; tell whether there was one.

    It is stopped first: one that has just finished is let go on.
    """
    found = [each for each in titles("ray::predict-") if each[1] == f"ray::predict-{name}"]
    for pid, words in found:
        try:
            os.kill(pid, signal.SIGSTOP)
            at_work = (pid, words) in titles(words)
            os.kill(pid, signal.SIGKILL if at_work else signal.SIGCONT)
        except ProcessLookupError:
            continue
        if at_work:
            return True
    return False


@on_a_cluster
def test_killed_workers_change_nothing(begin_predict, inputs, tmp_path):
    whole = begin_predict("--out", "whole", ray=False)
    said = whole.communicate(timeout=240)[0]
    assert whole.returncode == 1 and "7 done, 0 skipped, 1 failed" in said, said
    process = begin_predict("--out", "ray", "--json")
    wait_for(process, tmp_path / "ray/.clip.json.parts")
    assert kill_the_worker_of("clip"), "nothing was killed in the middle"
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 1 and "7 done, 0 skipped, 1 failed" in said, said
    assert "in/clip.mp4 is computed again: the worker that had it died." in said
    assert tree(tmp_path / "ray") == tree(tmp_path / "whole")
    document, _ = json.JSONDecoder().raw_decode(said, said.index("{\n"))
    names = [record["input"] for record in document["done"]]
    assert names == sorted(names, key=lambda name: (name.endswith(".mp4"), name)) and len({*names}) == 7
    assert [failure["input"] for failure in document["failed"]] == ["in/03.png"]
    assert len((tmp_path / "ray/failed.jsonl").read_text().splitlines()) == 1
    assert gone()


@on_a_cluster
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_stopped_it_leaves_whole_results_and_one_process_goes_on(begin_predict, inputs, tmp_path, number, code):
    process = begin_predict("--out", "ray")
    wait_for(process, tmp_path / "ray/02.json")
    os.killpg(process.pid, number)  # as a terminal does
    said = process.communicate(timeout=60)[0]
    assert process.returncode == code, said
    assert "Interrupted. Finished results are in place; run again to resume." in said and "Traceback" not in said
    assert gone(), traces()
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "ray").glob("*.json")}
    assert 1 <= len(there) < 8
    again = begin_predict("--out", "ray", ray=False)
    said = again.communicate(timeout=240)[0]
    assert again.returncode == 1 and f"{7 - len(there)} done, {len(there)} skipped, 1 failed" in said, said
    assert all(path.stat().st_mtime_ns == then for path, then in there.items())
    whole = begin_predict("--out", "whole", ray=False)
    whole.communicate(timeout=240)
    assert tree(tmp_path / "ray") == tree(tmp_path / "whole"), "half of a file would differ"


@on_a_cluster
def test_an_image_that_kills_every_worker_fails_and_the_others_are_done(begin_predict, inputs, tmp_path):
    process = begin_predict("--out", "ray")
    killed, deadline = 0, time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if killed or (tmp_path / "ray/01.json").exists():  # something is done
            killed += kill_the_worker_of("x")
        time.sleep(0.005)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "6 done, 0 skipped, 2 failed" in said, said
    assert killed == 3 and "in/deep/x.png: 3 workers died over it, one after another" in said
    failed = [json.loads(line)["input"] for line in (tmp_path / "ray/failed.jsonl").read_text().splitlines()]
    assert failed == ["../in/03.png", "../in/deep/x.png"]


@on_a_cluster
@pytest.mark.slow
def test_several_models_and_batches_in_turn(begin_predict, inputs, make_teacher, tmp_path):
    damaged, clip = tmp_path / "in/03.png", tmp_path / "in/clip.mp4"
    damaged.unlink()
    clip.unlink()
    more = ("--model", str(make_teacher("second", 2)), "--save", "side,npy", "--batch", "3")
    for out, ray in (("whole", False), ("ray", True)):
        process = begin_predict("--out", out, *more, ray=ray)
        said = process.communicate(timeout=240)[0]
        assert process.returncode == 0, said
    assert tree(tmp_path / "ray") == tree(tmp_path / "whole")
    assert (tmp_path / "ray/deep/x.side.png").exists()


def test_what_is_done_needs_no_cluster(predict, tmp_path, monkeypatch):
    photo(tmp_path / "a.png")
    assert predict("a.png").exit_code == 0
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == "ray" or found(name, *rest))
    monkeypatch.setattr("ccd_cli.cluster.pool.Cluster", None)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    done = predict("a.png", "--engine", "ray")
    assert done.exit_code == 0 and "0 done, 1 skipped, 0 failed" in done.stderr, done.output


def test_options_that_contradict_the_engine(predict, tmp_path, monkeypatch):
    photo(tmp_path / "a.png")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    done = predict("a.png", "--engine", "ray")
    assert done.exit_code == 1
    line = 'ccd: error: --engine ray needs Ray. Install it with: pip install -e ".[ray]"'
    assert done.stderr.splitlines()[-1] == line and not (tmp_path / "ccd-out").exists()
    done = predict("a.png", "--engine", "ray", "--shard", "1/2")
    assert done.exit_code == 2 and "--shard is for --engine local" in done.stderr
    done = predict("a.png", "--workers", "2")
    assert done.exit_code == 2 and "--workers is for --engine ray" in done.stderr
    assert predict("a.png", "--engine", "spark").exit_code == 2
