"""Students that learn from a user's own depth: the real command, from pairs to predictions in meters."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from ccd_cli.config.load import check_recipe, to_yaml
from ccd_cli.core.errors import CcdError
from ccd_cli.distill import checkpoint, train
from ccd_cli.distill.validation import Validation
from tests.own_pairs import SIZE, write_pairs

METRIC = {"kind": "metric"}
KINDS = {
    "disparity": ({}, {"gradient": {"weight": 0.5}}),
    "depth": ({"kind": "depth"}, {"depth": {"weight": 1.0}}),
    "metric": (METRIC, {"depth": {"weight": 1.0, "l1": 0.5}}),
    "range": ({**METRIC, "max_depth": 20.0}, {"depth": {"weight": 1.0}}),
    "canonical": ({**METRIC, "canonical_focal": 300.0}, {"depth": {"weight": 1.0}}),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("own"))


@pytest.fixture
def recipe(pairs, tiny_recipe):
    """Return a function that makes a recipe for a kind of student."""

    def make(kind="disparity", **changes):
        student, loss = KINDS[kind]
        values = {
            **tiny_recipe,
            "images": {"pairs": str(pairs)},
            "teachers": ["ground-truth"],
            "student": {**tiny_recipe["student"], **student},
            "loss": loss,
            "optim": {**tiny_recipe["optim"], "steps": 6, "checkpoint_every": 3},
        }
        return values | changes

    return make


def distill(ccd_here, write_recipe, values, *words):
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", *words)
    assert made.exit_code == 0, made.output
    return made


def lines(tmp_path, run="run"):
    return [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]


SLOW = ("depth", "range")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in KINDS])
def test_every_kind_learns_is_scored_and_predicts(ccd_here, write_recipe, recipe, pairs, tmp_path, kind):
    distill(ccd_here, write_recipe, recipe(kind))
    evaluated = json.loads((tmp_path / "run/eval.json").read_text())
    wanted = {"disparity": "least-squares-disparity", "depth": "least-squares"}.get(kind, "none")
    assert evaluated["alignment"] == wanted
    assert evaluated["pairs"] == "mine (held out)" and evaluated["best"]["images"] == 3
    (held,) = {name.split("/")[0] for name in evaluated["images"]}
    assert held.startswith("clip-") and len(evaluated["images"]) == 3
    assert all(np.isfinite(line["loss"]) for line in lines(tmp_path))
    assert ("depth" in lines(tmp_path)[0]) == (kind != "disparity")
    card = (tmp_path / "run/card.md").read_text()
    assert {"disparity": "**disparity**", "depth": "**depth**"}.get(kind, "meter") in card
    photo = pairs.parent / "clip-0/0.jpg"
    words = ["predict", photo, "--model", "run", "--out", "out", "--resolution", 64]
    made = ccd_here(*words, *(["--fov", "60"] if kind == "canonical" else []))
    assert made.exit_code == 0, made.output
    about = json.loads(next((tmp_path / "out").rglob("*.json")).read_text())
    assert about["kind"] == {"disparity": "disparity", "depth": "depth"}.get(kind, "metric"), about
    if kind == "canonical":
        plain = ccd_here(*words[:-3], "plain", *words[-2:])
        assert plain.exit_code == 0 and "gives meters only with a focal length" in plain.stderr
        assert json.loads(next((tmp_path / "plain").rglob("*.json")).read_text())["kind"] == "depth"
    scored = ccd_here("eval", "--suite", pairs, "--model", "run", "--resolution", 64, "--json", "--out", "scores")
    assert scored.exit_code == 0, scored.output
    told = json.loads(scored.stdout)
    assert told["results"][0]["alignment"] == wanted
    (facts,) = told["protocol"]["models"].values()
    assert facts["alignment"] == wanted and facts["kind"] == about["kind"]


def test_holes_are_filled_by_a_network_that_is_fitted_and_the_log_says_how_well(
    ccd_here, write_recipe, recipe, make_teacher, tmp_path
):
    teacher = {
        "model": "ground-truth",
        "fill": {"model": str(make_teacher("filler", 3)), "weight": 0.5, "max_error": 5.0},
        "full_weight_to": 3.0,
        "noise": {"missing": 0.9},
    }
    distill(ccd_here, write_recipe, recipe("metric", teachers=[teacher]))
    assert all(0 <= line["filled"] <= 1 and 0 <= line["fit_refused"] <= 1 for line in lines(tmp_path))
    assert max(line["filled"] for line in lines(tmp_path)) > 0.3
    card = (tmp_path / "run/card.md").read_text()
    assert "| filler | fills holes |" in card and "| ground-truth | 100% | measured |" in card
    strict = {**teacher, "fill": {"model": str(make_teacher("filler", 3)), "max_error": 1e-6}}
    distill(ccd_here, write_recipe, recipe("metric", teachers=[strict]), "--overwrite")
    assert all(line["filled"] == 0 and line["fit_refused"] == 1 for line in lines(tmp_path))


def test_cut_off_and_resumed_gives_the_same_bits(ccd_here, write_recipe, recipe, make_teacher, tmp_path, monkeypatch):
    teacher = {"model": "ground-truth", "fill": str(make_teacher("filler", 3)), "noise": {"missing": 0.5}}
    values = recipe("metric", teachers=[teacher, str(make_teacher("meters", 4, kind="metric"))])
    distill(ccd_here, write_recipe, values)
    taken = train.after_step

    def cut(state, step, *rest):
        if step == 5:
            raise RuntimeError("the power fails")
        taken(state, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "after_step", cut)
        assert ccd_here("distill", write_recipe(values), "--out", "part", "--device", "cpu").exit_code
    assert [line["step"] for line in lines(tmp_path, "part")] == [1, 2, 3, 4]
    resumed = ccd_here("distill", write_recipe(values), "--out", "part", "--device", "cpu", "--resume")
    assert resumed.exit_code == 0 and "Continuing after step 3" in resumed.output, resumed.output
    weights = [(tmp_path / name / "student.safetensors").read_bytes() for name in ("run", "part")]
    assert weights[0] == weights[1]
    ignored = {"images_per_second"}
    first, second = (
        [{key: value for key, value in line.items() if key not in ignored} for line in lines(tmp_path, name)]
        for name in ("run", "part")
    )
    assert first == second and {line["teacher"] for line in first} == {"ground-truth", "meters"}


def test_what_makes_no_sense_is_said_before_the_first_step_and_nothing_is_written(
    ccd_here, write_recipe, recipe, pairs, make_teacher, tmp_path
):
    def refused(values, *words):
        made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu")
        assert made.exit_code == 2 and not (tmp_path / "run").exists(), made.output
        assert all(word in made.output for word in words), made.output

    stereo = write_pairs(tmp_path / "stereo", kind="disparity", divisor=None, intrinsics=None)
    blind = write_pairs(tmp_path / "blind", intrinsics=None)
    again = write_pairs(tmp_path / "again")
    one = write_pairs(tmp_path / "one", clips=1)
    refused(recipe("metric", images={"pairs": str(stereo)}), "has no unit", "baseline")
    refused(recipe("canonical", images={"pairs": str(blind)}), "intrinsics", "canonical_focal")
    refused(recipe("metric", teachers=[str(make_teacher("first", 1))]), "images.pairs", "ground-truth")
    refused(recipe("disparity", eval={"pairs": str(again)}), "9 images validate and are trained on", "a copy of")
    refused(recipe("disparity", images={"pairs": str(one)}), "all images lie in one folder", "by: image")
    refused(recipe("disparity", images={"pairs": "none.yaml"}), "none.yaml")
    lone = write_pairs(tmp_path / "lone")
    (lone.parent / "clip-1/2.png").unlink()
    refused(
        recipe("disparity", images={"pairs": [str(lone), "none.yaml"]}), "9 match 'clip-*/*.jpg', 8 match", "none.yaml"
    )
    matched = write_pairs(tmp_path / "matched", pair="match")
    (matched.parent / "clip-1/2.png").unlink()
    refused(recipe("disparity", images={"pairs": str(matched)}), "clip-1/2.jpg")
    refused(recipe("metric", loss={}), "loss.depth.weight")
    sky = recipe("metric", loss={"depth": {"weight": 1.0}, "sky": {"weight": 1.0}})
    sky["student"] = {**sky["student"], "sky": True}
    refused(sky, "none of the teachers marks sky")
    clip = write_pairs(tmp_path / "clip", clip=True, pair="order")
    refused(recipe("metric", images={"pairs": str(clip)}), "is a clip", "Without the key `clip`")
    none = {"pairs": {"files": [str(pairs)], "validation": {"fraction": 0.0}}}
    refused(recipe("disparity", images=none, eval={"patience": 2}), "eval.patience", "eval.pairs or eval.scenes")
    meters = write_pairs(tmp_path / "meters", divisor=1, max=1e5)
    refused(recipe("metric", images={"pairs": str(meters)}), "mine: half of the images", "divisor: 1000 (millimeters)")
    wrong = write_pairs(tmp_path / "wrong", first=100, divisor=1, max=1e5)
    refused(recipe("metric", eval={"pairs": str(wrong)}), "eval.pairs: mine: half of the images", "divisor: 1000")
    other = [{"model": "ground-truth", "weight": 0}, str(make_teacher("first", 1))]
    refused(recipe("metric", teachers=other), "none of the teachers knows that depth")
    for kind, key in (("range", "max_depth"), ("canonical", "canonical_focal")):
        huge = recipe(kind)
        huge["student"] = {**huge["student"], key: 1e6}
        refused(huge, f"student.{key}", "less than 1000000")
    empty = write_pairs(tmp_path / "empty", min=50, max=60)
    refused(
        recipe("metric", images={"pairs": str(empty)}), "no pair of the 9 looked at can be read", "is left to score"
    )
    refused(
        recipe("disparity", images={"pairs": {"files": [{"file": str(pairs)}], "validation": {"images": ["x/*"]}}}),
        "'x/*' names none of the 9 images",
    )
    filler = {"model": "ground-truth", "fill": "nowhere.safetensors"}
    made = ccd_here("distill", write_recipe(recipe("metric", teachers=[filler])), "--out", "run")
    assert made.exit_code and "nowhere.safetensors" in made.output and not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_scored_keeps_its_steps_and_may_be_scored_on_others(
    ccd_here, write_recipe, recipe, tmp_path, monkeypatch
):
    judge = write_pairs(tmp_path / "judge", first=100, clips=1)
    optim = {**recipe()["optim"], "checkpoint_every": 6}
    values = recipe("metric", eval={"pairs": str(judge), "every": 2, "compare": False}, optim=optim)

    def fail(*_):
        raise CcdError("the disk of the ground truth is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "score", fail)
        made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu")
        assert made.exit_code == 1 and "is gone" in made.output, made.output
    write_pairs(tmp_path / "judge", first=100, clips=1, max=30)
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--resume")
    assert made.exit_code == 0 and "Continuing after step 2" in made.output, made.output
    write_pairs(tmp_path / "judge", first=100, clips=1, max=40)
    (tmp_path / "run/card.md").unlink()
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--resume")
    assert made.exit_code == 2 and "What the student is scored on has changed" in made.output


def test_intrinsics_of_another_size_are_doubted(ccd_here, write_recipe, recipe, tmp_path):
    large = write_pairs(tmp_path / "large", intrinsics=[500.0, 500.0, 320.0, 240.0])
    values = recipe("canonical", images={"pairs": str(large)})
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--dry-run")
    assert made.exit_code == 0 and "images are 128x96: are they those of another size?" in " ".join(made.stderr.split())
    checked = ccd_here("data", "check", large, "--read")
    assert checked.exit_code == 0 and "are they those of another size?" in " ".join(checked.output.split())


@pytest.mark.parametrize("validation", [{"images": ["clip-1/"]}, {"fraction": 0.4, "by": "image"}, None])
def test_a_resolved_recipe_is_a_recipe(recipe, pairs, validation):
    """A run is resumed by the recipe in its folder, which holds every key."""
    values = recipe("metric", images={"pairs": {"files": [str(pairs)], "validation": validation or {}}})
    if validation is None:
        values["eval"] = {"pairs": str(pairs)}
    made = check_recipe(values, "mine")
    assert check_recipe(yaml.safe_load(to_yaml(made)), "again") == made


def test_ground_truth_that_was_made_anew_is_not_resumed_on(ccd_here, write_recipe, recipe, tmp_path):
    mine = write_pairs(tmp_path / "mine")
    values = recipe("metric", images={"pairs": str(mine)}, eval={"compare": False})
    distill(ccd_here, write_recipe, values)
    (tmp_path / "run/card.md").unlink()  # as if it had been killed before its end
    for clip in range(3):  # whichever of them validates
        Image.fromarray(np.full(SIZE, 4000, np.uint16)).save(mine.parent / f"clip-{clip}/1.png")
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--resume")
    assert made.exit_code == 2 and "their ground truth or what its numbers mean has changed" in made.output


@pytest.mark.parametrize("change", ["held out", "its own file"])
def test_what_validates_may_not_change_before_a_resume(ccd_here, write_recipe, recipe, tmp_path, change):
    """Scores of a run choose its weights, so all of them must be of the same ground truth."""
    mine = write_pairs(tmp_path / "mine")
    values = recipe("metric", images={"pairs": str(mine)}, eval={"compare": False})
    if change == "its own file":
        other = write_pairs(tmp_path / "other", clips=1, first=50)
        values["eval"]["pairs"] = str(other)
    distill(ccd_here, write_recipe, values)
    held = json.loads((tmp_path / "run/eval.json").read_text())["images"]
    (tmp_path / "run/card.md").unlink()  # as if it had been killed before its end
    if change == "its own file":
        other.write_text(other.read_text().replace("divisor: 1000", "divisor: 500"))
    else:
        truth = (mine.parent / held[0]).with_suffix(".png")
        Image.fromarray(np.full(SIZE, 4000, np.uint16)).save(truth)
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--resume")
    assert made.exit_code == 2 and "What the student is scored on has changed since the run began" in made.output


def test_a_teacher_that_teaches_nothing_is_refused(ccd_here, write_recipe, recipe, make_teacher, tmp_path):
    loss = {"shared": {"weight": 0.0}, "local_global": {"weight": 0.0}, "depth": {"weight": 1.0}}
    values = recipe("metric", loss=loss, teachers=["ground-truth", str(make_teacher("relative"))])
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu")
    assert made.exit_code == 2 and "nothing is learned in steps of" in made.stderr
    assert not (tmp_path / "run").exists()


def test_damaged_pairs_are_skipped_and_listed(ccd_here, write_recipe, recipe, tmp_path):
    mine = write_pairs(tmp_path / "mine")
    (mine.parent / "clip-0/1.png").write_bytes(b"no picture")
    values = recipe("metric", images={"pairs": str(mine), "max_skipped": 0.5}, eval={"compare": False})
    for i, each in enumerate(("clip-1/0", "clip-2/0")):
        (mine.parent / f"{each}.jpg").write_bytes(b"\xff\xd8 cut" * (i + 1))
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu")
    assert made.exit_code == 0, made.output
    listed = (tmp_path / "run/skipped.jsonl").read_text()
    assert "0.jpg" in listed
    assert yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["images"]["pairs"]["files"][0]["repeat"] == 1


def test_a_run_stops_early_where_scores_no_longer_get_better(ccd_here, write_recipe, recipe, tmp_path, monkeypatch):
    values = recipe("metric", eval={"every": 2, "patience": 2, "compare": False})
    values["optim"] = {**values["optim"], "steps": 40, "lr": 1e-12, "encoder_lr": 1e-12, "ema": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(train, "finish", lambda run, state, *_: checkpoint.save(run, state) or 1 / 0)  # the power fails
        assert ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu").exit_code
    made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu", "--resume")
    assert made.exit_code == 0, made.output
    assert [line["step"] for line in lines(tmp_path)][-1] == 6, "the first score is never beaten"
    assert json.loads((tmp_path / "run/eval.json").read_text())["best"]["step"] == 2
    assert "Stopped early, after 6 of 40 steps" in (tmp_path / "run/card.md").read_text()
    again = ccd_here("distill", write_recipe(values), "--out", "run", "--resume")
    assert again.exit_code == 0 and "is finished" in again.output
