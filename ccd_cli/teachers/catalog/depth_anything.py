"""Depth Anything V1, V2, V2 metric and 3, and Distill Any Depth: networks of `models.arch`, from the authors' files."""

from __future__ import annotations

from typing import Any

from ccd_cli.models.arch import ARCHS
from ccd_cli.teachers.card import Card

_NC = "CC-BY-NC-4.0"
_LETTERS = {"small": "s", "base": "b", "large": "l"}
_PARAMETERS = {"small": 24_800_000, "base": 97_500_000, "large": 335_300_000}
_BYTES = {"small": 99_200_000, "base": 390_000_000, "large": 1_340_000_000}
_PAPERS = {
    "depth-anything-v1": "https://arxiv.org/abs/2401.10891",
    "depth-anything-v2": "https://arxiv.org/abs/2406.09414",
    "depth-anything-v2-metric": "https://arxiv.org/abs/2406.09414",
    "distill-any-depth": "https://arxiv.org/abs/2502.19204",
    "depth-anything-3": "https://arxiv.org/abs/2511.10647",
}
_METRIC_DISPUTE = "the code repository makes this size non-commercial, a hub page of the family says Apache-2.0"
_DISTILL_DISPUTE = "the hub says Apache-2.0 and the code repository MIT, but its teachers' licenses are non-commercial"


def rows() -> list[Card]:
    """Return the cards of these families."""
    return [*_v1_v2(), *_distill_any_depth(), *_depth_anything_3()]


def _native(name: str, repo: str, file: str, license_id: str, **fields: Any) -> Card:
    """A card whose network is in `models.arch` and whose input rule is read from there."""
    arch = ARCHS[name]
    size = arch.encoder.split("_")[1]
    settings: dict[str, Any] = {
        "family": arch.family,
        "arch": name,
        "adapter": "native",
        "size_bytes": _BYTES[size],
        "parameters": _PARAMETERS[size],
        "license_url": f"https://huggingface.co/{repo}",
        "commercial": license_id != _NC and not fields.get("disputed"),
        "paper": _PAPERS[arch.family],
        "normalization": "ImageNet mean and standard deviation",
        "multiple": arch.multiple,
        "resolution": arch.resolution,
        "resolution_rule": arch.resolution_rule,
        "kind": arch.kind,
    }
    return Card(name=name, repo=repo, file=file, license=license_id, **settings | fields)


def _v1_v2() -> list[Card]:
    found = []
    for size, letter in _LETTERS.items():
        title = size.capitalize()
        found.append(
            _native(
                f"depth-anything-v1-{size}",
                "LiheYoung/Depth-Anything",
                f"checkpoints/depth_anything_vit{letter}14.pth",
                "Apache-2.0",
                repo_type="space",
                license_url="https://huggingface.co/spaces/LiheYoung/Depth-Anything",
            )
        )
        free = size == "small"
        found.append(
            _native(
                f"depth-anything-v2-{size}",
                f"depth-anything/Depth-Anything-V2-{title}",
                f"depth_anything_v2_vit{letter}.pth",
                "Apache-2.0" if free else _NC,
            )
        )
        for place, data in (("indoor", "Hypersim"), ("outdoor", "VKITTI")):
            found.append(
                _native(
                    f"depth-anything-v2-metric-{place}-{size}",
                    f"depth-anything/Depth-Anything-V2-Metric-{data}-{title}",
                    f"depth_anything_v2_metric_{data.lower()}_vit{letter}.pth",
                    "Apache-2.0" if free else _NC,
                    disputed="" if free else _METRIC_DISPUTE,
                )
            )
    return found


def _distill_any_depth() -> list[Card]:
    folders = {size: size for size in _LETTERS}
    folders["large-2w-iter"] = "Distill-Any-Depth-Dav2-Teacher-Large-2w-iter"
    return [
        _native(
            f"distill-any-depth-{size}",
            "xingyang1/Distill-Any-Depth",
            f"{folder}/model.safetensors",
            "Apache-2.0",
            disputed=_DISTILL_DISPUTE,
            note="The authors' demo squeezes every photo to 700 x 700; here the aspect is kept."
            + (" One teacher (Depth Anything V2 Large), 20 000 steps." if size.endswith("iter") else ""),
        )
        for size, folder in folders.items()
    ]


def _depth_anything_3() -> list[Card]:
    fields: dict[str, Any] = {"parameters": 334_000_000, "size_bytes": 1_340_000_000}
    file = "model.safetensors"
    metric = "Meters = output x focal length in pixels / 300; without a focal length its scale is unknown."
    return [
        _native("depth-anything-3-mono-large", "depth-anything/DA3MONO-LARGE", file, "Apache-2.0", **fields),
        _native(
            "depth-anything-3-metric-large", "depth-anything/DA3METRIC-LARGE", file, "Apache-2.0", note=metric, **fields
        ),
    ]
