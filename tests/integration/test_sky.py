"""Students that mark sky: the real command, from generated scenes to predictions, clouds and scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ccd_cli.distill import train
from ccd_cli.media.map_read import read_map, without_sky
from ccd_cli.models.arch import timm_arch
from ccd_cli.models.checkpoint import load_model, save_model
from ccd_cli.models.depth_net import DepthNet
from tests.cli.test_predict import frames_of, video
from tests.integration.test_ground_truth import KINDS, distill, lines

NO_TERMS = {name: {"weight": 0.0} for name in ("shared", "local_global", "gradient", "feature")}


@pytest.fixture
def recipe(tiny_recipe):
    """Return a function that makes a recipe for a kind of student that learns sky from scenes."""

    def make(kind="metric", **changes):
        student, loss = KINDS[kind]
        values = {
            **tiny_recipe,
            "images": {"scenes": {"family": "ground", "height": 64, "width": 80}},
            "teachers": ["ground-truth"],
            "student": {**tiny_recipe["student"], **student, "sky": True},
            "loss": {**loss, "sky": {"weight": 1.0}},
            "crops": {"size": 64, "min_side": 64, "patches": 1},
            "optim": {**tiny_recipe["optim"], "steps": 4, "checkpoint_every": 2},
            "log": {"samples": 0, "tensorboard": False},
        }
        return values | changes

    return make


def marking(path, kind, bias=0.3):
    """Write a network that marks about half of a photo as sky, and return its path."""
    torch.manual_seed(0)
    arch = replace(timm_arch("mobilenetv4_conv_small", features=16, kind=kind), sky=True, sky_rule="infinite")
    if kind != "disparity":
        arch = replace(arch, activation="exp")
    net = DepthNet(arch)
    with torch.no_grad():
        net.head.sky[1].bias.fill_(bias)
        net.head.sky[1].weight.mul_(10)
    return save_model(path, net, arch)


def mask_of(ccd_here, photo, tmp_path):
    """Predict a photo with the run's student, and return the mask that was written."""
    made = ccd_here("predict", photo, "--model", "run", "--out", "out", "--resolution", 64)
    assert made.exit_code == 0, made.output
    mask = cv2.imread(str(next((tmp_path / "out").rglob("*.sky.png"))), cv2.IMREAD_UNCHANGED)
    assert mask.dtype == np.uint8 and mask.shape == cv2.imread(str(photo)).shape[:2]
    return mask


