"""Weights by their published names: what is written, and what comes back."""

import json
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ccd_cli.core.errors import CcdError, CheckpointError, Unwritable, UsageProblem
from ccd_cli.export import weights
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.checkpoint import load_model, read_metadata
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.runtimes.facts import ExportFacts
from tests.standin import key_table, state_dict

V2 = "depth-anything-v2-small"
METRIC = "depth-anything-v2-metric-indoor-small"
PHOTOS = [np.random.default_rng(1).integers(0, 256, shape, np.uint8) for shape in ((70, 98, 3), (98, 70, 3))]


def network(arch):
    torch.manual_seed(0)
    return DepthNet(replace(arch, resolution=arch.multiple * 5)).eval()


@cache
def published(table):
    return state_dict(table)


def standin(tmp_path, table, arch):
    """The network of a stand-in for a published file, which sees photos at 70 pixels, and what the file holds."""
    torch.save(published(table), path := tmp_path / "standin.pth")
    net = load_model(path, arch).eval()
    path.unlink()
    net.arch = replace(net.arch, resolution=70)
    return net, published(table)


def about(net, precision="fp32"):
    return ExportFacts(net.arch, "my student", "CC-BY-NC-4.0", "ab" * 32, precision)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(("table", "arch"), [("depth_anything_v2_vits", V2), ("depth_anything_v2_metric_vits", METRIC)])
def test_a_published_file_comes_out_as_it_went_in(tmp_path, suffix, table, arch):
    net, state = standin(tmp_path, table, arch)
    out = tmp_path / f"student{suffix}"
    assert weights.write(net, about(net), out) == [out]
    found = load_file(out) if suffix == ".safetensors" else torch.load(out, weights_only=True)
    assert {name: list(t.shape) for name, t in found.items()} == key_table(table)
    for name, tensor in found.items():
        wanted = torch.zeros(1, 384) if name == "pretrained.mask_token" else state[name]
        assert torch.equal(tensor, wanted), name
    again = load_model(out, arch)
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in net.state_dict().items())
    rows = weights.check(out, net, about(net), PHOTOS)
    assert [(row.largest, row.mean, row.exact) for row in rows] == [(0, 0, True)] * 2
    assert [row.name for row in rows] == ["photo of 70x98 at 70x98", "photo of 98x70 at 98x70"]


@pytest.mark.parametrize(
    ("table", "arch"),
    [
        ("depth_anything_v1_vits", "depth-anything-v1-small"),
        ("depth_anything_v2_vitb", "depth-anything-v2-base"),
        ("depth_anything_v2_vitl", "depth-anything-v2-large"),
        ("depth_anything_3_mono_vitl", "depth-anything-3-mono-large"),
    ],
)
def test_names_and_shapes_are_the_published_ones(table, arch):
    with torch.device("meta"):
        net = DepthNet(get_arch(arch))
    layout = weights.layout_for(net)
    own = {weights.published_name(n, layout): list(t.shape) for n, t in net.state_dict().items()}
    prefix = "model." if layout == "depth-anything-3" else ""
    wanted = {n.removeprefix(prefix): s for n, s in key_table(table).items() if not n.endswith("mask_token")}
    assert own == wanted


def test_published_tables_beside_the_checkout(shared):
    tables = shared / "parity" / "keys"
    if not tables.is_dir():
        pytest.skip(f"no tables of published names at {tables}")
    for letter, size in (("s", "small"), ("b", "base")):
        table = json.loads((tables / f"depth_anything_v2_vit{letter}.json").read_text())
        found = weights.published_state(network(get_arch(f"depth-anything-v2-{size}")))
        shapes = {name: list(entry if isinstance(entry, list) else entry["shape"]) for name, entry in table.items()}
        assert {name: list(t.shape) for name, t in found.items()} == shapes


