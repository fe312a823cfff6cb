"""`ccd distill --processes 2`: the same training as one process, one writer, and one end for all of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ccd_cli.core.launch import GRACE, STILL

SEEN = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "160", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def recipe(tiny_recipe, make_teacher):
    """A student whose normalization does not depend on the batch, labels without noise."""
    tiny_recipe["student"] |= {"batch_norm": "frozen"}
    tiny_recipe["teachers"] = tiny_recipe["teachers"][:1]
    tiny_recipe["optim"] |= {"steps": 4, "batch": 4, "warmup": 0, "checkpoint_every": 2}
    tiny_recipe["log"] = {"samples": 0, "tensorboard": False}
    return tiny_recipe


def distill(folder, *arguments, wait=True):
    command = [sys.executable, "-m", "ccd_cli", "distill", *map(str, arguments), "--threads", "1"]
    started = subprocess.Popen(command, cwd=folder, env=SEEN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not wait:
        return started
    said = started.communicate(timeout=240)
    return subprocess.CompletedProcess(command, started.returncode, *said)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def wait_for_lines(process, folder, count):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if (folder / "metrics.jsonl").exists() and len(lines(folder)) >= count:
            return
        time.sleep(0.05)
    pytest.fail(f"the run ended or hung: {process.communicate(timeout=10)}")


def children(process):
    """Return the process ids of the ranks, first one first."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        found += (task / "children").read_text().split()
    ranks = {}
    for pid in found:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        rank = next((v for v in variables if v.startswith(b"RANK=")), None)
        if rank:
            ranks[int(rank[5:])] = int(pid)
    return [ranks[rank] for rank in sorted(ranks)]


@pytest.mark.parametrize(
    "others",
    [["two"], pytest.param(["micro"], marks=pytest.mark.slow), pytest.param(["sharded"], marks=pytest.mark.slow)],
)
def test_two_processes_and_two_micro_steps_train_as_one(recipe, write_recipe, tmp_path, others):
    recipe["optim"] |= {"lr": 1e-5, "encoder_lr": 1e-5}  # Adam's first steps are signs: rounding grows with the rate
    recipe |= {"eval": {"scenes": 2, "every": 2, "compare": False}, "log": {"samples": 1, "tensorboard": False}}
    path = write_recipe(recipe)
    recipe["optim"] |= {"batch": 2, "accumulate": 2}
    micro = write_recipe(recipe, "micro.yaml")
    runs = {"one": (path,), "two": (path, "--processes", 2), "micro": (micro,)}
    runs["sharded"] = (micro, "--processes", 2, "--set", "student.sharded=true")
    for name in ("one", *others):
        done = distill(tmp_path, *runs[name], "--out", name)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Done: 4 steps") == 1
    first = lines(tmp_path / "one")
    best = json.loads((tmp_path / "one" / "eval.json").read_text())["best"]["abs_rel"]
    for name in others:
        assert json.loads((tmp_path / name / "eval.json").read_text())["best"]["abs_rel"] == pytest.approx(
            best, rel=1e-3
        )
        assert (tmp_path / name / "plots" / "samples.png").exists()
        for a, b in zip(first, lines(tmp_path / name), strict=True):
            for key in ("loss", "shared", "local_global", "gradient", "drift", "gradient_norm"):
                near = 1e-2 if (name, key) == ("sharded", "gradient_norm") else 1e-3
                assert b[key] == pytest.approx(a[key], rel=near), (name, a["step"], key)
        assert lines(tmp_path / name)[0]["loss"] == pytest.approx(first[0]["loss"], rel=1e-5)
        near = (
            1e-3 if name == "sharded" else 1e-5
        )  # convolutions of another memory format; one process moves as far with it
        assert lines(tmp_path / name)[0]["gradient_norm"] == pytest.approx(first[0]["gradient_norm"], rel=near)


