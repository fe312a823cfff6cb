"""Labels of the next step beside the present one: the same bits, the same errors, and an end."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
import torch

from ccd_cli.config.load import check_recipe
from ccd_cli.config.settings import DistillSettings
from ccd_cli.core.errors import ImageError, Interrupted, TeacherError
from ccd_cli.core.report import Silent
from ccd_cli.distill import checkpoint, train
from ccd_cli.distill.teaching import feed
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.rehearsal.steps import rehearsal, walk

SETTINGS = DistillSettings(device="cpu", threads=1)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def recipe(values, ahead, **optim):
    noise = {"outliers": 0.1, "scale_jitter": 0.2}  # drawn anew in every step
    teachers = [each | {"noise": noise} for each in values["teachers"]]
    optim = values["optim"] | {"accumulate": 2, "steps": 5, "schedule": "constant", "checkpoint_every": 2} | optim
    return check_recipe(values | {"teachers": teachers, "optim": optim, "compute": {"ahead": ahead}}, "test")


def labelers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("teachers")]


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_learns_the_same_bits(tiny_recipe, tmp_path, monkeypatch, threads):
    """Killed in its fourth step and resumed, too: labels that were made ahead are made again."""
    left = {}
    settings = DistillSettings(device="cpu", threads=threads)
    for ahead in ("never", "always"):
        with rehearsal(recipe(tiny_recipe, ahead), settings, tmp_path / "none", Silent()) as (run, state, signals):
            walk(run, state, signals, 5, lambda part: None)
            left[ahead] = {name: value.clone() for name, value in state.student.state_dict().items()}
            assert not labelers()
    assert all(torch.equal(value, left["always"][name]) for name, value in left["never"].items())
    if threads == 2:
        return
    real, where = train.check_guards, "runs/tiny"

    def killed(run, state, *rest):
        if state.step == 4:
            raise KeyboardInterrupt
        return real(run, state, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "check_guards", killed)
        with pytest.raises(KeyboardInterrupt):
            train.run(recipe(tiny_recipe, "always"), SETTINGS, Silent())
    assert checkpoint.read(tmp_path / where / "checkpoints" / "last.pt")["step"] == 2
    again = DistillSettings(device="cpu", threads=1, out=where, resume=True)
    train.run(recipe(tiny_recipe, "never"), again, Silent())  # how it is computed may change
    saved = checkpoint.read(tmp_path / where / "checkpoints" / "last.pt")["student"]
    assert all(torch.equal(value, saved[name]) for name, value in left["never"].items())


def test_labels_are_made_in_the_thread_one_step_ahead(tiny_recipe, tmp_path, monkeypatch):
    asked, real = [], TeacherEnsemble.label
    monkeypatch.setattr(
        TeacherEnsemble,
        "label",
        lambda self, *args: asked.append(threading.current_thread().name) or real(self, *args),
    )
    with rehearsal(recipe(tiny_recipe, "always", accumulate=1), SETTINGS, tmp_path / "none", Silent()) as (run, _, __):
        parts = []
        steps = feed.labeled_steps(run, 0, parts.append)
        next(steps)
        until = time.monotonic() + 60
        while len(asked) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert len(asked) == 2, "the second step's, while the first one is trained on"
        time.sleep(0.2)
        steps.close()
        assert len(asked) == 2, "no step more"
        assert {name.rpartition("_")[0] for name in asked} == {"teachers"}
        assert parts == ["data", "teacher"]
        assert not labelers()


@pytest.mark.parametrize("ahead", ["never", "always"])
def test_errors_arrive_as_they_are(tiny_recipe, tmp_path, monkeypatch, ahead):
    """One of a teacher in the third step; one of the images; and the loop ends."""
    real = TeacherEnsemble.label
    problem = TeacherError("The teacher says no.", "Ask another one.")

    def label(self, batch, index, features, seed):
        if seed == bad_seed:
            raise problem
        return real(self, batch, index, features, seed)

    monkeypatch.setattr(TeacherEnsemble, "label", label)
    with rehearsal(recipe(tiny_recipe, ahead), SETTINGS, tmp_path / "none", Silent()) as (run, state, signals):
        bad_seed = run.noise_seed(3, 1)
        with pytest.raises(TeacherError) as caught:
            walk(run, state, signals, 5, lambda part: None)
        assert caught.value is problem
        assert state.step == 2
        assert not labelers()
        monkeypatch.setattr(
            type(run.stream), "__getitem__", lambda self, position: (_ for _ in ()).throw(ImageError("gone"))
        )
        with pytest.raises(ImageError, match="gone"):
            walk(run, state, signals, 1, lambda part: None)


def test_a_signal_ends_it(tiny_recipe, tmp_path):
    with rehearsal(recipe(tiny_recipe, "always"), SETTINGS, tmp_path / "none", Silent()) as (run, state, signals):

        def mark(part):
            if part == "student":
                signals.received = 15

        with pytest.raises(Interrupted):
            walk(run, state, signals, 5, mark)
        assert state.step == 1
        assert not labelers()


def test_auto_is_where_a_teacher_has_a_device_of_its_own(tiny_recipe, tmp_path):
    cases = (("cuda:1", "auto", True), ("cpu", "auto", False), (None, "auto", False), ("cuda:1", "never", False))
    with rehearsal(recipe(tiny_recipe, "auto"), SETTINGS, tmp_path / "none", Silent()) as (run, _, __):
        for device, ahead, wanted in cases:
            object.__setattr__(run.ensemble.members[0], "device", device)
            assert feed.labels_ahead(replace(run, recipe=recipe(tiny_recipe, ahead))) == wanted