@pytest.mark.parametrize("kind", ["disparity", "metric"])
def test_a_run_learns_sky_is_resumed_with_the_same_bits_and_predicts_a_mask(
    ccd_here, write_recipe, recipe, photos, tmp_path, monkeypatch, kind
):
    values = recipe(kind, eval={"scenes": 1, "compare": False}, optim={"steps": 4, "batch": 2, "checkpoint_every": 2})
    distill(ccd_here, write_recipe, values)
    assert all(0 < line["sky"] < 3 for line in lines(tmp_path))
    card = (tmp_path / "run/card.md").read_text()
    assert "second output marks sky" in card
    model = load_model(tmp_path / "run/student.safetensors")
    assert model.arch.sky and model.arch.sky_rule == "infinite"
    mask = mask_of(ccd_here, sorted(photos.iterdir())[0], tmp_path)
    assert set(np.unique(mask)) <= {0, 255}
    if kind == "disparity":
        return
    taken = train.after_step

    def cut(state, step, *rest):
        if step == 4:
            raise RuntimeError("the power fails")
        taken(state, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "after_step", cut)
        assert ccd_here("distill", write_recipe(values), "--out", "part", "--device", "cpu").exit_code
    resumed = ccd_here("distill", write_recipe(values), "--out", "part", "--device", "cpu", "--resume")
    assert resumed.exit_code == 0 and "Continuing after step 2" in resumed.output, resumed.output
    weights = [(tmp_path / name / "student.safetensors").read_bytes() for name in ("run", "part")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("kind", ["disparity", "depth", "metric"])
def test_what_a_network_marks_is_infinitely_far_in_every_file(ccd_here, photos, tmp_path, kind):
    model = marking(tmp_path / "net.safetensors", kind)
    (tmp_path / "photos").mkdir()
    photo = Path(shutil.copy(sorted(photos.iterdir())[0], tmp_path / "photos"))
    words = ["predict", photo.parent, "--model", model, "--out", photo.parent, "--resolution", 96, "--device", "cpu"]
    words += ["--save", "npy,npz,png16,color,sky", "--pointcloud"]
    made = ccd_here(*words)
    assert made.exit_code == 0, made.output
    side = json.loads(photo.with_suffix(".json").read_text())
    files = {item: photo.with_name(name) for item, name in side["files"].items()}
    sky = cv2.imread(str(files["sky"]), cv2.IMREAD_UNCHANGED) == 255
    assert 0.02 < sky.mean() < 0.98
    values, archive = np.load(files["npy"]), np.load(files["npz"])
    codes = cv2.imread(str(files["png16"]), cv2.IMREAD_UNCHANGED)
    if kind == "disparity":
        assert np.isfinite(values).all() and (values[sky] == values.min()).all() and (codes[sky] == codes.min()).all()
    else:
        assert np.array_equal(np.isposinf(values), sky) and np.isfinite(values[~sky]).all()
        assert np.array_equal(codes == 0, sky) and np.array_equal(archive["valid"], ~sky)
        colors = cv2.imread(str(files["color"]))
        assert len(np.unique(colors[sky], axis=0)) == 1, "the farthest color"
    assert 0 < side["cloud"]["points"] <= np.count_nonzero(~sky)
    again = ccd_here(*words)
    assert again.exit_code == 0 and "1 of 1 images" in again.output, "its mask is no input"


@pytest.mark.parametrize("kind", ["disparity", "metric"])
def test_a_video_has_the_mask_of_every_frame(ccd_here, tmp_path, kind):
    model = marking(tmp_path / "net.safetensors", kind)
    video(tmp_path / "v.mp4", 12, size=(160, 120))
    words = ["predict", "v.mp4", "--model", model, "--resolution", 96, "--device", "cpu", "--save", "npy,color,sky"]
    made = ccd_here(*words)
    assert made.exit_code == 0, made.output
    out = tmp_path / "ccd-out"
    told = json.loads((out / "v.json").read_text())
    masks = frames_of(out / told["files"]["sky"], "gray")
    assert len(masks) == told["video"]["frames"] == 12 and set(np.unique(masks)) == {0, 255}
    raw = [np.load(path) for path in sorted((out / "v").glob("*.npy"))]
    far = [np.isposinf(values) if kind == "metric" else values == values.min() for values in raw]
    assert np.array_equal([mask == 255 for mask in masks], far)
    stored = without_sky(read_map(sorted((out / "v").glob("*.npy"))[0]))
    assert any("sky is not left out: the mask is a video (v.sky.mkv)" in note for note in stored.notes)
    assert "1 skipped" in ccd_here(*words).output
    looked = ccd_here("predict", out, "--model", model, "--device", "cpu", "--out", "again")
    assert "v.sky.mkv: a result that ccd wrote" in looked.output


def test_sky_where_the_truth_is_known_is_an_error_and_not_left_out(ccd_here, tmp_path):
    from tests.own_pairs import write_pairs

    pairs = write_pairs(tmp_path / "mine")
    scores, words = {}, ("--resolution", 64, "--device", "cpu")
    for name, bias in (("some", 0.3), ("none", -1e4)):
        model = marking(tmp_path / f"{name}.safetensors", "metric", bias)
        made = ccd_here("eval", "--suite", pairs, "--model", model, *words, "--json", "--out", name)
        assert made.exit_code == 0, made.output
        scores[name] = json.loads(made.stdout)["results"][0]
    assert scores["some"].get("missing", 0) == 0 == scores["none"].get("missing", 0)
    assert scores["some"]["abs_rel"] != pytest.approx(scores["none"]["abs_rel"])
    shutil.copytree(pairs.parent, tmp_path / "photos", ignore=shutil.ignore_patterns("*.png", "*.yaml"))
    words = ("--model", tmp_path / "some.safetensors", *words, "--save", "npy", "--out", "maps")
    made = ccd_here("predict", tmp_path / "photos", *words)
    assert made.exit_code == 0, made.output
    made = ccd_here("eval", "--suite", pairs, "--predictions", "maps", "--json", "--out", "files")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["results"][0]["abs_rel"] == pytest.approx(scores["some"]["abs_rel"], rel=1e-6)


def test_what_makes_no_sense_is_said_before_the_first_step(
    ccd_here, write_recipe, recipe, make_teacher, photos, tmp_path
):
    def refused(values, *words):
        made = ccd_here("distill", write_recipe(values), "--out", "run", "--device", "cpu")
        assert made.exit_code == 2 and not (tmp_path / "run").exists(), made.output
        assert all(word in made.output for word in words), made.output

    blind = {"images": str(photos), "teachers": [str(make_teacher("first", 1))]}
    refused(recipe("disparity", **blind), "student.sky", "none of the teachers marks sky", "first")
    refused(recipe("disparity", loss={}), "loss.sky.weight", "must be above 0")
    refused(recipe("disparity", student=recipe()["student"] | {"sky": False, "kind": "disparity"}), "loss.sky.weight")


def test_a_network_that_marks_sky_teaches_it_beside_one_that_does_not(
    ccd_here, write_recipe, recipe, photos, make_teacher, tmp_path
):
    teachers = [str(marking(tmp_path / "marks.safetensors", "depth")), str(make_teacher("first", 1))]
    values = recipe("disparity", images=str(photos), teachers=teachers)
    values["optim"] = {**values["optim"], "steps": 6}
    distill(ccd_here, write_recipe, values)
    of = {name: [line["sky"] for line in lines(tmp_path) if line["teacher"] == name] for name in ("marks", "first")}
    assert of["marks"] and all(value > 0 for value in of["marks"])
    assert of["first"] and not any(of["first"]), "what one does not know is not learned from it"
