"""MiDaS, ZoeDepth and Depth Pro, through `transformers`: whole repositories, of which a few files are needed."""

from __future__ import annotations

from typing import Any

from ccd_cli.teachers.card import Card

_WEIGHTS = ("model.safetensors|pytorch_model.bin",)  # a repository may hold the same weights twice
_CONFIGS = ("config.json", "preprocessor_config.json")
_PORT = "A port: photos are resized as its preprocessor_config.json says, which the original may do otherwise."
_SQUARE = "This port takes squares only; the original keeps the aspect."


def rows() -> list[Card]:
    """Return the cards of these families."""
    return [*_midas(), *_zoedepth(), _depth_pro()]


def _transformers(name: str, repo: str, parameters: int, size: int, **fields: Any) -> Card:
    settings: dict[str, Any] = {
        "arch": None,
        "adapter": "transformers",
        "file": "",
        "files": (*_CONFIGS, *_WEIGHTS),
        "license_url": f"https://huggingface.co/{repo}",
        "normalization": "mean 0.5, standard deviation 0.5",
        "resolution_rule": None,
        "multiple": 32,
        "requires": "transformers",
    }
    return Card(name=name, repo=repo, parameters=parameters, size_bytes=size, **settings | fields)


def _midas() -> list[Card]:
    newer: dict[str, Any] = {
        "family": "midas",
        "license": "MIT",
        "commercial": True,
        "paper": "https://arxiv.org/abs/2307.14460",
        "kind": "disparity",
        "note": _PORT,
    }
    older: dict[str, Any] = newer | {
        "note": _SQUARE,
        "license": "Apache-2.0",
        "paper": "https://arxiv.org/abs/2103.13413",
    }
    hybrid = f"{_SQUARE} The license is the one that its sister dpt-large states."
    return [
        _transformers(
            "midas-3.1-beit-large-512",
            "Intel/dpt-beit-large-512",
            345_000_000,
            1_380_000_000,
            resolution=512,
            **newer,
        ),
        _transformers(
            "midas-3.1-swin2-tiny",
            "Intel/dpt-swinv2-tiny-256",
            42_000_000,
            164_000_000,
            resolution=256,
            **newer,
        ),
        _transformers(
            "midas-3.1-swin2-base",
            "Intel/dpt-swinv2-base-384",
            102_000_000,
            408_000_000,
            resolution=384,
            **newer | {"note": f"{_PORT} The size is four bytes a parameter, not read anywhere."},
        ),
        _transformers(
            "midas-3.1-swin2-large",
            "Intel/dpt-swinv2-large-384",
            213_000_000,
            848_000_000,
            resolution=384,
            **newer,
        ),
        _transformers("midas-3.0-dpt-large", "Intel/dpt-large", 344_000_000, 1_370_000_000, resolution=384, **older),
        _transformers(
            "midas-3.0-dpt-hybrid",
            "Intel/dpt-hybrid-midas",
            123_000_000,
            490_000_000,
            resolution=384,
            **older | {"note": hybrid},
        ),
    ]


def _zoedepth() -> list[Card]:
    places = {
        "nyu": ("nyu", "Indoor: fine-tuned on NYU Depth v2."),
        "kitti": ("kitti", "Outdoor: fine-tuned on KITTI. The repository's name is unverified."),
        "nyu-kitti": ("nyu-kitti", "Indoor and outdoor: it chooses between two heads."),
    }
    return [
        _transformers(
            f"zoedepth-{name}",
            f"Intel/zoedepth-{repo}",
            345_000_000,
            1_380_000_000,
            family="zoedepth",
            license="MIT",
            commercial=True,
            paper="https://arxiv.org/abs/2302.12288",
            kind="metric",
            resolution=384,
            **{"resolution_rule": "lower", "note": f"{note} Its own processor works at 384 x 512 and pads."},
        )
        for name, (repo, note) in places.items()
    ]


def _depth_pro() -> Card:
    return _transformers(
        "depth-pro",
        "apple/DepthPro-hf",
        950_000_000,
        1_900_000_000,
        family="depth-pro",
        license="LicenseRef-Apple-AMLR",
        commercial=False,
        paper="https://arxiv.org/abs/2410.02073",
        kind="metric",
        resolution=1536,
        multiple=1536,
        note="Research only (apple-amlr). Half precision weights; it estimates the camera's field of view as well. "
        "Its number of parameters is unverified.",
    )
