"""What a recipe names, looked up before anything heavy is imported: the same checks as the run's own, all problems at once."""

from __future__ import annotations

from collections.abc import Callable

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.label import LabelRecipe
from ccd_cli.core.errors import CcdError, RecipeError
from ccd_cli.core.paths import builtin_path, expand_home

Problem = tuple[str, str]


def missing_inputs(recipe: DistillRecipe | LabelRecipe, *, images: bool) -> list[Problem]:
    """Return (key, problem) for the files that a recipe names and that are not as they must be; `images`: also the images.

    Images, labels and pairs; not weights, which are a matter of the machine (see `missing_models`).
    """
    found: list[Problem] = []
    if images and recipe.images.paths:
        from ccd_cli.media.find import list_photos

        found += _tried("images", lambda: list_photos([builtin_path(text) for text in recipe.images.paths]))
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


def faulty_models(recipe: DistillRecipe | LabelRecipe) -> list[Problem]:
    """Return (key, problem) for models that are unknown or damaged; what is only missing here is none of these."""
    from ccd_cli.teachers.needs import faults_of

    places = {teacher.model: f"teachers.{i}.model" for i, teacher in enumerate(recipe.teachers)}
    return [(places.get(word, "student"), str(error)) for word, error in faults_of(_models(recipe))]


def missing_models(recipe: DistillRecipe | LabelRecipe, source: str) -> list[str]:
    """Return what must still be downloaded or installed, with the command that gets it all, in a list of at most one.

    `source` is the recipe as it was typed.
    """
    from ccd_cli.teachers.needs import missing_of

    text = missing_of(_models(recipe), source)
    return [text] if text else []


def check_inputs(recipe: DistillRecipe | LabelRecipe, source: str) -> None:
    """Raise what a run would find wrong or missing, before torch is imported: all inputs at once, then all models at once."""
    from ccd_cli.teachers.needs import find_models

    if problems := [*missing_inputs(recipe, images=True), *faulty_models(recipe)]:
        raise RecipeError(source, problems)
    find_models(_models(recipe), source)


def _models(recipe: DistillRecipe | LabelRecipe) -> list[tuple[str, str | None]]:
    """(word, architecture) of every model that a run loads."""
    if isinstance(recipe, LabelRecipe):
        return [(teacher.model, teacher.arch) for teacher in recipe.teachers]
    live = [] if recipe.labels is not None else recipe.teachers
    words = [(teacher.model, teacher.arch) for teacher in live if teacher.model != GROUND_TRUTH]
    student = recipe.student
    if student.init != "scratch" and (student.weights is not None or student.arch != "timm"):
        plain = student.arch == "timm" or student.init == "encoder"
        words.append((student.weights or student.arch, None if plain else student.arch))
    return list(dict.fromkeys(words))


def _student_problems(recipe: DistillRecipe) -> list[Problem]:
    from ccd_cli.models.arch import check_crop_size, get_arch

    if recipe.student.arch == "timm":
        return []
    return _tried("student.arch", lambda: check_crop_size(get_arch(recipe.student.arch), recipe.crops.size))


def _tried(key: str, check: Callable[[], object]) -> list[Problem]:
    try:
        check()
    except RecipeError as error:
        return [(f"{key}: {path}", problem) for path, problem in error.problems]
    except CcdError as error:
        return [(key, str(error).removeprefix(f"{key}: "))]
    return []
