"""Reading and writing weights: nothing in a file is executed, nothing is loaded partly, nothing is written halfway."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ccd_cli.core.errors import CheckpointError, UsageProblem, first_line
from ccd_cli.core.files import atomic_write, disk_error
from ccd_cli.geometry.kinds import KINDS, Kind
from ccd_cli.models.arch import Arch, arch_to_json
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.files import SAFE_SUFFIX, check_file, read_metadata, sha256_file
from ccd_cli.models.identify import identify
from ccd_cli.models.keys import DROPPED, custom_names, encoder_names, layout_of, published_name, strip_prefixes
from ccd_cli.models.seal import BLANK, KEY, check_seal, write_seal
from ccd_cli.models.strict import load_strict

__all__ = [
    "identify",
    "load_encoder",
    "load_model",
    "read_metadata",
    "read_state",
    "save_model",
    "sha256_file",
]

_WRAPPERS = ("model", "state_dict", "student")


def read_state(path: Path | str) -> dict[str, Tensor]:
    """Return {name: tensor on the CPU} of a .safetensors, .pth or .pt file.

    Wrapper dictionaries (`model`, `state_dict`, `student`) and wrapper prefixes (`module.`, `model.`, ...) are taken
    off. Raises `CheckpointError` for files that are missing, empty, damaged, unsafe or hold no tensors.
    """
    path = check_file(Path(path))
    if path.suffix.lower() == SAFE_SUFFIX:
        check_seal(path, read_metadata(path))
        try:
            content: Any = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file ({first_line(error)}).") from None
    else:
        content = _read_pickle(path)
    for _ in range(4):
        inner = next((content[w] for w in _WRAPPERS if isinstance(content, dict) and w in content), None)
        if not isinstance(inner, dict):
            break
        content = inner
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds no tensors.")
    odd = [str(k) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if odd:
        raise CheckpointError(f"{path} is not a table of tensors: '{odd[0][:60]}' is something else.")
    short = strip_prefixes(content)
    return {short[name]: tensor for name, tensor in content.items()}


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise CheckpointError(
                f"{path} holds more than tensors, or is no checkpoint, so it was not loaded.",
                "Files like this can run code; ask for safetensors or a plain state dict.",
            ) from None
        raise CheckpointError(f"{path} is not a checkpoint.") from None
    except MemoryError:
        raise CheckpointError(f"{path} does not fit into memory.") from None
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(f"{path} is not a whole checkpoint ({first_line(error)}).") from None


def load_model(path: Path | str, arch_name: str | None = None) -> DepthNet:
    """Return the network stored in `path`, in float32 on the CPU, in training mode.

    Every tensor must be there, fit and be used; only DINOv2's `mask_token` may be left out. Raises `CheckpointError`
    naming the tensors that are missing, extra or of another shape; see `identify` for how the network is chosen.
    """
    state = read_state(path)
    arch = identify(state, str(path), arch_name, read_metadata(path))
    layout = layout_of(state)
    own = {o: state[n] for n, o in custom_names(state, layout).items() if o != DROPPED}
    try:
        model = _blank(arch)
    except UsageProblem as error:  # the file's metadata names an encoder that there is not
        raise CheckpointError(f"{path}: {error.message}", error.hint) from None
    load_strict(model, own, path, shown=lambda name: published_name(name, layout))
    if model.mean.is_meta:
        model.reset_statistics("cpu")
    return model


def _blank(arch: Arch) -> DepthNet:
    """A network whose every weight is about to be replaced: random weights would take seconds to draw."""
    if arch.layout == "dinov2":
        try:
            with torch.device("meta"):
                return DepthNet(arch)
        except (RuntimeError, UsageProblem):  # older timm computes values while it builds
            pass
    return DepthNet(arch)


def load_encoder(model: DepthNet, path: Path | str) -> None:
    """Load only the encoder of `model` from any file of a depth network, or from a bare timm or DINOv2 state.

    Raises `CheckpointError` where an encoder tensor is missing, extra or of another shape.
    """
    state = read_state(path)
    table = encoder_names(state)
    encoder = {timm_name: state[name] for name, timm_name in table.items()}
    if model.arch.layout == "pyramid":
        encoder = _pyramid_names(model, encoder)
    load_strict(model.encoder, encoder, path)


def _pyramid_names(model: DepthNet, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a classifier's tensors to those of its pyramid, and leave out what only the classifier has.

    timm writes a pyramid's first dots as underscores, and takes the layers behind the last level away.
    """
    own = {name.replace(".", "_"): name for name in model.encoder.state_dict()}
    import timm

    whole = {name.replace(".", "_") for name in timm.create_model(model.arch.encoder).state_dict()}
    renamed = {name: name.replace(".", "_") for name in state}
    return {own.get(flat, name): state[name] for name, flat in renamed.items() if flat in own or flat not in whole}


def save_model(
    path: Path | str, model: nn.Module | Mapping[str, Tensor], arch: Arch, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a .safetensors file that knows its architecture and kind; return its path.

    `metadata` may change `kind`; all its values are text. The file appears whole or not at all: it is written
    beside its place and moved there, and carries its checksum. Equal content gives equal bytes. Raises `CcdError` where
    that fails.
    """
    path = Path(path)
    if path.suffix != SAFE_SUFFIX:
        raise CheckpointError(f"Weights are written as .safetensors, not as {path.name}.")
    notes = {"format": "pt", **(metadata or {})}
    kind = notes.setdefault("kind", arch.kind)
    bad = [k for k, v in notes.items() if not isinstance(v, str)]
    if bad or kind not in KINDS:
        raise CheckpointError(f"Metadata must be text and kind one of {', '.join(KINDS)} (see {bad or kind}).")
    notes |= {"ccd_arch": arch_to_json(replace(arch, kind=cast(Kind, kind))), KEY: BLANK}
    state = model.state_dict() if isinstance(model, nn.Module) else model
    tensors = {n: t.detach().to("cpu").contiguous().clone() for n, t in state.items()}
    try:
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata=notes)
            write_seal(temporary)
    except SafetensorError as error:
        if "os error 28" in str(error):
            raise disk_error(OSError(errno.ENOSPC, "no space"), path) from None
        raise CheckpointError(f"{path} cannot be written ({first_line(error)}).") from None
    return path
