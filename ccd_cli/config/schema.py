"""The JSON schema of recipes, for completion and checks in editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ccd_cli.config.load import TASKS

FILE = "ccd-{task}.schema.json"
"""Name of the schema beside recipes that `ccd recipes new` writes."""


def json_schema(task: str) -> dict[str, Any]:
    """Return the schema of recipes for a task, with the short forms that recipes allow (`images: DIR`, a bare teacher)."""
    schema = TASKS[task].model_json_schema()
    keys = schema["properties"]
    text: dict[str, Any] = {"type": "string"}
    texts: dict[str, Any] = {"type": "array", "items": text}
    keys["images"] = _also(keys["images"], text, texts)
    for name in ("student", "labels"):
        if name in keys:
            keys[name] = _also(keys[name], text)
    parts = schema["$defs"]
    for name in ("LabelTeacher", "TeacherEntry"):
        if name in parts:
            parts[name]["properties"]["fill"] = _also(parts[name]["properties"]["fill"], text)
    pairs = parts["Pairs"]["properties"]
    files = {**pairs["files"], "items": _also(pairs["files"]["items"], text)}
    pairs["files"] = _also(files, text)
    parts["Images"]["properties"]["pairs"] = _also(
        parts["Images"]["properties"]["pairs"], text, {"type": "array", "items": files["items"]}
    )
    entry = _also(keys["teachers"]["items"], text)
    keys["teachers"] = _also({**keys["teachers"], "items": entry}, *entry["anyOf"])
    paths = schema["$defs"]["Images"]["properties"]
    paths["paths"] = _also(paths["paths"], text)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ccd {task} recipe", **schema}


def _also(node: Mapping[str, Any], *forms: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node that allows other forms, too."""
    said = {key: node[key] for key in ("title", "description", "default") if key in node}
    rest = {key: value for key, value in node.items() if key not in said}
    return {**said, "anyOf": [*rest.get("anyOf", [rest]), *forms]}
