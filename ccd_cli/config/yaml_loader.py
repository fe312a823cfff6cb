"""YAML as recipes use it: safe, no tags, no repeated keys, no aliases, numbers and booleans as YAML 1.2 reads them.

PyYAML alone reads `3e-4` as text, `on` as true and the second of two equal keys in silence; each has cost someone a
training run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ccd_cli.core.errors import RecipeError, first_line
from ccd_cli.core.parse import MAX_DIGITS, decode_text

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
"""Levels of nesting; a recipe has six."""


_KEPT_RULES = ("tag:yaml.org,2002:null",)
_NAMES = {bool: "true or false", int: "a number", float: "a number", type(None): "empty"}


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses tags, aliases, repeated keys, keys that are no text, deep nesting and giant numbers.

    Dates, `<<` and `=` are text: recipes have no use for PyYAML's readings of them.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own mechanism
        first: [(tag, pattern) for tag, pattern in rules if tag in _KEPT_RULES]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not used here", event.start_mark)
        if tag := getattr(event, "tag", None):
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            raise yaml.constructor.ConstructorError(None, None, f"tags ({shown}) are not used here", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise yaml.constructor.ConstructorError(None, None, "nested too deep", event.start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > MAX_DIGITS:
            raise yaml.constructor.ConstructorError(None, None, "a number of too many digits", node.start_mark)
        return int(node.value)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if not isinstance(key, str):
                problem = f"the key '{key_node.value[:40]}' is {_NAMES.get(type(key), 'no text')}, not text: quote it"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what this module's loader would read as a number or boolean."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump_yaml(value: Any) -> str:
    """Return plain values as YAML that `parse_yaml` reads back as they are."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def dump_flow(value: Any) -> str:
    """Return a plain value as YAML on one line, `[1, 2]` or `text`, that `parse_yaml` reads back as it is."""
    dumped = yaml.dump(
        [value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=True
    )
    text = str(dumped).strip()[1:-1]
    return re.sub(r"\.0e([-+])0*", r"e\1", text) if isinstance(value, float) else text  # 5e-5, not 5.0e-05


def comments_of(text: str) -> dict[tuple[str, ...], str]:
    """Return {key path: comment} of a YAML mapping: what stands behind `#` on the line where a key begins, or right above it.

    Of several keys on a line, the first has the comment; numbers of entries are part of a path as text. The comment at the head
    of the file, above the first key, belongs to no key.
    """
    lines = text.splitlines()
    first: dict[int, tuple[str, ...]] = {}
    ends: dict[int, int] = {}  # line: column behind its last value

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            pairs = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pairs = [(str(i), value, value) for i, value in enumerate(node.value)]
        else:
            pairs = []
        if not pairs or node.flow_style:
            ends[node.end_mark.line] = max(ends.get(node.end_mark.line, 0), node.end_mark.column)
        for name, key, value in pairs:
            if isinstance(node, yaml.MappingNode):
                first.setdefault(key.start_mark.line, (*path, name))
            walk(value, (*path, name))

    walk(yaml.compose(text, Loader=_Loader), ())
    found = {}
    for line, path in first.items():
        above = line
        while above > 0 and lines[above - 1].lstrip().startswith("#"):
            above -= 1
        head = line == min(first)
        said = [] if head else [each.strip().lstrip("#").strip() for each in lines[above:line]]
        _, mark, behind = lines[line][ends.get(line, 0) :].partition("#")
        said += [behind.strip()] if mark else []
        if said:
            found[path] = " ".join(said)
    return found


def parse_yaml(text: str, source: str) -> Any:
    """Return the plain Python value of one YAML document; `source` names it in errors.

    Raises RecipeError for anything that is not plain, safe YAML: tags, aliases, repeated keys, several documents.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "text"
        problem = getattr(error, "problem", None) or first_line(error)
        if "<block end>" in problem:
            problem += "; is this line indented like its neighbors?"
        elif "expected ':'" in problem:
            problem += "; does this line, or the one above, lack a colon?"
        raise RecipeError(source, [(where, f"not plain YAML: {problem}")]) from error
    except Exception as error:  # PyYAML's constructors raise whatever Python's types raise for a strange value
        raise RecipeError(source, [("text", f"not plain YAML: {first_line(error)}")]) from error


def read_yaml(path: Path) -> Any:
    """Read one YAML file; raises RecipeError where it is missing, too large, not UTF-8 or not plain YAML."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(str(path), [("file", f"larger than {MAX_BYTES} bytes: not a recipe")])
        text = decode_text(path.read_bytes())
    except UnicodeDecodeError as error:
        raise RecipeError(str(path), [("file", "not UTF-8 text")]) from error
    except (OSError, ValueError) as error:
        raise RecipeError(str(path), [("file", getattr(error, "strerror", None) or "cannot be read")]) from error
    return parse_yaml(text, str(path))
