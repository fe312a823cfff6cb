"""One teacher of every family, tiny and random, in the place where `pull` puts it: `ccd predict` takes each by its name."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ccd_cli.media.map_read import read_map
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.keys import published_name
from ccd_cli.teachers.paths import weights_path
from ccd_cli.teachers.registry import card


def native(path, name):
    torch.manual_seed(0)
    layout = "depth-anything-3" if "anything-3" in name else "depth-anything"
    state = DepthNet(get_arch(name)).state_dict()
    torch.save({published_name(key, layout): tensor for key, tensor in state.items()}, path)


def transformers(path, name):
    pytest.importorskip("transformers", reason="the extra `transformers` is not installed")
    from tests.unit.teachers.tiny_hf import save

    family = {"midas-3.1-beit-large-512": "midas-beit", "zoedepth-nyu": "zoedepth"}.get(name, name)
    save(path, family)


def diffusers(path, name):
    pytest.importorskip("diffusers", reason="the extra `diffusion` is not installed")
    from tests.unit.teachers.tiny_diffusion import parts, save_genpercept, save_marigold

    path.mkdir(parents=True)
    if name.startswith("genpercept"):
        save_genpercept(path)
        return
    words = path.parent / "words"
    save_marigold(path, parts(words, 8), words, "lcm")


def moge(path, name):
    pytest.importorskip("moge", reason="the extra `moge` is not installed")
    from tests.unit.teachers.tiny_moge import saved

    saved(path, "v2" if "-2-" in name else "v1")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("depth-anything-v1-small", native),
        ("depth-anything-v2-metric-outdoor-small", native),
        ("midas-3.1-beit-large-512", transformers),
        ("zoedepth-nyu", transformers),
        ("depth-pro", transformers),
        ("marigold-lcm", diffusers),
        ("genpercept-disparity", diffusers),
        ("genpercept-depth", diffusers),
        ("moge-1-large", moge),
        ("moge-2-large", moge),
    ],
)
def test_predict_takes_every_family(ccd_here, tmp_path, monkeypatch, name, make):
    monkeypatch.setenv("CCD_HOME", str(tmp_path / "home"))
    asked = ccd_here("predict", "a.png", "--model", name)
    assert asked.exit_code == 1
    assert f"ccd teachers pull {name}" in asked.stderr or "pip install" in asked.stderr
    path = weights_path(card(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path, name)
    rng = np.random.default_rng(0)
    for i, size in enumerate(((96, 72), (64, 88))):
        small = Image.fromarray(rng.integers(0, 255, (5, 6, 3), dtype=np.uint8))
        small.resize(size, Image.Resampling.BICUBIC).save(tmp_path / f"{'ab'[i]}.png")
    options = ["--resolution", "70"] if make is native else []
    result = ccd_here("predict", "a.png", "b.png", "--model", name, "--save", "npz", "--threads", "1", *options)
    assert result.exit_code == 0, result.stderr
    for stem, shape in (("a", (72, 96)), ("b", (88, 64))):
        told = json.loads((tmp_path / "ccd-out" / f"{stem}.json").read_text())
        assert (told["model"], told["kind"]) == (name, card(name).kind)
        assert told["license"] == card(name).effective_license
        assert told["intrinsics_source"] == ("model" if name == "depth-pro" or make is moge else "guess")
        made = read_map(tmp_path / "ccd-out" / f"{stem}.npz").depth_map
        assert made.values.shape == shape
        known = made.values if made.valid is None else made.values[made.valid]
        assert known.size and np.ptp(known) > 0
    shutil.rmtree(tmp_path / "home")
