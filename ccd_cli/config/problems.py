"""What is wrong with a file of typed keys, in plain words: pydantic's errors as (key path, sentence)."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from ccd_cli.config.common import RENAMED
from ccd_cli.core.nearest import nearest

_WHOLE = ("int_type", "int_parsing", "int_from_float")


def problem_of(item: Any, model: type[BaseModel]) -> tuple[str, str]:
    """Return one pydantic error of `model` as (key path, plain words), with the nearest names."""
    path = ".".join(str(part) for part in item["loc"]) or "recipe"
    kind, context = item["type"], item.get("ctx", {})
    if kind == "value_error":
        return path, str(context["error"])
    if kind == "extra_forbidden" and item["loc"][-1] in RENAMED:
        return path, f"is now called '{RENAMED[item['loc'][-1]]}'"
    if kind == "extra_forbidden":
        near = nearest(str(item["loc"][-1]), _keys_beside(item["loc"], model), most=1)
        return path, "unknown key" + (f"; did you mean '{near[0]}'?" if near else "")
    if kind == "missing":
        return path, "is required"
    if kind == "literal_error":
        near = nearest(str(item["input"]), re.findall(r"'([^']*)'", context.get("expected", "")), most=1)
        meant = f"; did you mean '{near[0]}'?" if near else ""
        return path, f"must be one of {context.get('expected', '')}, not {item['input']!r}{meant}"
    if item["input"] is None and kind in ("model_type", "model_attributes_type", "dict_type"):
        return path, "holds no key; set one below it, or remove it"
    if kind in _WHOLE:
        return path, f"must be a whole number, not {item['input']!r}"[:300]
    return path, f"{item['msg'][0].lower()}{item['msg'][1:]}, not {item['input']!r}"[:300]


def _keys_beside(loc: tuple[Any, ...], top: type[BaseModel]) -> list[str]:
    """Return the keys that are valid where an unknown key was found."""
    model: Any = top
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
