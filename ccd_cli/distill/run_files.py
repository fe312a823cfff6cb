"""The files that tell about a run, read back and checked: recipe, metrics, scores. Free of torch."""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.yaml_loader import read_yaml
from ccd_cli.core.errors import CcdError, RecipeError
from ccd_cli.core.files import read_json_lines
from ccd_cli.core.parse import parse_json, read_text
from ccd_cli.distill.run_folder import RunFolder

TERMS = ("loss", "shared", "local_global", "gradient", "feature", "depth", "anchor")
"""The loss of a step and its terms before their weights, as `metrics.jsonl` calls them."""
COMPLETION = ("filled", "fit_refused", "fit_error")
"""How the holes of ground truth were filled in a step: share of pixels, share of views refused, median error of the fits."""
_AGAIN = "Restore it, or start over: ccd distill RECIPE --overwrite"


def read_recipe(folder: RunFolder) -> dict[str, Any]:
    """Return a run's resolved recipe as plain values; raises CcdError where it is damaged or of something else."""
    try:
        recipe = DistillRecipe.model_validate(read_yaml(folder.recipe))
    except (RecipeError, ValidationError) as error:
        raise CcdError(
            f"{folder.recipe} is not the recipe of a run.", "Give a folder that ccd distill wrote."
        ) from error
    return recipe.model_dump(mode="json")


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the lines of `metrics.jsonl` as far as they are whole; raises CcdError for one that is no step of a run."""
    lines = read_json_lines(folder.metrics)
    for number, line in enumerate(lines, 1):
        good = isinstance(line, dict) and type(line.get("step")) is int and _number(line.get("loss", ""))
        if not good or not all(_number(line.get(key)) for key in (*TERMS, *COMPLETION, "drift", "images_per_second")):
            raise CcdError(f"{folder.metrics}: line {number} is no step of a run.", _AGAIN)
    return lines


def read_scores(folder: RunFolder) -> dict[str, Any]:
    """Return `eval.json`: `best` is a table of numbers or None, `history` a list of such tables, `comparison` one of rows and
    `protocol` a table. Raises CcdError for anything else.
    """
    try:
        scores = parse_json(read_text(folder.eval))
        best, rows = scores["best"], scores.get("comparison") or []
        history, protocol = scores.get("history") or [], scores.get("protocol") or {}
        if best is not None and not (best == {} or (all(map(_number, best.values())) and best["step"] >= 0)):
            raise ValueError("best")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("comparison")
        if not all(all(map(_number, each.values())) and each["step"] >= 0 for each in history):
            raise ValueError("history")
        if not isinstance(protocol.get("in_words") or [], list):
            raise ValueError("protocol")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcdError(f"{folder.eval} is damaged.", _AGAIN) from error
    return {**scores, "best": best or None, "history": history, "comparison": rows, "protocol": protocol}


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
