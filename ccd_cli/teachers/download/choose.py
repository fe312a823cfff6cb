"""Which teachers a pull means: by default, by a recipe, or all that anyone may use."""

from __future__ import annotations

from pathlib import Path

from ccd_cli.config.common import GROUND_TRUTH
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.load import load_any_recipe
from ccd_cli.core.paths import exists
from ccd_cli.models.files import PICKLE_SUFFIXES, SAFE_SUFFIX
from ccd_cli.teachers.registry import CARDS, all_cards

DEFAULT_MODEL = "depth-anything-v2-small"  # what `ccd predict` uses
DEFAULT_RECIPE = "indoor"


def default_names() -> list[str]:
    """Return what the recipe `indoor` and `ccd predict` use: permissively licensed."""
    return list(dict.fromkeys([*recipe_names(DEFAULT_RECIPE), DEFAULT_MODEL]))


def permissive_names() -> list[str]:
    """Return every teacher with something to pull whose license is known to allow commercial use."""
    return [card.name for card in all_cards().values() if card.commercial and card.repo]


def recipe_names(source: str) -> list[str]:
    """Return the published teachers that a recipe names, what fills ground truth, and a student's first weights.

    A word that is neither one nor a file, a run, or a built-in model is returned as well, so that a misspelled name is
    an error here and not in the run. Raises `RecipeError` for an invalid recipe.
    """
    recipe, weights = load_any_recipe(source), None
    if isinstance(recipe, DistillRecipe):
        student = recipe.student
        weights = student.weights or (student.arch if student.init == "pretrained" and student.arch in CARDS else None)
    words = [teacher.model for teacher in recipe.teachers]
    words += [teacher.fill.model for teacher in recipe.teachers if teacher.fill is not None]
    words += [weights] if weights else []
    return list(dict.fromkeys(word for word in words if _is_name(word)))


def _is_name(word: str) -> bool:
    if word in CARDS:
        return True
    path = Path(word)
    file = "/" in word or exists(path) or path.suffix.lower() in (SAFE_SUFFIX, *PICKLE_SUFFIXES)
    return not file and word != GROUND_TRUTH and not word.startswith("builtin:")
