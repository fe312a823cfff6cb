"""The networks of a benchmark of work: named ones, or an architecture with random weights, which compute as long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ccd_cli.bench.subjects import native
from ccd_cli.models.arch import ARCHS, Arch, get_arch, timm_arch
from ccd_cli.models.checkpoint import save_model
from ccd_cli.models.depth_net import DepthNet

SIZE = 252
"""Side of crops in pixels where none is asked for, before it is rounded to what the networks take."""


def teacher_entry(name: str, folder: Path) -> str:
    """Return what a recipe calls the teacher: a name as it is, or the file of an architecture's random weights.

    Raises CcdError for models that are unknown, exported, or run in their authors' library.
    """
    if name not in ARCHS:
        native(name, None, "fp32")
        return name
    arch = get_arch(name)
    torch.manual_seed(1)
    return str(save_model(folder / f"{name}.safetensors", DepthNet(arch), arch))


def student_entry(name: str) -> tuple[dict[str, Any], Arch]:
    """Return (the section `student` of a recipe, its architecture); raises CcdError as `teacher_entry`."""
    if name in ARCHS:
        return {"arch": name, "init": "scratch"}, get_arch(name)
    arch = native(name, None, "fp32").arch
    if arch.family != "student":
        return {"arch": arch.name, "weights": name}, arch
    section = {
        "arch": "timm",
        "encoder": arch.encoder,
        "features": arch.features,
        "init": "pretrained",
        "weights": name,
    }
    return section, timm_arch(arch.encoder, features=arch.features)


def crop_size(wanted: int | None, multiple: int) -> int:
    """Return the side of crops: as wanted, else about `SIZE`."""
    return wanted or max(1, round(SIZE / multiple)) * multiple
