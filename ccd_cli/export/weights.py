"""Weights alone: `.safetensors` and `.pth` with the tensor names that Depth Anything V2 is published with.

Networks on timm encoders have no published names and keep ccd's own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ccd_cli.core.errors import CcdError, CheckpointError, UsageProblem
from ccd_cli.core.files import atomic_write, torch_saves
from ccd_cli.export.check import Difference, difference
from ccd_cli.export.tensors import DTYPES, pixels_for, stored
from ccd_cli.models.checkpoint import load_model, read_state, save_model
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.files import SAFE_SUFFIX
from ccd_cli.models.keys import DROPPED, custom_names, layout_of, published_name
from ccd_cli.models.strict import load_strict
from ccd_cli.runtimes.facts import ExportFacts
from ccd_cli.teachers.adapters.sizes import network_size

SUFFIXES = (SAFE_SUFFIX, ".pth")


def write(network: DepthNet, about: ExportFacts, out: Path, size: tuple[int, int] | None = None) -> list[Path]:
    """Write the tensors of `network` as the file `out`, whose suffix says how; return it in a list.

    `.safetensors` carries architecture, kind, license and the origin's hash; `.pth` is a plain {name: tensor}, which
    `torch.load(weights_only=True)` reads and which says nothing of all that. Raises CcdError for int8, UsageProblem for
    another suffix and for a `size`: weights take every size.
    """
    if out.suffix not in SUFFIXES:
        raise UsageProblem(f"Weights are written as {' or '.join(SUFFIXES)}, not as {out.name}.")
    if size is not None:
        raise UsageProblem("Weights take every size: a fixed one cannot be stored with them.", "Leave the size out.")
    if about.precision not in DTYPES:
        raise CcdError(
            f"Weights are stored in {', '.join(DTYPES)}, not {about.precision}.",
            "For int8, use --format onnx or openvino.",
        )
    state = published_state(network, about.precision)
    if out.suffix == SAFE_SUFFIX:
        notes = {"license": about.license, "source": about.name, "source_sha256": about.source_sha256}
        return [save_model(out, state, network.arch, notes)]
    with atomic_write(out) as temporary, torch_saves():
        torch.save(state, temporary)
    return [out]


def layout_for(network: DepthNet) -> str:
    """Return the layout (`models.keys`) that a network's weights are published in."""
    if network.arch.layout != "dinov2":
        return "ccd"
    return "depth-anything-3" if network.arch.sky else "depth-anything"


def published_state(network: DepthNet, precision: str = "fp32") -> dict[str, Tensor]:
    """Return a network's tensors on the CPU by their published names.

    DINOv2's mask token, without which the authors' code refuses a file, is zeros: no map depends on it.
    """
    layout, own = layout_for(network), dict(network.state_dict())
    if layout != "ccd":
        own[DROPPED] = torch.zeros_like(own["encoder.cls_token"][0])
    return {published_name(name, layout): stored(name, tensor, precision) for name, tensor in own.items()}


@torch.no_grad()
def check(out: Path, network: DepthNet, about: ExportFacts, photos: Sequence[NDArray[np.uint8]]) -> list[Difference]:
    """Read the file back as any weights file and compare every bit, then the maps of RGB photos uint8 [H, W, 3], on the CPU.

    Raises CheckpointError for a tensor that is not what was to be written, or metadata that describe another network.
    """
    found, wanted = read_state(out), published_state(network, about.precision)
    wrong = [n for n in wanted if n not in found or found[n].dtype != wanted[n].dtype or not _same(found[n], wanted[n])]
    wrong += [n for n in found if n not in wanted]
    if wrong:
        raise CheckpointError(f"{out} was not read back as it was written: {wrong[0]} differs.", "Export it again.")
    if out.suffix == SAFE_SUFFIX:
        again = load_model(out)
        if again.arch != network.arch:
            raise CheckpointError(f"{out} describes another network than {network.arch.name}.", "Export it again.")
    else:  # says nothing of its architecture
        again = copy.deepcopy(network)
        names = custom_names(found, layout_of(found))
        load_strict(again, {own: found[n] for n, own in names.items() if own != DROPPED}, out)
    rows = []
    was_training = network.training
    network.eval()
    again.eval()
    for photo in photos:
        height, width = network_size(network.arch, *photo.shape[:2])
        pixels = pixels_for(network, photo, (height, width))
        ours, theirs = (each(pixels)[0].numpy() for each in (network, again))
        name = f"photo of {photo.shape[0]}x{photo.shape[1]} at {height}x{width}"
        rows.append(difference(name, theirs, ours))
    network.train(was_training)
    return rows


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one type hold the same bits; NaN equals itself."""
    return a.shape == b.shape and torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
