"""Cards, the lock of downloads, weights and model folders."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import SHA, as_json


def weight_seeds(folder: Path) -> dict[str, bytes]:
    """A tiny network as safetensors and as a state dict."""
    from ccd_cli.models.arch import timm_arch
    from ccd_cli.models.checkpoint import save_model
    from ccd_cli.models.depth_net import DepthNet

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    arch = timm_arch("test_vit", features=8, kind="disparity")
    network = DepthNet(arch)
    save_model(folder / "net.safetensors", network, arch, {"kind": "disparity", "license": "MIT"})
    torch.save({"state_dict": network.state_dict()}, folder / "net.pth")
    evil = b"\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch PWNED\x85R."
    plain = pickle.dumps({"a": [1, 2]}, protocol=2)
    return {p.name: p.read_bytes() for p in folder.glob("net.*")} | {"evil.pt": evil, "plain.bin": plain}


def teacher_readers(folder: Path) -> list[Reader]:
    from ccd_cli.benchmarks.suites import open_suite
    from ccd_cli.config.find import find_recipe
    from ccd_cli.models.arch import get_arch
    from ccd_cli.models.checkpoint import load_model, read_state
    from ccd_cli.models.files import read_metadata
    from ccd_cli.teachers.adapters.diffusion_parts import ALLOWED, read_index
    from ccd_cli.teachers.adapters.hf_folder import read_config
    from ccd_cli.teachers.custom import custom_problems
    from ccd_cli.teachers.download.choose import recipe_names
    from ccd_cli.teachers.download.lock import differences, entries
    from ccd_cli.teachers.listing import commercial_words, full, rows
    from ccd_cli.teachers.load import check_runnable, resolve_model
    from ccd_cli.teachers.registry import card

    def cards(_: Path, name: str) -> None:
        found, words = rows(), commercial_words()
        assert {row["name"] for row in found} == set(words) >= {"depth-anything-v2-small", "good"} - {Path(name).stem}
        custom_problems()
        resolve_model("builtin:tiny")
        if "mine" in words:
            full(card("mine"))
            resolve_model("mine")

    def lock(_: Path, __: str) -> None:
        for name, entry in entries().items():
            differences(name, entry)
        rows()

    def weights(place: Path, name: str) -> None:
        read_metadata(place / name)
        read_state(place / name)
        load_model(place / name, None)

    def names(_: Path, word: str) -> None:
        problems = []
        for find in (_resolve, card, find_recipe, get_arch, recipe_names, lambda w: open_suite(w, Path("data"))):
            try:
                find(word)
            except Exception as error:
                problems.append(error)
        raise next((p for p in problems if type(p).__module__ != "ccd_cli.core.errors"), problems[0])

    def _resolve(word: str) -> None:
        check_runnable(resolve_model(word)).kind  # noqa: B018 - reads the file's header

    mine = b"name: mine\narch: depth-anything-v2-small\nfile: w.safetensors\nlicense: MIT\nresolution: 518\nnote: x\nkind: depth\n"
    good = mine.replace(b"mine", b"good")
    locked = {
        "version": 1,
        "teachers": {
            "depth-anything-v2-small": {
                "repo": "a/b",
                "revision": "0" * 40,
                "license": "Apache-2.0",
                "commercial": True,
                "date": "2026-01-01T00:00:00+00:00",
                "files": {"depth_anything_v2_vits.pth": {"sha256": SHA, "size": 12, "digest": SHA}},
                "also": {},
            }
        },
    }
    config = {
        "model_type": "depth_anything",
        "backbone_config": {"model_type": "dinov2"},
        "depth_estimation_type": "relative",
    }
    index = {
        "_class_name": "MarigoldDepthPipeline",
        **{key: list(sorted(classes)[0]) for key, classes in ALLOWED.items()},
        "scale_invariant": True,
    }
    seeds = weight_seeds(folder)
    return [
        Reader(
            "cards",
            cards,
            {"cards/mine.yaml": mine, "cards/good.yaml": good, "cards/w.safetensors": seeds["net.safetensors"]},
            {"cards/mine.yaml": "yaml"},
            weight=3,
        ),
        Reader(
            "lock.json",
            lock,
            {
                "teachers/lock.json": as_json(locked),
                "teachers/depth-anything-v2-small/depth_anything_v2_vits.pth": b"x" * 12,
            },
            {"teachers/lock.json": "json"},
            weight=3,
        ),
        Reader(
            "weights",
            weights,
            seeds,
            dict.fromkeys(seeds, "bytes"),
            refused=("net.pth", "evil.pt", "plain.bin"),  # of an unnamed size; not tensors
            weight=4,
        ),
        Reader(
            "model folders",
            lambda place, name: (
                read_config(place) if name == "config.json" else read_index(place, ("MarigoldDepthPipeline",))
            ),
            {
                "config.json": as_json(config),
                "preprocessor_config.json": b"{}",
                "model.safetensors": b"x",
                "model_index.json": as_json(index),
            },
            {"config.json": "json", "model_index.json": "json"},
            weight=2,
        ),
        Reader(
            "names",
            names,
            words=(
                "depth-anything-v2-small",
                "builtin:tiny",
                "indoor",
                "zero-shot",
                "runs/a",
                "net.pth",
                "~/x",
                "moge-2-large",
            ),
            weight=3,
        ),
    ]
