"""Find, read, override, check and write recipes. Free of torch."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ccd_cli.config.common import RENAMED
from ccd_cli.config.distill import DistillRecipe
from ccd_cli.config.label import LabelRecipe, label_contradictions
from ccd_cli.config.validate import contradictions
from ccd_cli.config.yaml_loader import dump_yaml, parse_yaml, read_yaml
from ccd_cli.core.errors import RecipeError
from ccd_cli.core.paths import exists, shipped_folder

SHORT_FORMS = {"images": "paths", "student": "arch"}
"""Sections that may be given as one plain value, and the key that value stands for."""
TASKS: dict[str, type[BaseModel]] = {"distill": DistillRecipe, "label": LabelRecipe}
"""What a recipe's `task` may be; a recipe without one is for distillation."""

Recipe = TypeVar("Recipe", bound=BaseModel)

Overrides = Sequence[str | tuple[str, Any]]
"""Changes to a recipe: `key.path=value` as typed, or (key path, plain value)."""


@dataclass(frozen=True)
class Shipped:
    """A recipe that comes with ccd: its name (`indoor`, `paper/table1-...`), file, what it is, how to launch it."""

    name: str
    path: Path
    about: str
    launch: str


def shipped() -> list[Shipped]:
    """Return every shipped recipe, sorted by name; the first two comment lines say what it is and how to launch it.

    `suites/` holds benchmarks for `ccd eval`, not recipes.
    """
    folder = shipped_folder()
    found = []
    for path in sorted(set(folder.rglob("*.yaml")) - set((folder / "suites").rglob("*.yaml"))):
        comments = [
            line.lstrip("# ").strip()
            for line in path.read_text(encoding="utf-8").splitlines()[:2]
            if line.startswith("#")
        ]
        about, launch = [*comments, "", ""][:2]
        found.append(Shipped(path.relative_to(folder).with_suffix("").as_posix(), path, about, launch))
    return found


def find_recipe(source: str) -> Path:
    """Return the file for a path or the name of a shipped recipe; raises RecipeError with the nearest names."""
    path = Path(source)
    if exists(path) and path.is_file():
        return path
    bare = source.removeprefix("recipes/").removesuffix(".yaml")
    by_name = {recipe.name: recipe.path for recipe in shipped()}
    if bare in by_name:
        return by_name[bare]
    near = difflib.get_close_matches(bare, by_name, n=3, cutoff=0.4)
    hint = f"nearest shipped recipes: {', '.join(near)}" if near else "`ccd recipes list` shows those that ship"
    what = "is a folder, not a recipe file" if exists(path) else "no such file or shipped recipe"
    raise RecipeError(source[:200], [("file", f"{what}; {hint}")])


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
        raise RecipeError(source, [_plain(item, model) for item in error.errors()]) from None
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
            if not isinstance(child, dict | list):
                plain = child is not None and i == 0 and key in SHORT_FORMS
                child = {SHORT_FORMS[key]: child} if plain else {}
                node[key] = child
            elif isinstance(child, list) and i == 0 and key in SHORT_FORMS:
                child = {SHORT_FORMS[key]: child}
                node[key] = child
            node = child
        else:
            return f"'{'.'.join(keys[:i])}' is a plain value and has no key '{key}'"
    return ""


def _plain(item: Any, recipe: type[BaseModel]) -> tuple[str, str]:
    """Turn one pydantic error into (key path, plain words)."""
    path = ".".join(str(part) for part in item["loc"]) or "recipe"
    kind, context = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return path, str(context["error"])
    if kind == "extra_forbidden" and item["loc"][-1] in RENAMED:
        return path, f"is now called '{RENAMED[item['loc'][-1]]}'"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), _keys_beside(item["loc"], recipe), n=1)
        return path, "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
    if kind == "missing":
        return path, "is required"
    if kind == "literal_error":
        return path, f"must be one of {context.get('expected', '')}, not {item['input']!r}"
    return path, f"{item['msg'][0].lower()}{item['msg'][1:]}, not {item['input']!r}"[:300]


def _keys_beside(loc: tuple[Any, ...], recipe: type[BaseModel]) -> list[str]:
    """Return the keys that are valid where an unknown key was found."""
    model: Any = recipe
    for part in loc[:-1]:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = field.annotation
        for inner in getattr(model, "__args__", ()):
            for candidate in (inner, *getattr(inner, "__args__", ())):
                if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                    model = candidate
    return list(getattr(model, "model_fields", {}))
