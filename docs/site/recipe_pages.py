"""The reference of recipe keys, from the recipes' types, and the list of recipes that ship."""

from __future__ import annotations

from collections.abc import Iterator

from command_pages import escaped

from ccd_cli.config.find import shipped
from ccd_cli.config.keys import ENTRY, REQUIRED, Key, keys_of
from ccd_cli.config.load import TASKS

TITLES = {"distill": "Recipe keys of distillation", "label": "Recipe keys of labeling"}
HEAD = ("| key | type | default | what it is and why | source |", "|---|---|---|---|---|")


def recipe_pages() -> dict[str, str]:
    """Return the pages, by their place."""
    pages = {f"reference/{task}.md": "\n".join(_page(task)) + "\n" for task in TASKS}
    return {**pages, "reference/recipes.md": "\n".join(_shipped()) + "\n"}


def _page(task: str) -> Iterator[str]:
    """Yield the lines of a task's page: the keys that stand alone, then each section with its own."""
    yield from (f"# {TITLES[task]}", "")
    yield (
        f"Every key of a recipe for `ccd {task}`, made from the types that check it (`ccd recipes explain KEY` prints one, "
        f"`ccd recipes schema --task {task}` all of them for editors). *source* is where a default comes from: the paper, another "
        "publication, or a choice where the paper leaves it open; without one it is this project's. "
        f"`{ENTRY}` stands for the number of an entry in a list, from 0."
    )
    keys = keys_of(task)
    sections = [key for key in keys.values() if key.keys]
    yield from _table([key for key in keys.values() if not key.keys and "." not in key.path])
    for section in sections:
        yield from ("", f"{'###' if '.' in section.path.replace(f'.{ENTRY}', '') else '##'} `{section.path}`", "")
        yield section.about
        inside = (section.path, f"{section.path}.{ENTRY}")
        yield from _table([k for k in keys.values() if not k.keys and k.path.rpartition(".")[0] in inside])


def _table(keys: list[Key]) -> Iterator[str]:
    if keys:
        yield from ("", *HEAD)
    for key in keys:
        cells = (f"`{key.path.rpartition('.')[2]}`", key.type, _default(key), key.about, ", ".join(key.sources))
        yield "| " + " | ".join(map(escaped, cells)) + " |"


def _default(key: Key) -> str:
    if key.default == REQUIRED or key.default is None:
        return key.default or ""
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"


def _shipped() -> Iterator[str]:
    yield from ("# Shipped recipes", "", "`ccd recipes show NAME` prints one, `ccd recipes list` this table.", "")
    yield from ("| name | what it is | how to launch it |", "|---|---|---|")
    for recipe in shipped():
        command, bracket, more = recipe.launch.partition(" (")
        launch = f"`{command}`{bracket}{more}" if command.startswith(("ccd ", "python ")) else recipe.launch
        yield f"| [`{recipe.name}`](../../recipes/{recipe.name}.yaml) | {escaped(recipe.about)} | {escaped(launch)} |"
