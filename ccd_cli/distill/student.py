"""Make the network to train, with the initial weights that the recipe asks for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ccd_cli.config.distill import DistillRecipe, Student
from ccd_cli.core.errors import CheckpointError, TeacherError, UsageProblem
from ccd_cli.geometry.kinds import Kind
from ccd_cli.models.arch import Arch, check_crop_size, get_arch, timm_arch
from ccd_cli.models.checkpoint import load_encoder, load_model
from ccd_cli.models.depth_net import DepthNet
from ccd_cli.models.strict import load_strict
from ccd_cli.teachers.load import ModelRef, resolve_model

_SKY = re.compile(r"^head\.sky\.")


def student_arch(chosen: Student) -> Arch:
    """Return the architecture of a recipe's `student`; raises CcdError for unknown names and what does not go with them.

    An encoder that begins from given weights gets the input statistics that those were trained with. A network that learns another
    kind of depth than the named one gets another last function, and sees images at the scale of its crops; one that learns what is
    sky gets a second output.
    """
    arch = _of_kind(_named(chosen), chosen)
    if chosen.sky:
        return replace(arch, sky=True, sky_rule="infinite")
    if arch.sky:
        raise UsageProblem(
            f"student.arch: {arch.name} has a second output that marks sky, which nothing would train.",
            "Set student.sky: true and loss.sky.weight, or take another.",
        )
    return arch


def _named(chosen: Student) -> Arch:
    """The architecture that a recipe names, with the input statistics of its first weights."""
    name, encoder = chosen.arch, chosen.encoder
    arch = timm_arch(encoder, features=chosen.features) if name == "timm" and encoder else get_arch(name)
    if name != "timm" or not encoder or chosen.init != "encoder":
        return arch
    if (trained := _network_of(chosen.weights)) is not None:
        return replace(arch, mean=trained.mean, std=trained.std)
    if (config := _pretrained_config(encoder)) is not None:
        return replace(arch, mean=tuple(config.mean), std=tuple(config.std))
    return arch


def _network_of(weights: str | None) -> Arch | None:
    """The network that a file of first weights holds; None for timm's own states, and where there is none (told elsewhere)."""
    if weights is None:
        return None
    try:
        return resolve_model(weights).network
    except (CheckpointError, TeacherError):
        return None


def _of_kind(arch: Arch, chosen: Student) -> Arch:
    """The architecture with the output of a student of the chosen kind."""
    if chosen.kind == "disparity":
        if arch.kind != "disparity":
            raise UsageProblem(
                f"student.arch: {arch.name} predicts {arch.kind}, and student.kind is disparity.",
                "Take a relative architecture, for instance depth-anything-v2-small, or set student.kind.",
            )
        return arch
    if chosen.kind == arch.kind == "metric" and chosen.canonical_focal is None and not chosen.max_depth:
        return arch  # the published range
    kind: Kind = (
        "metric" if chosen.kind == "metric" and chosen.canonical_focal is None else "depth"
    )  # meters with a focal length
    return replace(
        arch,
        kind=kind,
        activation="sigmoid" if chosen.max_depth else "exp",
        max_depth=chosen.max_depth,
        canonical_focal=chosen.canonical_focal,
        resolution_rule="lower",  # the short side is a crop's, so that photos are seen at the zoom of training
    )


def _pretrained_license(encoder: str) -> str:
    """Return the license that timm states for an encoder's pretrained weights, or "unknown"."""
    stated = str(getattr(_pretrained_config(encoder), "license", None) or "unknown")
    return {"apache-2.0": "Apache-2.0", "mit": "MIT"}.get(stated, stated)


def _pretrained_config(encoder: str) -> Any:
    """What timm knows of an encoder's weights; None for an encoder that it does not know."""
    import timm

    return timm.get_pretrained_cfg(encoder)


def first_license(recipe: DistillRecipe, weights: ModelRef | None) -> list[str]:
    """Return the license of the weights that the student begins from, timm's own included; none for random ones."""
    if weights is not None:
        return [weights.license]
    return (
        [_pretrained_license(recipe.student.encoder)]
        if recipe.student.init == "encoder" and recipe.student.encoder
        else []
    )


def find_student(recipe: DistillRecipe) -> tuple[Arch, ModelRef | None]:
    """Return the student's architecture and where its first weights come from, checked to be there."""
    chosen = recipe.student
    arch = student_arch(chosen)
    check_crop_size(arch, recipe.crops.size)
    if chosen.init == "scratch" or (chosen.arch == "timm" and chosen.weights is None):
        return arch, None
    source = chosen.weights or chosen.arch
    try:
        return arch, resolve_model(source, None if chosen.arch == "timm" or chosen.init == "encoder" else chosen.arch)
    except TeacherError as error:
        raise TeacherError(
            f"The student begins from {source}: {error.message}",
            f"{error.hint} Or train from nothing: --set student.init=scratch",
        ) from error


def build_student(arch: Arch, init: str, weights: Path | None, seed: int) -> DepthNet:
    """Return the student on the CPU: `pretrained` (all weights), `encoder` (random head) or `scratch`.

    Random weights follow from `seed`; a pretrained network that does not mark sky gets them for that output. With `init` "encoder"
    and no file, timm downloads its own ImageNet weights. Raises CheckpointError where a file does not fit, or cannot be fetched.
    """
    torch.manual_seed(seed)
    if init == "encoder" and weights is None:
        try:
            return DepthNet(arch, pretrained=True)
        except Exception as error:  # timm and its hub client raise anything from OSError to RuntimeError
            raise CheckpointError(
                f"{arch.encoder}: timm could not fetch its weights ({type(error).__name__}).",
                "Check the network, or give student.weights a file, or student.init: scratch.",
            ) from error
    if init == "pretrained" and weights is not None:
        model = load_model(weights, None if arch.family == "student" else arch.name)
        found, wanted = (_outputs(each) for each in (model.arch, arch))
        if found != wanted or (model.arch.sky and not arch.sky):
            told = [f"{each.name} ({each.features} features, {_output_words(each)})" for each in (model.arch, arch)]
            raise CheckpointError(
                f"{weights} holds {told[0]}, the recipe's student is {told[1]}.",
                "Set the keys of `student` to match, or use student.init: encoder.",
            )
        if not arch.sky:
            return model
        trained, model = model, DepthNet(replace(model.arch, sky=True, sky_rule=arch.sky_rule))
        load_strict(model, trained.state_dict(), weights, may_lack=_SKY)
        return model
    model = DepthNet(arch)
    if init == "encoder" and weights is not None:
        load_encoder(model, weights)
    return model


def _outputs(arch: Arch) -> tuple[object, ...]:
    """What must agree before all weights are taken over. What marks sky may be added."""
    return arch.encoder, arch.features, arch.kind, arch.activation, arch.max_depth, arch.canonical_focal


def _output_words(arch: Arch) -> str:
    words: list[str] = [arch.kind]
    if arch.max_depth:
        words.append(f"up to {arch.max_depth:g} m")
    if arch.canonical_focal:
        words.append(f"canonical focal length {arch.canonical_focal:g}")
    if arch.sky:
        words.append("sky marked")
    return ", ".join(words)
