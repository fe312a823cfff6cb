"""`--dry-run` and `--profile`: what they count and time is the run's own step, and they leave nothing."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.errors import Interrupted, UsageProblem
from ccd_cli.core.report import Silent
from ccd_cli.distill import train
from ccd_cli.rehearsal.cost import cost, cost_table, dry_run
from ccd_cli.rehearsal.profile import PARTS, profile, profile_table
from ccd_cli.rehearsal.steps import rehearsal, walk
from ccd_cli.rehearsal.valueless import valueless
from ccd_cli.teachers.adapters.native import NativeTeacher

SETTINGS = DistillSettings(device="cpu", threads=1)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def cost_of(values, **optim):
    values = values | {"optim": values["optim"] | optim}
    return dry_run(check_recipe(values, "test"), SETTINGS, Silent())


def test_a_dry_run_counts_a_step_and_writes_nothing(tiny_recipe, tmp_path):
    found = cost_of(tiny_recipe)
    assert list(tmp_path.iterdir()) == []
    assert [each["share"] for each in found["teachers"]] == pytest.approx([0.7, 0.3])
    by_hand = sum(each["share"] * each["flops"] for each in found["teachers"])
    assert found["parts"]["teacher"]["flops"] == pytest.approx(by_hand)
    step = sum(part["flops"] for part in found["parts"].values())
    assert found["step"]["flops"] == pytest.approx(step)
    student, backward = found["parts"]["student"]["flops"], found["parts"]["backward"]["flops"]
    assert 1.5 * student < backward <= 2 * student, "the gradients of images are not asked for"
    assert found["images"] == {"available": 8, "per_step": 2, "steps": 12, "run": 24, "epochs": 3.0}
    memory = found["memory_bytes"]
    assert memory["gradients"] == 4 * found["parameters"]["trainable"]
    assert memory["optimizer"] == pytest.approx(2 * memory["gradients"], rel=0.01), "two moments"
    assert memory["ema"] == memory["student"], "no projection: both are the network and its buffers"
    assert memory["activations"] > 0
    assert memory["total"] == sum(value for key, value in memory.items() if key != "total")
    rows = cost_table(found)
    assert len({tuple(row) for row in rows}) == 1
    assert rows[-1]["part"] == "a step"


@pytest.mark.parametrize("change", ["checkpointing and EMA", "projection"])
def test_what_is_counted_without_values_is_what_real_steps_count(tiny_recipe, tmp_path, change):
    if change == "projection":
        tiny_recipe["loss"] = {"feature": {"projection": True}}
        tiny_recipe["teachers"] = tiny_recipe["teachers"][::-1]
    else:
        tiny_recipe["student"]["checkpointing"] = True
        tiny_recipe["loss"] = {"shared": {"normalization": "global"}, "local_global": {"normalization": "none"}}
    with rehearsal(check_recipe(tiny_recipe, "test"), SETTINGS, tmp_path / "none", Silent()) as (run, state, signals):
        before = {name: value.clone() for name, value in state.student.state_dict().items()}
        with valueless(run, state) as (bare, bare_state):
            bare = cost(bare, bare_state, signals)
        assert all(torch.equal(before[name], value) for name, value in state.student.state_dict().items())
        real = cost(run, state, signals)
    assert (change == "projection") == (
        real["parameters"]["student"] > sum(p.numel() for p in state.student.parameters())
    )
    for name, part in real["parts"].items():
        close = 0.1 if name in ("loss", "backward") else 0.02  # a loss looks at values, and these are random
        assert bare["parts"][name]["flops"] == part["flops"]
        assert bare["parts"][name]["operations"] == pytest.approx(part["operations"], rel=close)
    for a, b in zip(bare["teachers"], real["teachers"], strict=True):
        assert a.pop("operations") == pytest.approx(b.pop("operations"), rel=0.02)
        assert a == b
    assert bare["memory_bytes"] == pytest.approx(real["memory_bytes"], rel=0.02)
    assert bare["parameters"] == real["parameters"]


def test_a_teacher_that_cannot_be_counted_without_values_is_computed(tiny_recipe, monkeypatch):
    notes = []
    report = SimpleNamespace(
        **{name: lambda *a, **k: None for name in ("warn", "begin", "advance", "end")}, note=notes.append
    )
    recipe = check_recipe(tiny_recipe, "test")
    quick = dry_run(recipe, SETTINGS, report)
    assert not any("Real steps" in note for note in notes)
    real = NativeTeacher.predict_with_features

    def looks(self, rgb):
        made = real(self, rgb)
        assert made[0].numpy().size
        return made

    monkeypatch.setattr(NativeTeacher, "predict_with_features", looks)
    slow = dry_run(recipe, SETTINGS, report)
    assert any(note.startswith("Real steps are counted") for note in notes)
    assert slow["parts"]["teacher"]["flops"] == quick["parts"]["teacher"]["flops"]


@pytest.mark.slow
def test_counts_grow_with_the_batch_and_accumulation(tiny_recipe):
    one, two, twice = cost_of(tiny_recipe, batch=2), cost_of(tiny_recipe, batch=4), cost_of(tiny_recipe, accumulate=2)
    for part in ("teacher", "student", "backward"):
        for other in (two, twice):
            assert other["parts"][part]["flops"] == 2 * one["parts"][part]["flops"]
    for a, b in zip(one["teachers"], two["teachers"], strict=True):
        assert b["flops"] == 2 * a["flops"]
    assert two["memory_bytes"]["activations"] > 1.8 * one["memory_bytes"]["activations"]
    activations = [found["memory_bytes"]["activations"] for found in (one, twice)]
    assert activations[1] == pytest.approx(activations[0], rel=1e-3), "one micro-step at a time"
    assert two["memory_bytes"]["gradients"] == one["memory_bytes"]["gradients"]


def test_checkpointing_shows_in_both(tiny_recipe):
    plain = cost_of(tiny_recipe)
    saving = cost_of(tiny_recipe | {"student": tiny_recipe["student"] | {"checkpointing": True}})
    assert saving["memory_bytes"]["activations"] < plain["memory_bytes"]["activations"]
    assert saving["parts"]["backward"]["flops"] > plain["parts"]["backward"]["flops"], "the encoder once more"
    assert saving["parts"]["student"]["flops"] == plain["parts"]["student"]["flops"]


def test_a_recipe_that_averages_counts_all_teachers(tiny_recipe):
    tiny_recipe["loss"] = {"feature": {"weight": 0}}  # else the second teacher's steps ask the first one for features
    (both,) = cost_of(tiny_recipe | {"mixing": "average"})["teachers"]
    single = cost_of(tiny_recipe)["teachers"]
    assert both["share"] == 1
    assert both["flops"] == sum(each["flops"] for each in single)
    assert both["parameters"] == sum(each["parameters"] for each in single)


def test_a_dry_run_needs_what_a_run_needs(tiny_recipe, tmp_path):
    recipe = check_recipe(tiny_recipe, "test")
    train.run(recipe, SETTINGS, Silent())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(UsageProblem, match="holds a finished run"):
        dry_run(recipe, DistillSettings(device="cpu", out="runs/tiny"), Silent())
    dry_run(recipe, DistillSettings(device="cpu", out="runs/tiny", overwrite=True), Silent())
    profile(recipe, DistillSettings(device="cpu", out="runs/tiny"), 1, Silent())
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_parts_of_a_profile_are_the_whole(tiny_recipe, tmp_path):
    tiny_recipe["optim"] |= {"steps": 3, "checkpoint_every": 1}
    tiny_recipe["log"] = {"samples": 2, "samples_every": 1}
    tiny_recipe["eval"] = {"scenes": 2, "every": 1}
    found = profile(check_recipe(tiny_recipe, "test"), SETTINGS, 4, Silent())  # more than the recipe has
    assert list(tmp_path.iterdir()) == []
    assert tuple(found["parts"]) == PARTS
    whole = sum(part["seconds"] for part in found["parts"].values())
    assert whole == pytest.approx(found["seconds_per_step"], rel=0.05)
    assert sum(part["share"] for part in found["parts"].values()) == pytest.approx(1, rel=0.05)
    assert found["images_per_second"] == pytest.approx(2 / found["seconds_per_step"])
    assert found["slowest"] == max(PARTS, key=lambda part: found["parts"][part]["seconds"])
    assert found["advice"].endswith(".")
    assert len(profile_table(found)) == len(PARTS) + 1


def test_rehearsed_steps_are_those_of_a_run(tiny_recipe, tmp_path):
    """After three steps the student's weights are bit for bit those of a run of three steps."""
    tiny_recipe["optim"] |= {"schedule": "constant", "warmup": 0}
    recipe = check_recipe(tiny_recipe, "test")
    with rehearsal(recipe, SETTINGS, tmp_path / "none", Silent()) as (run, state, signals):
        walk(run, state, signals, 3, lambda part: None)
        weights = {name: value.clone() for name, value in state.student.state_dict().items()}
    short = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"steps": 3})})
    train.run(short, SETTINGS, Silent())
    saved = torch.load("runs/tiny/checkpoints/last.pt", weights_only=True)["student"]
    assert all(torch.equal(weights[name], saved[name]) for name in saved)


def test_a_signal_ends_it_after_a_step_and_leaves_nothing(tiny_recipe, tmp_path):
    marks = []

    def mark(part):
        marks.append(part)
        if len(marks) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = check_recipe(tiny_recipe, "test")
    with (
        pytest.raises(Interrupted) as caught,
        rehearsal(recipe, SETTINGS, tmp_path / "none", Silent()) as (run, state, signals),
    ):
        walk(run, state, signals, 5, mark)
    assert caught.value.exit_code == 143
    assert tuple(marks) == PARTS
    assert list(tmp_path.iterdir()) == []
