"""`ccd distill` from outside: the run folder, kills, signals, resume, guards and bad inputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from ccd_cli.config.settings import DistillSettings
from tests.tiny import tiny_values


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def split(changes: str) -> list[str]:
    """Split "a={b: c} d=e" into its overrides."""
    return re.split(r" (?=[a-z.]+=)", changes)


def same_weights(a: Path, b: Path) -> bool:
    """Whether two runs left the same student; of equal runs the files are equal byte for byte."""
    x, y = load_file(a / "student.safetensors"), load_file(b / "student.safetensors")
    equal = x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)
    assert not equal or (a / "student.safetensors").read_bytes() == (b / "student.safetensors").read_bytes()
    return equal


def start(tmp_path, *args):
    env = {**os.environ, "CCD_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ccd_cli", "distill", *args],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_lines(process, folder: Path, count: int) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        metrics = folder / "metrics.jsonl"
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.02)
    pytest.fail(f"no {count} lines of metrics: {process.communicate(timeout=60)[0]}")


@pytest.fixture(scope="module")
def undisturbed(photos, make_teacher, tmp_path_factory):
    """A run that nothing disturbed: its recipe and folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tiny_values(photos, make_teacher)))
    process = start(folder, "recipe.yaml", "--out", "whole", "--threads", "1")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return folder


@pytest.fixture
def whole(undisturbed, tmp_path):
    """A copy of that run's recipe and folder."""
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "recipe.yaml", tmp_path / "whole"


