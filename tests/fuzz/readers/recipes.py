"""Recipes and settings."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.campaign import Reader
from tests.fuzz.readers.seeds import DISTILL, LABEL, as_yaml


def recipe_readers() -> list[Reader]:
    from ccd_cli.config.find import find_recipe
    from ccd_cli.config.load import load_any_recipe, load_label_recipe, load_recipe, to_yaml

    def overrides(_: Path, word: str) -> None:
        to_yaml(load_recipe("quickstart", [word]))

    settings = (
        "optim.steps=5",
        "teachers.0.weight=0.5",
        "images=photos",
        "images.paths.0=b",
        "teachers=[a, {model: b}]",
        "loss.shared.levels=[1, 2]",
        "student={arch: timm, encoder: x}",
        "eval.scenes=3",
    )
    return [
        Reader(
            "recipes",
            lambda folder, name: to_yaml(load_any_recipe(str(folder / name))),
            {"a.yaml": as_yaml(DISTILL), "b.yaml": as_yaml(LABEL), "c.yaml": find_recipe("indoor").read_bytes()},
            {"a.yaml": "yaml", "b.yaml": "yaml", "c.yaml": "yaml"},
            weight=4,
        ),
        Reader(
            "label recipes",
            lambda folder, name: to_yaml(load_label_recipe(str(folder / name))),
            {"b.yaml": as_yaml(LABEL)},
            {"b.yaml": "yaml"},
            weight=2,
        ),
        Reader("--set", overrides, words=settings, weight=4),
    ]
