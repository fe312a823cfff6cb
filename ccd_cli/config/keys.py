"""Every recipe key as plain data: path, type, default, reason and source, read off the recipes' own classes. Free of torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ccd_cli.config.common import RENAMED
from ccd_cli.config.find import shipped
from ccd_cli.config.load import TASKS, load_any_recipe
from ccd_cli.core.errors import UsageProblem
from ccd_cli.core.nearest import ask, nearest

REQUIRED = "required"
ENTRY = "N"
"""What stands in a key's path for the number of an entry of a list: `teachers.N.weight`."""
_SOURCES = (
    (r"\bpaper\b", "the paper: Distill Any Depth (arXiv 2502.19204)"),
    (r"\(choice|\bchoice\)", "a choice that the paper leaves open"),
    (r"\(Depth Anything V1\)|as in Depth Anything\b", "Depth Anything V1 (arXiv 2401.10891)"),
    (r"\(Depth Anything V2: ", "Depth Anything V2 (arXiv 2406.09414)"),
    (r"\bMiDaS\b", "MiDaS (arXiv 1907.01341)"),
    (r"\bHDN\b", "HDN (Zhang et al. 2022)"),
)
_WORDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


@dataclass(frozen=True)
class Key:
    """One key of recipes for `task`.

    `path`: `optim.steps`, `teachers.N.weight`; `type`: in words; `default`: plain value, `REQUIRED` where there is none;
    `about`: what it is and why; `choices`: its words, where it has a few; `keys`: the keys of a section, else none.
    """

    path: str
    task: str
    type: str
    default: Any
    about: str
    choices: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """Where the default comes from, as far as the reason names it: the paper and others; [] for a default of ccd's own."""
        return [name for pattern, name in _SOURCES if re.search(pattern, self.about)]


@cache
def keys_of(task: str) -> dict[str, Key]:
    """Return every key of recipes for a task, sections before what is in them, by path."""
    schema = TASKS[task].model_json_schema()
    return {key.path: key for key in _walk(schema, schema, {}, "", task)}


def all_keys() -> list[Key]:
    """Return every key of every task; of keys with one path in several tasks, the first task's."""
    found: dict[str, Key] = {}
    for task in TASKS:
        found = {**keys_of(task), **found}
    return list(found.values())


def find_key(word: str) -> list[Key]:
    """Return what a key path means in each task that has it; numbers of entries may be typed, `N`, or left out.

    Raises UsageProblem, with the nearest keys, for a path that no recipe has.
    """
    path = ".".join(ENTRY if part.isdigit() else part for part in word.strip().strip(".").split("."))
    known = {key.path: key for key in all_keys()}
    short = {path.replace(f".{ENTRY}.", "."): path for path in known}
    path = path if path in known else short.get(path, path)
    if found := [keys_of(task)[path] for task in TASKS if path in keys_of(task)]:
        return found
    last = path.rpartition(".")[2]
    if last in RENAMED:
        raise UsageProblem(f"'{word}' is now called '{RENAMED[last]}'.", f"ccd recipes explain {RENAMED[last]}")
    raise UsageProblem(f"No recipe has a key '{word}'.", _near(path, list(known)))


def _near(path: str, known: list[str]) -> str:
    """The hint for a path that is no key: keys of the same last part (`steps`: optim.steps), else keys that are like it."""
    ends = {each: each.rpartition(".")[2] for each in known}
    last = path.rpartition(".")[2]
    alike = [each for each, end in ends.items() if end == last]
    if not alike and not (alike := nearest(path, known)):
        like = nearest(last, ends.values())
        alike = [each for each, end in ends.items() if end in like]
    return ask(alike[:4]) or "`ccd recipes schema` describes every key."


def shipped_values(path: str) -> dict[str, Any]:
    """Return {recipe: value} of the shipped recipes that set a key; of `teachers.N.KEY` the list of their values."""
    found = {name: _at(values, path.split(".")) for name, values in _shipped().items()}
    return {name: value for name, value in found.items() if value is not None}


def explain(word: str) -> list[dict[str, Any]]:
    """Return what a key path means, as plain values: one entry for all the tasks in which it means the same.

    `default` null: nothing, or required; `shipped`: {recipe: value} of the recipes that set it, for sections none; `keys`: what is
    in a section. Raises UsageProblem as `find_key`.
    """
    found: list[dict[str, Any]] = []
    for key in find_key(word):
        about = _about(key)
        for other in found:
            if {**other, "tasks": []} == {**about, "tasks": []}:
                other["tasks"] += about["tasks"]
                break
        else:
            found.append(about)
    return found


