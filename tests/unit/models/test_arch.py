import json
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from ccd_cli.core.errors import CheckpointError, UsageProblem
from ccd_cli.models.arch import ARCHS, arch_from_json, arch_to_json, get_arch, timm_arch

SIZES = ("small", "base", "large")
V2 = "depth-anything-v2"


def test_the_table_holds_every_published_network():
    families = ("depth-anything-v1", V2, f"{V2}-metric-indoor", f"{V2}-metric-outdoor", "distill-any-depth")
    names = {f"{f}-{s}" for f in families for s in SIZES}
    names |= {"distill-any-depth-large-2w-iter", "depth-anything-3-mono-large", "depth-anything-3-metric-large"}
    assert set(ARCHS) == names
    assert all(arch.name == name for name, arch in ARCHS.items())


def test_facts_that_tell_families_apart():
    assert get_arch("depth-anything-v1-large").taps == (20, 21, 22, 23)
    assert get_arch("distill-any-depth-base").taps == (2, 5, 8, 11)
    assert get_arch("depth-anything-v2-large").taps == (4, 11, 17, 23)
    assert [get_arch(f"{V2}-metric-{p}-small").max_depth for p in ("indoor", "outdoor")] == [20.0, 80.0]
    mono = get_arch("depth-anything-3-mono-large")
    assert (mono.activation, mono.sky, mono.kind, mono.resolution, mono.resolution_rule) == (
        "exp", True, "depth", 504, "upper",
    )  # fmt: skip
    assert get_arch("depth-anything-3-metric-large").canonical_focal == 300.0


def test_an_unknown_name_brings_the_nearest_ones():
    with pytest.raises(UsageProblem, match="depth-anything-v2-small"):
        get_arch("depth-anythin-v2-smal")
    with pytest.raises(UsageProblem, match="Known: depth-anything-v1-small"):
        get_arch("xyzzy")


@pytest.mark.parametrize(
    "arch", [*ARCHS.values(), timm_arch("mobilenetv4_conv_small"), timm_arch("vit_tiny_patch16_224")]
)
def test_json_round_trip(arch):
    assert arch_from_json(arch_to_json(arch)) == arch


def test_timm_arch_reads_layout_and_patch_off_the_name():
    conv, vit = timm_arch("mobilenetv4_conv_small"), timm_arch("deit3_small_patch16_224", features=32)
    assert (conv.layout, conv.multiple, conv.out_channels, conv.kind) == ("pyramid", 32, (), "disparity")
    assert (vit.layout, vit.multiple, vit.out_channels) == ("vit", 16, (32, 64, 128, 128))
    assert timm_arch("swin_tiny_patch4_window7_224").layout == "pyramid"
    assert timm_arch("vit_small_patch14_dinov2").layout == "dinov2"
    with pytest.raises(UsageProblem, match="max_depth"):
        timm_arch("resnet18", activation="sigmoid")
    with pytest.raises(UsageProblem, match="color"):
        timm_arch("resnet18", color="red")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": "hf-hub:someone/evil"}, "timm model name"),
        ({"encoder": "local-dir:/etc"}, "timm model name"),
        ({"encoder": "resnet18"}, "DINOv2"),
        ({"features": 10**9}, "features"),
        ({"features": "64"}, "features"),
        ({"taps": [5, 2]}, "taps"),
        ({"kind": "beauty"}, "kind"),
        ({"std": [0.0, 1.0, 1.0]}, "std"),
        ({"activation": "system"}, "activation"),
        ({"max_depth": 5.0}, "max_depth"),
        ({"surprise": 1}, "surprise"),
        ({"resolution": 3}, "resolution"),
        ({"out_channels": [48, 96]}, "one for each tap"),
    ],
)
def test_json_from_strangers_is_checked(change, named):
    text = json.dumps(asdict(get_arch("depth-anything-v2-small")) | change)
    with pytest.raises(CheckpointError, match=named):
        arch_from_json(text)


@pytest.mark.parametrize("text", ["", "nope", "[]", "{}", '{"name": NaN}', "null"])
def test_json_that_is_no_arch(text):
    with pytest.raises(CheckpointError):
        arch_from_json(text)


def test_a_senseless_arch_cannot_be_made():
    with pytest.raises(ValueError, match="taps"):
        replace(get_arch("depth-anything-v2-small"), taps=(3, 1))


def test_importing_it_imports_nothing_heavy():
    code = "import sys, ccd_cli.models.arch, ccd_cli.models.identify, ccd_cli.models.files; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "cv2", "numpy"} & set(loaded)