def test_run_folder_holds_what_the_contract_says(whole, tiny_recipe):
    _, folder = whole
    for name in (
        "recipe.yaml",
        "student.safetensors",
        "checkpoints/last.pt",
        "metrics.jsonl",
        "card.md",
        "eval.json",
        "plots/loss.png",
        "plots/drift.png",
        "plots/samples.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    rows = lines(folder)
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row in rows:
        assert {"loss", "shared", "local_global", "gradient", "drift", "lr", "teacher", "images_per_second"} <= set(row)
        assert row["teacher"] in ("first", "second")
        assert np.isfinite(row["loss"])
    assert len({row["teacher"] for row in rows}) == 2
    with safe_open(folder / "student.safetensors", "pt") as file:
        facts = file.metadata()
    assert (facts["kind"], facts["resolution"], facts["license"], facts["step"]) == ("disparity", "64", "MIT", "12")
    assert facts["teachers"].count("=") == 2
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["optim"]["steps"] == 12
    picture = cv2.imread(str(folder / "plots" / "samples.png"))
    assert picture.shape[1] > picture.shape[0] > 100
    assert "MIT" in (folder / "card.md").read_text()


# before the first saved state, and after it
@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_killed_at_any_step_and_resumed_gives_the_same_bits(whole, ccd, ccd_here, tmp_path, step):
    recipe, folder = whole
    process = start(tmp_path, str(recipe), "--out", "cut", "--threads", "1")
    wait_for_lines(process, tmp_path / "cut", step)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = (tmp_path / "cut" / "metrics.jsonl").read_bytes().split(b"\n")[:5]
    assert not (tmp_path / "cut" / "card.md").exists()
    asked = ccd_here("distill", str(recipe), "--out", "cut")
    assert asked.exit_code == 2
    assert "--resume" in asked.stderr
    if step == 2:  # no state yet: nothing to take a thread count from
        done = ccd("distill", str(recipe), "--out", "cut", "--resume", "--threads", "1")
    else:  # the state's thread count is taken up
        done = ccd("distill", str(recipe), "--out", "cut", "--resume", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert same_weights(folder, tmp_path / "cut")
    assert [row["step"] for row in lines(tmp_path / "cut")] == list(range(1, 13))
    if step == 7:
        assert (tmp_path / "cut" / "metrics.jsonl").read_bytes().split(b"\n")[:5] == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_signals_save_and_say_how_to_go_on(tiny_recipe, write_recipe, tmp_path, number, code):
    tiny_recipe["optim"]["steps"] = 400
    tiny_recipe["optim"]["checkpoint_every"] = 1000
    recipe = write_recipe(tiny_recipe)
    process = start(tmp_path, str(recipe), "--out", "run")
    wait_for_lines(process, tmp_path / "run", 3)
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == code, output
    assert "--resume" in output
    assert "Traceback" not in output
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert state["step"] == len(lines(tmp_path / "run")) >= 3


def test_a_changed_recipe_and_a_finished_run_are_not_continued(whole, ccd_here, tmp_path):
    recipe, folder = whole
    changed = ccd_here("distill", str(recipe), "--out", "whole", "--resume", "--set", "optim.lr=0.5")
    assert changed.exit_code == 2
    assert "optim.lr: 0.001 then, 0.5 now" in changed.stderr
    before = (folder / "student.safetensors").read_bytes()
    assert ccd_here("distill", str(recipe), "--out", "whole").exit_code == 2
    assert (folder / "student.safetensors").read_bytes() == before
    again = ccd_here("distill", str(recipe), "--out", "whole", "--resume")
    assert again.exit_code == 0, again.stderr
    assert "finished" in again.stderr
    assert (folder / "student.safetensors").read_bytes() == before
    anew = ccd_here("distill", str(recipe), "--out", "whole", "--overwrite", "--set", "optim.steps=2")
    assert anew.exit_code == 0, anew.stderr
    assert len(lines(folder)) == 2


def test_unreadable_photos_are_listed_and_too_many_stop_the_run(tiny_recipe, write_recipe, ccd_here, tmp_path, photos):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for photo in photos.iterdir():
        (mixed / photo.name).write_bytes(photo.read_bytes())
    (mixed / "text.png").write_text("no image")
    (mixed / "cut.jpg").write_bytes((photos / "0.jpg").read_bytes()[:700])
    tiny_recipe["images"] = {"paths": [str(mixed)], "max_skipped": 0.3}
    recipe = write_recipe(tiny_recipe)
    done = ccd_here("distill", str(recipe), "--out", "a")
    assert done.exit_code == 0, done.stderr
    listed = {
        Path(json.loads(line)["photo"]).name for line in (tmp_path / "a" / "skipped.jsonl").read_text().splitlines()
    }
    assert listed == {"text.png", "cut.jpg"}
    assert "2 images could not be read" in done.stderr
    stopped = ccd_here("distill", str(recipe), "--out", "b", "--set", "images.max_skipped=0.05")
    assert stopped.exit_code == 1
    assert "max_skipped" in stopped.stderr


def test_bad_inputs_are_one_line_before_any_time_is_spent(tiny_recipe, write_recipe, ccd_here, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "evil.pth").write_bytes(b"\x80\x04junk")
    recipe = write_recipe(tiny_recipe)
    cases = {
        "images=empty": (1, "no photos"),
        "images=missing": (1, "does not exist"),
        "teachers=[depth-anything-v2-smal]": (2, "depth-anything-v2-small"),
        "teachers=[depth-anything-v2-small]": (1, "not on this machine"),
        "teachers=[marigold-lcm]": (1, "marigold-lcm"),
        "teachers=[evil.pth]": (1, "evil.pth"),
        "student={arch: depth-anything-v2-metric-indoor-small, init: scratch}": (2, "metric"),
        "student={arch: depth-anything-v2-small} crops.size=70": (1, "not on this machine"),
        "student={arch: timm, encoder: no_such_net, init: scratch}": (2, "no_such_net"),
        "crops.size=70": (2, "multiple of 32"),
        "eval.pairs=missing.yaml": (2, "missing.yaml"),
        "mixing=mean": (2, "mixing"),
    }
    for change, (code, words) in cases.items():
        done = ccd_here(
            "distill", recipe, "--out", "run", *(part for text in split(change) for part in ("--set", text))
        )
        assert done.exit_code == code, (change, done.stderr)
        assert words in done.stderr, (change, done.stderr)
        assert "Traceback" not in done.stderr
        assert len([line for line in done.stderr.splitlines() if "error:" in line or "problem" in line]) == 1, (
            done.stderr
        )
        assert not (tmp_path / "run" / "recipe.yaml").exists(), change


def test_affine_depth_needs_a_reference(tiny_recipe, write_recipe, ccd_here, make_teacher):
    affine, depth = make_teacher("affine", 3, "affine-depth"), make_teacher("depth", 4, "depth")
    tiny_recipe["teachers"] = [str(make_teacher("first", 1)), str(affine)]
    refused = ccd_here("distill", str(write_recipe(tiny_recipe)), "--out", "a")
    assert refused.exit_code == 1
    assert "affine depth" in refused.stderr
    tiny_recipe["teachers"] = [str(depth), str(affine)]
    tiny_recipe["optim"]["steps"] = 4
    done = ccd_here("distill", str(write_recipe(tiny_recipe)), "--out", "b")
    assert done.exit_code == 0, done.stderr


def test_a_full_disk_is_one_line_and_leaves_finished_work(tiny_recipe, write_recipe, tmp_path, monkeypatch):
    """The state of step 5 is written, that of step 10 meets a full disk: it stays, and the run says so and goes on later."""
    from ccd_cli.config.load import load_recipe
    from ccd_cli.core.errors import CcdError
    from ccd_cli.core.report import Silent
    from ccd_cli.distill import checkpoint
    from ccd_cli.distill import train as distill

    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(str(write_recipe(tiny_recipe)))
    real, written = torch.save, []

    def full(state, path):
        written.append(state["step"])
        if len(written) == 2:
            Path(path).write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")
        real(state, path)

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(CcdError, match="No space left"):
        distill.run(recipe, DistillSettings(out="run"), Silent())
    assert torch.load("run/checkpoints/last.pt", weights_only=True)["step"] == 5
    assert sorted(p.name for p in Path("run/checkpoints").iterdir()) == ["last.pt"]
    done = distill.run(recipe, DistillSettings(out="run", resume=True), Silent())
    assert done.steps == 12
    assert [row["step"] for row in lines(tmp_path / "run")] == list(range(1, 13))


def test_losses_that_are_not_finite_are_skipped_counted_and_stop_the_run(
    tiny_recipe, write_recipe, tmp_path, monkeypatch
):
    from ccd_cli.config.load import load_recipe
    from ccd_cli.core.errors import TrainingStopped
    from ccd_cli.core.report import Silent
    from ccd_cli.distill import train as distill

    monkeypatch.chdir(tmp_path)
    tiny_recipe["guards"] = {"nonfinite_limit": 3}
    recipe = load_recipe(str(write_recipe(tiny_recipe)))
    real, calls = distill.distillation_loss, []

    def spoiled(*arguments):
        parts = real(*arguments)
        calls.append(1)
        if len(calls) in (2, 3) or len(calls) > 6:
            parts["loss"] = parts["loss"] * float("nan")
        return parts

    monkeypatch.setattr(distill, "distillation_loss", spoiled)
    with pytest.raises(TrainingStopped, match="3 steps in a row"):
        distill.run(recipe, DistillSettings(out="run"), Silent())
    rows = lines(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert [row["step"] for row in rows if row.get("skipped")] == [2, 3, 7, 8, 9]
    assert rows[1]["loss"] is None
    state = torch.load("run/checkpoints/last.pt", weights_only=True)
    assert state["step"] == 9
    assert all(torch.isfinite(t).all() for t in state["student"].values())
    counts = [int(v) for k, v in state["student"].items() if k.endswith("num_batches_tracked")]
    assert counts
    assert set(counts) == {4}  # the statistics of skipped steps are not kept either


def test_the_drift_guard_stops_a_runaway_student(tiny_recipe, write_recipe, ccd_here, tmp_path):
    tiny_recipe["guards"] = {"drift_limit": 0.05, "drift_window": 2}
    tiny_recipe["optim"].update(steps=60, lr=0.02, encoder_lr=0.02)
    done = ccd_here("distill", str(write_recipe(tiny_recipe)), "--out", "run")
    assert done.exit_code == 1, done.stderr
    assert "scale" in done.stderr
    assert "loss.anchor.weight" in done.stderr
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_scores_on_pairs_keep_the_best_student(tiny_recipe, write_recipe, ccd_here, tmp_path, photos):
    ground_truth = tmp_path / "truth"
    ground_truth.mkdir()
    for photo in sorted(photos.glob("*.png")):
        image = cv2.imread(str(photo))
        (ground_truth / photo.name).write_bytes(photo.read_bytes())
        ramp = np.linspace(8, 1, image.shape[0], dtype=np.float32)[:, None].repeat(image.shape[1], 1)
        np.save(ground_truth / f"{photo.stem}.npy", ramp)
    (tmp_path / "pairs.yaml").write_text(
        yaml.safe_dump({"name": "ramps", "root": "truth", "image": "*.png", "depth": "*.npy"})
    )
    tiny_recipe["eval"] = {"pairs": "pairs.yaml", "every": 4}
    done = ccd_here("distill", str(write_recipe(tiny_recipe)), "--out", "run")
    assert done.exit_code == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert [h["step"] for h in scores["history"]] == [4, 8, 12]
    best = min(scores["history"], key=lambda h: h["abs_rel"])
    assert scores["best"] == best
    with safe_open(tmp_path / "run" / "student.safetensors", "pt") as file:
        assert file.metadata()["step"] == str(int(best["step"]))
    assert "ramps" in (tmp_path / "run" / "card.md").read_text()


def test_a_bad_pair_is_left_out_and_no_good_pair_is_an_error(tiny_recipe, write_recipe, tmp_path, monkeypatch, photos):
    from ccd_cli.config.load import load_recipe
    from ccd_cli.core.errors import UsageProblem
    from ccd_cli.core.report import Silent
    from ccd_cli.distill import train as distill

    monkeypatch.chdir(tmp_path)
    for name, size in (("1", (50, 72)), ("3", (60, 66))):  # half the size of the photos
        Path(f"{name}.png").write_bytes((photos / f"{name}.png").read_bytes())
        np.save(f"{name}.npy", np.zeros(size, np.float32) if name == "1" else np.random.rand(*size) + 1)
    Path("pairs.yaml").write_text(yaml.safe_dump({"name": "two", "image": "*.png", "depth": "*.npy"}))
    tiny_recipe["eval"] = {"pairs": "pairs.yaml", "every": 4, "compare": False}
    tiny_recipe["optim"]["steps"] = 4
    recipe = load_recipe(str(write_recipe(tiny_recipe)))
    assert distill.run(recipe, DistillSettings(out="run"), Silent()).scores["images"] == 1
    np.save("3.npy", np.zeros((60, 66), np.float32))
    with pytest.raises(UsageProblem, match=r"eval\.pairs: two: no pair of the 2 looked at .* left to score"):
        distill.run(recipe, DistillSettings(out="other"), Silent())


def test_weights_that_changed_or_would_be_written_over_are_refused(
    whole, tiny_recipe, write_recipe, ccd_here, tmp_path
):
    _, folder = whole
    tiny_recipe["teachers"] = [str(folder)]
    tiny_recipe["optim"].update(steps=6, checkpoint_every=2)
    recipe = write_recipe(tiny_recipe, "next.yaml")
    own = ccd_here("distill", recipe, "--out", folder, "--overwrite")
    assert own.exit_code == 2
    assert "own folder" in own.stderr
    assert (folder / "card.md").exists()
    assert ccd_here("distill", recipe, "--out", "next").exit_code == 0
    (tmp_path / "next" / "card.md").unlink()
    other = load_file(folder / "student.safetensors")
    from ccd_cli.models.arch import arch_from_json
    from ccd_cli.models.checkpoint import read_metadata, save_model

    facts = read_metadata(folder / "student.safetensors")
    changed = {k: v * 0.5 if v.is_floating_point() else v for k, v in other.items()}
    save_model(folder / "student.safetensors", changed, arch_from_json(facts.pop("ccd_arch")), facts)
    damaged = ccd_here("distill", recipe, "--out", "next", "--resume")
    assert damaged.exit_code == 1 and "student.safetensors" in damaged.stderr, "not the file that the run recorded"
    (folder / "run.json").unlink()
    refused = ccd_here("distill", recipe, "--out", "next", "--resume")
    assert refused.exit_code == 2
    assert "Weights have changed" in refused.stderr


def test_a_frozen_encoder_does_not_move(tiny_recipe, write_recipe, tmp_path, monkeypatch, make_teacher):
    from ccd_cli.config.load import load_recipe
    from ccd_cli.core.report import Silent
    from ccd_cli.distill import train as distill

    monkeypatch.chdir(tmp_path)
    weights = make_teacher("first", 1)
    tiny_recipe["student"] |= {"init": "pretrained", "weights": str(weights), "freeze_encoder": True}
    tiny_recipe["optim"] |= {"steps": 3, "ema": 0.0}
    distill.run(load_recipe(str(write_recipe(tiny_recipe))), DistillSettings(out="run"), Silent())
    before, after = load_file(weights), load_file("run/student.safetensors")
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("encoder."))
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("head."))


@pytest.mark.slow  # by torchrun; test_processes.py has the same by --processes
def test_two_processes_share_a_run(tiny_recipe, write_recipe, tmp_path):
    tiny_recipe["optim"].update(steps=4, checkpoint_every=2)
    recipe = write_recipe(tiny_recipe)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",  # a free port
        "--nproc-per-node",
        "2",
        "-m",
        "ccd_cli",
    ]
    done = subprocess.run(
        [*command, "distill", str(recipe), "--out", "run", "--device", "cpu", "--threads", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [row["step"] for row in lines(tmp_path / "run")] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "card.md").exists()


def test_a_student_may_teach(whole, tiny_recipe, write_recipe, ccd_here, tmp_path):
    _, folder = whole
    tiny_recipe["teachers"] = [str(folder)]
    tiny_recipe["student"]["init"] = "pretrained"
    tiny_recipe["student"]["weights"] = str(folder)
    tiny_recipe["optim"]["steps"] = 3
    done = ccd_here("distill", str(write_recipe(tiny_recipe, "next.yaml")), "--out", "next")
    assert done.exit_code == 0, done.stderr
    assert "| whole |" in (tmp_path / "next" / "card.md").read_text()
