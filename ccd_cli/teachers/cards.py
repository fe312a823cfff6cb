"""The catalogue: one card for each published teacher. No torch here, so that listing it costs nothing.

A plain table: a new teacher is a row here and, for a new family, an adapter.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ccd_cli.core.errors import TeacherError
from ccd_cli.core.kinds import Kind
from ccd_cli.models.arch import ARCHS, ResolutionRule
from ccd_cli.teachers.licenses import DISPUTED_MARK, license_rank, strictest

__all__ = ["CARDS", "Card", "card", "license_rank", "strictest_license"]

Adapter = Literal["native", "diffusers", "transformers"]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known about one published teacher."""

    name: str
    family: str
    arch: str | None  # architecture of models.arch, for native ones
    adapter: Adapter
    repo: str  # on the Hugging Face hub
    repo_type: Literal["model", "space"] = "model"
    file: str  # inside the repository; "" = the whole repository
    size_bytes: int | None  # of what is downloaded, approximate; None = not published
    parameters: int  # approximate
    license: str  # SPDX identifier, or LicenseRef-...
    license_url: str  # where the licence is stated
    commercial: bool  # False also where it is disputed
    disputed: str = ""  # why sources disagree about the licence
    paper: str
    normalization: str
    multiple: int
    resolution: int | None  # default side for photos; None = the photo's own
    resolution_rule: ResolutionRule | None  # which side `resolution` bounds; None = both (a square) or none
    kind: Kind
    requires: str = ""  # extra that must be installed: pip install -e ".[...]"
    note: str = ""

    @property
    def url(self) -> str:
        """Web page of the repository."""
        return f"https://huggingface.co/{'spaces/' if self.repo_type == 'space' else ''}{self.repo}"

    @property
    def effective_license(self) -> str:
        """The licence to write into what is made with this teacher: marked where it is disputed."""
        return f"{self.license} ({DISPUTED_MARK})" if self.disputed else self.license


