"""From the word a user types for a model to a teacher that predicts. Torch loads only in `load_teacher`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from ccd_cli.core.compute import Compute
from ccd_cli.core.errors import CheckpointError, TeacherError, UnknownModel, UsageProblem
from ccd_cli.core.nearest import did_you_mean
from ccd_cli.core.paths import builtin_folder, builtin_path, expand_home
from ccd_cli.geometry.kinds import Kind
from ccd_cli.models.arch import Arch, get_arch
from ccd_cli.models.files import (
    PICKLE_SUFFIXES,
    SAFE_SUFFIX,
    check_file,
    file_hashes,
    read_header,
    read_metadata,
    sha256_file,
    tree_hash,
)
from ccd_cli.models.identify import hint_from_name, identify
from ccd_cli.models.keys import strip_prefixes
from ccd_cli.runtimes.facts import RUNTIME_OF, ExportFacts, read_facts
from ccd_cli.teachers.custom import custom_card, custom_loader
from ccd_cli.teachers.download.lock import check_hashes, check_sizes
from ccd_cli.teachers.paths import NotReady, find_weights, recorded_student, weights_path
from ccd_cli.teachers.registry import CARDS, Card, card

if TYPE_CHECKING:
    import torch

    from ccd_cli.models.depth_net import DepthNet
    from ccd_cli.teachers.base import Teacher

BUILTIN = "builtin:"  # models that ship with ccd, in its assets folder
RUN_WEIGHTS = "student.safetensors"  # what makes a folder a run
# Families that are not ours: the module whose `load` makes the teacher, and the package that must be there.
_ADAPTERS = {
    "transformers": ("ccd_cli.teachers.adapters.hf", "transformers"),
    "diffusers": ("ccd_cli.teachers.adapters.diffusion_load", "diffusers"),
    "moge": ("ccd_cli.teachers.adapters.moge", "moge"),
}


@dataclass(frozen=True)
class ModelRef:
    """A model that was found. Its weights are there and not yet read."""

    name: str
    path: Path
    arch: str | None  # None: decided by the file
    card: Card | None  # None: not from the catalog
    metadata: Mapping[str, str] = field(default_factory=dict)  # of a safetensors file
    exported: ExportFacts | None = None  # of a network that `ccd export` wrote

    @property
    def license(self) -> str:
        """License by the catalog, by the file's metadata, or "unknown"."""
        if self.exported is not None:
            return self.exported.license
        return self.card.effective_license if self.card else self.metadata.get("license", "unknown")

    @cached_property
    def kind(self) -> Kind:
        """What its maps mean. Raises `CheckpointError` where neither the catalog nor the file tells."""
        if self.exported is not None:
            return self.exported.arch.kind
        return self.card.kind if self.card else _identified(self).kind

    @cached_property
    def sha256(self) -> str:
        """The sha256 of its weights (of a folder, or of the two files of an OpenVINO network, that of all), read once.

        Raises `TeacherError` where they are not what was recorded when they were downloaded, or when their run finished.
        """
        return _checked_hash(self)

    @cached_property
    def network(self) -> Arch | None:
        """What its network is, where it is one of ours, else None. Torch loads only for a pickled file that tells nothing."""
        if self.exported is not None:
            return self.exported.arch
        if self.card is not None and (self.card.adapter in _ADAPTERS or custom_loader(self.name)):
            return None
        arch = _identified(self)
        if self.card is not None and self.card.resolution is not None:  # a card of one's own may change both
            arch = replace(arch, kind=self.card.kind, resolution=self.card.resolution)
        return arch


def _identified(ref: ModelRef) -> Arch:
    """The architecture of a file; torch loads only for a pickled one whose name says nothing."""
    path, name = ref.path, str(ref.path)
    if "ccd_arch" in ref.metadata:
        return identify({}, name, ref.arch, ref.metadata)
    if path.suffix.lower() == SAFE_SUFFIX:
        header = {k: v for k, v in read_header(path).items() if k != "__metadata__"}
        short = strip_prefixes(header)
        return identify({short[k]: SimpleNamespace(shape=v["shape"]) for k, v in header.items()}, name, ref.arch)
    if known := ref.arch or hint_from_name(name):
        return get_arch(known)
    from ccd_cli.models.checkpoint import read_state

    return identify(read_state(path), name)


def resolve_model(model: str, arch: str | None = None) -> ModelRef:
    """Find the model that `model` names: a catalog name (shipped or the user's own), `builtin:NAME`, a run folder, a
    checkpoint path, or a network that `ccd export` wrote (.onnx, .xml).

    `arch` (--arch) names the architecture where a file does not tell. A catalog name wins over a file of the same
    name in the working folder; write ./name for that. Raises `UnknownModel` for names that are nothing of these,
    `CheckpointError` for unusable files, `UsageProblem` for an unknown or contradicting `arch`.
    """
    if arch is not None:
        get_arch(arch)
    if found := CARDS.get(model) or custom_card(model):
        if arch is not None and arch != found.arch:
            raise UsageProblem(f"{model} is a catalog name, so --arch {arch} contradicts it.")
        check_sizes(found)
        if found.adapter != "native":
            return ModelRef(model, weights_path(found), None, found)
        path = check_file(find_weights(model))
        return ModelRef(model, path, found.arch, found, read_metadata(path))
    try:
        path, name = _locate(model)
    except OSError as error:
        raise CheckpointError(f"{model[:80]} cannot be read ({error.strerror}).") from None
    if path.suffix.lower() in RUNTIME_OF:
        facts = read_facts(path)
        if arch is not None and arch != facts.arch.name:
            raise CheckpointError(f"{path} is not {arch}: it says that it is {facts.arch.name}.")
        return ModelRef(name, path, None, None, {}, replace(facts, name=name))
    path = check_file(path)
    return ModelRef(name, path, arch, None, read_metadata(path))


