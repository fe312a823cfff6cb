"""The network to train: its output for each kind of depth, and what must agree before weights are taken over."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ccd_cli.config.distill import Student
from ccd_cli.config.load import check_recipe
from ccd_cli.core.errors import CheckpointError, RecipeError, UsageProblem
from ccd_cli.distill.student import build_student, student_arch
from ccd_cli.models.checkpoint import save_model

TIMM = {"arch": "timm", "encoder": "mobilenetv4_conv_small", "features": 16, "init": "scratch"}
BASE = {"name": "x", "images": "p", "teachers": ["builtin:tiny"]}


def arch(**keys):
    return student_arch(Student.model_validate(TIMM | keys))


def test_each_kind_has_its_output():
    assert (arch().kind, arch().activation) == ("disparity", "relu")
    assert (arch(kind="depth").kind, arch(kind="depth").activation) == ("depth", "exp")
    ranged = arch(kind="metric", max_depth=20.0)
    assert (ranged.kind, ranged.activation, ranged.max_depth) == ("metric", "sigmoid", 20.0)
    camera = arch(kind="metric", canonical_focal=300.0)
    assert (camera.kind, camera.canonical_focal) == ("depth", 300.0), "meters once a focal length is known"
    published = student_arch(
        Student.model_validate({"arch": "depth-anything-v2-metric-indoor-small", "kind": "metric"})
    )
    assert (published.max_depth, published.kind) == (20.0, "metric")
    relative = student_arch(Student.model_validate({"arch": "depth-anything-v2-small", "kind": "metric"}))
    assert (relative.kind, relative.activation) == ("metric", "exp")


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"arch": "depth-anything-v2-metric-indoor-small"}, "student.kind is disparity"),
        ({"arch": "depth-anything-3-mono-large", "kind": "metric"}, "marks sky, which nothing would train"),
    ],
)
def test_outputs_that_do_not_go_with_a_kind(keys, word):
    with pytest.raises(UsageProblem, match=word):
        student_arch(Student.model_validate(keys))


def test_weights_of_another_output_are_not_taken_for_this_one(tmp_path):
    made = build_student(arch(), "scratch", None, 0)
    save_model(tmp_path / "d.safetensors", made, made.arch)
    with pytest.raises(CheckpointError, match=r"disparity\).*the recipe's student is .* metric, up to 20 m"):
        build_student(arch(kind="metric", max_depth=20.0), "pretrained", tmp_path / "d.safetensors", 0)
    begun = build_student(arch(kind="metric", max_depth=20.0), "encoder", tmp_path / "d.safetensors", 0)
    for name, value in made.encoder.state_dict().items():
        assert torch.equal(begun.encoder.state_dict()[name], value), name
    depth = begun.eval()(begun.normalize(torch.rand(1, 3, 64, 64)))
    assert (depth > 0).all() and (depth < 20).all()


def test_an_encoder_keeps_the_input_statistics_that_its_weights_were_trained_with(tmp_path):
    """timm's own weights of this encoder want (0.5, 0.5, 0.5), a student that began from nothing ImageNet's."""
    lite = {"encoder": "tf_efficientnet_lite0", "init": "encoder"}
    assert arch(**lite).mean == arch(**lite).std == (0.5, 0.5, 0.5)
    first = build_student(arch(encoder="tf_efficientnet_lite0"), "scratch", None, 0)
    save_model(tmp_path / "first.safetensors", first, first.arch)
    again = arch(**lite, weights=str(tmp_path / "first.safetensors"))
    assert again.mean == first.arch.mean == (0.485, 0.456, 0.406) and again.std == first.arch.std
    student = build_student(again, "encoder", tmp_path / "first.safetensors", 1)
    photo = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(*(net.eval().encoder(net.normalize(photo)) for net in (student, first)), strict=True):
        assert torch.equal(ours, theirs)


def test_a_student_of_another_kind_sees_photos_at_the_zoom_of_its_crops():
    """A published network that bounds the long side would see photos at another one, and in meters it matters."""
    mono = {"arch": "depth-anything-3-mono-large", "init": "encoder", "sky": True}
    assert student_arch(Student.model_validate({**mono, "kind": "metric"})).resolution_rule == "lower"


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"student": {"kind": "metric"}}, "loss.depth.weight"),
        (
            {"student": {"kind": "metric", "canonical_focal": 300.0}, "loss": {"depth": {"weight": 1.0}}},
            "student.canonical_focal",
        ),
        ({"loss": {"depth": {"weight": 1.0}}}, "loss.depth.weight"),
        ({"mixing": "average", "loss": {"shared": {"normalization": "none"}}}, "loss.shared.normalization"),
        ({"student": {"kind": "depth", "max_depth": 9.0}, "loss": {"depth": {"weight": 1.0}}}, "student.max_depth"),
        ({"student": {"canonical_focal": 300.0}}, "student.canonical_focal"),
        (
            {"student": {"kind": "metric"}, "loss": {"depth": {"weight": 1.0}, "anchor": {"weight": 0.1}}},
            "loss.anchor.weight",
        ),
        (
            {
                "student": {"kind": "metric", "max_depth": 9.0, "canonical_focal": 300.0},
                "loss": {"depth": {"weight": 1.0}},
            },
            "student.canonical_focal",
        ),
    ],
)
def test_contradictions(keys, key):
    with pytest.raises(RecipeError) as caught:
        check_recipe(BASE | keys, "t")
    assert [name for name, _ in caught.value.problems] == [key]


def test_depth_may_be_all_that_is_learned():
    nothing = {name: {"weight": 0.0} for name in ("shared", "local_global", "feature", "gradient")}
    recipe = check_recipe(BASE | {"student": {"kind": "metric"}, "loss": nothing | {"depth": {"weight": 1.0}}}, "t")
    assert recipe.student.kind == "metric"
    with pytest.raises(RecipeError, match="there is no loss"):
        check_recipe(BASE | {"loss": nothing}, "t")


def test_weights_without_sky_get_a_random_output_for_it_and_those_with_it_keep_theirs(tmp_path):
    plain = build_student(arch(), "scratch", None, 0)
    save_model(tmp_path / "plain.safetensors", plain, plain.arch)
    wanted = arch(sky=True)
    assert wanted == replace(arch(), sky=True, sky_rule="infinite")
    made = build_student(wanted, "pretrained", tmp_path / "plain.safetensors", 1)
    assert made.arch == wanted and made.head.sky is not None
    assert all(torch.equal(made.state_dict()[name], value) for name, value in plain.state_dict().items())
    save_model(tmp_path / "sky.safetensors", made, made.arch)
    again = build_student(wanted, "pretrained", tmp_path / "sky.safetensors", 2)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in made.state_dict().items())
    with pytest.raises(CheckpointError, match="sky marked"):
        build_student(arch(), "pretrained", tmp_path / "sky.safetensors", 0)