def card(name: str) -> Card:
    """Return the card called `name`; `TeacherError` with the nearest names where there is none."""
    if name in CARDS:
        return CARDS[name]
    near = difflib.get_close_matches(name, CARDS, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else "See the catalogue with: ccd teachers list"
    raise TeacherError(f"There is no teacher called '{name}'.", hint)


def strictest_license(names_or_licenses: Iterable[str]) -> str:
    """Return the strictest licence among teachers (catalogue names) and licences.

    Non-commercial is stricter than permissive; a disputed licence counts as non-commercial and comes back marked as
    disputed; an unknown one counts as non-commercial too. `ValueError` for an empty list.
    """
    return strictest(CARDS[n].effective_license if n in CARDS else n for n in names_or_licenses)


_NC = "CC-BY-NC-4.0"
_SIZES = {"small": "s", "base": "b", "large": "l"}
_PARAMETERS = {"small": 24_800_000, "base": 97_500_000, "large": 335_300_000}
_BYTES = {"small": 99_200_000, "base": 390_000_000, "large": 1_340_000_000}
_PAPERS = {
    "depth-anything-v1": "https://arxiv.org/abs/2401.10891",
    "depth-anything-v2": "https://arxiv.org/abs/2406.09414",
    "depth-anything-v2-metric": "https://arxiv.org/abs/2406.09414",
    "distill-any-depth": "https://arxiv.org/abs/2502.19204",
    "depth-anything-3": "https://arxiv.org/abs/2511.10647",
    "marigold": "https://arxiv.org/abs/2312.02145",
    "genpercept": "https://arxiv.org/abs/2403.06090",
    "midas": "https://arxiv.org/abs/2307.14460",
}
_METRIC_DISPUTE = "the code repository makes this size non-commercial, a hub page of the family says Apache-2.0"
_DISTILL_DISPUTE = "the hub says Apache-2.0 and the code repository MIT, but its teachers' licences are non-commercial"


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


def _depth_anything() -> list[Card]:
    rows = []
    for size, letter in _SIZES.items():
        title = size.capitalize()
        rows.append(
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
        rows.append(
            _native(
                f"depth-anything-v2-{size}",
                f"depth-anything/Depth-Anything-V2-{title}",
                f"depth_anything_v2_vit{letter}.pth",
                "Apache-2.0" if free else _NC,
            )
        )
        for place, data in (("indoor", "Hypersim"), ("outdoor", "VKITTI")):
            rows.append(
                _native(
                    f"depth-anything-v2-metric-{place}-{size}",
                    f"depth-anything/Depth-Anything-V2-Metric-{data}-{title}",
                    f"depth_anything_v2_metric_{data.lower()}_vit{letter}.pth",
                    "Apache-2.0" if free else _NC,
                    disputed="" if free else _METRIC_DISPUTE,
                )
            )
    return rows


def _distill_any_depth() -> list[Card]:
    folders = {size: size for size in _SIZES}
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
    metric = "Metres = output x focal length in pixels / 300; without a focal length its scale is unknown."
    return [
        _native("depth-anything-3-mono-large", "depth-anything/DA3MONO-LARGE", file, "Apache-2.0", **fields),
        _native(
            "depth-anything-3-metric-large", "depth-anything/DA3METRIC-LARGE", file, "Apache-2.0", note=metric, **fields
        ),
    ]


def _others() -> list[Card]:
    genpercept: dict[str, Any] = {
        "family": "genpercept",
        "arch": None,
        "adapter": "diffusers",
        "size_bytes": 3_460_000_000,
        "parameters": 865_000_000,
        "license": "LicenseRef-GenPercept-noncommercial",
        "license_url": "https://huggingface.co/guangkaixu/genpercept-depth",
        "commercial": False,
        "paper": _PAPERS["genpercept"],
        "normalization": "to -1..1",
        "multiple": 8,
        "resolution": None,
        "resolution_rule": None,
        "requires": "diffusion",
        "note": "BSD-2-Clause text for non-commercial academic use; needs Stable Diffusion 2.1's VAE and text encoder.",
    }
    midas: dict[str, Any] = {
        "family": "midas",
        "arch": None,
        "adapter": "transformers",
        "file": "",
        "license": "MIT",
        "commercial": True,
        "paper": _PAPERS["midas"],
        "normalization": "mean 0.5, standard deviation 0.5",
        "multiple": 32,
        "resolution_rule": None,
        "kind": "disparity",
        "requires": "diffusion",
    }
    weights = "diffusion_pytorch_model.safetensors"
    return [
        Card(
            name="marigold-lcm",
            family="marigold",
            arch=None,
            adapter="diffusers",
            repo="prs-eth/marigold-depth-lcm-v1-0",
            file="",
            size_bytes=None,
            parameters=900_000_000,
            license="Apache-2.0",
            license_url="https://huggingface.co/prs-eth/marigold-depth-lcm-v1-0",
            commercial=True,
            paper=_PAPERS["marigold"],
            normalization="to -1..1",
            multiple=8,
            resolution=768,
            resolution_rule="upper",
            kind="affine-depth",
            requires="diffusion",
        ),
        Card(
            name="genpercept-disparity",
            repo="guangkaixu/genpercept-models",
            file=f"unet_disparity_v2/{weights}",
            kind="disparity",
            **genpercept,
        ),
        Card(
            name="genpercept-depth",
            repo="guangkaixu/genpercept-depth",
            file=f"unet_depth_v2/{weights}",
            kind="affine-depth",
            **genpercept,
        ),
        Card(
            name="midas-3.1-beit-large-512",
            repo="Intel/dpt-beit-large-512",
            license_url="https://huggingface.co/Intel/dpt-beit-large-512",
            size_bytes=1_380_000_000,
            parameters=345_000_000,
            resolution=512,
            **midas,
        ),
        Card(
            name="midas-3.1-swin2-tiny",
            repo="Intel/dpt-swinv2-tiny-256",
            license_url="https://huggingface.co/Intel/dpt-swinv2-tiny-256",
            size_bytes=168_000_000,
            parameters=42_000_000,
            resolution=256,
            **midas,
        ),
    ]


CARDS: dict[str, Card] = {
    c.name: c for c in (*_depth_anything(), *_distill_any_depth(), *_depth_anything_3(), *_others())
}