@pytest.fixture
def damaged(photos, tmp_path):
    """Thirty photos of which four are damaged behind their headers."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    sources = sorted(photos.iterdir())
    for i in range(30):
        shutil.copy(sources[i % 8], folder / f"{i:02d}{sources[i % 8].suffix}")
    for i in (3, 10, 17, 24):
        (bad,) = folder.glob(f"{i:02d}.*")
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size * 2 // 3])
    return folder


@pytest.mark.slow
def test_bad_photos_are_listed_once_and_too_many_stop_both_with_the_state_saved(
    recipe, write_recipe, damaged, tmp_path
):
    recipe["images"] = {"paths": [str(damaged)], "max_skipped": 0.5}
    recipe["optim"]["steps"] = 12
    done = distill(tmp_path, write_recipe(recipe), "--processes", 2, "--out", "run")
    assert done.returncode == 0, done.stderr
    listed = [json.loads(line)["photo"] for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert len(listed) == len(set(listed)) == 4
    recipe["images"]["max_skipped"] = 0.05
    done = distill(tmp_path, write_recipe(recipe), "--processes", 2, "--out", "strict")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("photos cannot be read, more than images.max_skipped") == 1
    assert "Traceback" not in done.stderr and "bug" not in done.stderr
    assert (tmp_path / "strict" / "checkpoints" / "last.pt").exists()


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_other_and_the_run_resumes(recipe, write_recipe, tmp_path, rank):
    recipe["optim"] |= {"steps": 300, "checkpoint_every": 2}
    path = write_recipe(recipe)
    process = distill(tmp_path, path, "--processes", 2, "--out", "run", wait=False)
    wait_for_lines(process, tmp_path / "run", 3)
    ranks = children(process)
    os.kill(ranks[rank], signal.SIGKILL)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode == 1
    assert f"Process {rank + 1} of 2 was killed (SIGKILL)" in " ".join(said.split())
    assert "Traceback" not in said and "This is a bug" not in said
    assert all(not Path(f"/proc/{pid}").exists() for pid in ranks)
    if rank == 1:
        return
    reached = lines(tmp_path / "run")[-1]["step"]
    more = distill(tmp_path, path, "--out", "run", "--resume", "--processes", 2, wait=False)
    wait_for_lines(more, tmp_path / "run", reached + 3)
    more.send_signal(signal.SIGTERM)
    _, said = more.communicate(timeout=60)
    assert more.returncode == 143, said
    assert said.count("the state is saved") == 1


@pytest.mark.slow
def test_a_process_that_the_system_stops_ends_the_other(recipe, write_recipe, tmp_path):
    recipe["optim"]["steps"] = 1000
    process = distill(tmp_path, write_recipe(recipe), "--processes", 2, "--out", "run", wait=False)
    wait_for_lines(process, tmp_path / "run", 3)
    ranks = children(process)
    os.kill(ranks[1], signal.SIGSTOP)
    began = time.monotonic()
    _, said = process.communicate(timeout=90)
    assert STILL <= time.monotonic() - began < STILL + GRACE + 15
    assert process.returncode == 1
    assert "Process 2 of 2 was stopped by the system and did not continue." in " ".join(said.split())
    assert "Traceback" not in said and "This is a bug" not in said
    assert all(not Path(f"/proc/{pid}").exists() for pid in ranks)


@pytest.mark.slow
def test_a_killed_sharded_run_resumes_sharded_then_whole_then_sharded(recipe, write_recipe, tmp_path):
    recipe["optim"] |= {"steps": 1000, "checkpoint_every": 2}
    recipe |= {"eval": {"scenes": 2, "every": 3}, "log": {"samples": 1, "samples_every": 2, "tensorboard": False}}
    path, run = write_recipe(recipe), tmp_path / "run"
    sharded = ("--processes", 2, "--set", "student.sharded=true")
    process = distill(tmp_path, path, *sharded, "--out", "run", wait=False)
    wait_for_lines(process, run, 4)
    os.kill(children(process)[1], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Process 2 of 2 was killed (SIGKILL)" in " ".join(said.split())) == (1, True)
    assert "Traceback" not in said and "This is a bug" not in said
    for arguments in (sharded, (), sharded):
        reached = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["step"]
        more = distill(tmp_path, path, *arguments, "--out", "run", "--resume", wait=False)
        wait_for_lines(more, run, reached + 3)
        more.send_signal(signal.SIGINT)
        _, said = more.communicate(timeout=60)
        assert more.returncode == 130, said
        steps = [row["step"] for row in lines(run)]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= reached + 3
        assert all(row["loss"] is not None and "skipped" not in row for row in lines(run))
    assert all(v.isfinite().all() for v in load_file(run / "student.safetensors").values())


@pytest.mark.slow
def test_a_stop_is_agreed_and_another_number_of_processes_continues(recipe, write_recipe, tmp_path):
    recipe["optim"]["steps"] = 300
    path = write_recipe(recipe)
    process = distill(tmp_path, path, "--processes", 2, "--out", "run", wait=False)
    wait_for_lines(process, tmp_path / "run", 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    stopped = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert stopped["world"] == 2
    assert stopped["step"] == len(lines(tmp_path / "run"))
    more = distill(tmp_path, path, "--out", "run", "--resume", wait=False)
    wait_for_lines(more, tmp_path / "run", stopped["step"] + 2)
    more.send_signal(signal.SIGINT)
    _, said = more.communicate(timeout=60)
    assert more.returncode == 130
    assert "not bit for bit the same" in " ".join(said.split())
    assert [row["step"] for row in lines(tmp_path / "run")] == list(range(1, len(lines(tmp_path / "run")) + 1))
    assert all(v.isfinite().all() for v in load_file(tmp_path / "run" / "student.safetensors").values())


def test_what_is_wrong_is_said_once(recipe, write_recipe, tmp_path):
    path = write_recipe(recipe)
    done = distill(tmp_path, path, "--processes", 3)
    assert (done.returncode, "cannot be shared by 3 processes" in done.stderr) == (2, True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    done = distill(tmp_path, path, "--processes", 2, "--out", "run")
    assert done.returncode == 2
    assert done.stderr.count("is not empty and holds no run") == 1
    assert "Process 2" not in done.stderr and "Traceback" not in done.stderr
