"""`ccd eval`: what changed since a score was made, and maps that could be those of two images."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import yaml

from ccd_cli.benchmarks import clip as clips
from ccd_cli.core.errors import ImageError
from ccd_cli.core.report import Silent
from ccd_cli.evaluate.run import run
from ccd_cli.evaluate.settings import Settings
from ccd_cli.export.weights import published_state
from ccd_cli.models.arch import get_arch
from ccd_cli.models.depth_net import DepthNet
from tests.tiny_eval import make_nyu, predict, rows
from tests.tiny_sets import photo, put_codes, put_rgb

ARCHS = [f"depth-anything-v2-metric-{place}-small" for place in ("indoor", "outdoor")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file whose keys fit two networks: what its output means is the architecture's to say."""
    path = tmp_path_factory.mktemp("weights") / "metric.pth"
    torch.manual_seed(0)
    torch.save(published_state(DepthNet(get_arch(ARCHS[0]))), path)
    return path


def test_another_architecture_is_another_model(ccd_here, weights, tmp_path):
    """Weights whose sigmoid spans 20 or 80 m: neither scores nor maps of one are those of the other."""
    make_nyu(tmp_path / "data", count=1)
    flags = (
        "--suite",
        "nyuv2",
        "--data-root",
        "data",
        "--model",
        weights,
        "--resolution",
        56,
        "--device",
        "cpu",
        "--json",
    )
    scored = {}
    for out, arch in (("both", ARCHS[0]), ("both", ARCHS[1]), ("fresh", ARCHS[1])):
        made = ccd_here("eval", *flags, "--arch", arch, "--out", out)
        assert made.exit_code == 0, made.output
        scored[out, arch] = json.loads(made.stdout)["results"][0]["abs_rel"]
    assert scored["both", ARCHS[1]] == scored["fresh", ARCHS[1]] != scored["both", ARCHS[0]]
    image = next((tmp_path / "data").rglob("rgb_*.png"))
    flags = ("predict", image, "--model", weights, "--resolution", 56, "--device", "cpu", "--save", "npy")
    assert ccd_here(*flags, "--arch", ARCHS[0]).exit_code == 0
    refused = ccd_here(*flags, "--arch", ARCHS[1])
    assert (refused.exit_code, "which are kept" in refused.stderr) == (1, True)


def test_ground_truth_of_a_published_set_that_was_made_anew(ccd_here, tmp_path):
    make_nyu(tmp_path / "data")
    maps = predict(tmp_path / "maps", "metric")
    flags = ("--suite", "nyuv2", "--data-root", "data", "--predictions", maps, "--prediction-kind", "metric", "--json")
    assert rows(ccd_here("eval", *flags))["nyuv2"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    for path in (tmp_path / "data").rglob("depth_*.png"):
        codes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), np.where(codes < 4000, codes * 2, 0).astype(np.uint16))
    assert rows(ccd_here("eval", *flags))["nyuv2"]["abs_rel"] == pytest.approx(0.5, abs=1e-3)


def test_a_frame_that_could_not_be_read_at_first_changes_the_fit_of_all(tmp_path, monkeypatch):
    for i in range(4):
        put_rgb(tmp_path / f"clip/{i}.jpg", photo(60, 80, i))
        put_codes(tmp_path / f"clip/{i}.png", np.full((60, 80), 1000 + 500 * i))
        (tmp_path / "maps/walk").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / f"maps/walk/{i}.npy", np.full((60, 80), (1 + 0.5 * i) * (1 + i), np.float32))
    rule = {"name": "walk", "clip": True, "root": "clip", "image": "*.jpg", "depth": "*.png", "divisor": 1000}
    (tmp_path / "clip.yaml").write_text(yaml.safe_dump(rule))
    read = clips.read_photo

    def broken(path, *rest, **more):
        if path.name == "3.jpg":
            raise ImageError(f"{path}: stale file handle")
        return read(path, *rest, **more)

    def scores(out):
        maps = {"predictions": tmp_path / "maps", "prediction_kind": "depth"}
        run(Settings(suite=str(tmp_path / "clip.yaml"), out=tmp_path / out, **maps), Silent())
        lines = next((tmp_path / out).rglob("walk.jsonl")).read_text().splitlines()
        return [{key: json.loads(line)[key] for key in ("index", "scale", "scores")} for line in lines]

    with monkeypatch.context() as patch:
        patch.setattr(clips, "read_photo", broken)
        assert len(scores("out")) == 3
    resumed, fresh = scores("out"), scores("fresh")
    assert resumed == fresh and len({line["scale"] for line in resumed}) == 1
    assert scores("out") == fresh


def test_one_map_is_not_that_of_two_images(ccd_here, tmp_path):
    depth = np.tile(np.linspace(1, 5, 64, dtype=np.float32), (48, 1))
    for ending, factor in (("jpg", 1), ("png", 2)):
        put_rgb(tmp_path / f"own/rgb/a.{ending}", photo(48, 64))
        (tmp_path / "own/depth").mkdir(exist_ok=True)
        np.save(tmp_path / f"own/depth/a_{ending}.npy", factor * depth)
    (tmp_path / "own.yaml").write_text("{name: own, root: own, image: 'rgb/*', depth: 'depth/*.npy', pair: order}")
    maps = tmp_path / "maps/own/rgb"
    maps.mkdir(parents=True)
    np.save(maps / "a.npy", depth)
    flags = ("eval", "--suite", "own.yaml", "--predictions", "maps", "--prediction-kind", "metric", "--json")
    refused = ccd_here(*flags)
    assert refused.exit_code == 1 and "could be another image's; call it a.jpg.npy" in refused.stderr
    np.save(maps / "a.jpg.npy", depth)
    np.save(maps / "a.png.npy", 2 * depth)
    made = ccd_here(*flags)
    assert made.exit_code == 0, made.output
    row = json.loads(made.stdout)["results"][0]
    assert (row["n"], row["abs_rel"]) == (2, pytest.approx(0, abs=1e-6))
