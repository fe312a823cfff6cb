"""Every file of what ccd leaves, damaged: the command again makes the same results, or says plainly what is wrong.

A run, a killed run, labels, predictions and a downloaded teacher are made once. Then one file after the other is cut off, emptied,
set to zeros, or one bit of it is flipped, and the command that made them runs again. By default a few of these; all of them, with
the table of docs/robustness.md, by: python -m pytest -n 0 -s -m slow tests/integration/test_damage.py
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from ccd_cli.cli.main import cli
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.keys import published_name
from tests.hub import Repo, running
from tests.tiny import tiny_values
from tests.tiny_labels import content, recipe_values

SEED = 20261128
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": lambda whole, rng: whole[: rng.randrange(1, max(2, len(whole)))],
    "emptied": lambda whole, rng: b"",
    "zeroed": lambda whole, rng: bytes(len(whole)),
    "one bit flipped": lambda whole, rng: flipped(whole, rng.randrange(8 * len(whole))),
}
FLIPS = 2
"""Flipped bits tried for each file when all is tried."""
PHOTOS = ("photos/0.jpg", "photos/1.png")
TABLE: Counter[tuple[str, str, str]] = Counter()


def flipped(whole: bytes, bit: int) -> bytes:
    return whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]


@dataclass
class Left:
    """What a command left in `folder`: `again` is the command, `results` reads what must be the same after it."""

    name: str
    folder: Path
    again: tuple[str, ...]
    results: Callable[[], Any]
    ignored: tuple[str, ...] = ()


def call(*args: str) -> Any:
    return CliRunner().invoke(cli, list(args))


def check(left: Left, expected: Any, file: Path, damage: str, rng: random.Random) -> str:
    """Damage one file, run the command again and return what it did: "same results" or "refused"."""
    path = left.folder / file
    whole = path.read_bytes()
    broken = DAMAGES[damage](whole, rng)
    if broken == whole:
        return "nothing to damage"
    path.write_bytes(broken)
    result = call(*left.again)
    told = f"{left.name}, {file} {damage}: exit {result.exit_code}\n{result.output}"
    assert result.exception is None or isinstance(result.exception, SystemExit), f"{told}{result.exception!r}"
    assert "Traceback" not in result.output, told
    assert result.exit_code in (0, 1, 2), told
    if result.exit_code:
        assert any(words in result.output for words in ("error: ", "warning: failed: ", "inputs failed")), told
        return "refused"
    assert left.results() == expected, f"exit 0 with another result: {told}"
    return "same results"


def campaign(left: Left, tries: list[tuple[str, str, int]] | None = None) -> None:
    """Try `tries` (file, damage, seed), else every file with every damage, each on a fresh copy."""
    safe = left.folder.with_name(left.folder.name + "-whole")
    shutil.copytree(left.folder, safe)
    try:
        result = call(*left.again)
        assert result.exit_code == 0, result.output
        expected = left.results()
        if tries is None:
            tries = [
                (str(file), damage, number)
                for file in left_files(safe, left.ignored)
                for damage in DAMAGES
                for number in range(FLIPS if damage == "one bit flipped" else 1)
            ]
        for file, damage, number in tries:
            fresh(safe, left.folder)
            did = check(left, expected, Path(file), damage, random.Random(f"{SEED} {file} {damage} {number}"))
            TABLE[left.name, damage, did] += 1
    finally:
        fresh(safe, left.folder)
        shutil.rmtree(safe)


def left_files(folder: Path, ignored: tuple[str, ...]) -> list[Path]:
    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.name not in (".lock", *ignored)]


def fresh(safe: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(safe, folder)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Print what was tried."""
    yield
    if not TABLE:
        return
    print("\n\n| what | damage | tries | same results | refused | wrong |\n|---|---|---|---|---|---|")
    for name, damage in sorted({key[:2] for key in TABLE}):
        same, refused = TABLE[name, damage, "same results"], TABLE[name, damage, "refused"]
        print(f"| {name} | {damage} | {same + refused} | {same} | {refused} | 0 |")


