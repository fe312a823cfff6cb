"""`noise.errors_of`: the network whose errors labels get is a source of the student like any teacher."""

from __future__ import annotations

import pytest
from safetensors import safe_open


@pytest.fixture
def recipe(tiny_recipe, make_teacher, write_recipe):
    """Return a function that writes a recipe whose labels get the errors of a model."""

    def write(model):
        tiny_recipe["teachers"] = [{**tiny_recipe["teachers"][0], "noise": {"errors_of": str(model)}}]
        tiny_recipe["optim"] |= {"steps": 1, "warmup": 0}
        return str(write_recipe(tiny_recipe))

    return write


def test_its_license_and_its_hash_are_carried_on(recipe, make_teacher, ccd_here, tmp_path):
    wrong = make_teacher("wrong", 5, license="CC-BY-NC-4.0")
    done = ccd_here("distill", recipe(wrong), "--out", "run")
    assert done.exit_code == 0, done.stderr
    with safe_open(tmp_path / "run" / "student.safetensors", "pt") as file:
        assert file.metadata()["license"] == "CC-BY-NC-4.0"
    assert "| wrong | its errors alone | disparity | CC-BY-NC-4.0 |" in (tmp_path / "run" / "card.md").read_text()


@pytest.mark.parametrize(("model", "said"), [("builtin:tinny", "builtin:tiny"), ("depth", "depth, not disparity")])
def test_a_wrong_one_is_told_before_anything_is_made(recipe, make_teacher, ccd_here, tmp_path, model, said):
    model = make_teacher("other", 6, kind="depth") if model == "depth" else model
    done = ccd_here("distill", recipe(model), "--out", "run")
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()
