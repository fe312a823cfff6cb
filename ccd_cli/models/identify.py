"""Which architecture a state of tensors is: read off names and shapes, and off the file's name where those tie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from ccd_cli.core.errors import CheckpointError
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.models.arch import ARCHS, Arch, arch_from_json, get_arch
from ccd_cli.models.keys import custom_names, layout_of

_SIZE = {"s": "small", "b": "base", "l": "large"}
_WIDTH = {"small": 384, "base": 768, "large": 1024}
# Published file names, then hub repositories (folders of the hub's cache are named after them); {} is the size.
_HINTS = [
    (r"depth_anything_v2_metric_hypersim_vit([sbl])\b", "depth-anything-v2-metric-indoor-{}"),
    (r"depth_anything_v2_metric_vkitti_vit([sbl])\b", "depth-anything-v2-metric-outdoor-{}"),
    (r"depth_anything_v2_vit([sbl])\b", "depth-anything-v2-{}"),
    (r"depth_anything_vit([sbl])14\b", "depth-anything-v1-{}"),
    (r"distill-any-depth-[\w-]*2w-iter\b", "distill-any-depth-large-2w-iter"),
    (r"distill-any-depth\b.*/(small|base|large)/[^/]+$", "distill-any-depth-{}"),
    (r"\bda3mono-large\b", "depth-anything-3-mono-large"),
    (r"\bda3metric-large\b", "depth-anything-3-metric-large"),
]


def hint_from_name(path: str) -> str | None:
    """Return the architecture that a published file name, or a folder named after an architecture, stands for."""
    folder, name = Path(path).parent, Path(path).name
    for known in (Path(name).stem, folder.name):
        if known in ARCHS:
            return known
    tail = "/".join((*folder.parts[-4:], name)).lower()
    for text in (name.lower(), tail):
        for pattern, target in _HINTS:
            if found := re.search(pattern, text):
                size = found.group(1) if found.groups() else ""
                return target.format(_SIZE.get(size, size))
    return None


def candidates(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the known architectures that tensors with these names and shapes may belong to.

    `state` maps names (without wrapper prefixes) to anything with a `shape`. `CheckpointError` for unknown layouts.
    """
    layout = layout_of(state)
    own = {o: tuple(state[n].shape) for n, o in custom_names(state, layout).items()}
    width = own.get("encoder.cls_token", (0,))[-1]
    sky = any(name.startswith("head.sky.") for name in own)
    found = []
    for name, arch in ARCHS.items():
        size = arch.encoder.split("_")[1]
        fits = _WIDTH[size] == width and arch.sky == sky
        if layout == "distill-any-depth":
            fits = fits and arch.family == "distill-any-depth"
        elif layout == "depth-anything-3":
            fits = fits and arch.family == "depth-anything-3"
        if fits:
            found.append(name)
    return found


def identify(
    state: Mapping[str, Any], filename: str, arch_name: str | None = None, metadata: Mapping[str, str] | None = None
) -> Arch:
    """Return the architecture of `state`, whose names and shapes must allow it.

    In this order decide: ccd's own metadata, `arch_name`, the only candidate, the published file name. Raises
    `CheckpointError` where they contradict each other, and with the list of candidates where none decides.
    """
    if metadata and "ccd_arch" in metadata:
        return _from_metadata(metadata, filename, arch_name)
    possible = candidates(state)
    listed = ", ".join(possible)
    if arch_name is not None:
        arch = get_arch(arch_name)
        if possible and arch_name not in possible:
            raise CheckpointError(f"{filename} is not {arch_name}: its tensors fit {listed}.")
        return arch
    if not possible:
        raise CheckpointError(
            f"{filename} holds a network of a known layout but of no known size.",
            "A student on a timm encoder is read from .safetensors alone, which says what it is.",
        )
    if len(possible) == 1:
        return ARCHS[possible[0]]
    hint = hint_from_name(filename)
    if hint is not None and hint in possible:
        return ARCHS[hint]
    sized = {n for n in possible if n != "distill-any-depth-large-2w-iter"}
    if len(sized) == 1:  # the large Distill Any Depth files: the same network, trained twice
        return ARCHS[sized.pop()]
    but = f" Its name says {hint}, which they do not fit." if hint else ""
    raise CheckpointError(f"The tensors of {filename} fit several networks: {listed}.{but}", "Choose one with --arch.")


def _from_metadata(metadata: Mapping[str, str], filename: str, arch_name: str | None) -> Arch:
    arch = arch_from_json(metadata["ccd_arch"])
    if arch_name is not None and arch_name != arch.name:
        raise CheckpointError(f"{filename} is not {arch_name}: it says that it is {arch.name}.")
    kind = metadata.get("kind", arch.kind)
    if kind not in KINDS:
        raise CheckpointError(f"{filename} says that its maps are of the kind '{kind}', which there is not.")
    return replace(arch, kind=cast(Kind, kind))
