"""Our networks against what the authors' code computes from the same weights."""

import numpy as np
import pytest
import torch

from ccd_cli.models.arch import get_arch
from ccd_cli.models.checkpoint import load_model
from ccd_cli.models.depth_net import DepthNet, fill_sky
from ccd_cli.models.keys import custom_names, layout_of, published_name, strip_prefixes
from tests.standin import key_table

BAR = 1e-4
CASES = [
    ("depth_anything_v1_vits", "depth-anything-v1-small", "depth-anything-v1-small"),
    ("depth_anything_v2_vits", "depth-anything-v2-small", "depth-anything-v2-small"),
    ("depth_anything_v2_metric_vits", "depth-anything-v2-metric-indoor-small", "depth-anything-v2-metric-indoor-small"),
    ("distill_any_depth_vitl", None, "distill-any-depth-large"),
    ("depth_anything_3_mono_vitl", "depth-anything-3-mono-large", "depth-anything-3-mono-large"),
]


def relative(got, want):
    """The largest difference, as a fraction of the range, at the pixels that `want` has: every second one."""
    got = got[..., ::2, ::2].numpy()
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / (want.max() - want.min()))


@pytest.mark.parametrize(("name", "arch", "identified"), CASES)
def test_outputs_agree_with_the_authors(reference, name, arch, identified):
    path, inputs, expected = reference(name)
    model = load_model(path, arch).eval()
    assert model.arch.name == identified
    for letter, images in inputs.items():
        with torch.no_grad():
            depth, sky, tokens = model.forward_all(images)
        assert depth.dtype == torch.float32
        assert tokens.shape == (len(images), images[0, 0].numel() // 196, model.feature_width)
        assert relative(depth, expected[f"output_{letter}"]) < BAR
        assert (sky is not None) == (f"sky_{letter}" in expected)
        if sky is not None:
            assert relative(sky.relu(), expected[f"sky_{letter}"]) < BAR
            filled = fill_sky(depth, sky)
            assert relative(filled, expected[f"output_sky_filled_{letter}"]) < BAR


def test_v1_weights_in_the_v2_network_miss_the_bar(reference):
    path, inputs, expected = reference("depth_anything_v1_vits")
    model = load_model(path, "depth-anything-v2-small").eval()
    with torch.no_grad():
        depth = model(inputs["a"])
    assert relative(depth, expected["output_a"]) > 100 * BAR


@pytest.mark.parametrize(
    ("table", "arch"),
    [
        ("depth_anything_v1_vits", "depth-anything-v1-small"),
        ("depth_anything_v2_vitb", "depth-anything-v2-base"),
        ("depth_anything_v2_vitl", "depth-anything-v2-large"),
        ("distill_any_depth_vitl", "distill-any-depth-large"),
        ("depth_anything_3_mono_vitl", "depth-anything-3-mono-large"),
    ],
)
def test_names_and_shapes_are_the_published_ones(table, arch):
    keys = key_table(table)
    short = {s: keys[k] for k, s in strip_prefixes(keys).items()}
    layout = layout_of(short)
    own = {o: short[n] for n, o in custom_names(short, layout).items() if not n.endswith("mask_token")}
    with torch.device("meta"):
        want = {n: list(t.shape) for n, t in DepthNet(get_arch(arch)).state_dict().items()}
    assert own == want
    assert {published_name(n, layout) for n in own} == {n for n in short if not n.endswith("mask_token")}
