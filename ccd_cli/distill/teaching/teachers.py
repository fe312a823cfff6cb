"""Who labels in a distillation run: networks, the ground truth of scenes, or the teachers of labels made earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import torch
from pydantic import ValidationError

from ccd_cli.config.common import GROUND_TRUTH, TeacherEntry
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.label import LabelRecipe
from ccd_cli.config.load import check_label_recipe, differences
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.compute import EXACT, Compute, computes
from ccd_cli.core.errors import CcdError, RecipeError, UsageProblem
from ccd_cli.core.paths import expand_home
from ccd_cli.core.report import Report
from ccd_cli.distill.teaching.ensemble import TeacherEnsemble
from ccd_cli.distill.teaching.members import DepthUnit, Filler, Member, reference_for
from ccd_cli.distill.teaching.precomputed import PrecomputedLabels, ground_truth
from ccd_cli.geometry.kinds import Kind
from ccd_cli.labels.format import Index
from ccd_cli.labels.shards import ShardReader, read_index
from ccd_cli.teachers.base import Teacher
from ccd_cli.teachers.load import ModelRef, load_teacher
from ccd_cli.teachers.needs import find_models


def follow_labels(recipe: DistillRecipe) -> DistillRecipe:
    """Return the recipe with the crops, and if it names none the teachers, of the labels that it learns from.

    Raises CcdError where there are no finished labels, UsageProblem where the recipe wants other crops or teachers.
    """
    if recipe.labels is None:
        return recipe
    folder = labels_folder(recipe)
    index, made = read_index(folder), label_recipe(folder)
    if (made.crops.size, 1 + made.crops.patches) != (index.size, index.crops):
        raise CcdError(f"{folder / 'recipe.yaml'} contradicts the index beside it.", "Make the labels again.")
    if "crops" in recipe.model_fields_set:
        wanted = {key: getattr(recipe.crops, key) for key in sorted(recipe.crops.model_fields_set)}
        rows = differences({key: getattr(made.crops, key) for key in wanted}, wanted, "crops.")
        if rows:
            changed = "; ".join(f"{key}: {a} there, {b} here" for key, a, b in rows)
            raise UsageProblem(
                f"The labels in {folder} were made with other crops ({changed}).",
                "Remove `crops` from the recipe, or make labels with these crops.",
            )
    teachers = recipe.teachers or [TeacherEntry(model=entry.model) for entry in made.teachers]
    followed = recipe.model_copy(update={"crops": made.crops, "teachers": teachers})
    label_columns(followed, index)
    return followed


def label_columns(recipe: DistillRecipe, index: Index) -> list[int]:
    """Return, for each teacher of the recipe, its place in the folder of labels; UsageProblem for one that is not there.

    A teacher is named as the label recipe names it, or as the index does where no other has that name.
    """
    folder = labels_folder(recipe)
    names = [entry.model for entry in label_recipe(folder).teachers]
    short = [str(about.get("teacher")) for about in index.teachers]
    if len(names) != len(short):
        raise CcdError(f"{folder / 'recipe.yaml'} contradicts the index beside it.", "Make the labels again.")
    columns = []
    for entry in recipe.teachers:
        if entry.model in names:
            columns.append(names.index(entry.model))
        elif short.count(entry.model) == 1:
            columns.append(short.index(entry.model))
        else:
            raise UsageProblem(
                f"The labels in {folder} have no teacher '{entry.model}', or several.",
                f"They have: {', '.join(names)}.",
            )
    return columns


def labels_folder(recipe: DistillRecipe) -> Path:
    """Return the folder of labels that a recipe names."""
    assert recipe.labels is not None
    return expand_home(recipe.labels.path)


def open_labels(recipe: DistillRecipe) -> ShardReader | None:
    """Return a reader of the labels that a recipe learns from, if it does."""
    if recipe.labels is None:
        return None
    config = recipe.labels
    return ShardReader(labels_folder(recipe), recipe.seed, buffer=config.buffer, verify=config.verify)


def find_teachers(
    recipe: DistillRecipe, labels: ShardReader | None
) -> tuple[list[ModelRef | PrecomputedLabels], list[int | None]]:
    """Return (teachers, the index that each is fitted to), checked to be there and usable but not loaded."""
    found: list[ModelRef | PrecomputedLabels] = []
    if labels is not None:
        recorded = [_recorded(labels, place) for place in label_columns(recipe, labels.index)]
        for i, (entry, teacher) in enumerate(zip(recipe.teachers, recorded, strict=True)):
            if entry.full_weight_to is not None and teacher.kind != "metric":
                raise UsageProblem(
                    f"teachers.{i}.full_weight_to is in meters, and the labels of {entry.model} are not.",
                    "Leave the key out.",
                )
        found += recorded
    else:
        live = [(entry.model, entry.arch) for entry in recipe.teachers if entry.model != GROUND_TRUTH]
        models = iter(find_models(live))
        found += [ground_truth() if entry.model == GROUND_TRUTH else next(models) for entry in recipe.teachers]
        for entry in recipe.teachers:
            _find_errors(entry)
            find_filler(entry)
    check_unit(recipe, found)
    if recipe.student.sky:
        check_sky(found, recipe)
    names, kinds = [entry.model for entry in recipe.teachers], [teacher.kind for teacher in found]
    return found, [reference_for(kinds, i, names, entry.fit_to) for i, entry in enumerate(recipe.teachers)]


def load_ensemble(
    recipe: DistillRecipe,
    found: list[ModelRef | PrecomputedLabels],
    fits: list[int | None],
    compute: Compute,
    report: Report,
) -> TeacherEnsemble:
    """Load the teachers, each onto its own device; see `try_out`."""
    members = []
    batch = None if recipe.compute.teacher_batch == "auto" else recipe.compute.teacher_batch
    for entry, source, fit in zip(recipe.teachers, found, fits, strict=True):
        its = own_compute(entry, compute)
        teacher: Teacher
        if isinstance(source, PrecomputedLabels):
            teacher = source
        else:
            report.note(f"Loading teacher {source.name} ({source.kind}, {source.license})")
            teacher = load_teacher(source, None, its.device, its.precision, entry.resolution)
        errors, filler = _errors(entry, its, report), _filler(entry, its, report)
        members.append(
            Member(
                teacher,
                entry.weight,
                fit_to=fit,
                noise=entry.noise,
                errors=errors,
                device=None if its is compute else its.place,
                batch=batch,
                fill=filler,
                full_weight_to=entry.full_weight_to,
                sky=recipe.student.sky and _knows_sky(source),
            )
        )
    masks, student = recipe.masks, recipe.student
    unit = None
    if student.kind != "disparity":
        unit = DepthUnit(student.kind == "metric", student.canonical_focal, student.max_depth)
    return TeacherEnsemble(
        members,
        recipe.mixing,
        masks.saturated_fraction if masks.saturated else None,
        masks.flat,
        recipe.seed,
        recipe.loss.local_global.unit == "region",
        unit,
    )


def check_unit(recipe: DistillRecipe, found: Sequence[ModelRef | PrecomputedLabels]) -> None:
    """Raise UsageProblem where no teacher knows the depth that the student is to learn."""
    kind = recipe.student.kind
    wanted = {"disparity": get_args(Kind), "depth": ("metric", "depth", "affine-depth"), "metric": ("metric",)}[kind]
    live = [source.name == GROUND_TRUTH and source.kind == "disparity" for source in found]
    knows = [exact or source.kind in wanted for exact, source in zip(live, found, strict=True)]
    if not _drawn(recipe, knows):
        kinds = ", ".join(f"{source.name} ({source.kind})" for source in found)
        raise UsageProblem(
            f"student.kind {kind}: none of the teachers knows that depth: {kinds}.",
            f"Add `{GROUND_TRUTH}` with images.pairs, or a teacher of kind {wanted[0]}; or set student.kind to disparity.",
        )
    _check_every_step(recipe, knows)


def _drawn(recipe: DistillRecipe, knows: Sequence[bool]) -> bool:
    """Whether any of the teachers that know something is ever drawn: those of weight 0 are not."""
    return any(known and entry.weight for known, entry in zip(knows, recipe.teachers, strict=True))


def _check_every_step(recipe: DistillRecipe, knows: Sequence[bool]) -> None:
    """Raise UsageProblem where the depth loss is the only one, and a teacher that may be drawn does not know that depth."""
    loss = recipe.loss
    if loss.shared.weight or loss.local_global.weight:
        return
    silent = [entry.model for entry, known in zip(recipe.teachers, knows, strict=True) if entry.weight and not known]
    if silent:
        raise UsageProblem(
            f"With both contexts at weight 0 nothing is learned in steps of {', '.join(silent)}: their depth has no such unit.",
            "Remove them, or set loss.shared.weight above 0.",
        )


def check_sky(found: Sequence[ModelRef | PrecomputedLabels], recipe: DistillRecipe) -> None:
    """Raise UsageProblem where no teacher knows what is sky; measured depth does not, for nothing of it is infinitely far."""
    exact = recipe.images.scenes is not None
    knows = [_knows_sky(source) and (exact or source.name != GROUND_TRUTH) for source in found]
    if not _drawn(recipe, knows):
        raise UsageProblem(
            f"student.sky: none of the teachers marks sky: {', '.join(source.name for source in found)}.",
            f"Add images.scenes with `{GROUND_TRUTH}` or a network that marks it, for instance depth-anything-3-mono-large; or "
            "remove student.sky.",
        )


def _knows_sky(source: ModelRef | PrecomputedLabels) -> bool:
    """Whether a teacher tells what is sky: a network of ours with a second output, or exact depth, infinite there."""
    if isinstance(source, PrecomputedLabels):
        return source.name == GROUND_TRUTH
    return source.exported is None and source.network is not None and source.network.sky


def own_compute(entry: TeacherEntry, compute: Compute) -> Compute:
    """Return where a teacher runs and how: as the student does, or on its own device, in fp32 where that lacks the precision."""
    if entry.device in (None, compute.place, compute.type):
        return compute
    assert entry.device is not None
    kind = entry.device.partition(":")[0]
    return replace(
        compute, place=entry.device, precision=compute.precision if computes(kind, compute.precision) else EXACT
    )


def check_devices(recipe: DistillRecipe, compute: Compute) -> None:
    """Raise UsageProblem for a teacher's device that is not there, or that all processes would fill."""
    for i, entry in enumerate(recipe.teachers):
        if entry.device is None or entry.device == "cpu":
            continue
        device = torch.device(entry.device)
        if device.type == "cuda":
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            here, what = (device.index or 0) < count, f"this machine shows {count} CUDA devices"
        else:
            here, what = torch.backends.mps.is_available(), "not available here"
        if not here:
            raise UsageProblem(f"teachers.{i}.device {entry.device}: {what}.", "Take another, or leave the key out.")
        if compute.world > 1:
            raise UsageProblem(
                f"teachers.{i}.device {entry.device}: the teachers of all {compute.world} processes would fill that one device.",
                "Leave the key out, so that each process keeps its own, or use cpu.",
            )


