"""Models that ship with ccd, in its assets folder: nothing to pull."""

from __future__ import annotations

from typing import Any

from ccd_cli.teachers.card import Card

_NOTES = {
    "global": "Learned from the exact depth of generated scenes; trained for minutes, to show the loop.",
    "sharp": "Learned from the exact depth of generated scenes; trained for minutes, to show the loop.",
    "tiny": "Distilled from the other two; what `ccd predict` falls back to where the hub cannot be reached.",
}


def rows() -> list[Card]:
    """Return the cards of the built-in models."""
    fields: dict[str, Any] = {
        "family": "builtin",
        "arch": None,  # in the file's own metadata
        "adapter": "builtin",
        "repo": "",
        "size_bytes": 7_080_000,
        "parameters": 1_760_000,
        "license": "CC0-1.0",  # a test compares it with the files' metadata
        "license_url": "assets/README.md",
        "commercial": True,
        "paper": "https://arxiv.org/abs/2404.10518",  # the encoder, MobileNetV4
        "normalization": "ImageNet mean and standard deviation",
        "multiple": 32,
        "resolution": 128,
        "resolution_rule": "lower",
        "kind": "disparity",
    }
    return [
        Card(name=f"builtin:{name}", file=f"{name}.safetensors", note=note, **fields) for name, note in _NOTES.items()
    ]
