"""Folders for transformers, run by transformers."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.nn import functional as F

from ccd_cli.core.errors import CcdError, CheckpointError, UsageProblem
from ccd_cli.export import transformers_folder as folder
from ccd_cli.export.hub_card import Origin, hub_card, hub_license, origin_of
from ccd_cli.export.positions import baked_positions
from ccd_cli.models.arch import get_arch, timm_arch
from ccd_cli.models.checkpoint import load_model, save_model
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.encoder import resample_positions
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.teachers.load import resolve_model
from tests.standin import state_dict

pytest.importorskip("transformers")
BAR = 1e-3
V2 = get_arch("depth-anything-v2-small")
ALONE = """
import json, socket, sys
def refuse(*_):
    raise OSError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
import numpy as np
from PIL import Image
from transformers import pipeline
for folder in sys.argv[1:]:
    run = pipeline("depth-estimation", model=folder, device="cpu")
    np.save(folder + "/map.npy", run(Image.open(folder + "/photo.png"))["predicted_depth"].float().numpy())
    print(json.dumps([folder, type(run.model).__name__, str(run.model.dtype)]))
"""


def about(net, precision="fp32", size=None, license="Apache-2.0"):
    return ExportFacts(net.arch, "my student", license, "ab" * 32, precision, size)


def photo(height, width):
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + y / 17), np.cos(x / 5), np.sin(y / 7)], -1)
    return np.ascontiguousarray((waves * 120 + 127).astype(np.uint8))


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    """Return (table, architecture) -> the network of a stand-in for a published file, which sees photos at 70 pixels."""
    path, made = tmp_path_factory.mktemp("standin") / "weights.pth", {}
    for table, arch in (
        ("depth_anything_v2_vits", "depth-anything-v2-small"),
        ("depth_anything_v2_metric_vits", "depth-anything-v2-metric-indoor-small"),
        ("depth_anything_v1_vits", "depth-anything-v1-small"),
    ):
        torch.save(state_dict(table), path)
        made[arch] = load_model(path, arch).eval()
        made[arch].arch = replace(made[arch].arch, resolution=70)
    path.unlink()
    return made


def written(tmp_path, net, size=None, precision="fp32"):
    out = tmp_path / "folder"
    out.mkdir()
    facts = about(net, precision, size)
    files = folder.write(net, facts, out, size)
    assert sorted(files) == sorted(out.iterdir())
    return out, facts


CASES = [
    ("depth-anything-v2-small", None, (70, 70)),
    ("depth-anything-v2-metric-indoor-small", (70, 98), (70, 98)),
    ("depth-anything-v1-small", (98, 70), (98, 70)),
]


def test_the_pipeline_loads_it_offline(tmp_path, standin):
    """In a process without network: photos of the size that the network sees go through whole, nothing is resized."""
    folders = []
    for arch, size, seen in CASES:
        (tmp_path / arch).mkdir()
        out, _ = written(tmp_path / arch, standin[arch], size)
        Image.fromarray(photo(*seen)).save(out / "photo.png")
        folders.append(str(out))
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    done = subprocess.run([sys.executable, "-c", ALONE, *folders], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "newly initialized" not in done.stderr and "not used" not in done.stderr
    classes = [json.loads(line)[1:] for line in done.stdout.splitlines()]
    assert classes == [["DepthAnythingForDepthEstimation", "torch.float32"]] * len(CASES)
    for (arch, _, seen), out in zip(CASES, folders, strict=True):
        net = standin[arch]
        images = torch.from_numpy(photo(*seen)).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            ours = net(net.normalize(images))[0].numpy()
        gap = np.abs(np.load(f"{out}/map.npy") - ours).max() / (ours.max() - ours.min())
        assert gap < BAR / 10, arch  # measured: 2e-6


@pytest.mark.parametrize(("arch", "size", "_"), CASES)
def test_check_judges_the_size_it_is_made_for(tmp_path, standin, arch, size, _):
    net = standin[arch]
    out, facts = written(tmp_path, net, size)
    rows = folder.check(out, net, facts, [photo(120, 160), photo(210, 140)])
    judged = [row for row in rows if row.exact]
    assert len(judged) == 2 and all(row.largest < BAR and row.mean <= row.largest for row in judged)
    told = [row for row in rows if not row.exact]
    assert len(told) == (2 if size else 4) and all(row.largest > BAR for row in told)
    if size is None:
        names = [row.name for row in rows]
        assert names[:2] == ["photo of 120x160 at 70x70", "photo of 120x160 at 70x98"]
        assert names[2] == "photo of 120x160, pipeline (at 70x98)"
    assert not net.training


def test_without_baked_positions_the_bar_is_missed(tmp_path, standin):
    """Published embeddings, interpolated by the library's rule: what this would be without `baked_positions`."""
    from transformers import DepthAnythingForDepthEstimation

    net = standin["depth-anything-v2-small"]
    out, _ = written(tmp_path, net)
    model = DepthAnythingForDepthEstimation.from_pretrained(out, local_files_only=True).eval()
    pixels = folder.pixels_for(net, photo(120, 160), (70, 70))
    table = model.backbone.embeddings
    with torch.no_grad():
        ours = net(pixels)
        baked = model(pixel_values=pixels).predicted_depth
        table.position_embeddings = torch.nn.Parameter(net.encoder.pos_embed.clone())
        plain = model(pixel_values=pixels).predicted_depth
    span = ours.max() - ours.min()
    assert (baked - ours).abs().max() < BAR * span < (plain - ours).abs().max()