def try_out(ensemble: TeacherEnsemble, size: int, compute: Compute) -> None:
    """Ask every network once for a view of `size` pixels, so that one that cannot run fails before the first step."""
    for passes in ensemble.passes:
        passes.predict(torch.zeros(1, 3, size, size, device=compute.device))


def _find_errors(entry: TeacherEntry) -> ModelRef | None:
    """Find the network whose errors an entry's labels get; raises UsageProblem for one that gives no disparity."""
    if (name := entry.noise.errors_of) is None:
        return None
    (source,) = find_models([(name, None)])
    if source.kind != "disparity":
        raise UsageProblem(f"noise.errors_of: {name} gives {source.kind}, not disparity.", "Take another model.")
    return source


def _errors(entry: TeacherEntry, compute: Compute, report: Report) -> Teacher | None:
    if (source := _find_errors(entry)) is None:
        return None
    report.note(f"Loading {source.name}, whose errors the labels of {entry.model} get")
    return load_teacher(source, None, compute.device, compute.precision, entry.noise.errors_resolution)


def find_filler(entry: TeacherEntry) -> ModelRef | None:
    """Find the network that fills the holes of an entry's ground truth; raises CcdError where it is not there."""
    if entry.fill is None:
        return None
    (source,) = find_models([(entry.fill.model, entry.fill.arch)])
    return source


