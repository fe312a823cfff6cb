"""Read, override, check and write recipes. Free of torch."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.find import find_recipe
from ccd_cli.config.label import LabelRecipe, label_contradictions
from ccd_cli.config.problems import problem_of
from ccd_cli.config.validate import contradictions
from ccd_cli.config.yaml_loader import dump_yaml, parse_yaml, read_yaml
from ccd_cli.core.errors import RecipeError

SHORT_FORMS = {"images": "paths", "student": "arch", "images.pairs": "files", "teachers.N.fill": "model"}
"""Sections that may be given as one plain value, and the key that value stands for."""
TASKS: dict[str, type[BaseModel]] = {"distill": DistillRecipe, "label": LabelRecipe}
"""What a recipe's `task` may be; a recipe without one is for distillation."""

Recipe = TypeVar("Recipe", bound=BaseModel)

Overrides = Sequence[str | tuple[str, Any]]
"""Changes to a recipe: `key.path=value` as typed, or (key path, plain value)."""


def load_recipe(source: str | Mapping[str, Any], overrides: Overrides = ()) -> DistillRecipe:
    """Read a distillation recipe (plain values: take it), override keys and check it; RecipeError lists all problems."""
    return check_recipe(_read(source, overrides), name_of(source))


def load_label_recipe(source: str | Mapping[str, Any], overrides: Overrides = ()) -> LabelRecipe:
    """Read a label recipe (plain values: take it), override keys and check it; RecipeError lists all problems."""
    return check_label_recipe(_read(source, overrides), name_of(source))


def load_any_recipe(source: str, overrides: Overrides = ()) -> DistillRecipe | LabelRecipe:
    """Read a recipe for whatever its `task` says, apply overrides and check it; RecipeError lists all problems."""
    raw = _read(source, overrides)
    return check_label_recipe(raw, source) if raw.get("task") == "label" else check_recipe(raw, source)


def name_of(source: str | Mapping[str, Any]) -> str:
    """Return how errors name a recipe: as it was typed, or "recipe" for plain values."""
    return source if isinstance(source, str) else "recipe"


def _read(source: str | Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return a recipe's plain values after the overrides."""
    raw = read_yaml(find_recipe(source)) if isinstance(source, str) else copy.deepcopy(dict(source))
    if not isinstance(raw, dict):
        raise RecipeError(name_of(source), [("file", "is not a YAML mapping of keys to values")])
    problems: list[tuple[str, str]] = []
    for change in overrides:
        problem = _override(raw, change) if isinstance(change, str) else _set(raw, *change)
        if problem:
            problems.append((change if isinstance(change, str) else change[0], problem))
    if problems:
        raise RecipeError(name_of(source), problems)
    return raw


def check_recipe(raw: dict[str, Any], source: str) -> DistillRecipe:
    """Return the typed recipe for plain values; raises RecipeError with every problem and its key path."""
    return _checked(raw, source, DistillRecipe, contradictions)


def check_label_recipe(raw: dict[str, Any], source: str) -> LabelRecipe:
    """Return the typed label recipe for plain values; raises RecipeError with every problem and its key path."""
    return _checked(raw, source, LabelRecipe, label_contradictions)


def _checked(
    raw: dict[str, Any], source: str, model: type[Recipe], contradict: Callable[[Recipe], list[tuple[str, str]]]
) -> Recipe:
    """Return `raw` as a recipe of `model`; a recipe for another task is refused in one line, not key by key."""
    task = raw.get("task", "distill")
    if isinstance(task, str) and task in TASKS and TASKS[task] is not model:
        raise RecipeError(source, [("task", f"is '{task}': use it with `ccd {task} RECIPE` (--dry-run checks it)")])
    try:
        recipe = model.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(source, [problem_of(item, model) for item in error.errors()]) from None
    problems = contradict(recipe)
    if problems:
        raise RecipeError(source, problems)
    return recipe


def to_yaml(recipe: BaseModel) -> str:
    """Return the resolved recipe, every key with its value, as YAML."""
    return dump_yaml(recipe.model_dump(mode="json"))


def recipe_hash(recipe: BaseModel) -> str:
    """Return the sha256 of the resolved recipe's canonical JSON; where it writes (`out`) does not count."""
    values = recipe.model_dump(mode="json") | {"out": None}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Return (key path, old value, new value) for every leaf in which two plain recipes differ."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*old, *(k for k in new if k not in old)]:
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found


def _override(raw: dict[str, Any], text: str) -> str:
    """Apply one `key.path=value` in place; return what is wrong with it, or an empty string."""
    path, found, value_text = text.partition("=")
    if not found or not all(path.strip().split(".")):
        return "write it as key.path=value"
    try:
        value = parse_yaml(value_text, text) if value_text.strip() else None
    except RecipeError as error:
        return error.problems[0][1]
    return _set(raw, path.strip(), value)


def _set(raw: dict[str, Any], path: str, value: Any) -> str:
    """Set one key, `optim.steps`, in place; return what is wrong with it, or an empty string."""
    keys = path.split(".")
    if not all(keys):
        return "is no key path: write it as optim.steps"
    if len(keys) == 1 and keys[0] in SHORT_FORMS and not isinstance(value, dict):
        keys = [keys[0], SHORT_FORMS[keys[0]]]
    node: Any = raw
    for i, key in enumerate(keys):
        last = i == len(keys) - 1
        if isinstance(node, list):
            if not re.fullmatch(r"[0-9]{1,6}", key) or int(key) >= len(node):
                among = f"; '{key}' is not one of 0..{len(node) - 1}" if node else ""
                return f"'{'.'.join(keys[:i])}' has {len(node)} entries{among}"
            if isinstance(node[int(key)], str) and not last:
                node[int(key)] = {"model": node[int(key)]}
            if last:
                node[int(key)] = value
            else:
                node = node[int(key)]
        elif isinstance(node, dict):
            if last:
                node[key] = value
                break
            child = node.get(key)
            short = SHORT_FORMS.get(".".join("N" if each.isdigit() else each for each in keys[: i + 1]))
            if not isinstance(child, dict | list):
                child = {short: child} if child is not None and short else {}
                node[key] = child
            elif isinstance(child, list) and short:
                child = {short: child}
                node[key] = child
            node = child
        else:
            return f"'{'.'.join(keys[:i])}' is a plain value and has no key '{key}'"
    return ""
