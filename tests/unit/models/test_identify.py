from types import SimpleNamespace

import pytest
import torch

from ccd_cli.core.errors import CheckpointError, UsageProblem
from ccd_cli.models.arch import ARCHS, arch_to_json, get_arch, timm_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.identify import candidates, hint_from_name, identify
from ccd_cli.models.keys import published_name


def shapes(arch, layout):
    with torch.device("meta"):
        state = DepthNet(get_arch(arch)).state_dict()
    return {published_name(n, layout): SimpleNamespace(shape=t.shape) for n, t in state.items()}


@pytest.fixture(scope="module")
def small():
    return shapes("depth-anything-v2-small", "depth-anything")


@pytest.mark.parametrize(
    ("filename", "arch"),
    [
        ("depth_anything_vits14.pth", "depth-anything-v1-small"),
        ("depth_anything_v2_vits.pth", "depth-anything-v2-small"),
        ("downloads/depth_anything_v2_metric_hypersim_vits.pth", "depth-anything-v2-metric-indoor-small"),
        ("depth_anything_v2_metric_vkitti_vits.pth", "depth-anything-v2-metric-outdoor-small"),
        ("hub/models--xingyang1--Distill-Any-Depth/snapshots/0a1b/small/model.safetensors", "distill-any-depth-small"),
        ("teachers/distill-any-depth-small/model.safetensors", "distill-any-depth-small"),
        ("depth-anything-v2-small.safetensors", "depth-anything-v2-small"),
    ],
)
def test_a_published_name_decides_among_equal_tensors(small, filename, arch):
    assert identify(small, filename).name == arch


def test_without_a_name_the_error_lists_the_candidates(small):
    with pytest.raises(CheckpointError) as caught:
        identify(small, "weights.pth")
    for name in candidates(small):
        assert name in caught.value.message
    assert "--arch" in caught.value.hint
    assert candidates(small) == [n for n in ARCHS if n.endswith("-small")]


def test_arch_decides_and_must_fit(small):
    assert identify(small, "weights.pth", "depth-anything-v1-small").name == "depth-anything-v1-small"
    with pytest.raises(CheckpointError, match="is not depth-anything-v2-large"):
        identify(small, "weights.pth", "depth-anything-v2-large")
    with pytest.raises(UsageProblem, match="no architecture"):
        identify(small, "weights.pth", "depth-anything-v9")


def test_a_name_that_contradicts_the_tensors_is_no_hint(small):
    with pytest.raises(CheckpointError, match="depth-anything-v2-large, which they do not fit"):
        identify(small, "depth_anything_v2_vitl.pth")


def test_layouts_decide_where_names_are_unknown():
    chunked = shapes("distill-any-depth-large", "distill-any-depth")
    assert "backbone.blocks.0.23.norm1.weight" in chunked
    assert identify(chunked, "model.safetensors").name == "distill-any-depth-large"
    again = "Distill-Any-Depth-Dav2-Teacher-Large-2w-iter/model.safetensors"
    assert identify(chunked, again).name == "distill-any-depth-large-2w-iter"
    third = shapes("depth-anything-3-mono-large", "depth-anything-3")
    assert candidates(third) == ["depth-anything-3-mono-large", "depth-anything-3-metric-large"]
    assert identify(third, "models--depth-anything--DA3METRIC-LARGE/snapshots/1/model.safetensors").kind == "depth"
    with pytest.raises(CheckpointError, match="depth-anything-3-metric-large"):
        identify(third, "model.safetensors")


def test_metadata_decides_before_all_else(small):
    arch = timm_arch("test_convnext")
    notes = {"ccd_arch": arch_to_json(arch), "kind": "disparity"}
    assert identify({}, "student.safetensors", None, notes) == arch
    assert identify({}, "student.safetensors", None, notes | {"kind": "metric"}).kind == "metric"
    with pytest.raises(CheckpointError, match="says that it is timm-test_convnext"):
        identify(small, "x.safetensors", "depth-anything-v2-small", notes)
    with pytest.raises(CheckpointError, match="'beauty'"):
        identify({}, "x.safetensors", None, notes | {"kind": "beauty"})


def test_no_hint_from_other_names():
    assert hint_from_name("/data/weights.pth") is None
    assert hint_from_name("/data/my_depth_anything_v3.pth") is None