def _filler(entry: TeacherEntry, compute: Compute, report: Report) -> Filler | None:
    if entry.fill is None or (source := find_filler(entry)) is None:
        return None
    report.note(f"Loading {source.name} ({source.kind}, {source.license}), which fills the holes of {entry.model}")
    network = load_teacher(source, None, compute.device, compute.precision, entry.fill.resolution)
    return Filler(network, entry.fill.weight, entry.fill.min_points, entry.fill.max_error)


def _recorded(labels: ShardReader, place: int) -> PrecomputedLabels:
    about = labels.index.teachers[place]
    name = str(about.get("teacher"))
    if (kind := about.get("kind")) not in get_args(Kind):
        raise CcdError(f"{labels.folder}: the index gives {name} no kind that ccd knows.", "Make the labels again.")
    return PrecomputedLabels(name, cast(Kind, kind), str(about.get("license")), str(about.get("checkpoint_sha256")))


def label_recipe(folder: Path) -> LabelRecipe:
    """Return the recipe that a folder of labels was made by; raises CcdError where it is missing or damaged."""
    path = folder / "recipe.yaml"
    try:
        return check_label_recipe(read_yaml(path), str(path))
    except (RecipeError, ValidationError, OSError) as error:
        raise CcdError(f"{path} is missing or damaged: it tells how the crops were drawn.", "Restore it.") from error
