"""Distillation from labels made earlier: the same first step as with live teachers, kills, shards of several processes."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from ccd_cli.labels.format import Index, to_json
from tests.tiny import tiny_values

LABELS = {
    "task": "label",
    "name": "tiny",
    "epochs": 2,
    "crops": {"size": 64, "min_side": 70, "patches": 2},
    "shard": 3,
    "threads": 1,
}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def command(folder: Path, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ccd_cli", *(str(a) for a in args), "--device", "cpu"],
        cwd=folder,
        env={**os.environ, "CCD_HOME": str(folder / "home"), "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def made(photos, make_teacher, tmp_path_factory):
    """A folder with labels of two passes by three teachers (one of affine depth), and the recipes of both ways to learn."""
    folder = tmp_path_factory.mktemp("from-labels")
    live = tiny_values(photos, make_teacher)
    live["teachers"] = [
        {"model": str(make_teacher("first", 1)), "weight": 0.4},
        {"model": str(make_teacher("far", 4, kind="metric")), "weight": 0.4},
        {"model": str(make_teacher("loose", 5, kind="affine-depth")), "weight": 0.2},
    ]
    live["loss"] = {"feature": {"weight": 0.0}}
    teachers = [{"model": entry["model"], "batch": 2} for entry in live["teachers"]]
    (folder / "label.yaml").write_text(yaml.safe_dump({**LABELS, "images": live["images"], "teachers": teachers}))
    process = command(folder, "label", "label.yaml", "--out", "labels")
    assert process.wait(timeout=300) == 0, process.stdout.read()
    late = {key: value for key, value in copy.deepcopy(live).items() if key not in ("images", "crops")}
    late["labels"] = "labels"
    (folder / "live.yaml").write_text(yaml.safe_dump(live))
    (folder / "late.yaml").write_text(yaml.safe_dump(late))
    process = command(folder, "distill", "late.yaml", "--out", "whole", "--threads", 1)
    assert process.wait(timeout=300) == 0, process.stdout.read()
    return folder


@pytest.fixture
def here(made, tmp_path):
    """A copy of that folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_the_first_pass_is_that_of_live_teachers(here, ccd_here):
    done = ccd_here("distill", "live.yaml", "--out", "live", "--threads", 1, "--set", "optim.steps=8")
    assert done.exit_code == 0, done.output
    live, late = lines(here / "live"), lines(here / "whole")
    assert [row["teacher"] for row in live] == [row["teacher"] for row in late[:8]]
    assert len({row["teacher"] for row in live}) == 3, "steps of every teacher, the fitted one too"
    first, other = live[0], late[0]
    for key in ("loss", "shared", "local_global", "gradient", "label_median", "label_mad", "student_mad"):
        assert other[key] == pytest.approx(first[key], rel=2e-4), key
    assert first["student_median"] == other["student_median"], "the same pixels, augmented the same way"
    for a, b in zip(live[1:], late[1:8], strict=True):  # two passes, every kind
        assert b["label_mad"] == pytest.approx(a["label_mad"], rel=5e-4)
        assert b["label_median"] == pytest.approx(a["label_median"], rel=5e-4)


def test_the_run_says_where_its_labels_come_from(here):
    card = (here / "whole" / "card.md").read_text()
    assert "first" in card and "affine-depth" in card and "MIT" in card
    with safe_open(here / "whole" / "student.safetensors", "pt") as file:
        facts = file.metadata()
    index = json.loads((here / "labels" / "index.json").read_text())
    assert facts["teachers"].split(";")[0] == f"first={index['teachers'][0]['checkpoint_sha256']}"
    recipe = yaml.safe_load((here / "whole" / "recipe.yaml").read_text())
    assert (recipe["crops"]["size"], recipe["crops"]["min_side"]) == (64, 70)
    assert (here / "whole" / "plots" / "samples.png").stat().st_size > 0


@pytest.mark.slow
def test_killed_and_resumed_it_gives_the_same_bits(here, ccd_here):
    process = command(here, "distill", "late.yaml", "--out", "cut", "--threads", 1)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        metrics = here / "cut" / "metrics.jsonl"
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= 7:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (here / "cut" / "card.md").exists()
    done = ccd_here("distill", "late.yaml", "--out", "cut", "--resume", "--threads", 1)
    assert done.exit_code == 0, done.output
    one, other = (load_file(here / name / "student.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert [row["step"] for row in lines(here / "cut")] == list(range(1, 13))


def test_other_labels_are_not_gone_on_with(here, ccd_here):
    done = ccd_here("distill", "late.yaml", "--out", "run", "--set", "optim.steps=2", "--threads", 1)
    assert done.exit_code == 0, done.output
    (here / "run" / "card.md").unlink()
    index = json.loads((here / "labels" / "index.json").read_text())
    index["ccd"] = "0.0.0"
    changed = Index.model_validate_json(json.dumps(index)).checked()
    (here / "labels" / "index.json").write_bytes(to_json(changed))
    done = ccd_here("distill", "late.yaml", "--out", "run", "--set", "optim.steps=2", "--resume", "--threads", 1)
    assert done.exit_code == 2
    assert "labels have changed" in done.output


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["teachers=[nobody]"], "have no teacher 'nobody'"),
        (["crops.size=32"], "other crops (crops.size: 64 there, 32 here)"),
        (["images=PHOTOS"], "not used with `labels`"),
        (["crops.region=own"], "`shared` crops"),
        (["labels=nowhere"], "holds no finished labels"),
        (["teachers=[{model: first, resolution: 32}]"], "is fixed by the precomputed labels"),
        (["teachers=[loose]"], "affine depth"),
    ],
)
def test_recipes_that_do_not_fit_the_labels(here, ccd_here, changes, words):
    done = ccd_here("distill", "late.yaml", "--out", "run", *(x for c in changes for x in ("--set", c)))
    assert done.exit_code in (1, 2), done.output
    assert words in done.output, done.output
    assert "Traceback" not in done.output
    assert not (here / "run").exists()


