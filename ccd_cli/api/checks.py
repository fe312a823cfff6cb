"""What a recipe names, looked up before anything heavy is imported: the same checks as the run's own, all problems at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import CcdError, RecipeError
from ccd_cli.core.paths import expand_home

Fault = tuple[str, CcdError]
"""(recipe key, what is wrong there)."""


def missing_inputs(recipe: DistillRecipe | LabelRecipe, *, images: bool) -> list[Fault]:
    """Return (key, error) for the files that a recipe names and that are not as they must be; `images`: also the images.

    Images, labels and pairs; not weights, which are a matter of the machine (see `missing_models`).
    """
    found: list[Fault] = []
    if images and recipe.images.paths:
        from ccd_cli.media.find import list_photos

        found += _tried("images", lambda: list_photos(recipe.images.paths))
    if images and recipe.images.pairs is not None:
        from ccd_cli.benchmarks.suites import open_pairs

        opened = {
            f"images.pairs.files.{i} ({each.file})": each.file for i, each in enumerate(recipe.images.pairs.files)
        }
        faults = [
            fault for key, file in opened.items() for fault in _tried(key, partial(open_pairs, expand_home(file)))
        ]
        found += [("images.pairs", RecipeError("images.pairs", problems_of(faults)))] if faults else []
    if isinstance(recipe, DistillRecipe):
        if recipe.labels is not None:
            from ccd_cli.labels.shards import read_index

            folder = expand_home(recipe.labels.path)
            found += _tried("labels", lambda: read_index(folder)) if images or folder.exists() else []
        if recipe.eval.pairs is not None:
            from ccd_cli.benchmarks.suites import open_pairs

            path = expand_home(recipe.eval.pairs)
            found += _tried("eval.pairs", lambda: open_pairs(path))
        found += _student_problems(recipe)
    return found


def faulty_models(recipe: DistillRecipe | LabelRecipe) -> list[Fault]:
    """Return (key, error) for models that are unknown or damaged; what is only missing here is none of these."""
    from ccd_cli.teachers.needs import faults_of

    named = [teacher.model for teacher in recipe.teachers]
    fills = [teacher.fill for teacher in recipe.teachers]
    places = {fill.model: f"teachers.{i}.fill" for i, fill in enumerate(fills) if fill is not None}
    places |= {name: f"teachers.{i}.model" for i, name in enumerate(named)}
    return [(places.get(word, "student"), error) for word, error in faults_of(_models(recipe))]


def missing_models(recipe: DistillRecipe | LabelRecipe, source: str) -> list[str]:
    """Return what must still be downloaded or installed, with the command that gets it all, in a list of at most one.

    `source` is the recipe as it was typed.
    """
    from ccd_cli.teachers.needs import missing_of

    text = missing_of(_models(recipe), source)
    return [text] if text else []


def check_inputs(recipe: DistillRecipe | LabelRecipe, source: str) -> None:
    """Raise what a run would find wrong or missing, before torch is imported: all inputs at once, then all models at once.

    `source` is the recipe as it was typed; empty where it is no file.
    """
    from ccd_cli.teachers.needs import find_models

    raise_all([*missing_inputs(recipe, images=True), *faulty_models(recipe)], source or "recipe")
    find_models(_models(recipe), source)


def raise_all(faults: list[Fault], source: str) -> None:
    """Raise the one fault that there is as it is, or several as the problems of the recipe `source`."""
    if len(faults) == 1:
        raise faults[0][1]
    if faults:
        raise RecipeError(source, problems_of(faults))


def problems_of(faults: list[Fault]) -> list[tuple[str, str]]:
    """Return faults as (key, problem) pairs; a file with several problems of its own gives each of them."""
    found: list[tuple[str, str]] = []
    for key, error in faults:
        if isinstance(error, RecipeError):
            found += [(path if path.startswith(f"{key}.") else f"{key}: {path}", text) for path, text in error.problems]
        else:
            found.append((key, str(error).removeprefix(f"{key}: ")))
    return found


def _models(recipe: DistillRecipe | LabelRecipe) -> list[tuple[str, str | None]]:
    """(word, architecture) of every model that a run loads."""
    if isinstance(recipe, LabelRecipe):
        keys = [teacher.network for teacher in recipe.teachers]
        return [(each.model, each.arch) for each in keys if each is not None]
    live = [] if recipe.labels is not None else recipe.teachers
    words = [(teacher.model, teacher.arch) for teacher in live if teacher.model != GROUND_TRUTH]
    words += [(teacher.fill.model, teacher.fill.arch) for teacher in live if teacher.fill is not None]
    student = recipe.student
    if student.init != "scratch" and (student.weights is not None or student.arch != "timm"):
        plain = student.arch == "timm" or student.init == "encoder"
        words.append((student.weights or student.arch, None if plain else student.arch))
    return list(dict.fromkeys(words))


def _student_problems(recipe: DistillRecipe) -> list[Fault]:
    from ccd_cli.models.arch import check_crop_size, get_arch, timm_arch

    student = recipe.student
    try:
        if student.arch == "timm" and student.encoder:
            arch = timm_arch(student.encoder, student.features)
        else:
            arch = get_arch(student.arch)
    except CcdError as error:
        return [("student.arch", error)]
    return [] if recipe.labels is not None else _tried("crops.size", lambda: check_crop_size(arch, recipe.crops.size))


def _tried(key: str, check: Callable[[], object]) -> list[Fault]:
    try:
        check()
    except CcdError as error:
        return [(key, error)]
    return []
