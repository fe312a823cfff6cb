"""Models that ship with ccd, in its assets folder: nothing to pull."""

from __future__ import annotations

from typing import Any

from ccd_cli.teachers.card import Card

# name: (default side in pixels, note)
_MODELS = {
    "global": (128, "Whole pictures at low resolution, taught by the exact depth of generated scenes."),
    "sharp": (160, "Crops at a higher resolution with more weight on edges, taught by the depth of generated scenes."),
    "tiny": (160, "Distilled from the other two; what `ccd predict` falls back to where the hub cannot be reached."),
}


def rows() -> list[Card]:
    """Return the cards of the built-in models."""
    fields: dict[str, Any] = {
        "family": "builtin",
        "arch": None,  # in the file's own metadata
        "adapter": "builtin",
        "repo": "",
        "size_bytes": 6_680_000,
        "parameters": 3_250_000,
        "license": "Apache-2.0",  # of the encoder's ImageNet weights; a test compares it with the files' metadata
        "license_url": "assets/README.md",
        "commercial": True,
        "paper": "https://arxiv.org/abs/1905.11946",  # the encoder, EfficientNet (Lite0)
        "normalization": "mean 0.5, standard deviation 0.5",
        "multiple": 32,
        "resolution_rule": "lower",
        "kind": "disparity",
    }
    return [
        Card(name=f"builtin:{name}", file=f"{name}.safetensors", resolution=side, note=note, **fields)
        for name, (side, note) in _MODELS.items()
    ]
