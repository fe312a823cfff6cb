"""`ccd label --engine ray`: the same bytes as the local engine, whoever dies on the way; nothing is left behind.

The cluster is a real one of two workers, started by the command itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from ccd_cli.config.load import check_label_recipe
from ccd_cli.core.report import Silent
from ccd_cli.label.run import run
from tests.on_ray import addresses, gone, on_a_cluster, ray_processes, titles, traces
from tests.tiny_labels import content, recipe_values, start, wait_for


def begin(tmp_path, path, *args):
    return start(tmp_path, str(path), "--engine", "ray", "--workers", "2", "--out", "labels", *args)


def kill_the_worker_of(folder: Path, shard: str = "") -> str | None:
    """Kill a process that is at work on a shard, and return the shard's name; None where none is.

    It is stopped first: one that has just finished is let go on.
    """
    title = f"ray::shard-{shard}"
    for pid, words in titles(title):
        name = words.removeprefix("ray::shard-")
        try:
            os.kill(pid, signal.SIGSTOP)
        except OSError:
            continue
        at_work = (pid, words) in titles(title) and not (folder / f"parts/teacher-0/part-{name}.tar").exists()
        os.kill(pid, signal.SIGKILL if at_work else signal.SIGCONT)
        if at_work:
            return name
    return None


@pytest.fixture
def slow_values(photos, make_teacher):
    """A recipe of eight shards on which a worker is at work for a while."""
    values = recipe_values(photos, make_teacher, epochs=2)
    return {**values, "crops": {"size": 192, "min_side": 70, "patches": 5}}


def locally(values, folder: Path) -> dict[str, bytes]:
    run(check_label_recipe(values, "t"), out=str(folder), device="cpu", report=Silent())
    return content(folder)


@on_a_cluster
def test_a_killed_worker_changes_nothing(write_recipe, slow_values, tmp_path):
    path, folder = write_recipe(slow_values), tmp_path / "labels"
    process = begin(tmp_path, path, "--json")
    wait_for(process, folder / "parts/teacher-0/part-000001.tar")
    listening = addresses(ray_processes())
    killed = None
    while killed is None and process.poll() is None and not (folder / "parts/teacher-1").exists():
        killed = kill_the_worker_of(folder)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert killed is not None, "nothing was killed in the middle"
    assert f"Shard {int(killed)} is computed again" in output
    assert "raylet" not in output, "Ray's own messages"
    document = json.loads(output[output.index("\n{") :])
    assert (document["samples"], document["shards"]) == (16, 8)
    assert content(folder) == locally(slow_values, tmp_path / "local")
    assert {p.name for p in folder.iterdir()} == {p.name for p in (tmp_path / "local").iterdir()}
    assert listening
    assert all(a == "0100007F" or a == "0000000000000000FFFF00000100007F" for a in listening), listening
    assert gone()


@on_a_cluster
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGKILL, -9)],
)
def test_stopped_it_leaves_no_process_and_the_local_engine_goes_on(write_recipe, slow_values, tmp_path, number, code):
    path, folder = write_recipe(slow_values), tmp_path / "labels"
    process = begin(tmp_path, path)
    wait_for(process, folder / "parts/teacher-0/part-000001.tar")
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert gone(), traces()
    there = sorted((folder / "parts/teacher-0").glob("part-*.tar"))
    assert there, "finished parts are kept"
    if number == signal.SIGINT:
        assert "Continue with: ccd label labels/recipe.yaml --out labels" in output
        assert locally(slow_values, folder) == locally(slow_values, tmp_path / "local")


@on_a_cluster
@pytest.mark.slow
def test_begun_locally_it_goes_on_with_ray(write_recipe, slow_values, tmp_path):
    path, folder = write_recipe(slow_values), tmp_path / "labels"
    process = start(tmp_path, str(path), "--out", "labels")
    wait_for(process, folder / "parts/teacher-1/part-000003.tar")
    process.kill()
    process.communicate(timeout=60)
    process = begin(tmp_path, path)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert content(folder) == locally(slow_values, tmp_path / "local")
    assert gone()


@on_a_cluster
def test_a_shard_that_kills_every_worker_ends_in_a_plain_error(write_recipe, slow_values, tmp_path):
    path, folder = write_recipe(slow_values), tmp_path / "labels"
    process = begin(tmp_path, path)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        kill_the_worker_of(folder, "000005")
        time.sleep(0.01)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1, output
    assert "Shard 5: 3 workers died over it" in output
    assert "Traceback" not in output
    assert list((folder / "parts/teacher-0").glob("part-*.tar")), "finished work is kept"
    assert gone()


@on_a_cluster
def test_an_error_in_a_worker_is_one_plain_line(write_recipe, photos, make_teacher, tmp_path):
    weights, folder = tmp_path / "weights.safetensors", tmp_path / "labels"
    shutil.copy(make_teacher("first", 1), weights)
    values = {**recipe_values(photos, make_teacher), "teachers": [{"model": str(weights), "batch": 4}]}
    locally(values, folder)
    (folder / "shard-000002.tar").unlink()
    shutil.copy(make_teacher("third", 3), weights)
    process = begin(tmp_path, write_recipe(values))
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 2, output
    assert output.splitlines()[-1].startswith("ccd: error: The weights of weights have changed since labeling began.")
    assert "Traceback" not in output
    assert gone()


def test_without_ray_one_line_names_the_extra(ccd_here, write_recipe, photos, make_teacher, monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else found(name, *rest))
    done = ccd_here("label", write_recipe(recipe_values(photos, make_teacher)), "--engine", "ray")
    assert done.exit_code == 1
    assert (
        done.stderr.splitlines()[-1] == 'ccd: error: --engine ray needs Ray. Install it with: pip install -e ".[ray]"'
    )
    assert not (tmp_path / "labels").exists()


def test_options_that_contradict_the_engine(ccd_here, write_recipe, photos, make_teacher, monkeypatch):
    path = write_recipe(recipe_values(photos, make_teacher))
    done = ccd_here("label", path, "--workers", "2")
    assert done.exit_code == 2
    assert "--workers is for --engine ray" in done.stderr
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    done = ccd_here("label", path, "--engine", "ray", "--device", "cuda:1")
    assert done.exit_code == 2
    assert "CUDA_VISIBLE_DEVICES" in done.stderr
    assert ccd_here("label", path, "--engine", "spark").exit_code == 2
