"""A recipe key for eyes."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from ccd_cli.config.yaml_loader import dump_flow

WIDEST = 110
_WHOLE: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def lines(key: dict[str, Any]) -> list[str]:
    """Return the lines about a key (an entry of `config.keys.explain`), as wide as the terminal."""
    shown = [f"{key['key']}  (recipes for {' and '.join(f'ccd {task}' for task in key['tasks'])})"]
    if key["keys"]:
        shown += _row("holds", key["type"]) + _row("reason", key["reason"])
        return shown + [line for path, reason in key["keys"].items() for line in _key(path, reason)]
    shown += _row("type", key["type"])
    shown += _row("default", "none: it is required" if key["required"] else dump_flow(key["default"]))
    shown += _row("reason", key["reason"])
    shown += _row("source", "; ".join(key["sources"]) or "ccd's own default")
    shown += _row("recipes", _shipped(key["shipped"]))
    name = key["key"].replace(".N.", ".0.")
    return shown + _row("set it", f"ccd {key['tasks'][0]} RECIPE --set {name}=VALUE, or in the recipe's file")


def _shipped(values: dict[str, Any]) -> str:
    """Which shipped recipes set it to what: `20000 (indoor, outdoor); 120 (quickstart)`."""
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(dump_flow(value), []).append(name)
    return (
        "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items()) or "no shipped recipe sets it"
    )


def _row(name: str, text: str) -> list[str]:
    return textwrap.wrap(text, _width(), initial_indent=f"  {name:<9}", subsequent_indent=" " * 11, **_WHOLE)


def _key(path: str, reason: str) -> list[str]:
    return [f"  {path}", *textwrap.wrap(reason, _width(), initial_indent=" " * 6, subsequent_indent=" " * 6, **_WHOLE)]


def _width() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)