def test_safetensors_say_what_they_are(tmp_path):
    net, _ = standin(tmp_path, "depth_anything_v2_metric_vits", METRIC)
    weights.write(net, about(net), out := tmp_path / "student.safetensors")
    notes = read_metadata(out)
    assert (notes["license"], notes["kind"], notes["source_sha256"]) == ("CC-BY-NC-4.0", "metric", "ab" * 32)
    assert load_model(out).arch == net.arch  # no architecture told: 70 pixels and 20 m are in the file


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_timm_student_keeps_its_own_names(tmp_path, suffix):
    net = network(timm_arch("test_efficientnet", features=16))  # it has batch norm, with whole numbers of no dimension
    weights.write(net, about(net), out := tmp_path / f"student{suffix}")
    found = load_file(out) if suffix == ".safetensors" else torch.load(out, weights_only=True)
    assert set(found) == set(net.state_dict())
    assert all(row.largest == 0 for row in weights.check(out, net, about(net), PHOTOS))


@pytest.mark.parametrize(("precision", "bits"), [("fp16", 11), ("bf16", 8)])
def test_fewer_bits(tmp_path, precision, bits):
    net, _ = standin(tmp_path, "depth_anything_v2_vits", V2)
    weights.write(net, about(net, precision), out := tmp_path / "student.pth")
    assert {t.dtype for t in torch.load(out, weights_only=True).values()} == {weights.DTYPES[precision]}
    again = load_model(out, V2).state_dict()
    assert all(((again[n] - t).abs() <= t.abs() * 2.0**-bits + 6e-8).all() for n, t in net.state_dict().items())
    assert all(row.largest > 0 for row in weights.check(out, net, about(net, precision), PHOTOS))


def test_values_beyond_fp16_are_refused(tmp_path):
    net, _ = standin(tmp_path, "depth_anything_v2_vits", V2)
    with torch.no_grad():
        net.head.mix.bias[0] = 1e5
    with pytest.raises(CcdError, match=r"head\.mix\.bias holds values that fp16 cannot store"):
        weights.write(net, about(net, "fp16"), out := tmp_path / "student.pth")
    assert not (tmp_path / "student.pth").exists() and not list(tmp_path.glob(".*"))
    weights.write(net, about(net, "bf16"), out := tmp_path / "student.pth")
    assert out.is_file()


def test_one_bit_is_found(tmp_path):
    net, _ = standin(tmp_path, "depth_anything_v2_vits", V2)
    weights.write(net, about(net), out := tmp_path / "student.pth")
    with torch.no_grad():
        net.head.mix.bias[0] = torch.nextafter(net.head.mix.bias[0], torch.tensor(9.0))
    with pytest.raises(CheckpointError, match=r"scratch\.output_conv1\.bias differs"):
        weights.check(out, net, about(net), PHOTOS)


def test_another_architecture_is_found(tmp_path):
    net, _ = standin(tmp_path, "depth_anything_v2_vits", V2)
    weights.write(net, about(net), out := tmp_path / "student.safetensors")
    net.arch = replace(net.arch, kind="depth")
    with pytest.raises(CheckpointError, match="describes another network"):
        weights.check(out, net, about(net), PHOTOS)


def test_refusals(tmp_path):
    net = network(timm_arch("test_convnext", features=16))
    with pytest.raises(UsageProblem, match=r"as \.safetensors or \.pth, not as student\.bin"):
        weights.write(net, about(net), tmp_path / "student.bin")
    with pytest.raises(UsageProblem, match="every size"):
        weights.write(net, about(net), tmp_path / "student.pth", (64, 64))
    with pytest.raises(CcdError, match="not int8"):
        weights.write(net, about(net, "int8"), tmp_path / "student.pth")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of file sizes")
@pytest.mark.parametrize("name", ["a.pth", "state.pt"])
def test_a_full_disk_is_no_bug(tmp_path, name):
    import resource

    from ccd_cli.distill.checkpoint import write as write_state

    net = network(timm_arch("test_vit", features=16))
    about = ExportFacts(net.arch, "small", "MIT", "ab" * 32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # longer files fail as on a full disk
    try:
        with pytest.raises(Unwritable, match=f"No space left on the disk while writing .*{name}"):
            if name == "a.pth":
                weights.write(net, about, tmp_path / name)
            else:
                write_state(tmp_path / name, {"model": net.state_dict()})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pth", ".pt")]
