"""A recipe of one's own from another one: every key that the base sets, with its reason, and the other common keys behind `#`."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccd_cli.config.find import find_recipe
from ccd_cli.config.keys import ENTRY, Key, keys_of
from ccd_cli.config.load import check_label_recipe, check_recipe, load_any_recipe
from ccd_cli.config.schema import FILE, json_schema
from ccd_cli.config.yaml_loader import comments_of, dump_flow, parse_yaml
from ccd_cli.core.errors import CcdError, UsageProblem
from ccd_cli.core.files import write_text
from ccd_cli.core.parse import read_text

WIDTH = 110
COMMON = {
    "distill": (
        "seed images.paths images.max_skipped images.workers student.arch student.init student.weights student.freeze_encoder "
        "student.checkpointing "
        "teachers.N.weight teachers.N.resolution mixing crops.size crops.min_side crops.patches "
        "loss.shared.weight loss.shared.normalization loss.shared.levels loss.local_global.weight "
        "loss.local_global.normalization loss.feature.weight loss.gradient.weight loss.anchor.weight loss.drop_worst "
        "augment.jitter optim.steps optim.batch optim.accumulate optim.lr optim.encoder_lr optim.warmup optim.schedule "
        "optim.ema optim.checkpoint_every eval.pairs eval.scenes eval.every eval.max_images log.samples_every "
        "log.tensorboard"
    ),
    "label": (
        "seed images.paths images.max_skipped images.workers teachers.N.resolution teachers.N.precision teachers.N.batch "
        "crops.size crops.min_side crops.patches epochs photos shard threads drop.worst drop.disagreement"
    ),
}
"""Keys that a new recipe shows behind `#` where its base does not set them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Written:
    """The files of a new recipe: the recipe, and the schema beside it that editors read."""

    name: str
    base: str
    path: Path
    schema: Path


def write_recipe(target: str, base: str) -> Written:
    """Write a recipe like `base` (a path, or the name of a shipped one) with comments, and its JSON schema beside it.

    `target`: a name, which becomes `NAME.yaml` in this folder, or a path; the recipe has the name of its file. All else is as in
    the base. Raises UsageProblem for a bad name, CcdError where the file exists, RecipeError for a base that is none.
    """
    path = Path(target)
    path = path if path.suffix.lower() in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
    if not _NAME.fullmatch(path.stem):
        raise UsageProblem(
            f"'{path.stem}' is no name of a recipe.",
            "Use letters, digits, '.', '_' and '-', 64 at most, a letter or digit first.",
        )
    found = find_recipe(base)
    recipe = load_any_recipe(base)
    if path.exists():
        raise CcdError(f"{path} exists and is not overwritten.", "Choose another name, or remove the file.")
    schema = path.with_name(FILE.format(task=recipe.task))
    values = recipe.model_dump(mode="json", exclude_unset=True) | {"task": recipe.task, "name": path.stem}
    text = _text(values, read_text(found), path, schema.name, base)
    assert _parsed(text) == recipe.model_copy(update={"name": path.stem}), "what is written is the base"
    write_text(schema, json.dumps(json_schema(recipe.task), indent=1) + "\n")
    write_text(path, text)
    return Written(path.stem, base, path, schema)


def _parsed(text: str) -> Any:
    """The recipe that a text is."""
    raw = parse_yaml(text, "recipe")
    return (check_label_recipe if raw.get("task") == "label" else check_recipe)(raw, "recipe")


def _text(values: dict[str, Any], source: str, path: Path, schema: str, base: str) -> str:
    """The new file: `values` is what it sets, `source` the text of the base."""
    task = values["task"]
    lines = [
        f"# yaml-language-server: $schema=./{schema}",
        f"# {path.stem}: made from the recipe `{base}`.",
        f"# ccd {task} {shlex.quote(str(path))}{' --set images=PHOTOS' if values.get('images', {}).get('paths') else ''}",
        "#",
        "# Above each key stands what it is and why. Keys behind a # are not set here and have the default that is shown:",
        "# remove the # to set one. More on a key: ccd recipes explain KEY. Problems of this file: ccd recipes check FILE.",
    ]
    if head := _head(source):
        lines += ["#", "# What the base says of itself:", *(f"#   {line}".rstrip() for line in head)]
    comments = {".".join(key): f"In `{base}`: {said}" for key, said in comments_of(source).items()}
    writer = _Writer(keys_of(task), COMMON[task].split(), comments)
    return "\n".join([*lines, *writer.section("", "", values, explain=True)]) + "\n"


def _head(source: str) -> list[str]:
    """The comment above the first key, without `#`, and without the command that starts the base."""
    found = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        said = line.removeprefix("#").strip()
        if not said.startswith(("yaml-language-server:", "ccd ")):
            found.append(said)
    return found


@dataclass(frozen=True)
class _Writer:
    """Writes sections: `shown` are the keys that are there without being set, `comments` what the base says, by key path."""

    keys: dict[str, Key]
    shown: list[str]
    comments: dict[str, str]

    def section(self, prefix: str, place: str, values: dict[str, Any], *, explain: bool) -> list[str]:
        """Lines, not indented, of the keys below `prefix`; `place` is the same path with numbers of entries for N."""
        lines: list[str] = []
        for path, key in self.keys.items():
            name = path.removeprefix(prefix)
            if not path.startswith(prefix) or "." in name or not name:
                continue
            body = self._key(key, f"{place}{name}", name, values, explain=explain)
            if body:
                reason = self._reason(key, f"{place}{name}") if explain else []
                lines += [*([""] if not prefix else []), *reason, *body]
        return lines

    def _key(self, key: Key, place: str, name: str, values: dict[str, Any], *, explain: bool) -> list[str]:
        """The lines of one key; none where it is neither set nor shown."""
        value = values.get(name)
        if isinstance(value, list) and key.keys:
            return [f"{name}:", *self._entries(key, place, value)]
        if key.keys and (isinstance(value, dict) or name not in values) and value != {}:
            inside = self.section(f"{key.path}.", f"{place}.", value or {}, explain=explain)
            lines = [f"{name}:", *(f"  {line}" for line in inside)] if inside else []
            return lines if value else [f"#{line}" for line in lines]
        if name in values:
            return [f"{name}: {dump_flow(value)}"]
        return [f"#{name}: {dump_flow(key.default)}"] if explain and key.path in self.shown else []

    def _entries(self, key: Key, place: str, entries: list[dict[str, Any]]) -> list[str]:
        """The lines of a list of sections; the first one explains its keys."""
        lines: list[str] = []
        for number, entry in enumerate(entries):
            inside = self.section(f"{key.path}.{ENTRY}.", f"{place}.{number}.", entry, explain=number == 0)
            first = next(i for i, line in enumerate(inside) if not line.startswith("#"))
            lines += [f"  {'- ' if i == first else '  '}{line}" for i, line in enumerate(inside)]
        return lines

    def _reason(self, key: Key, place: str) -> list[str]:
        """What a key is and why, and what the base says about its value, as comments."""
        said = " ".join(filter(None, (key.about, self.comments.get(place))))
        return [f"# {line}" for line in textwrap.wrap(said, WIDTH, break_long_words=False, break_on_hyphens=False)]