@pytest.mark.parametrize("grid", [(5, 7), (7, 5), (37, 49), (37, 38), (12, 37), (37, 37), (20, 20)])
def test_baked_positions(grid):
    embedding = torch.randn(1, 1 + 37 * 37, 6, generator=torch.Generator().manual_seed(0))
    made = baked_positions(embedding, *grid)
    side = max(grid)
    assert made.shape == (1, 1 + side * side, 6)
    square = made[:, 1:].reshape(1, side, side, 6).permute(0, 3, 1, 2)
    found = square if grid == (side, side) else F.interpolate(square, size=grid, mode="bicubic")
    wanted = resample_positions(embedding, *grid)
    assert torch.equal(made[:, 0], wanted[:, 0])
    assert (found.flatten(2).transpose(1, 2) - wanted[:, 1:]).abs().max() < 1e-5


@pytest.mark.parametrize(
    "arch",
    [
        timm_arch("vit_small_patch14_dinov2", features=16),  # four taps by itself, no unused unit
        replace(V2, taps=(5, 11), out_channels=(24, 48), features=32),
        replace(V2, kind="depth"),
        replace(V2, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), multiple=28),
    ],
    ids=["timm", "two-levels", "depth", "statistics"],
)
def test_other_networks_on_dinov2(tmp_path, arch):
    torch.manual_seed(3)
    net = DepthNet(replace(arch, resolution=56)).eval()
    out, facts = written(tmp_path, net)
    rows = folder.check(out, net, facts, [photo(80, 60)])
    assert [row.exact for row in rows] == [True, False, False]
    assert rows[0].largest < BAR
    processor = json.loads((out / "preprocessor_config.json").read_text())
    assert (processor["image_mean"], processor["ensure_multiple_of"]) == (list(arch.mean), arch.multiple)


def test_fewer_bits(tmp_path, standin):
    net = standin["depth-anything-v2-small"]
    out, facts = written(tmp_path, net, precision="fp16")
    first = folder.check(out, net, facts, [photo(70, 70)])[0]
    assert BAR < first.largest < 0.05, "run in fp16, not read back as float32"