def test_a_run_does_not_go_where_labels_are(here, ccd_here):
    before = {path.name: path.read_bytes() for path in (here / "labels").iterdir() if path.is_file()}
    for more in ((), ("--overwrite",), ("--resume",)):
        done = ccd_here("distill", "late.yaml", "--out", "labels", *more)
        assert done.exit_code == 2, done.output
        assert "holds no run" in done.output
    assert {path.name: path.read_bytes() for path in (here / "labels").iterdir() if path.is_file()} == before


def test_damaged_labels_stop_before_the_first_step_or_with_one_line(here, ccd_here):
    shard = here / "labels" / "shard-000001.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    done = ccd_here("distill", "late.yaml", "--out", "run", "--threads", 1)
    assert done.exit_code == 1
    assert "shard-000001.tar" in done.output and "Traceback" not in done.output
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    shard.write_bytes(bytes(flipped))
    done = ccd_here("distill", "late.yaml", "--out", "other", "--threads", 1)
    assert done.exit_code == 1
    assert "is not the file that the index describes" in done.output and "Traceback" not in done.output
    assert not (here / "other" / "student.safetensors").exists()


def test_photos_that_are_gone_are_skipped_and_listed(here, ccd_here, photos):
    moved = here / "photos"
    shutil.copytree(photos, moved)
    label = yaml.safe_load((here / "label.yaml").read_text())
    label |= {"images": str(moved), "photos": "path"}
    (here / "label.yaml").write_text(yaml.safe_dump(label))
    assert ccd_here("label", "label.yaml", "--out", "paths", "--device", "cpu").exit_code == 0
    victims = sorted(moved.iterdir())[:2]
    victims[0].unlink()
    victims[1].write_bytes(victims[1].read_bytes()[:-1] + b"x")
    args = ("--set", "labels=paths", "--set", "optim.steps=4", "--threads", 1)
    done = ccd_here("distill", "late.yaml", "--out", "run", *args)
    assert done.exit_code == 1
    assert "images.max_skipped" in done.output
    done = ccd_here("distill", "late.yaml", "--out", "most", "--set", "images.max_skipped=0.2", *args)
    assert done.exit_code == 1, "two of eight images, however many epochs of crops they have"
    assert "2 of 8 photos" in done.output
    done = ccd_here("distill", "late.yaml", "--out", "again", "--set", "images.max_skipped=0.5", *args)
    assert done.exit_code == 0, done.output
    listed = [json.loads(line) for line in (here / "again" / "skipped.jsonl").read_text().splitlines()]
    assert {Path(row["photo"]).name for row in listed} == {victim.name for victim in victims}
    assert {row["reason"].split(": ")[1].split(" ")[0] for row in listed} == {"removed", "changed"}


@pytest.mark.slow
def test_two_processes_share_the_labels(here):
    environment = {**os.environ, "CCD_HOME": str(here / "home"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    rest = ["-m", "ccd_cli", "distill", "late.yaml", "--out", "two", "--device", "cpu", "--threads", "1"]
    done = subprocess.run([*run, *rest], cwd=here, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = lines(here / "whole"), lines(here / "two")
    assert two[0]["loss"] == pytest.approx(
        one[0]["loss"], rel=5e-2
    )  # halves of the batch, each with its own statistics
    assert [row["teacher"] for row in one] == [row["teacher"] for row in two]


def test_every_pass_has_every_sample_and_later_ones_another_order(here):
    from ccd_cli.data.augment import Augmentation
    from ccd_cli.data.views import ViewConfig
    from ccd_cli.labels.shards import ShardReader
    from ccd_cli.labels.stream import LabelChoice, LabelStream

    reader = ShardReader(here / "labels", 0, buffer=4)
    rule = ViewConfig(64, 70, 2, 0.5, 0.9, own_region=False, shared=True, local_global=True)
    quiet = Augmentation(0.0, 0.0, 0.0, 0.0)

    def passes(recorded: bool) -> list[list[tuple[str, bytes]]]:
        stream = LabelStream(reader, 0, recorded, rule, quiet, LabelChoice([0], lambda _: [0]), lambda *_: None)
        views = [stream[position] for position in range(48)]
        keys = [(view.path.name, view.boxes.tobytes()) for view in views]
        return [keys[i : i + 16] for i in (0, 16, 32)]

    first, second, third = passes(recorded=True)
    assert len(set(first)) == 16, "eight photos, two passes of crops"
    assert set(first) == set(second) == set(third)
    assert first != second != third
    shuffled = passes(recorded=False)
    assert shuffled[0] != first and shuffled[1:] == [second, third]
    laid = [sidecar.photo.path.rsplit("/", 1)[1] for sidecar, _ in reader.sidecars()]
    assert [name for name, _ in first] == laid


def test_only_the_labels_of_a_steps_teacher_are_read(here):
    from ccd_cli.labels.shards import ShardReader

    reader = ShardReader(here / "labels")
    sample = reader.at(0, 1, {2})
    assert {name.split(".")[1] for name in sample.members if ".t" in name} == {"t2"}
    assert np.isfinite(sample.label(2, 0)[0]).any()
    with pytest.raises(KeyError):
        sample.label(0, 0)