def _about(key: Key) -> dict[str, Any]:
    return {
        "key": key.path,
        "tasks": [key.task],
        "type": key.type,
        "required": key.default == REQUIRED,
        "default": None if key.default == REQUIRED or key.keys else key.default,
        "reason": key.about,
        "sources": key.sources,
        "choices": list(key.choices),
        "shipped": {} if key.keys else shipped_values(key.path),
        "keys": {each.path: each.about for each in keys_of(key.task).values() if _is_inside(each.path, key)},
    }


def _is_inside(path: str, section: Key) -> bool:
    """Whether a key stands directly in a section."""
    rest = path.removeprefix(f"{section.path}.").removeprefix(f"{ENTRY}.")
    return path.startswith(f"{section.path}.") and "." not in rest


def _walk(
    schema: dict[str, Any], node: dict[str, Any], given: Mapping[str, Any], prefix: str, task: str
) -> Iterator[Key]:
    """Yield the keys of an object of the schema; `given`: its defaults where a section has its own."""
    for name, value in node["properties"].items():
        path = f"{prefix}{name}"
        default = given.get(name, value.get("default", REQUIRED))
        section, is_list = _section(schema, value)
        said = dict.fromkeys(filter(None, (value.get("description"), (section or {}).get("description"))))
        about = " ".join(" ".join(said).split())
        inside = () if section is None else tuple(section["properties"])
        yield Key(path, task, _type(value, section, is_list), default, about, _choices(value), inside)
        if section is not None:
            here = default if isinstance(default, dict) else {}
            yield from _walk(schema, section, here, f"{path}.{ENTRY}." if is_list else f"{path}.", task)


def _section(schema: dict[str, Any], node: Mapping[str, Any]) -> tuple[dict[str, Any] | None, bool]:
    """(the section that a key holds or None, whether it holds a list of them)."""
    for each in (node, *node.get("anyOf", ())):
        items = each.get("items")
        reference = (items if isinstance(items, dict) else each).get("$ref")
        if reference:
            return schema["$defs"][reference.rpartition("/")[2]], isinstance(items, dict)
    return None, False


def _choices(node: Mapping[str, Any]) -> tuple[str, ...]:
    forms = (node, *node.get("anyOf", ()))
    return tuple(
        str(word) for each in forms for word in (each.get("enum") or ([each["const"]] if "const" in each else []))
    )


def _type(node: Mapping[str, Any], section: Mapping[str, Any] | None, is_list: bool) -> str:
    """The type of a key in words: `whole number, at least 1`."""
    if section is not None:
        plain = [
            _WORDS[each["type"]] for each in node.get("anyOf", ()) if each.get("type") in _WORDS
        ]  # `log.wandb: true`
        what = " or ".join([*plain, "list of sections" if is_list else "section"])
        return f"{what}, or nothing" if _empty(node) else what
    if words := _choices(node):
        return f"one of {', '.join(words)}" if len(words) > 1 else f"always {words[0]}"
    form = next((each for each in node.get("anyOf", ()) if each.get("type") != "null"), node)
    if form.get("type") == "array":
        return f"list of {_type(form['items'], None, False).replace('whole number', 'whole numbers').replace('text', 'texts')}"
    word = _WORDS[form["type"]]
    bounds = [
        f"{text} {_number(form[key])}"
        for key, text in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in form
    ]
    return ", ".join([word, *bounds]) + (", or nothing" if _empty(node) else "")


def _number(value: float) -> str:
    """A bound for eyes: powers of two from 2^31 on as such."""
    whole = int(value)
    return f"2^{whole.bit_length() - 1}" if whole >= 2**31 and whole & (whole - 1) == 0 else f"{value:g}"


def _empty(node: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "null" for each in node.get("anyOf", ()))


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    """{name: what the recipe itself sets} of every shipped recipe."""
    return {
        recipe.name: load_any_recipe(str(recipe.path)).model_dump(mode="json", exclude_unset=True)
        for recipe in shipped()
    }


def _at(node: Any, parts: list[str]) -> Any:
    """What stands at a path; None where nothing does."""
    if not parts:
        return node
    if parts[0] == ENTRY and isinstance(node, list):
        found = [_at(each, parts[1:]) for each in node]
        return found if any(each is not None for each in found) else None
    return _at(node.get(parts[0]), parts[1:]) if isinstance(node, dict) else None