def _locate(model: str) -> tuple[Path, str]:
    """(weights file, name) of a run folder or a checkpoint path."""
    if model.startswith(BUILTIN):
        weights = Path(builtin_path(model)).with_suffix(SAFE_SUFFIX)
        if weights.parent != builtin_folder() or not weights.is_file():
            known = sorted(BUILTIN + p.stem for p in builtin_folder().glob(f"*{SAFE_SUFFIX}"))
            raise UnknownModel(
                f"Unknown built-in model '{model}'.", did_you_mean(model, known, f"Known: {', '.join(known)}.")
            )
        return weights, model
    path = expand_home(model)
    if path.is_dir():
        weights = path / RUN_WEIGHTS
        if not weights.is_file():
            raise TeacherError(f"{path} is not a run folder: it holds no {RUN_WEIGHTS}.")
        return weights, path.resolve().name
    if not path.exists():
        if path.suffix in (SAFE_SUFFIX, *PICKLE_SUFFIXES, *RUNTIME_OF) or os.sep in model or "/" in model:
            beside = [str(path.parent / other.name) for other in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UnknownModel(f"There is no file or folder {model}.", did_you_mean(str(path), beside))
        card(model)  # raises, and names the nearest ones
    return path, path.stem


def check_runnable(ref: ModelRef) -> ModelRef:
    """Return `ref`; raises `TeacherError` where its weights or the package that runs its family are absent."""
    if ref.card is None or ref.card.adapter not in _ADAPTERS:
        return ref
    _, package = _ADAPTERS[ref.card.adapter]
    if importlib.util.find_spec(package) is None:
        raise NotReady(ref.card, package)
    find_weights(ref.name)
    return ref


def _checked_hash(ref: ModelRef) -> str:
    if ref.exported is not None:
        names = [ref.path, ref.path.with_suffix(".bin")] if ref.path.suffix.lower() == ".xml" else [ref.path]
        return tree_hash(ref.path.parent if len(names) > 1 else ref.path, {p.name: sha256_file(p) for p in names})
    hashes = file_hashes(ref.path)
    if ref.card is not None:
        check_hashes(ref.card, hashes)
    elif ref.path.name == RUN_WEIGHTS and hashes[RUN_WEIGHTS] != recorded_student(ref.path.parent, hashes[RUN_WEIGHTS]):
        raise TeacherError(
            f"{ref.path} is not what the run left when it finished: it is damaged or was replaced.",
            f"Make it again with: ccd distill RECIPE --resume --out {ref.path.parent}",
        )
    return tree_hash(ref.path, hashes)


def load_teacher(
    model: str | ModelRef,
    arch: str | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    resolution: int | None = None,
) -> Teacher:
    """Return the teacher that `model` names (see `resolve_model`), on `device`, ready to predict.

    `precision` is fp32, bf16 or fp16; `resolution` the side it sees images at (None: their own). Raises what
    `resolve_model` and `models.checkpoint.load_model` raise, and `TeacherError` where a package is missing.
    """
    ref = check_runnable(model if isinstance(model, ModelRef) else resolve_model(model, arch))
    if ref.card is not None and (loader := custom_loader(ref.name)):
        return loader(ref.card, device, precision, resolution)
    if ref.card is not None and ref.card.adapter in _ADAPTERS:
        adapter = importlib.import_module(_ADAPTERS[ref.card.adapter][0])
        made: Teacher = adapter.load(ref.path, ref.card, precision, resolution, ref.sha256)
        return made.to(device)
    if ref.exported is not None:
        from ccd_cli.teachers.adapters.exported import open_file

        compute = Compute(str(device), precision)
        return open_file(ref.path, ref.exported, ref.sha256, compute, resolution=resolution)
    from ccd_cli.teachers.adapters.native import NativeTeacher

    sha256 = ref.sha256
    return NativeTeacher(load_network(ref), ref.name, ref.license, sha256, precision, resolution).to(device)


def load_network(ref: ModelRef) -> DepthNet:
    """Return the network of a model that is one of ours, in float32 on the CPU; raises what `models.checkpoint.load_model` does."""
    from ccd_cli.models.checkpoint import load_model

    network = load_model(ref.path, ref.arch)
    if ref.card is not None and ref.card.resolution is not None:  # a card of one's own may change both
        network.arch = replace(network.arch, kind=ref.card.kind, resolution=ref.card.resolution)
    return network
