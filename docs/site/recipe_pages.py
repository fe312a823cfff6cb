"""The reference of recipe keys, from the recipes' types, and the list of recipes that ship."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from command_pages import bounds, escaped

from ccd_cli.config.load import TASKS, shipped

TITLES = {"distill": "Recipe keys of distillation", "label": "Recipe keys of labeling"}
SOURCES = ("paper", "Depth Anything V1", "Depth Anything V2", "Depth Anything", "MiDaS", "HDN", "choice")
"""What a key's reason may name as its source; "choice": the paper leaves it open, and this project chose."""
TEXT = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}


def recipe_pages() -> dict[str, str]:
    """Return the pages, by their place."""
    pages = {f"reference/{task}.md": "\n".join(_page(task)) + "\n" for task in TASKS}
    return {**pages, "reference/recipes.md": "\n".join(_shipped()) + "\n"}


def _page(task: str) -> Iterator[str]:
    schema = TASKS[task].model_json_schema()
    yield from (f"# {TITLES[task]}", "")
    yield (
        f"Every key of a recipe for `ccd {task}`, made from the types that check it (`ccd recipes schema --task {task}` prints the "
        "same for editors). *source* says where a default comes from: the paper, another publication, or *choice* where the "
        "paper leaves it open; without one it is this project's."
    )
    yield from _section(schema, schema, "")


def _section(schema: dict[str, Any], section: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the table of a section's keys, then the sections in it."""
    plain, inner = [], []
    for key, value in section["properties"].items():
        name, child = f"{path}{key}", _section_of(schema, value)
        if child is None:
            plain.append(
                f"| `{key}` | {_kind(schema, value)} | {_default(key, value, section)} | {_reason(value)} | {_source(value)} |"
            )
        else:
            is_list = _is_list(value)
            inner.append((f"{name}[]." if is_list else f"{name}.", child, value))
    if plain:
        yield from ("", "| key | type | default | what it is and why | source |", "|---|---|---|---|---|", *plain)
    for name, child, value in inner:
        yield from ("", f"{'##' if name.count('.') == 1 else '###'} `{name.rstrip('.')}`", "")
        about = value.get("description", "")
        yield about + (
            "" if child.get("description", "") in ("", about) else " " + child["description"].replace("\n", " ")
        )
        default = value.get("default")
        if isinstance(default, dict):  # this section's own defaults, which may differ from its type's
            child = {
                **child,
                "properties": {
                    k: ({**v, "default": default[k]} if k in default else v) for k, v in child["properties"].items()
                },
            }
        yield from _section(schema, child, name)


def _is_list(value: dict[str, Any]) -> bool:
    return value.get("type") == "array"


def _section_of(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
    """Return the section that a key holds (also in a list, or none at all), or None for plain values."""
    for part in (value, value.get("items", {}), *value.get("anyOf", ()), *value.get("allOf", ())):
        if "$ref" in part:
            found = schema["$defs"][part["$ref"].rpartition("/")[2]]
            return found if "properties" in found else None
    return None


def _kind(schema: dict[str, Any], value: dict[str, Any]) -> str:
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    if "anyOf" in value:
        return " or ".join(_kind(schema, part) if part.get("type") != "null" else "nothing" for part in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_kind(schema, value['items'])}"
    above = "exclusiveMinimum" in value
    low = value.get("exclusiveMinimum", value.get("minimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    limits = bounds(low, high, above)
    if "exclusiveMaximum" in value:
        limits = limits.replace(" to ", " to below ").replace("at most", "below")
    return TEXT.get(value.get("type", ""), "any") + limits


def _default(key: str, value: dict[str, Any], section: dict[str, Any]) -> str:
    if key in section.get("required", ()):
        return "required"
    default = value.get("default")
    if default is None or default == []:
        return "" if default is None else "`[]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def _reason(value: dict[str, Any]) -> str:
    return escaped(value.get("description", ""))


def _source(value: dict[str, Any]) -> str:
    text = value.get("description", "")
    named = [word for word in SOURCES if re.search(rf"\b{word}\b(?! leaves)", text)]
    return ", ".join(word for word in named if not any(word != other and word in other for other in named))


def _shipped() -> Iterator[str]:
    yield from ("# Shipped recipes", "", "`ccd recipes show NAME` prints one, `ccd recipes list` this table.", "")
    yield from ("| name | what it is | how to launch it |", "|---|---|---|")
    for recipe in shipped():
        command, bracket, more = recipe.launch.partition(" (")
        launch = f"`{command}`{bracket}{more}" if command.startswith(("ccd ", "python ")) else recipe.launch
        yield f"| [`{recipe.name}`](../../recipes/{recipe.name}.yaml) | {recipe.about} | {launch} |".replace("\n", " ")