def test_a_changed_folder_is_found(tmp_path, standin):
    net = standin["depth-anything-v2-small"]
    out, facts = written(tmp_path, net)
    config = json.loads((out / "config.json").read_text())
    config["fusion_hidden_size"] = 32
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="of another shape"):
        folder.check(out, net, facts, [photo(70, 70)])


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (timm_arch("test_efficientnet", features=16), "is built on test_efficientnet"),
        (timm_arch("test_vit", features=16), "is built on test_vit"),
        (get_arch("depth-anything-3-mono-large"), "a second output for sky"),
        (replace(V2, activation="softplus"), "ends in softplus"),
        (replace(V2, activation="sigmoid", max_depth=1.0), "takes for meters"),
        (replace(V2, activation="sigmoid", max_depth=7.5, kind="metric"), "whole meters"),
        (replace(V2, resolution_rule="upper"), "by their long side"),
    ],
)
def test_no_counterpart(tmp_path, arch, message):
    with torch.device("meta" if arch.layout == "dinov2" else "cpu"):
        net = DepthNet(arch)
    with pytest.raises(CcdError, match=message) as caught:
        folder.write(net, about(net), tmp_path)
    assert "\n" not in str(caught.value) and caught.value.hint
    assert not list(tmp_path.iterdir())


def test_sizes_and_precisions_that_there_are_not(tmp_path, standin):
    net = standin["depth-anything-v2-small"]
    with pytest.raises(UsageProblem, match="multiples of 14, not 70 x 100"):
        folder.write(net, about(net), tmp_path, (70, 100))
    for precision in ("bf16", "int8"):  # the pipeline's maps become numpy arrays, which have no bfloat16
        with pytest.raises(CcdError, match=f"fp32 or fp16, not {precision}"):
            folder.write(net, about(net, precision), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("license_id", "hub"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("CC-BY-NC-4.0", "cc-by-nc-4.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("unknown", "unknown"),
        ("LicenseRef-Apple-AMLR", "other"),
        ("Apache-2.0 (disputed: treat as non-commercial)", "other"),
    ],
)
def test_licenses_as_the_hub_spells_them(standin, license_id, hub):
    assert hub_license(license_id) == hub
    facts = about(standin["depth-anything-v2-small"], license=license_id)
    text = hub_card(facts, None, Origin(license_url="https://example.org/license"))
    header = yaml.safe_load(text.split("---\n")[1])
    assert header["license"] == hub
    assert ("license_name" in header) == ("license_link" in header) == (hub == "other")
    assert f"**{license_id}**" in text
    assert ("forbids commercial use" in text) == (hub not in ("apache-2.0", "gpl-3.0"))


def test_the_card_of_a_run(tmp_path, standin):
    net = standin["depth-anything-v2-small"]
    run = tmp_path / "run"
    notes = {"teachers": "depth-anything-v2-large=12;depth-anything-v2-base=34;mine=56", "license": "CC-BY-NC-4.0"}
    save_model(run / "student.safetensors", net, net.arch, notes)
    (run / "card.md").write_text("# my run\n\nText.\n\n## Numbers\n\n```\n# no heading\n```\n")
    (run / "eval.json").write_text(json.dumps({"best": {"step": 5, "abs_rel": 0.1, "rmse": 1.0, "delta1": 0.9}}))
    origin = origin_of(resolve_model(str(run)))
    text = hub_card(about(net, size=(70, 98), license="CC-BY-NC-4.0"), (70, 98), origin)
    header = yaml.safe_load(text.split("---\n")[1])
    assert header == {
        "license": "cc-by-nc-4.0",
        "base_model": ["depth-anything/Depth-Anything-V2-Large", "depth-anything/Depth-Anything-V2-Base"],
        "metrics": ["abs_rel", "rmse", "delta1"],
        "library_name": "transformers",
        "pipeline_tag": "depth-estimation",
        "tags": ["depth-estimation", "ccd"],
    }
    assert "### my run" in text and "#### Numbers" in text and "exactly 98 x 70 (width x height)" in text
    (run / "eval.json").write_text("{")
    with pytest.raises(CcdError, match="damaged"):
        origin_of(resolve_model(str(run)))


def test_a_single_file_names_no_more_than_it_knows(tmp_path, standin):
    net = standin["depth-anything-v2-small"]
    save_model(tmp_path / "mine.safetensors", net, net.arch)
    assert origin_of(resolve_model(str(tmp_path / "mine.safetensors"))) == Origin()