@pytest.fixture(scope="module")
def place(tmp_path_factory, photos) -> Iterator[Path]:
    """A folder to work in, with two photos."""
    folder = tmp_path_factory.mktemp("damage")
    (folder / "photos").mkdir()
    for name in ("0.jpg", "1.png"):
        shutil.copy2(photos / name, folder / "photos")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("CCD_HOME", str(folder / "home"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield folder
    patch.undo()


def of_run(folder: Path) -> dict[str, Any]:
    """What a run must leave whenever it is made: timings aside."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second")
    names = ("recipe.yaml", "student.safetensors", "eval.json", "card.md", "skipped.jsonl")
    return {"metrics": lines, **{name: (folder / name).read_bytes() for name in names if (folder / name).exists()}}


@pytest.fixture(scope="module")
def recipe(place, photos, make_teacher) -> Path:
    """A recipe with a photo that cannot be read, and scenes to score on: the best student is not the last."""
    values = tiny_values(photos, make_teacher)
    (place / "broken").mkdir()
    (place / "broken" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    values["images"] = {"paths": [str(photos), str(place / "broken")], "max_skipped": 0.5}
    values["optim"]["steps"] = 8
    values["optim"]["checkpoint_every"] = 3
    values["eval"] = {"scenes": 2, "every": 2, "compare": False}
    path = place / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def finished(place, recipe) -> Left:
    again = ("distill", str(recipe), "--out", "finished", "--threads", "1", "--device", "cpu")
    made = call(*again)
    assert made.exit_code == 0, made.output
    folder = place / "finished"
    return Left("finished run", folder, (*again, "--resume"), lambda: of_run(folder), ("last.pt",))


@pytest.fixture(scope="module")
def killed(place, recipe) -> Left:
    folder, args = place / "killed", ("distill", str(recipe), "--out", "killed", "--threads", "1", "--device", "cpu")
    command = [sys.executable, "-m", "ccd_cli", *args]
    process = subprocess.Popen(command, cwd=place, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        metrics = folder / "metrics.jsonl"
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert (folder / "checkpoints" / "last.pt").exists(), output
    assert not (folder / "card.md").exists(), output
    return Left("killed run", folder, (*args, "--resume"), lambda: of_run(folder))


@pytest.fixture(scope="module")
def predicted(place) -> Left:
    writer = cv2.VideoWriter(str(place / "photos" / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for number in range(4):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8) + np.arange(64, dtype=np.uint8)[None, :, None])
    writer.release()
    folder = place / "out"
    again = ("predict", "photos", "--model", "builtin:tiny", "--out", "out", "--resolution", "64", "--device", "cpu")
    again += ("--save", "npy,npz,png16,exr,color,side", "--pointcloud", "--preview", "--every", "2", "--threads", "1")
    made = call(*again)
    assert made.exit_code == 0, made.output

    def results() -> dict[str, Any]:
        return {str(path): meaning(folder / path) for path in left_files(folder, ())}

    return Left("prediction", folder, again, results)


def meaning(path: Path) -> Any:
    """The content of a result: of containers with a time in them, what they hold."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tobytes() for name in file.files}
    if path.suffix == ".json":
        side = json.loads(path.read_text())
        for name in ("seal", "checksums"):
            assert side.pop(name)
        return side
    return path.read_bytes()


def used(place, save: str) -> Left:
    """Maps of `ccd predict` of one kind of file, and `ccd pointcloud` that makes clouds of them."""
    made = call("predict", *PHOTOS, "--model", "builtin:tiny", "--out", save, "--resolution", "64", "--save", save)
    assert made.exit_code == 0, made.output
    again = ("pointcloud", *PHOTOS, "--depth", save, "--fov", "60", "--out", "clouds", "--no-preview")

    def results() -> dict[str, bytes]:
        return {name: (place / "clouds" / f"{name}.ply").read_bytes() for name in "01"}

    return Left("maps as input", place / save, again, results)


@pytest.mark.parametrize("save", ["npy", "npz", "png16"])
def test_every_map_that_makes_a_cloud(place, save):
    campaign(used(place, save))


def test_a_few_of_a_finished_run(finished):
    campaign(finished, [("student.safetensors", "one bit flipped", 0), ("metrics.jsonl", "emptied", 0)])


@pytest.mark.slow
def test_a_few_of_a_killed_run(killed):
    tries = [
        ("checkpoints/last.pt", "one bit flipped", 0),
        ("metrics.jsonl", "truncated", 0),
        ("recipe.yaml", "emptied", 0),
    ]
    campaign(killed, tries)


def test_a_few_of_a_prediction(predicted):
    tries = [
        ("0.npy", "zeroed", 0),
        ("0.depth.png", "truncated", 0),
        ("1.json", "one bit flipped", 0),
        ("clip/000002.npy", "one bit flipped", 0),
        ("clip.color.mp4", "emptied", 0),
        ("0.ply", "one bit flipped", 0),
    ]
    campaign(predicted, tries)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_a_finished_run(finished):
    campaign(finished)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_a_killed_run(killed):
    campaign(killed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_a_prediction(predicted):
    campaign(predicted)


def of_maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


def test_a_student_that_a_run_did_not_leave_predicts_nothing(finished, place):
    """Also a whole file of another model in its place."""
    whole = finished.folder / "student.safetensors"
    kept = whole.read_bytes()
    again = ("predict", "photos/0.jpg", "--model", "finished", "--out", "of-student", "--device", "cpu")
    try:
        for broken in (flipped(kept, 4 * len(kept)), bytes(len(kept)), kept[:-1], b""):
            whole.write_bytes(broken)
            result = call(*again)
            assert (result.exit_code, "error: " in result.output) == (1, True), result.output
        shutil.copy(
            next(Path(t["model"]) for t in yaml.safe_load((place / "recipe.yaml").read_text())["teachers"]), whole
        )
        result = call(*again)
        assert result.exit_code == 1, result.output
        assert "not what the run left" in result.output
        assert "--resume" in result.output
        whole.unlink()
        assert call(*again).exit_code == 1
    finally:
        whole.write_bytes(kept)


@pytest.mark.parametrize("name", ["metrics.jsonl", "eval.json", "student.safetensors", "recipe.yaml", "run.json"])
def test_a_damaged_run_is_not_summed_up(finished, killed, name):
    """`ccd inspect` tells the same, or what is wrong; of a killed run, what no kill leaves (its lines are checked on resume)."""
    for left in (finished, killed):
        path = left.folder / name
        if not path.exists():
            continue
        kept, whole = path.read_bytes(), call("inspect", str(left.folder), "--out", "page", "--json")
        assert whole.exit_code == 0, whole.output
        try:
            for damage, change in DAMAGES.items():
                path.write_bytes(change(kept, random.Random(SEED)))
                result = call("inspect", str(left.folder), "--out", "page", "--json")
                assert result.exception is None or isinstance(result.exception, SystemExit), (damage, result.exception)
                if left is finished or (damage in ("emptied", "zeroed") and name != "student.safetensors"):
                    assert result.exit_code in (1, 2) or result.output == whole.output, (left.name, name, damage)
        finally:
            path.write_bytes(kept)


MODEL, REPO = "depth-anything-v2-small", "depth-anything/Depth-Anything-V2-Small"


@pytest.fixture(scope="module")
def teacher(place, tmp_path_factory) -> Iterator[tuple[Left, Callable[..., Any]]]:
    """A downloaded teacher with random weights, what it predicts, and `ccd teachers ...` where its hub is reached."""
    torch.manual_seed(0)
    net = DepthNet(get_arch(MODEL))
    file = tmp_path_factory.mktemp("hub") / "depth_anything_v2_vits.pth"
    torch.save({published_name(n, "depth-anything"): t.half() for n, t in net.state_dict().items()}, file)
    folder = place / "home" / "teachers"
    with running() as hub:
        hub.repos[REPO] = Repo({file.name: file.read_bytes()})
        online = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(place / "hf"), "NO_PROXY": "*"}

        def teachers(*args: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "ccd_cli", "teachers", *args]
            return subprocess.run(command, env={**os.environ, **online}, capture_output=True, text=True, timeout=120)

        made = next((done for done in (teachers("pull", MODEL) for _ in range(5)) if done.returncode == 0), None)
        assert made is not None, "a busy machine answers late, but not five times"
        again = ("predict", "photos/0.jpg", "--out", "by-teacher", "--resolution", "28", "--save", "npy", "--overwrite")
        again += ("--device", "cpu", "--offline", "--threads", "1")
        yield Left("downloaded teacher", folder, again, lambda: of_maps(place / "by-teacher")), teachers


def test_a_few_of_a_teacher(teacher, place):
    """Without --model, too, no other model takes its place; and pulling again repairs it."""
    left, teachers = teacher
    weights = f"{MODEL}/depth_anything_v2_vits.pth"
    campaign(left, [(weights, "one bit flipped", 0), (weights, "truncated", 0), ("lock.json", "zeroed", 0)])
    whole = (left.folder / weights).read_bytes()
    for broken in (flipped(whole, 4 * len(whole)), whole[:-5], b""):
        (left.folder / weights).write_bytes(broken)
        result = call(*left.again)
        assert result.exit_code == 1, result.output
        assert f"ccd teachers pull {MODEL}" in result.output
        made = teachers("verify")
        assert made.returncode == 1, made.stderr
    made = teachers("pull", MODEL)
    assert made.returncode == 0, made.stderr
    assert (left.folder / weights).read_bytes() == whole
    assert call(*left.again).exit_code == 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_a_teacher(teacher):
    campaign(teacher[0])


@pytest.fixture(scope="module")
def labels(place, photos, make_teacher) -> Left:
    path = place / "label.yaml"
    path.write_text(yaml.safe_dump(recipe_values(photos, make_teacher)))
    again = ("label", str(path), "--out", "labels", "--device", "cpu", "--threads", "1")
    made = call(*again)
    assert made.exit_code == 0, made.output
    folder = place / "labels"
    return Left("labels", folder, again, lambda: content(folder))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_file_of_labels(labels):
    campaign(labels)
